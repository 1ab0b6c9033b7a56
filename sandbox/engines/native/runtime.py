"""The OCI runtime binary: which one, and its verbs.

Owns how the runtime is found and called. Must not know what is in a bundle. What its failures mean is
decided in `verdicts`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.engines.native import cgroups, verdicts
from sandbox.errors import EngineUnavailable, SandboxDied

_STATE = Path("/run/sandbox")
"""On a tmpfs everywhere, so that a reboot, which ends the containers, also ends what is known of them."""

_HINT = "Install one: apt-get install runc crun (or point SANDBOX_RUNTIME at yours)."


@dataclass(frozen=True, slots=True)
class Runtime:
    """One runtime binary with a state directory of its own per home."""

    name: str
    binary: str
    state: Path

    def command(self, *arguments: str, log: str | None = None) -> list[str]:
        """The argument vector of a verb; what it has to say goes to the file `log`."""
        logging = ["--log", log, "--log-format", "json"] if log else []
        return [self.binary, "--root", str(self.state), *logging, *arguments]

    def run(self, container: str, bundle: Path, pid_file: Path) -> int:
        """Start a container that goes on without us; the host's id of its PID 1."""
        self.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(prefix="sandbox-run-") as scratch:
            log = os.path.join(scratch, "log")
            verb = self.command("run", "-d", "-b", str(bundle), "--pid-file", str(pid_file), container, log=log)
            done = subprocess.run(verb, stdin=subprocess.DEVNULL, capture_output=True, check=False)
            if done.returncode != 0:
                raise verdicts.start_failure(self.name, read_log(log) or done.stderr.decode(errors="replace"))
        return int(pid_file.read_text())

    def alive(self, container: str) -> int | None:
        """The host's id of its PID 1; None where it is stopped or unknown."""
        done = subprocess.run(self.command("state", container), capture_output=True, check=False)
        if done.returncode != 0:
            return None
        state: dict[str, Any] = json.loads(done.stdout)
        return int(state["pid"]) if state["status"] in ("running", "paused") else None

    def delete(self, container: str) -> None:
        """Forget a container, killing what is left of it; nothing to do where it is unknown."""
        subprocess.run(self.command("delete", "--force", container), capture_output=True, check=False)
        shutil.rmtree(self.state / container, ignore_errors=True)

    def containers(self) -> list[str]:
        """Every container that this state directory knows of."""
        try:
            return sorted(os.listdir(self.state))
        except FileNotFoundError:
            return []


def read_log(path: str) -> str:
    """The error messages in a runtime's JSON log, one a line."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [json.loads(line) for line in file if line.strip()]
    except FileNotFoundError:
        return ""
    return "\n".join(line.get("msg", "") for line in lines if line.get("level") in ("error", "fatal"))


def choose() -> tuple[str, str]:
    """Name and path of the runtime to use for new sandboxes.

    `SANDBOX_RUNTIME` overrides. With cgroup v2 crun comes first, since it starts several times faster. With
    cgroup v1 only runc will do: it puts a command in a cgroup of its own in one hierarchy and leaves it within
    the limits of the others, where crun takes it out of all of them.
    """
    asked = os.environ.get("SANDBOX_RUNTIME")
    usable = ("crun", "runc") if cgroups.unified() else ("runc",)
    if asked:
        name, binary = Path(asked).name, shutil.which(asked)
        if name not in usable:
            says = f"SANDBOX_RUNTIME names {name!r}, which this engine can't drive on this machine."
            raise EngineUnavailable(says, f"Use one of: {', '.join(usable)}.")
        if binary is None:
            raise EngineUnavailable(f"SANDBOX_RUNTIME names {asked!r}, which is not there.", _HINT)
        return name, binary
    for name in usable:
        binary = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if binary is not None:
            return name, binary
    raise EngineUnavailable(f"No OCI runtime was found ({', '.join(usable)}).", _HINT)


def for_home(home_id: str, name: str | None = None) -> Runtime:
    """The runtime for new sandboxes of a home, or the one that made an existing sandbox."""
    chosen, binary = choose()
    if name is not None and name != chosen:
        found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if found is None:
            raise SandboxDied(f"The runtime {name!r} that made this sandbox is gone.", "Install it again.")
        chosen, binary = name, found
    return Runtime(chosen, binary, _STATE / home_id / chosen)
