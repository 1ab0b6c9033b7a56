"""Which policy governs a target: the one that was accepted for it, until a signed promotion moves on (C9).

Owns the pins in the journal. The configuration says what somebody wants; the pin says what is in force. Where the
two differ, nothing can be done under either until the difference is signed off or taken back. What can't be
read is no policy, and none denies (C11).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import rfc8785

from sandbox.clock import now
from sandbox.config import holds
from sandbox.decide import policy_digest
from sandbox.errors import InputError, Refused
from sandbox.governance import PolicyPin
from sandbox.lifecycle.context import PIN, Context
from sandbox.records import StoredChange
from sandbox.spec import PolicySpec, TargetSpec

FIRST = "first"
APPROVE_WITHIN_S = 86400.0
"""For a change none of whose targets names a policy; nobody can approve it anyway."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a target stands to its policy."""

    policy: PolicySpec | None
    """The one in force: the pinned one, else the configured one; None where there is none that can be read."""
    wanted: PolicySpec | None
    """The configured one; None where none is named or it can't be read."""
    pin: PolicyPin | None
    says: str = ""
    """Why nothing can be done under it now, with the cure; empty: nothing is in the way."""


def standing(ctx: Context, spec: TargetSpec) -> Standing:
    """Read anew from the configuration and the journal. Raises JournalError where a pin was tampered with."""
    wanted, problem = _configured(ctx, spec)
    pin, whose = _governing(ctx, spec)
    if pin is None:
        return Standing(wanted, wanted, None)
    policy = PolicySpec.model_validate_json(pin.text)
    if wanted == policy and not whose:
        return Standing(policy, wanted, pin)
    return Standing(policy, wanted, pin, whose or _differs(spec, pin, problem))


def _configured(ctx: Context, spec: TargetSpec) -> tuple[PolicySpec | None, str]:
    if spec.policy is None:
        return None, ""
    try:
        return ctx.config.policy(spec.policy), ""
    except InputError as error:
        return None, error.says


def _differs(spec: TargetSpec, pin: PolicyPin, problem: str) -> str:
    old, new = pin.policy, spec.policy
    if new is None:
        return f"it names no policy any more, and {old} is in force; name {old} again in its file."
    if problem:
        return f"its policy can't be read ({problem}), and another state of it is in force; put it back."
    what = f"its policy {old} was edited" if new == old else f"it names the policy {new}, but {old} is in force"
    back = "Take the edit back" if new == old else f"Name {old} again"
    return f"{what}, and nobody signed that. {back}, or run `sandbox policy propose {new}`."


def _governing(ctx: Context, spec: TargetSpec) -> tuple[PolicyPin | None, str]:
    """The pin that decides about a target. Another name, or another path under an old one, is no way out: then that
    of whatever target was there before decides, and the second value says so."""
    pins = ctx.ledger.held(PIN, PolicyPin)
    own = pins.get(spec.name)
    here = os.path.realpath(spec.path)
    if own and here in own.paths:
        return own, ""
    for other in pins.values():
        if other.target != spec.name and any(_overlap(Path(here), Path(path)) for path in other.paths):
            if spec.policy == other.policy:
                return other, ""
            return other, (
                f"its directory is under the policy {other.policy} already, as the target {other.target};"
                f" name that policy, or run `sandbox policy propose {spec.policy}`."
            )
    return own, ""


def _overlap(one: Path, other: Path) -> bool:
    return holds(one, other) or holds(other, one)


def policy_of(ctx: Context, spec: TargetSpec) -> PolicySpec | None:
    """The policy in force; None where there is none that can be read."""
    return standing(ctx, spec).policy


def policies_of(ctx: Context, stored: StoredChange) -> list[PolicySpec]:
    """The policies in force for a change's targets, each once."""
    found = [policy_of(ctx, ctx.target(delta.name).spec) for delta in stored.targets]
    return list({policy_digest(policy): policy for policy in found if policy}.values())


def in_force(ctx: Context, targets: Iterable[str], what: str) -> dict[str, PolicySpec | None]:
    """The policy of each target, None where there is none. Raises Refused where it is not the one in force (C9)."""
    found = {}
    for name in targets:
        stands = standing(ctx, ctx.target(name).spec)
        found[name] = stands.policy
        if says := stands.says:
            ctx.ledger.note("policy.refused", actor=ctx.launcher, subject=name, what=what, says=says)
            says, _, cure = says.partition(". ")
            raise Refused(f"{name}: {says.rstrip('.')}.", cure)
    return found


def accept(ctx: Context, spec: TargetSpec) -> None:
    """Pin the first policy of a target; once, and the log says that nobody signed it. Later it only remembers a new
    path of the target, so that the old one stays governed, too."""
    found = standing(ctx, spec)
    here = os.path.realpath(spec.path)
    if found.policy is None or found.says:
        return
    if found.pin is None or found.pin.target != spec.name:
        by = FIRST if found.pin is None else f"as {found.pin.target}"
        fresh = pin(ctx, spec, found.policy, by)
        ctx.ledger.add(
            PIN, spec.name, fresh, event="policy.accepted", actor=ctx.launcher, policy=fresh.policy,
            digest=fresh.digest, text=fresh.text, first=found.pin is None,
        )  # fmt: skip
    elif here not in found.pin.paths:
        moved = found.pin.model_copy(update={"paths": (*found.pin.paths, here)})
        ctx.ledger.swap(
            PIN, spec.name, found.pin, moved, event="policy.target_moved", actor=ctx.launcher, policy=moved.policy
        )


def pin(ctx: Context, spec: TargetSpec, policy: PolicySpec, by: str) -> PolicyPin:
    """A pin of this policy for a target, not yet stored."""
    text = policy_text(policy)
    return PolicyPin(
        target=spec.name,
        identity=ctx.target(spec.name).identify(),
        paths=(os.path.realpath(spec.path),),
        policy=policy.name,
        digest=policy_digest(policy),
        text=text,
        since=now(),
        by=by,
    )


def signing_time(found: Iterable[PolicySpec]) -> timedelta:
    """How long people may sign a request under these policies."""
    return timedelta(seconds=min((policy.approve_within_s for policy in found), default=APPROVE_WITHIN_S))


def policy_text(policy: PolicySpec) -> str:
    """All of a policy as canonical JSON: what its digest is over."""
    return rfc8785.dumps(policy.model_dump(mode="json")).decode()
