"""Sandboxes from a warm pool: a manager of its own that keeps some ready, asked again when they had time to be."""

from __future__ import annotations

import time
from pathlib import Path

from sandbox.bench.content import Content, digest_with, same
from sandbox.bench.product import WHO, Product
from sandbox.bench.watch import Stopwatch
from sandbox.manager import Manager
from sandbox.wiring import EngineChoice

STEPS = {"create_warm": "as create, from a pool in which one is ready"}
READY_S = 1.5
"""How long the pool is left alone after a create: nobody outside can see whether it is full."""
TIMES = 2


def measure(folder: Path, engine: EngineChoice, content: Content, watch: Stopwatch) -> None:
    """A few times, each checked; the sandboxes are gone afterwards. Raises WrongContent."""
    home, config = folder / "warm-home", folder / "config"
    with Manager.open(home=home, config=config, engine=engine, warm=1) as manager:
        tool = Product(manager)
        tool.destroy(tool.create())
        for _ in range(TIMES):
            time.sleep(READY_S)
            with watch.timed(WHO, "create_warm"):
                box = tool.create()
                tool.exec(box, ["true"])
            _holds(tool, box, content)
            tool.destroy(box)


def _holds(tool: Product, box: str, content: Content) -> None:
    same(digest_with(lambda command: tool.exec(box, command), tool.workspace), content.base, "create_warm")


def clear(folder: Path, engine: EngineChoice) -> None:
    """Remove what the pool's manager left in its home."""
    with Manager.open(home=folder / "warm-home", config=folder / "config", engine=engine) as manager:
        manager.recover()
        manager.prune()
