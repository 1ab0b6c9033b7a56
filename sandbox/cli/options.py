"""Options and arguments that several commands share, so that they are named and explained once."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
SandboxId = Annotated[str, typer.Argument(metavar="ID", help="A sandbox, as `sandbox list` names it.")]
SnapshotId = Annotated[str, typer.Argument(metavar="SNAPSHOT", help="A snapshot, as `sandbox snapshots` names it.")]
ChangeId = Annotated[str, typer.Argument(metavar="CHANGE", help="A change, as `sandbox changes` names it.")]
PromotionId = Annotated[str, typer.Argument(metavar="PROMOTION", help="As `sandbox promotions` names it.")]
Targets = Annotated[list[str], typer.Option("--target", metavar="T", help="A target to work on; may be repeated.")]
Image = Annotated[
    str | None,
    typer.Option(metavar="I", help="What the sandbox is made from. Default: host on native, base on docker."),
]
Checks = Annotated[
    list[str],
    typer.Option("--check", metavar="CMD", help="A shell line that must succeed in the clean room; may be repeated."),
]
Environment = Annotated[list[str], typer.Option("--env", metavar="K=V", help="May be repeated.")]
Online = Annotated[str, typer.Option("--network", metavar="none|full", help="none: not even the host's loopback.")]
Person = Annotated[str, typer.Option("--as", metavar="NAME", help="Who signs, as the policy names them.")]
Key = Annotated[str, typer.Option(metavar="FILE", help="Your SSH key: private, or public with an agent.")]
SignedBy = Annotated[
    str | None,
    typer.Option(
        "--key", metavar="FILE", help="Your SSH key, to sign that it is you, where a policy says `launcher: signed`."
    ),
]
