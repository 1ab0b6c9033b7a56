"""The two ways of a command into a sandbox: through its keeper, or through the OCI runtime that made its container.

Owns how each is asked, and what its refusals mean. What is done with the streams is not its business.
"""

from __future__ import annotations

import errno
import io
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, cast

from sandbox.engines.native import keepers, reaping, verdicts
from sandbox.engines.native.cgroups import Group
from sandbox.engines.native.runtime import Runtime, read_log
from sandbox.engines.native.verdicts import Verdict


@dataclass(slots=True)
class Pipes:
    """Our ends of a command's streams."""

    stdin: IO[bytes]
    stdout: IO[bytes]
    stderr: IO[bytes]

    def close(self) -> None:
        """Close those that are open."""
        for pipe in (self.stdin, self.stdout, self.stderr):
            with suppress(BrokenPipeError):  # what was still to be written, nobody reads
                pipe.close()


class Entered(Protocol):
    """A command on its way into a sandbox, or in it."""

    pipes: Pipes
    status: int
    """A handle on which `started` and then `exit N` are told; at its end there is no more to come."""

    def close(self) -> None:
        """Let go of everything; the command has ended, or been killed."""

    def refusal(self, told: bytes, printed: bytes) -> tuple[Verdict, str]:
        """Why it did not start, where it did not: what that means, and the words."""


class WayIn(Protocol):
    """How commands get into one sandbox."""

    def place(self, sandbox: Group) -> AbstractContextManager[Group]:
        """A group for one command, below the sandbox's; what goes on in the background stays in it.

        Raises FileNotFoundError where nothing is left of the sandbox.
        """

    def enter(self, process: dict[str, Any], group: Group) -> Entered:
        """Start `process` in `group`, which `place` gave."""


class ThroughKeeper:
    """Asks the keeper whose socket is in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def place(self, sandbox: Group) -> AbstractContextManager[Group]:
        """See WayIn. The keeper makes it, and removes it when nobody waits any more."""
        return nullcontext(sandbox.child(f"exec-{secrets.token_hex(4)}"))

    def enter(self, process: dict[str, Any], group: Group) -> Entered:
        """See WayIn."""
        inner: list[int] = []
        outer: list[IO[bytes]] = []
        try:
            for writes in (True, False, False):
                reading, writing = os.pipe()
                inner.append(reading if writes else writing)
                outer.append(io.FileIO(writing if writes else reading, "wb" if writes else "rb"))
            asked = self.ask(process, group, tuple(inner))
        except BaseException:
            for pipe in outer:
                pipe.close()
            raise
        finally:
            for handle in inner:
                os.close(handle)
        return _Kept(Pipes(*outer), asked)

    def ask(self, process: dict[str, Any], group: Group, streams: tuple[int, ...]) -> socket.socket:
        """Start `process` in `group` with these handles as its streams; where the keeper tells how that goes."""
        try:
            return keepers.ask(self._directory, process, group.name, streams)
        except ConnectionError:
            return _hung_up()


def _hung_up() -> socket.socket:
    """What is left of a conversation with a keeper that is dead: its end."""
    ours, theirs = socket.socketpair()
    theirs.close()
    return ours


class _Kept:
    def __init__(self, pipes: Pipes, asked: socket.socket) -> None:
        self.pipes = pipes
        self.status = asked.fileno()
        self._asked = asked

    def close(self) -> None:
        self.pipes.close()
        self._asked.close()

    def refusal(self, told: bytes, printed: bytes) -> tuple[Verdict, str]:
        del printed
        lines = [line.split(b" ", 3) for line in told.splitlines() if line.startswith(b"fail ")]
        if not lines or len(lines[0]) < 4:
            return "died", ""
        _, step, number, says = lines[0]
        code, words = int(number), says.decode(errors="replace")
        if step == b"fork" and code == errno.EAGAIN:
            return "full", words
        if step == b"fork" and code == errno.ENOENT:
            return "died", words  # its groups are gone
        match step:
            case b"cwd":
                return "bad_cwd", words
            case b"user":
                return "bad_user", words
            case b"exec":
                return ("not_found" if code in (errno.ENOENT, errno.ENOTDIR) else "not_executable"), words
            case b"died":
                return "died", words
        return "broken", words


class ThroughRuntime:
    """Asks an OCI runtime; `reaping` waits for the command's end. `files` is the sandbox's directory."""

    def __init__(self, runtime: Runtime, container: str, files: Path) -> None:
        self._runtime = runtime
        self._container = container
        self._files = files

    def place(self, sandbox: Group) -> AbstractContextManager[Group]:
        """See WayIn."""
        return sandbox.of_one_command()

    def enter(self, process: dict[str, Any], group: Group) -> Entered:
        """See WayIn."""
        # In the sandbox's directory, so that nothing of a command outlives it.
        holder = tempfile.TemporaryDirectory(prefix="exec-", dir=self._files, ignore_cleanup_errors=True)
        scratch = Path(holder.name)
        config, pid_file, log = scratch / "process.json", scratch / "pid", scratch / "log"
        config.write_text(json.dumps(process), encoding="utf-8")
        verb = self._runtime.command(
            "exec", "--detach", "--process", str(config), "--pid-file", str(pid_file),
            *group.exec_option(), self._container, log=str(log),
        )  # fmt: skip
        ours, theirs = os.pipe()
        try:
            reaper = subprocess.Popen(
                [sys.executable, "-I", "-S", reaping.__file__, str(theirs), str(pid_file), *verb],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                pass_fds=[theirs],
                env={"PATH": os.environ.get("PATH", os.defpath)},
                # Ctrl-C on the manager's terminal is the manager's to handle.
                start_new_session=True,
            )
        finally:
            os.close(theirs)
        return _Reaped(reaper, ours, str(log), holder)

    def shell(self, process: dict[str, Any]) -> int:
        """Run a process on our own streams; its exit code."""
        with tempfile.TemporaryDirectory(prefix="shell-", dir=self._files) as scratch:
            config = Path(scratch, "process.json")
            config.write_text(json.dumps(process), encoding="utf-8")
            verb = self._runtime.command("exec", "--process", str(config), self._container)
            return subprocess.run(verb, check=False).returncode


class _Reaped:
    def __init__(
        self, reaper: subprocess.Popen[bytes], status: int, log: str, holder: tempfile.TemporaryDirectory[str]
    ) -> None:
        self._holder = holder
        self.pipes = Pipes(*(cast(IO[bytes], pipe) for pipe in (reaper.stdin, reaper.stdout, reaper.stderr)))
        self.status = status
        self._reaper = reaper
        self._log = log
        self._said = ""

    def close(self) -> None:
        self.pipes.close()
        os.close(self.status)
        self._reaper.wait()
        self._said = read_log(self._log)
        self._holder.cleanup()

    def refusal(self, told: bytes, printed: bytes) -> tuple[Verdict, str]:
        del told
        says = self._said or printed.decode(errors="replace")
        return verdicts.of_exec(says), says
