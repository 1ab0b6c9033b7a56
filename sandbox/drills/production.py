"""A small real production: a directory with a service's code and data, and that service running from it.

Owns building it, starting it, ending it, and looking at its files with eyes of its own (not the product's), so
that what a drill says about it is measured twice. Must not know what a drill does to it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from sandbox.drills import ledger
from sandbox.errors import SandboxError

SOURCE = Path(__file__).with_name("cost_report")
SUPERVISOR = Path(__file__).with_name("supervisor.py")
START_S = 20.0


class Production:
    """One running service. A context manager: entering builds and starts it, leaving ends its processes."""

    def __init__(self, directory: Path, run: Path) -> None:
        self.directory, self.run = directory, run
        self._supervisor: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Production:
        self.build()
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def build(self) -> None:
        """Lay down code, configuration, templates, ledger and statements."""
        shutil.copytree(SOURCE, self.directory, ignore=shutil.ignore_patterns("__pycache__"))
        (self.directory / "data").mkdir()
        ledger.build(self.ledger)
        statements = self.directory / "statements"
        statements.mkdir()
        for month, answer in ledger.answers().items():
            text = f"month,entries,cents\n{month},{answer.rows},{answer.cut}\n"
            (statements / f"{month}.csv").write_text(text, encoding="ascii")
        (statements / "latest.csv").symlink_to(f"{ledger.MONTHS[-1]}.csv")
        self.run.mkdir(parents=True)

    def start(self) -> None:
        """Start the service. Raises SandboxError where it does not come up."""
        command = [sys.executable, "-P", str(SUPERVISOR), "serve", str(self.run), str(self.directory)]
        with (self.run / "log").open("ab") as log:
            # A session of its own: Ctrl-C is for the drill, which ends the service in its own time.
            self._supervisor = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            if self._supervisor.poll() is None and (self.run / "pid").exists():
                return
            time.sleep(0.02)
        raise SandboxError(f"The drill's service did not start within {START_S:g} s: {self.log()[-400:]}")

    def stop(self) -> None:
        """End the service and all its processes."""
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is None:
            return
        supervisor.terminate()
        try:
            supervisor.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(supervisor.pid, signal.SIGKILL)
            supervisor.wait()

    @property
    def port(self) -> int:
        """On 127.0.0.1; stays the same through reloads."""
        return int((self.run / "port").read_text(encoding="ascii"))

    @property
    def ledger(self) -> Path:
        return self.directory / "data/costs.db"

    @property
    def reload_command(self) -> tuple[str, ...]:
        """Makes the service run what its directory holds now, and waits for that."""
        return (sys.executable, "-P", str(SUPERVISOR), "reload", str(self.run))

    @property
    def health_command(self) -> tuple[str, ...]:
        """Exits 0 while `GET /health` says 200."""
        return (sys.executable, "-P", str(SUPERVISOR), "health", str(self.run))

    def log(self) -> str:
        """What the service's processes printed."""
        return (self.run / "log").read_text(encoding="utf-8", errors="replace")

    def files(self) -> dict[str, str]:
        """Every path below the directory with a digest of its kind, mode, owner and content."""
        found: dict[str, str] = {}
        for parent, directories, names in os.walk(self.directory):
            for name in [*directories, *names]:
                path = Path(parent, name)
                state = path.lstat()
                if path.is_symlink():
                    content = os.readlink(path).encode()
                else:
                    content = path.read_bytes() if path.is_file() else b""
                facts = f"{state.st_mode:o} {state.st_uid} {state.st_gid} ".encode()
                found[str(path.relative_to(self.directory))] = hashlib.sha256(facts + content).hexdigest()
        return found
