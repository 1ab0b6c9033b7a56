"""Why goals are not met where no floor of the machine alone forbids it, as data: by engine and goal.

Owns the words. Each names the decision that has the measurements. One that no published run needs any more fails a
test, as does a goal that is published as not met without one.
"""

from __future__ import annotations

_START = "a start waits until the kernel lets it into the control groups of version 1 (decision 0014)"
_FLUSHES = "each step is durable before the next one is taken: some thirty flushes (decision 0015)"
_WALK = "the walk is done in Python, twice as slow as in C (decision 0015)"
_CAPTURE = "it reads, hashes and copies in one thread; cp does neither of the first two (decision 0015)"

WHY: dict[tuple[str, str], str] = {
    ("native", "create and first exec"): f"the target is looked at once more, and {_START}",
    ("native", "exec"): "beside the floor: the fork of a keeper, its page faults, the filter (decision 0014)",
    ("native", "rollback to A"): _START,
    ("native", "rollback to B"): _START,
    ("native", "fork"): _START,
    ("native", "fork of 16 at once"): _START,
    ("native", "first capture of 10,000 files, 200 MB"): _CAPTURE,
    ("docker", "first capture of 10,000 files, 200 MB"): _CAPTURE,
    ("native", "capture of an unchanged tree"): _WALK,
    ("docker", "capture of an unchanged tree"): _WALK,
    ("native", "capture with one file changed"): _WALK,
    ("docker", "capture with one file changed"): _WALK,
    ("native", "seal, review and promote A"): _FLUSHES,
    ("native", "restore of A"): _FLUSHES,
    ("native", "sandbox list"): "typer, pydantic and the interpreter take most of it (decision 0015)",
}
