"""Why goals are not met where no floor of the machine alone forbids it, as data: by engine and goal.

Owns the words. Each names the decision that has the measurements. One that no published run needs any more fails a
test, as does a goal that is published as not met without one.
"""

from __future__ import annotations

_WALKED = "the target is walked in Python before any engine is asked (decision 0018)"
_START = "a new container is started over a fresh layer; what of that can be made before, is (decision 0018)"
_COPIED = "each new file is copied, by nine system calls (decision 0018)"
_WALK = "the walk is done in Python, twice as slow as in C (decision 0015)"
_CAPTURE = "it reads, hashes and copies in one thread; cp does neither of the first two (decision 0015)"
_LOOKED = "a container is started to look, since the engine's own list can be lied to: 125 ms (decision 0019)"

WHY: dict[tuple[str, str], str] = {
    ("native", "create and first exec"): _WALKED,
    ("native", "create and first exec, warm pool"): _WALKED,
    ("native", "sandbox run -- true, nothing changed"): "half of it is loading; then a walk in Python (decision 0021)",
    ("native", "exec"): "beside a fork and an exec: setns, the filter, two wake-ups, a look at limits (decision 0018)",
    ("native", "rollback to A"): _START,
    ("native", "rollback to B"): _START,
    ("native", "fork"): _START,
    ("native", "fork of 16 at once"): _START,
    ("native", "live snapshot, change A, with reflinks"): _COPIED,
    ("native", "live snapshot, change B"): _COPIED,
    (
        "native",
        "destroy",
    ): "its processes' end is awaited, and each snapshot that goes with it is a record (decision 0021)",
    ("native", "first capture of 10,000 files, 200 MB"): _CAPTURE,
    ("docker", "first capture of 10,000 files, 200 MB"): _CAPTURE,
    ("native", "capture of an unchanged tree"): _WALK,
    ("docker", "capture of an unchanged tree"): _WALK,
    ("native", "capture with one file changed"): _WALK,
    ("docker", "capture with one file changed"): _WALK,
    ("native", "seal, review and promote A"): "the target is walked twice, the rehearsal applies twice (decision 0015)",
    ("native", "restore of A"): "the target is walked twice, by one process (decision 0015)",
    ("native", "sandbox list"): "typer, pydantic and the interpreter take most of it (decision 0021)",
    ("docker", "diff_a"): _LOOKED,
    ("docker", "diff_b"): _LOOKED,
}
