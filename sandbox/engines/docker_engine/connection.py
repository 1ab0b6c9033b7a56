"""The way to the Docker Engine, opened at first use, and what is known of the engine behind it.

Owns the one API client of an engine object. Must not interpret errors (`mapping` does).
"""

from __future__ import annotations

import base64
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar

import docker
import requests
from docker import errors as docker_errors
from docker.constants import DEFAULT_UNIX_SOCKET
from docker.utils import kwargs_from_env
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from sandbox.clock import now
from sandbox.engines.docker_engine.mapping import classify
from sandbox.errors import EngineError

R = TypeVar("R")

ANSWER_S = 600
"""How long one answer may take: a commit of a large sandbox has to be written to disk first."""
_PIECE = 1 << 20
BUSY_S = 120
"""How long a container may stay paused (a snapshot in another process) before we give up on it."""


class Connection:
    """A lazily opened client, shared by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._api: docker.APIClient | None = None

    @property
    def api(self) -> docker.APIClient:
        """The SDK's low-level client. Raises what the SDK raises where nothing answers."""
        with self._lock:
            if self._api is None:
                options = kwargs_from_env()
                _knock(options.get("base_url") or DEFAULT_UNIX_SOCKET)
                self._api = docker.APIClient(version="auto", timeout=ANSWER_S, **options)
            return self._api

    def close(self) -> None:
        """Close what is open; the next use opens it again."""
        with self._lock:
            if self._api is not None:
                self._api.close()
                self._api = None

    @cached_property
    def clock_ahead_s(self) -> float:
        """How many seconds the engine's clock is ahead of ours; a remote one's may be far off."""
        before = now()
        says = self.api.info()["SystemTime"]
        middle = before + (now() - before) / 2
        return (datetime.fromisoformat(_microseconds(says)) - middle).total_seconds()

    @cached_property
    def copies_up(self) -> bool:
        """Whether what is written in a container is copied out of its image's layers before, path by path, and nothing
        is ever moved out of them as a whole."""
        says = self.api.info()
        return says["Driver"] == "overlay2" and ["Native Overlay Diff", "true"] in (says.get("DriverStatus") or [])

    def image(self, name: str) -> dict[str, Any] | None:
        """What the engine knows of an image, by name or id; None where there is none."""
        api: Any = self.api  # the stubs leave this call without types
        try:
            return dict(api.inspect_image(name))
        except docker_errors.NotFound:
            return None

    def path_status(self, container: str, path: str) -> dict[str, Any] | None:
        """What is at a path: `mode` in Go's bits, `size`, and for a link `linkTarget`, where it leads in the end.

        None where nothing is. The SDK has no such call.
        """
        answer = self.api.head(self._archive_url(container), params={"path": path}, timeout=60)
        if not answer.ok:  # a file where a directory should be gives an internal error, and no words with it
            self._raise_unless_nothing(container, path)
            return None
        return dict(json.loads(base64.b64decode(answer.headers["X-Docker-Container-Path-Stat"])))

    @contextmanager
    def archive(self, container: str, path: str | bytes) -> Iterator[Iterator[bytes]]:
        """What is at a path, as an archive that comes in pieces. Raises the SDK's NotFound where nothing is.

        One that is left before its end is hung up on. The SDK's own call can't do that, and the engine would wait for
        a reader, the container locked, for ever.
        """
        where = self._archive_url(container)
        with self.api.get(where, params={"path": path}, stream=True, timeout=self.api.timeout) as answer:
            try:
                answer.raise_for_status()
            except requests.HTTPError as error:
                raise docker_errors.create_api_error_from_http_exception(error) from error
            yield answer.iter_content(_PIECE)

    def _archive_url(self, container: str) -> str:
        return f"{self.api.base_url}/v{self.api.api_version}/containers/{container}/archive"

    def _raise_unless_nothing(self, container: str, path: str) -> None:
        """Ask the same in a way whose answer has words; the SDK's exception, unless nothing can be there."""
        try:
            with self.archive(container, path):
                pass
        except docker_errors.APIError as error:
            nothing = "Could not find the file" in str(error.explanation) or "not a directory" in str(error.explanation)
            if not nothing:
                raise

    @property
    def is_local(self) -> bool:
        """It is reached by a Unix socket, so its processes may be this machine's."""
        return os.environ.get("DOCKER_HOST", "unix://").startswith("unix://")

    def patiently(self, call: Callable[[], R]) -> R:
        """The call's result, repeated while its container is paused or an answer is only late.

        Only for calls that an engine refuses as a whole or that can be made twice.
        """
        retrying = Retrying(
            retry=retry_if_exception(_is_busy),
            wait=wait_random_exponential(multiplier=0.02, max=0.5),
            stop=stop_after_delay(BUSY_S),
            reraise=True,
        )
        return retrying(call)


def _knock(address: str) -> None:
    """Raise the SDK's exception where nothing listens on a local socket; the SDK itself would leak one then."""
    scheme, _, path = address.partition("://")
    if not scheme.endswith("unix"):
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect("/" + path.lstrip("/"))
        except OSError as error:
            raise docker_errors.DockerException(f"{path}: {error}") from error


def _is_busy(error: BaseException) -> bool:
    if not isinstance(error, docker_errors.APIError):
        return False
    meaning = classify(error)
    return isinstance(meaning, EngineError) and meaning.transient


def _microseconds(time: str) -> str:
    """An RFC 3339 time with as many digits as Python reads."""
    date, _, rest = time.partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    return f"{date}.{rest[: min(digits, 6)]:0<6}{rest[digits:]}" if rest else date
