"""The end of one command's whole process tree, however its processes detached.

Owns the killer: a short-lived container in the sandbox's process namespace, made from the sandbox's original
image (so it works when the sandbox has deleted everything), without network, with KILL as its only capability.
The sandbox is frozen while it looks, so no process can slip away by forking.
"""

from __future__ import annotations

import contextlib
import time

from docker import errors as docker_errors

from sandbox.engines.docker_engine.connection import Connection
from sandbox.engines.docker_engine.containers import Box, Containers
from sandbox.engines.docker_engine.locks import Locks
from sandbox.engines.docker_engine.mapping import SDK_ERRORS
from sandbox.errors import SandboxDied

_ANSWER_S = 30
_ATTEMPTS = 5
_NOT_THERE = 3
"""The killer's exit code where no process carries the token."""

_SCRIPT = r"""
token=$1
marked=" "
all=
for entry in /proc/[0-9]*; do
  pid=${entry#/proc/}
  parent=
  while read -r key value _; do
    [ "$key" = PPid: ] && { parent=$value; break; }
  done 2>/dev/null < "$entry/status" || continue
  [ -n "$parent" ] || continue
  all="$all $pid"
  eval "parent_$pid=$parent"
  if [ "$parent" = 0 ]; then
    line=
    read -r line 2>/dev/null < "$entry/cmdline"
    case $line in "$token"*) marked=" $pid " ;; esac
  fi
done
[ "$marked" = " " ] && exit 3
again=1
while [ -n "$again" ]; do
  again=
  for pid in $all; do
    case $marked in *" $pid "*) continue ;; esac
    eval "parent=\$parent_$pid"
    case $marked in *" $parent "*) marked="$marked$pid "; again=1 ;; esac
  done
done
kill -KILL $marked
exit 0
"""
"""Shell built-ins alone. Only what the engine itself started has no parent here, so no process inside can
pass for a command's init by its name."""


class Killer:
    """Ends commands in the sandboxes of one home."""

    def __init__(self, connection: Connection, containers: Containers, locks: Locks) -> None:
        self._connection = connection
        self._containers = containers
        self._locks = locks

    def kill(self, sandbox: str, box: Box, exec_id: str, token: str) -> None:
        """End the command that runs under the init called `token`, with all its descendants.

        Raises SandboxDied where that could not be done otherwise than by ending the whole container.
        """
        for _ in range(_ATTEMPTS):  # right after its start, the exec is not yet what it will be
            if self._ended(exec_id, 0):
                return
            try:
                found = self._strike(sandbox, box, token)
            except SDK_ERRORS as error:
                self._end_container(sandbox, box, str(error))
            if found and self._ended(exec_id, 5):
                return
            time.sleep(0.05)
        self._end_container(sandbox, box, "the command's processes could not be found")

    def _strike(self, sandbox: str, box: Box, token: str) -> bool:
        api = self._connection.api
        with (
            self._locks.hold(sandbox),
            self._containers.beside("killer", box, ["sh", "-c", _SCRIPT, "sh", token], ["KILL"]) as killer,
            self._containers.frozen(sandbox, box),
        ):
            api.start(killer)
            code = int(api.wait(killer, timeout=_ANSWER_S)["StatusCode"])
        if code not in (0, _NOT_THERE):
            raise docker_errors.DockerException(f"the killer ended with {code}")
        return code == 0

    def _ended(self, exec_id: str, wait_s: float) -> bool:
        until = time.monotonic() + wait_s
        while self._connection.api.exec_inspect(exec_id)["Running"]:
            if time.monotonic() >= until:
                return False
            time.sleep(0.02)
        return True

    def _end_container(self, sandbox: str, box: Box, why: str) -> None:
        with contextlib.suppress(docker_errors.APIError):
            self._connection.api.kill(box.id)
        raise SandboxDied(
            f"The command in {sandbox} could not be ended alone ({why}), so its whole container was.",
            "Roll it back, or make another sandbox. Ending a command alone needs `sh` in the image.",
        )
