"""The incidents as runnable stories.

Owns which drills there are. A drill uses the product as its users do, through the manager, on systems that it
makes itself in a scratch folder; it leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.errors import NotFound

if TYPE_CHECKING:
    from sandbox.drills.outcome import DrillRecord
    from sandbox.wiring import EngineChoice

_DRILLS = {"kiro": "an agent deletes and recreates the environment that it was to fix one line in"}


def names() -> dict[str, str]:
    """Each drill with what happens in it."""
    return dict(_DRILLS)


def run(
    name: str, *, engine: EngineChoice = "auto", report: Path | None = None, say: Callable[[str], None]
) -> DrillRecord:
    """Play a drill from beginning to end. `say` gets each line as it happens; `report` is an HTML file to write.

    What does not come out as told is in the record, which then has not passed. Raises NotFound for an unknown
    drill, and SandboxError where it could not even begin.
    """
    if name not in _DRILLS:
        raise NotFound(f"There is no drill {name!r}.", f"There is: {', '.join(_DRILLS)}.")
    from sandbox.drills import kiro

    return kiro.run(engine=engine, report=report, say=say)
