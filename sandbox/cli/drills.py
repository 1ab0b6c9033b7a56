"""The verb that shows what the product does: drill."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sandbox.cli.failures import BUG, DONE
from sandbox.cli.options import Json
from sandbox.cli.session import begin, print_lines, tell
from sandbox.cli.tables import table


def drill(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Without it: list the drills.")] = None,
    report: Annotated[str | None, typer.Option(metavar="FILE.html", help="Write a report with the timeline.")] = None,
    json: Json = False,
) -> int:
    """Play an incident, and measure what happens.

    On a small real production that it makes in a scratch folder and removes afterwards.
    """
    session = begin(ctx, json)
    from sandbox import drills

    if name is None:
        found = drills.names()
        document = {"schema": 1, "drills": [{"name": one, "says": says} for one, says in found.items()]}
        session.answer(document, table(("DRILL", "WHAT HAPPENS"), list(found.items()), "There is no drill."))
        return DONE

    def say(line: str) -> None:
        if json:
            tell(line)
        else:
            print_lines([line])

    path = Path(report) if report else None
    record = drills.run(name, engine=session.engine, report=path, say=say)
    session.answer(record.document(), [])
    return DONE if record.passed else BUG
