"""The policy that a target is under, or none: what can't be read is none, and none denies (C11)."""

from __future__ import annotations

from sandbox.errors import InputError
from sandbox.lifecycle.context import Context
from sandbox.records import StoredChange
from sandbox.spec import PolicySpec, TargetSpec


def policy_of(ctx: Context, spec: TargetSpec) -> PolicySpec | None:
    """The policy as it is in the configuration now; None where the target names none or it can't be read."""
    if spec.policy is None:
        return None
    try:
        return ctx.config.policy(spec.policy)
    except InputError:
        return None


def policies_of(ctx: Context, stored: StoredChange) -> list[PolicySpec]:
    """The policies of a change's targets that can be read now, each once."""
    found = [policy_of(ctx, ctx.target(delta.name).spec) for delta in stored.targets]
    return list({policy.name: policy for policy in found if policy}.values())
