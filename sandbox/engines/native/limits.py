"""The limits of a sandbox as files of its control groups (version 1), for those that no OCI runtime sets.

Owns which file says what. Takes the resources as a bundle describes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from sandbox.engines.native import cgroups

_ROOM = 8 << 20
_KEEPERS = 1
"""Processes of ours in a sandbox's groups, on top of its own."""

_MADE = tuple({"allow": True, "type": kind, "access": "m"} for kind in "cb")
"""Devices may be made, as every runtime lets them: the keeper makes those of /dev. Nobody in a sandbox has the
capability, and none can be opened but those that the rules name."""


def groups(path: str, resources: dict[str, Any]) -> list[dict[str, Any]]:
    """The groups at `path`, each with its directory and what is written to its files."""
    return [
        {
            "directory": str(cgroups.MOUNT / controller / path.lstrip("/")),
            "files": list(_files(controller, resources)),
        }
        for controller in (*cgroups.NEEDED, "devices")
    ]


def changes(path: str, before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, str]]:
    """What is written to which file so that groups at `path` with the limits `before` have those of `after`."""
    grows = after["memory"]["limit"] > before["memory"]["limit"]
    found: list[tuple[str, str]] = []
    for controller in cgroups.NEEDED:
        had = set(_files(controller, before))
        now = [one for one in _files(controller, after) if one not in had]
        # Memory with swap may never be less than memory alone.
        for file, text in reversed(now) if grows else now:
            found.append((str(cgroups.MOUNT / controller / path.lstrip("/") / file), text))
    return found


def make_room_to_enter(path: str, memory_mb: int) -> None:
    """Lift the memory limit of the groups at `path` a little as long as it is used up; to be called before a command.

    A keeper is charged to it too: without room the kernel would take the keeper, or the first process, and with either
    the sandbox. What fills the room is a command, which dies of it.
    """
    group = f"{cgroups.MOUNT}/memory{path}"
    limit = memory_mb << 20
    with suppress(
        OSError
    ):  # the group is gone, which whoever enters will find out, or what is held can't be taken back
        used = int(cgroups.read(f"{group}/memory.usage_in_bytes"))
        is_full = used > limit - _ROOM and used - _of_files(group) > limit - _ROOM
        wanted, now = limit + _ROOM if is_full else limit, int(cgroups.read(f"{group}/memory.limit_in_bytes"))
        if wanted != now:
            _set_memory(Path(group), wanted, grows=wanted > now)


def _of_files(group: str) -> int:
    """Bytes that the kernel can drop where it needs them, since they are in files."""
    lines = (line.split() for line in cgroups.read(f"{group}/memory.stat").splitlines())
    stat = {key: int(value) for key, value in lines}
    return stat["inactive_file"] + stat["active_file"]


def _set_memory(group: Path, limit: int, *, grows: bool) -> None:
    files = [group / "memory.limit_in_bytes", group / "memory.memsw.limit_in_bytes"]
    # Memory with swap may never be less than memory alone.
    for file in reversed(files) if grows else files:
        if file.exists():
            file.write_text(str(limit))


def _files(controller: str, resources: dict[str, Any]) -> Iterator[tuple[str, str]]:
    match controller:
        case "memory":
            yield "memory.limit_in_bytes", str(resources["memory"]["limit"])
            if "swap" in resources["memory"]:
                yield "memory.memsw.limit_in_bytes", str(resources["memory"]["swap"])
        case "pids":
            yield "pids.max", str(resources["pids"]["limit"] + _KEEPERS)
        case "cpu":
            yield "cpu.cfs_period_us", str(resources["cpu"]["period"])
            yield "cpu.cfs_quota_us", str(resources["cpu"]["quota"])
        case "devices":
            for rule in (*resources["devices"], *_MADE):
                numbers = f"{rule.get('major', '*')}:{rule.get('minor', '*')}"
                text = f"{rule.get('type', 'a')} {numbers} {rule['access']}"
                yield ("devices.allow" if rule["allow"] else "devices.deny"), text
