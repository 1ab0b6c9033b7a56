"""Verbs about the set-up: target, policy, image, doctor, recover, prune."""

from __future__ import annotations

from typing import Annotated

import typer

from sandbox.cli.failures import DONE, FROZEN, UNAVAILABLE
from sandbox.cli.options import Json, SignedBy
from sandbox.cli.promotions import told
from sandbox.cli.session import Session, begin, tell
from sandbox.cli.tables import pairs, size, table


def target_list(ctx: typer.Context, json: Json = False) -> None:
    """List the configured targets."""
    session = begin(ctx, json)
    with session.manager() as manager:
        found = manager.target_list()
    from sandbox.answers import TargetList

    rows = [(one.name, one.kind, one.path, one.policy or "none: nobody can approve") for one in found]
    document = TargetList(targets=tuple(one.model_dump(mode="json") for one in found)).document()
    nothing = "There is no target: write one in the configuration's targets/NAME.yaml."
    session.answer(document, table(("TARGET", "KIND", "PATH", "POLICY"), rows, nothing))


def target_check(
    ctx: typer.Context, name: Annotated[str, typer.Argument(metavar="T", help="A target.")], json: Json = False
) -> None:
    """Read a target as it is now.

    What it really is, its fingerprint, and whether it is healthy.
    """
    session = begin(ctx, json)
    with session.manager() as manager:
        found = manager.target_check(name)
    healthy = {None: "no health check is configured", True: "yes", False: f"NO: {found.says}"}[found.healthy]
    lines = pairs(
        ("target", found.name),
        ("path", found.path),
        ("is", found.identity),
        ("policy", found.policy or "NONE: nobody can approve a change of it"),
        ("", found.policy_says and f"CAN'T BE READ, so nobody can approve a change of it: {found.policy_says}"),
        ("entries", f"{found.entries}, {size(found.bytes)}"),
        ("fingerprint", found.fingerprint),
        ("healthy", healthy),
    )
    session.answer(found.document(), lines)


def policy_check(
    ctx: typer.Context, name: Annotated[str, typer.Argument(metavar="P", help="A policy.")], json: Json = False
) -> None:
    """Read a policy, and say what is unwise about it."""
    session = begin(ctx, json)
    with session.manager() as manager:
        found = manager.policy_check(name)
    lines = [
        *pairs(
            ("policy", found.name),
            ("quorum", f"{found.quorum} of {', '.join(found.people)}"),
            ("digest", found.digest),
        ),
        *(f"target {use.target}: {use.says}" for use in found.targets),
        *(f"warning: {warning}" for warning in found.warnings),
    ]
    session.answer(found.document(), lines)


def policy_propose(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="P", help="A policy.")],
    key: SignedBy = None,
    json: Json = False,
) -> None:
    """Make a change of an edited policy.

    It is signed under the policy in force, and `promote` brings it into force. It changes no files of a target.
    """
    session = begin(ctx, json)
    with session.manager() as manager:
        view = manager.policy_propose(name, key=key)
    targets = ", ".join(target.name for target in view.targets)
    lines = [
        f"Proposed {view.id} (digest {view.digest[:12]}): the policy {name} for {targets}.",
        f"Next: `sandbox review {view.id}`.",
    ]
    session.answer(view.document(), lines)


def image_list(ctx: typer.Context, json: Json = False) -> None:
    """List what --image accepts on the engine in use."""
    session = begin(ctx, json)
    with session.manager() as manager:
        found = manager.images()
    rows = [(one.name, "ready" if one.ready else "to build", one.says) for one in found.images]
    session.answer(found.document(), table(("IMAGE", "STATE", "WHAT"), rows, "There is no image."))


def image_build(
    ctx: typer.Context, name: Annotated[str, typer.Argument(metavar="I", help="An image.")], json: Json = False
) -> None:
    """Make a defined image ready for the engine in use."""
    session = begin(ctx, json)
    with session.manager() as manager:
        manager.build_image(name, tell)
    session.answer({"schema": 1, "image": name, "ready": True}, [f"The image {name} is ready."])


def doctor(ctx: typer.Context, json: Json = False) -> int:
    """Say what is needed here, and what is missing."""
    session = begin(ctx, json)
    with session.manager() as manager:
        found = manager.doctor()
    lines = []
    for one in found.findings:
        lines.append(f"{'ok     ' if one.ok else 'MISSING'}  {one.part}: {one.says}")
        if one.hint and not one.ok:
            lines.append(f"         {one.hint}")
    missing = "NO ENGINE can be used here." if session.engine == "auto" else f"NOT USABLE here: {session.engine}."
    lines.append(f"Sandboxes are made on {found.engine} here." if found.engine else missing)
    session.answer(found.document(), lines)
    return DONE if found.engine else UNAVAILABLE


def recover(ctx: typer.Context, json: Json = False) -> int:
    """Finish or put back what was left half-done.

    After a manager was killed; leftover sandboxes are removed. Every command does the needed part of it first.
    Looks, too, whether what was frozen has been put back by hand.
    """
    return _housekeeping(begin(ctx, json), "recover", "There was nothing to recover.")


def prune(ctx: typer.Context, json: Json = False) -> None:
    """Remove what nothing needs any more.

    Captured bases, logs and closed changes.
    """
    _housekeeping(begin(ctx, json), "prune", "There was nothing to remove.")


def _housekeeping(session: Session, verb: str, nothing: str) -> int:
    with session.manager() as manager:
        record = manager.recover() if verb == "recover" else manager.prune()
    lines = list(record.done) or [nothing]
    if record.freed_bytes:
        lines.append(f"Freed {size(record.freed_bytes)}.")
    for one in record.frozen:
        lines += [*told(one)]
    session.answer(record.document(), lines)
    return FROZEN if record.frozen else DONE
