"""What takes a manager of its own: sandboxes from a warm pool, and commands through an OCI runtime.

Owns their homes. The other steps never meet a pool, nor a runtime that they did not choose.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox.bench.content import Content, digest_with, same
from sandbox.bench.product import WHO, Product
from sandbox.bench.watch import Stopwatch
from sandbox.manager import Manager
from sandbox.wiring import EngineChoice

STEPS = {
    "create_warm": "as create, from a pool in which one is ready",
    "exec_runtime": "as exec, in a sandbox that was made to use an OCI runtime (SANDBOX_RUNTIME=runc)",
}
BY_ENGINE = {"native": frozenset(STEPS), "docker": frozenset({"create_warm"})}
"""What each engine has."""
READY_S = 1.5
"""How long the pool is left alone after a create: nobody outside can see whether it is full."""
TIMES = 2
EXECS = 5
RUNTIME = "runc"
_HOMES = ("warm-home", "runtime-home")


def measure(folder: Path, choice: EngineChoice, engine: str, content: Content, watch: Stopwatch) -> None:
    """A few times each, of what the engine has; each sandbox is looked at. Raises WrongContent."""
    warm, by_runtime = (folder / name for name in _HOMES)
    config = folder / "config"
    if "create_warm" in BY_ENGINE[engine]:
        with Manager.open(home=warm, config=config, engine=choice, warm=1) as manager:
            _from_the_pool(Product(manager), content, watch)
    if "exec_runtime" in BY_ENGINE[engine]:
        with Manager.open(home=by_runtime, config=config, engine=choice) as manager:
            _through_a_runtime(Product(manager), content, watch)


def _from_the_pool(tool: Product, content: Content, watch: Stopwatch) -> None:
    tool.destroy(tool.create())
    for _ in range(TIMES if watch.round else 1):
        time.sleep(READY_S)
        with watch.timed(WHO, "create_warm"):
            box = tool.create()
            tool.exec(box, ["true"])
        _holds(tool, box, content, "create_warm")
        tool.destroy(box)


def _through_a_runtime(tool: Product, content: Content, watch: Stopwatch) -> None:
    with _asked_for(RUNTIME):
        box = tool.create()
    for _ in range(EXECS):
        with watch.timed(WHO, "exec_runtime"):
            tool.exec(box, ["true"])
    _holds(tool, box, content, "exec_runtime")
    tool.destroy(box)


@contextmanager
def _asked_for(runtime: str) -> Iterator[None]:
    """A sandbox uses for life what was asked for when it was made."""
    before = os.environ.get("SANDBOX_RUNTIME")
    os.environ["SANDBOX_RUNTIME"] = runtime
    try:
        yield
    finally:
        del os.environ["SANDBOX_RUNTIME"]
        if before is not None:
            os.environ["SANDBOX_RUNTIME"] = before


def _holds(tool: Product, box: str, content: Content, after: str) -> None:
    same(digest_with(lambda command: tool.exec(box, command), tool.workspace), content.base, after)


def clear(folder: Path, engine: EngineChoice) -> None:
    """Remove what these managers left in their homes."""
    for name in _HOMES:
        if (folder / name).exists():
            with Manager.open(home=folder / name, config=folder / "config", engine=engine) as manager:
                manager.recover()
                manager.prune()
