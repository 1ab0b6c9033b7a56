"""Waits for one command in a sandbox; run as a program of its own: `reaping.py STATUS_FD PID_FILE RUNTIME ARG…`.

A runtime that stays in front of a command either copies its output, and then waits for every background process
that still holds the pipes, or is no parent of it at all. So the runtime detaches, and this program, made the
reaper of its orphans, takes the command over and tells the status pipe `started` and then `exit N`.

Uses the standard library alone and nothing of the package: it starts within a few milliseconds.
"""

import ctypes
import os
import sys

_PR_SET_CHILD_SUBREAPER = 36


def _code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def main(status_fd: int, pid_file: str, runtime: list[str]) -> int:
    """The runtime's exit code when it fails; else 0, with the command's code told on the pipe."""
    os.set_inheritable(status_fd, False)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # Not vfork-and-wait in a thread pool: one child, then its orphan.
    started = os.posix_spawn(runtime[0], runtime, os.environ)
    failed = _code(os.waitpid(started, 0)[1])
    if failed:
        return failed
    os.write(status_fd, b"started\n")
    # The pipes are the command's; held here too, they would never come to their end.
    for stream in (0, 1, 2):
        os.close(stream)
    with open(pid_file, encoding="ascii") as file:
        command = int(file.read())
    code = _code(os.waitpid(command, 0)[1])
    os.write(status_fd, b"exit %d\n" % code)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
