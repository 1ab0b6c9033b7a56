"""What each answer of a real engine means. The words are Docker 20.10's own, captured."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests
from docker import errors as docker_errors

from sandbox.engines.docker_engine import DockerEngine
from sandbox.engines.docker_engine.execution import not_started
from sandbox.engines.docker_engine.mapping import classify
from sandbox.errors import EngineError, EngineUnavailable, InputError, NotFound, OverLimit, SandboxDied, SandboxError

GONE = "664ee2734d451c414cfeac8d9ee8339d3d90b4f65c1a9beb3be546fc27446010"
ANSWERS: list[tuple[int, str, type[SandboxError], str]] = [
    (404, f"No such container: {GONE}", SandboxDied, "gone or not running"),
    (404, "No such exec instance: abc", SandboxDied, "gone or not running"),
    (409, f"Container {GONE} is not running", SandboxDied, "gone or not running"),
    (409, f"cannot join PID of a non running container: {GONE}", SandboxDied, "gone or not running"),
    (404, "no such image: nope: No such image: nope:latest", NotFound, "no image 'nope:latest'"),
    (404, "No such image: nope:1", NotFound, "no image 'nope:1'"),
    (409, f"Container {GONE} is paused, unpause the container before exec", EngineError, "busy"),
    (
        409,
        f'Conflict. The container name "/sandbox-h-sbx" is already in use by container "{GONE}". You have to remove',
        InputError,
        "'sandbox-h-sbx' already",
    ),
    (500, "lchown /w/d/d: file name too long", OverLimit, "nested deeper"),
    (400, "failed to create shim task: OCI runtime create failed: unable to start", InputError, "refuses"),
    (500, "write /var/lib/docker/tmp/x: no space left on device", EngineError, "(500)"),
    (400, "Error processing tar file(exit status 1): write /f: no space left on device", EngineError, "(400)"),
]


@pytest.mark.parametrize(("status", "says", "kind", "words"), ANSWERS)
def test_an_answer_of_the_engine_has_one_meaning(status: int, says: str, kind: type[SandboxError], words: str) -> None:
    response = requests.Response()
    response.status_code = status
    meaning = classify(docker_errors.APIError("failed", response=response, explanation=says))
    assert type(meaning) is kind
    assert words in meaning.says


def test_only_a_paused_container_is_worth_waiting_for() -> None:
    meanings = []
    for status, says, _, _ in ANSWERS:
        response = requests.Response()
        response.status_code = status
        meaning = classify(docker_errors.APIError("failed", response=response, explanation=says))
        meanings.append(isinstance(meaning, EngineError) and meaning.transient)
    assert meanings == [words == "busy" for _, _, _, words in ANSWERS]


@pytest.mark.parametrize(
    ("address", "words"),
    [("unix:///no/such/docker.sock", "no such file or directory"), ("tcp://127.0.0.1:1", "connection refused")],
)
def test_an_engine_that_is_not_there_is_said_with_its_cure(
    address: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", address)
    engine = DockerEngine(home_id="none", scratch=tmp_path)
    with pytest.raises(EngineUnavailable) as raised:
        engine.instances()
    [finding] = engine.doctor()
    assert (finding.ok, finding.says) == (False, raised.value.says)
    assert words in raised.value.says
    assert "DOCKER_HOST" in raised.value.hint
    assert raised.value.exit_code == 5


def test_a_missing_image_names_what_to_run() -> None:
    response = requests.Response()
    response.status_code = 404
    meaning = classify(docker_errors.ImageNotFound("x", response=response, explanation="No such image: base:latest"))
    assert "sandbox image build" in meaning.hint
    assert meaning.exit_code == 2


def test_a_late_answer_may_be_asked_for_again() -> None:
    meaning = classify(requests.exceptions.ReadTimeout("read timed out"))
    assert isinstance(meaning, EngineError)
    assert meaning.transient


RUNC = "OCI runtime exec failed: exec failed: unable to start container process: "
REFUSALS = [
    (
        RUNC + 'chdir to cwd ("/nope") set in config.json failed: no such file or directory: unknown',
        InputError,
        "/nope",
    ),
    (RUNC + 'chdir to cwd ("/nope") set in config.json failed: not a directory: unknown', InputError, "/nope"),
    ("unable to find user dave: no matching entries in passwd file", InputError, "dave"),
    (RUNC + "something new: unknown", EngineError, "something new"),
]


@pytest.mark.parametrize(("says", "kind", "words"), REFUSALS)
def test_a_command_that_never_started_says_why(says: str, kind: type[SandboxError], words: str) -> None:
    meaning = not_started(says, "/nope", "dave")
    assert type(meaning) is kind
    assert words in meaning.says
