"""The OCI runtime binary: which one, and its verbs.

Owns how the runtime is found and called. Must not know what is in a bundle. What its failures mean is
decided in `verdicts`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sandbox.engines.native import cgroups, verdicts
from sandbox.errors import EngineUnavailable

_STATE = Path("/run/sandbox")
"""On a tmpfs everywhere, so that a reboot, which ends the containers, also ends what is known of them."""

NAMES = ("crun", "runc")
"""The runtimes that this engine can drive."""

_CAP_SYS_RESOURCE = 24

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
        log = str(bundle / "start.log")
        verb = self.command("run", "-d", "-b", str(bundle), "--pid-file", str(pid_file), container, log=log)
        # PID 1 keeps these streams: a pipe of ours would never come to its end.
        null = subprocess.DEVNULL
        if subprocess.run(verb, stdin=null, stdout=null, stderr=null, check=False).returncode != 0:
            raise verdicts.start_failure(self.name, read_log(log))
        return int(pid_file.read_text())

    def delete(self, container: str) -> None:
        """Forget a container, killing what is left of it; nothing to do where it is unknown."""
        with suppress(FileNotFoundError):
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


def usable() -> tuple[str, ...]:
    """The runtimes that can be driven on this machine, the preferred one first.

    With cgroup v2 crun comes first, since it starts faster, but for a root that may not raise its own limits (in a
    container), which crun insists on. With cgroup v1 only runc will do: it puts a command in a cgroup of its own
    in one hierarchy and leaves it within the limits of the others, where crun takes it out of all of them.
    """
    if not cgroups.unified():
        return ("runc",)
    return NAMES if _may_raise_limits() else tuple(reversed(NAMES))


def choose() -> tuple[str, str]:
    """Name and path of the runtime to use for new sandboxes; `SANDBOX_RUNTIME` overrides."""
    asked, names = os.environ.get("SANDBOX_RUNTIME"), usable()
    if asked:
        name, binary = Path(asked).name, _which(asked)
        if name not in names:
            says = f"SANDBOX_RUNTIME names {name!r}, which this engine can't drive on this machine."
            raise EngineUnavailable(says, f"Use one of: {', '.join(names)}.")
        if binary is None:
            raise EngineUnavailable(f"SANDBOX_RUNTIME names {asked!r}, which is not there.", _HINT)
        return name, binary
    for name in names:
        binary = _which(name)
        if binary is not None:
            return name, binary
    raise EngineUnavailable(f"No OCI runtime was found ({', '.join(names)}).", _HINT)


def _may_raise_limits() -> bool:
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        held = next((line.split()[1] for line in status if line.startswith("CapEff:")), "0")
    return bool(int(held, 16) >> _CAP_SYS_RESOURCE & 1)


def for_home(home_id: str, name: str) -> Runtime:
    """The runtime that makes, or made, a sandbox of this home; not always the one chosen now."""
    chosen, binary = choose()
    if name != chosen:
        found = _which(name)
        if found is None:
            raise EngineUnavailable(f"The runtime {name!r} that made this sandbox is gone.", _HINT)
        binary = found
    return Runtime(name, binary, _STATE / home_id / name)


def state_of(home_id: str, name: str) -> Runtime:
    """A runtime by name, whether its binary is there or not, to see and forget its containers."""
    return Runtime(name, _which(name) or name, _STATE / home_id / name)


def remove_state_if_empty(home_id: str) -> None:
    """Remove this home's state directories once no container is left in them."""
    for directory in (*(_STATE / home_id / name for name in NAMES), _STATE / home_id, _STATE):
        with suppress(OSError):
            directory.rmdir()


def _which(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")
