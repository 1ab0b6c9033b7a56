"""Why goals are not met where no floor of the machine alone forbids it, as data: by engine and goal.

Owns the words. Each names the decision that has the measurements. One that no published run needs any more fails a
test, as does a goal that is published as not met without one.
"""

from __future__ import annotations

_START = "a new container is started over a fresh layer; what of that can be made before, is (decision 0018)"
_FIRST = "of 10 ms six are the first command, and the rest the name, two records and a look at policies (decision 0018)"
_COPIED = "each new file is copied, by nine system calls (decision 0018)"
_LINKED = "what the sandbox holds since it began is looked at and linked, 6 to 20 us an entry (decision 0018)"
_DIFFERS = "its base's list is verified and hashed, and each entry that differs becomes a record (decision 0021)"
_WALK = "the walk is done in Python, twice as slow as in C (decision 0015)"
_CAPTURE = "it reads, hashes and copies in one thread; cp does neither of the first two (decision 0015)"
_COMMIT = "the engine's commit is nearly all of it, and differs by half from run to run (decision 0019)"
_LOOKED = "a container is started to look, since the engine's own list can be lied to: 125 ms (decision 0019)"

WHY: dict[tuple[str, str], str] = {
    ("native", "create and first exec"): _START,
    ("native", "create and first exec, warm pool"): _FIRST,
    ("native", "sandbox run -- true, nothing changed"): "half of it is loading; then a walk in Python (decision 0021)",
    ("native", "exec"): "beside a fork and an exec: setns, the filter, two wake-ups, a look at limits (decision 0018)",
    ("native", "fork of 16 at once"): _START,
    ("native", "live snapshot, change A, with reflinks"): _COPIED,
    ("native", "live snapshot, change A, without reflinks"): _COPIED,
    ("native", "snapshot with nothing new"): _LINKED,
    ("native", "live snapshot, change B"): _COPIED,
    ("native", "diff of A"): _DIFFERS,
    ("native", "diff of B"): _DIFFERS,
    ("native", "first capture of 10,000 files, 200 MB"): _CAPTURE,
    ("docker", "first capture of 10,000 files, 200 MB"): _CAPTURE,
    ("native", "capture with one file changed"): _WALK,
    ("docker", "capture with one file changed"): _WALK,
    (
        "native",
        "seal, review and promote A",
    ): "the target is walked three times, and each step is flushed (decision 0015)",
    ("native", "restore of A"): "the target is walked once, and each step is flushed (decision 0015)",
    ("native", "sandbox list"): "typer, pydantic and the interpreter take most of it (decision 0021)",
    ("docker", "create and first exec, warm pool"): "the engine's exec takes 50 to 60 ms of it (decision 0019)",
    ("docker", "snapshot_a"): _COMMIT,
    ("docker", "snapshot_b"): _COMMIT,
    ("docker", "diff_a"): _LOOKED,
    ("docker", "diff_b"): _LOOKED,
}
