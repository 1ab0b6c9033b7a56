"""The limits of a sandbox as files of its control groups (version 1), for those that no OCI runtime sets.

Owns which file says what. Takes the resources as a bundle describes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sandbox.engines.native import cgroups

_KEEPERS = 1
"""Processes of ours in a sandbox's groups, on top of its own."""

_MADE = tuple({"allow": True, "type": kind, "access": "m"} for kind in "cb")
"""Devices may be made, as every runtime lets them: the keeper makes those of /dev. Nobody in a sandbox has the
capability, and none can be opened but those that the rules name."""


def impose(path: str, resources: dict[str, Any]) -> list[str]:
    """Make the groups at `path` with these limits; the files by which a process joins them, one a group."""
    join = []
    for controller in (*cgroups.NEEDED, "devices"):
        group = cgroups.MOUNT / controller / path.lstrip("/")
        group.mkdir(parents=True, exist_ok=True)
        for file, text in _files(controller, resources):
            (group / file).write_text(text)
        join.append(str(group / "cgroup.procs"))
    return join


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
