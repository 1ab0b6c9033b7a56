"""The scripts that bring what a machine lacks: quiet where all is there, clear where it can't be had."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def script(name: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = ["/bin/bash", str(SCRIPTS / name), *arguments]
    return subprocess.run(
        command, env=os.environ | env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[str]:
    """A socket that answers a ping as a Docker Engine does."""
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    asked = connection.recv(65536)
                    body = b'{"ApiVersion": "1.41"}' if b"/version" in asked else b"OK"
                    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
                    connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"unix://{path}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def test_nothing_is_done_or_said_where_nothing_is_missing() -> None:
    done = script("install-missing", "sh:dash", "bash:bash")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_without_apt_it_says_what_to_install(tmp_path: Path) -> None:
    done = script("install-missing", "sh-of-nobody:dash", "runc-of-nobody:runc", PATH=str(tmp_path))
    assert done.returncode == 1
    assert "sh-of-nobody runc-of-nobody" in done.stderr
    assert "dash runc" in done.stderr


def test_an_engine_that_answers_is_used_and_its_command_ends_the_script(engine: str) -> None:
    done = script("with-docker", sys.executable, "sh", "-c", 'echo "$DOCKER_HOST"; exit 7', DOCKER_HOST=engine)
    assert (done.returncode, done.stdout) == (7, engine + "\n")
    assert f"Using the Docker Engine at {engine}" in done.stderr
