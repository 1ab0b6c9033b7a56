"""Answers that change nothing: what differs, how a target or a policy stands."""

from __future__ import annotations

from collections.abc import Iterator

from sandbox.answers import DiffRecord, PolicyState, PolicyUse, TargetState
from sandbox.decide import policy_digest
from sandbox.errors import InputError
from sandbox.lifecycle import health
from sandbox.lifecycle.context import Context
from sandbox.lifecycle.differences import between, delta, differences
from sandbox.lifecycle.signoff.policies import FIRST, standing


def diff(ctx: Context, sandbox: str, since: str | None) -> DiffRecord:
    """What differs in a sandbox from its bases, or from a snapshot of its family."""
    record = ctx.living(sandbox)
    if since:
        ctx.snapshot(since)
    deltas = []
    for placed in record.bases:
        base, spec = ctx.bases.get(placed.base), ctx.target(placed.target).spec
        now = differences(ctx, record, placed, origin=sandbox)
        shown = between(differences(ctx, record, placed, origin=since), now) if since else now
        deltas.append(delta(spec, placed.identity, base, shown, base.predicted(now)))
    return DiffRecord(sandbox=sandbox, since=since, targets=tuple(deltas))


def target_state(ctx: Context, name: str) -> TargetState:
    """Capture a target and probe its health."""
    target = ctx.target(name)
    identity = target.identify()
    base = target.capture(ctx.bases)
    entries = size = 0
    for entry in base.entries():
        entries, size = entries + 1, size + entry.size
    problem = health.probe(target.spec)
    return TargetState(
        name=name,
        kind=target.spec.kind,
        path=target.spec.path,
        policy=target.spec.policy,
        policy_says=_policy_problem(ctx, target.spec.policy),
        identity=identity,
        entries=entries,
        bytes=size,
        fingerprint=base.fingerprint,
        healthy=not problem if target.spec.health else None,
        says=problem,
    )


def _policy_problem(ctx: Context, name: str | None) -> str:
    try:
        if name is not None:
            ctx.config.policy(name)
    except InputError as error:
        return error.says
    return ""


def policy_state(ctx: Context, name: str) -> PolicyState:
    """Read a policy and say what is unwise about it."""
    policy = ctx.config.policy(name)
    warnings = []
    if policy.quorum == 1:
        warnings.append("one signature is enough: one mistaken or stolen key promotes")
    if policy.quorum == len(policy.people):
        warnings.append("everybody must sign: one absence blocks every promotion (C4)")
    return PolicyState(
        name=name,
        digest=policy_digest(policy),
        quorum=policy.quorum,
        people=tuple(policy.people),
        targets=tuple(_uses(ctx, name)),
        warnings=tuple(warnings),
    )


def _uses(ctx: Context, policy: str) -> Iterator[PolicyUse]:
    """How each target that names the policy stands to it."""
    for name in ctx.config.targets():
        try:
            spec = ctx.target(name).spec
        except InputError:
            continue  # what is wrong in it is told to whoever asks for it
        if spec.policy != policy:
            continue
        stands = standing(ctx, spec)
        if stands.pin is None:
            says = "not yet: the first proposal brings it into force, unsigned, and the log says so"
        elif stands.says:
            says = f"EDITED, NOT SIGNED: {stands.says}"
        else:
            first = "accepted as the first" if stands.pin.by == FIRST else f"by {stands.pin.by}"
            says = f"in force since {stands.pin.since:%Y-%m-%d %H:%M} UTC, {first}"
        yield PolicyUse(target=name, in_force=stands.pin is not None and not stands.says, says=says)
