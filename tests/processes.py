"""Real processes that start warm: forked from a server that has loaded the product, so a test can afford hundreds.

Each is a process of its own with its own environment, streams and exit code, and can be killed. What a cold
start does is tested apart (`tests/cli`).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import NamedTuple

WARM = multiprocessing.get_context("forkserver")
WARM.set_forkserver_preload(["tests.warm"])
PATIENCE_S = 240


class Ended(NamedTuple):
    code: int
    """Exit code; -N where signal N ended it."""
    stdout: bytes
    stderr: bytes


def command(
    arguments: Sequence[str], env: Mapping[str, str], stdin: bytes = b"", interrupt_after_s: float | None = None
) -> Ended:
    """Run the `sandbox` command to its end, or send it a Ctrl-C when it has run for so long."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin)
        given.seek(0)
        paths = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (given, out, err)]
        begun, begins = WARM.Pipe(duplex=False)
        process = WARM.Process(target=_main, args=(list(arguments), dict(env), paths, begins))
        process.start()
        begins.close()
        if interrupt_after_s is not None:
            begun.poll(PATIENCE_S)
            process.join(interrupt_after_s)
            if process.exitcode is None and process.pid:
                os.kill(process.pid, signal.SIGINT)
        begun.close()
        process.join(PATIENCE_S)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"sandbox {' '.join(arguments)} took longer than {PATIENCE_S} s")
        code = process.exitcode
        process.close()
        for stream in (out, err):
            stream.seek(0)
        return Ended(code, out.read(), err.read())


def _main(arguments: list[str], env: dict[str, str], paths: list[str], begins: Connection) -> None:
    # From here on it is the command's: one that comes before that has set its own handlers ends it as it would.
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    begins.close()
    for handle, (path, flags) in enumerate(zip(paths, (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY), strict=True)):
        opened = os.open(path, flags)
        os.dup2(opened, handle)
        os.close(opened)
    os.environ.clear()
    os.environ.update(env)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 (multiprocessing gave it /dev/null)
    from sandbox.cli import main

    main(arguments)
