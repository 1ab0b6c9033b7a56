"""What an exception of the SDK means for the user: one pure function, and the seam that applies it.

Owns the words of every Docker error. Must not talk to the engine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import requests
import urllib3
from docker import errors as docker_errors

from sandbox.errors import EngineError, EngineUnavailable, InputError, NotFound, OverLimit, SandboxDied, SandboxError

_START = "Start it (`systemctl start docker`, or `dockerd`), or set DOCKER_HOST; `--engine native` needs no daemon."
_SHALLOW = "Remove or ignore what is nested so deep, or use `--engine native`."
_BUSY = ("is paused", "is already in progress", "is already paused")
_DEAD = ("is not running", "is restarting", "No such container", "No such exec instance", "non running container")

SDK_ERRORS = (
    docker_errors.DockerException,
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
)
"""Everything that a call on the SDK is known to raise for a fault of the engine or of the way to it."""


def classify(error: BaseException) -> SandboxError:
    """The error for the user that stands for this exception of the SDK, `requests` or the socket."""
    if isinstance(error, docker_errors.APIError):
        return _of_answer(int(error.status_code or 0), str(error.explanation or error).strip())
    text = str(error)
    if isinstance(error, (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError)):
        return EngineError("The Docker Engine did not answer in time.", "Is it overloaded? Try again.", transient=True)
    if isinstance(error, docker_errors.TLSParameterError | docker_errors.InvalidVersion | ValueError):
        return EngineUnavailable(f"The Docker Engine can't be used: {text}.", "Check DOCKER_HOST and DOCKER_CERT_PATH.")
    return EngineUnavailable(f"No Docker Engine answers: {_reason(text)}.", _START)


def _of_answer(status: int, says: str) -> SandboxError:
    """An answer of the engine other than success."""
    image = re.search(r"No such image: (\S+)", says)
    if image:
        return image_missing(image[1])
    taken = re.search(r'The container name "/([^"]+)" is already in use', says)
    if taken:
        return InputError(f"There is a container {taken[1]!r} already.", "Every sandbox needs an id of its own.")
    if any(word in says for word in _DEAD):
        return SandboxDied(f"The sandbox's container is gone or not running: {says}.", "Roll it back or make another.")
    if any(word in says for word in _BUSY):
        return EngineError(f"The container is busy: {says}.", "Try again.", transient=True)
    if "file name too long" in says:
        return OverLimit("Directories are nested deeper in the sandbox than the Docker Engine can name.", _SHALLOW)
    if status == 400 and "no space left" not in says:
        return InputError(f"The Docker Engine refuses this: {says}.")
    return EngineError(f"The Docker Engine failed ({status}): {says}.", transient=status in (502, 503, 504))


def image_missing(image: str) -> NotFound:
    """No such image, with the cure."""
    return NotFound(
        f"There is no image {image!r} here.",
        f"`sandbox image list` shows what there is; `sandbox image build {image}` makes a defined one; "
        f"others have to be pulled or loaded first (`docker pull {image}`).",
    )


def _reason(text: str) -> str:
    for known in ("Connection refused", "No such file or directory", "Permission denied", "Connection reset"):
        if known in text:
            return known.lower()
    return text.rstrip(".")


@contextmanager
def mapped() -> Iterator[None]:
    """Turn every exception of the SDK into an error for the user; the original stays its cause."""
    try:
        yield
    except SDK_ERRORS as error:
        raise classify(error) from error
