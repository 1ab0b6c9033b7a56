"""What a runtime's failure means: the command's own result, bad input, or a dead sandbox. Pure.

Owns the phrases that runtimes are known to use, each tested on captured output. Must not run anything.
"""

from __future__ import annotations

import re
from typing import Literal

from sandbox.errors import EngineError, EngineUnavailable, SandboxDied

Verdict = Literal["not_found", "not_executable", "bad_cwd", "bad_user", "paused", "full", "died", "broken"]

_PHRASES: tuple[tuple[str, Verdict], ...] = (
    # crun, runc: the container's PID 1 or what is known of it is gone
    (r"container does not exist|cannot exec in a stopped|is not running|/status`: No such file", "died"),
    (r"setns\(pid=\d+, \w+\): No such process|container_linux.*process has already finished", "died"),
    (r"nsenter: failed to (open|unshare|set)|/proc/\d+/ns/\w+: no such file|error opening namespace", "died"),
    (r"paused container|is paused", "paused"),
    (r"resource temporarily unavailable", "full"),
    (r"chdir to cwd|chdir `", "bad_cwd"),
    (r"setuid|setgid|setgroups|set[ug]id|unable to find user", "bad_user"),
    (r"executable file (.* )?not found in \$PATH", "not_found"),
    (r"exec: .*: (stat .*: )?no such file or directory|exec .*: no such file or directory", "not_found"),
    (r"exec: .*: (permission denied|is a directory|exec format error)|exec .*: exec format error", "not_executable"),
    (r"exec `.*`: No such file or directory|open `.*`: No such file or directory", "not_found"),
    (r"open executable: |exec `.*`: |exec container process|not executable", "not_executable"),
)


def of_exec(says: str) -> Verdict:
    """What the messages of a failed `exec` verb mean."""
    for phrase, verdict in _PHRASES:
        if re.search(phrase, says, re.IGNORECASE):
            return verdict
    return "broken"


def start_failure(runtime: str, says: str) -> EngineError:
    """The error for a container that did not start."""
    line = " ".join(says.split()) or "it gave no reason"
    if re.search(r"cgroup", line):
        hint = "Run `sandbox doctor`: cgroups must be writable and have the cpu, memory and pids controllers."
        return EngineUnavailable(f"{runtime} can't set up the sandbox's limits: {line}.", hint)
    return EngineError(f"{runtime} can't start the sandbox: {line}.", "Run `sandbox doctor` to see what is missing.")


def died(sandbox: str) -> SandboxDied:
    """The error for a sandbox whose container is gone."""
    hint = "Roll it back to a snapshot (`sandbox rollback`), or destroy it."
    return SandboxDied(f"The container of sandbox {sandbox} is dead: it was killed, or the machine restarted.", hint)
