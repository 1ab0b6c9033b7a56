"""The devices that an agent deleted, put back: without `/dev/null` the engine can start nothing any more.

Owns the mender: like the killer a short-lived container in the sandbox's process namespace, which reaches its
`/dev` (a mount, so no link can stand in for it) through process 1.
"""

from __future__ import annotations

from sandbox.engines.docker_engine.connection import Connection
from sandbox.engines.docker_engine.containers import CAPABILITIES, Box, Containers
from sandbox.engines.docker_engine.mapping import SDK_ERRORS
from sandbox.errors import SandboxDied

_ANSWER_S = 30
_SCRIPT = r"""
cd /proc/1/root/dev || exit 1
for node in "null 3" "zero 5" "full 7" "random 8" "urandom 9"; do
  set -- $node
  [ -c "$1" ] || { rm -rf "./$1"; mknod -m 666 "$1" c 1 "$2" || exit 1; }
done
[ -c tty ] || mknod -m 666 tty c 5 0
for link in "fd /proc/self/fd" "stdin /proc/self/fd/0" "stdout /proc/self/fd/1" "stderr /proc/self/fd/2"; do
  set -- $link
  [ -L "$1" ] || ln -s "$2" "$1"
done
exit 0
"""


def mend(connection: Connection, containers: Containers, sandbox: str, box: Box) -> None:
    """Make the usual devices where they are missing. Raises SandboxDied where that can't be done."""
    try:
        # looking through process 1 takes at least what it may itself
        with containers.beside("mender", box, ["sh", "-c", _SCRIPT], [*CAPABILITIES, "MKNOD"]) as mender:
            connection.api.start(mender)
            code = int(connection.api.wait(mender, timeout=_ANSWER_S)["StatusCode"])
            why = f"the mender ended with {code}"
    except SDK_ERRORS as error:
        code, why = -1, str(error)
    if code:
        raise SandboxDied(
            f"The devices of {sandbox} were deleted and could not be made again ({why}).",
            "Roll it back, or make another sandbox. Making them again needs `sh` and `mknod` in the image.",
        )
