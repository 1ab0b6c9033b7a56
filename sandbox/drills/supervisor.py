"""Keeps a drill's service running: owns its port, starts its worker again, reloads it without a gap.

    supervisor.py serve RUN_DIR APP_DIR     until SIGTERM, or until whoever started it is gone
    supervisor.py health RUN_DIR            whether `GET /health` says 200
    supervisor.py reload RUN_DIR            returns once the new worker alone answers; 1 where it didn't start

A program of its own, run by path: it must not import the package. RUN_DIR has `pid`, `port` and `generation`
(a number and `ok` or `failed`, written after each reload).
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

START_S = 10.0
"""A worker that is not ready by then has failed."""
TICK_S = 0.02


class Supervisor:
    """One listening socket and the worker that answers on it."""

    def __init__(self, run: Path, app: Path) -> None:
        self.run, self.app = run, app
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.worker: subprocess.Popen[bytes] | None = None
        self.generation = 0
        self.stop = False
        self.reload = False

    def serve(self) -> None:
        """Until told to stop."""
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "stop", True))
        signal.signal(signal.SIGHUP, lambda *_: setattr(self, "reload", True))
        self.worker = self._start()
        _publish(self.run / "port", str(self.listener.getsockname()[1]))
        _publish(self.run / "generation", "0 ok" if self.worker else "0 failed")
        _publish(self.run / "pid", str(os.getpid()))
        parent = os.getppid()
        while not self.stop and os.getppid() == parent:
            if self.reload:
                self.reload = False
                self._replace()
            elif self.worker is None or self.worker.poll() is not None:
                self.worker = self._start()
            time.sleep(TICK_S)
        self._end(self.worker)

    def _replace(self) -> None:
        """The new worker answers before the old one stops; where it does not start, the old one stays."""
        fresh = self._start()
        if fresh is not None:
            self._end(self.worker)
            self.worker = fresh
        self.generation += 1
        _publish(self.run / "generation", f"{self.generation} {'ok' if fresh else 'failed'}")

    def _start(self) -> subprocess.Popen[bytes] | None:
        reading, writing = os.pipe()
        handles = (self.listener.fileno(), writing)
        command = [sys.executable, "-B", "service.py", "--socket", str(handles[0]), "--ready", str(handles[1])]
        try:
            worker = subprocess.Popen(command, cwd=self.app, pass_fds=handles, stdin=subprocess.DEVNULL)
        except OSError:
            os.close(writing)
            os.close(reading)
            return None
        os.close(writing)
        try:
            readable, _, _ = select.select([reading], [], [], START_S)
            if readable and os.read(reading, 16) == b"ready":
                return worker
        finally:
            os.close(reading)
        self._end(worker)
        return None

    @staticmethod
    def _end(worker: subprocess.Popen[bytes] | None) -> None:
        if worker is None:
            return
        worker.terminate()
        try:
            worker.wait(5)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


def _publish(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text, encoding="ascii")
    fresh.replace(path)


def reload(run: Path) -> int:
    """Ask for a new worker and wait until it answers; the exit code."""
    before = (run / "generation").read_text(encoding="ascii")
    os.kill(int((run / "pid").read_text(encoding="ascii")), signal.SIGHUP)
    end = time.monotonic() + 3 * START_S
    while time.monotonic() < end:
        now = (run / "generation").read_text(encoding="ascii")
        if now != before:
            return 0 if now.endswith("ok") else 1
        time.sleep(TICK_S)
    return 1


def health(run: Path) -> int:
    """Ask the service how it is; the exit code."""
    # Not at the top: it costs more to load than all the rest, and only this needs it.
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", int((run / "port").read_text(encoding="ascii")), timeout=5)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        print(f"{answer.status} {answer.read().decode()}")
        return 0 if answer.status == 200 else 1
    finally:
        connection.close()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        Supervisor(Path(sys.argv[2]), Path(sys.argv[3])).serve()
    else:
        sys.exit({"health": health, "reload": reload}[sys.argv[1]](Path(sys.argv[2])))
