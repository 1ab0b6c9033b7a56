"""What a reviewer sees of a change of a policy: what gets weaker first, then every rule that differs.

Owns the words, and what counts as weaker. Must not decide or read anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from sandbox.spec import PolicySpec
from sandbox.terminal import escape


class PolicyMove(NamedTuple):
    """One target, from the policy in force to another."""

    target: str
    path: str
    old: PolicySpec
    new: PolicySpec


def weakened(old: PolicySpec, new: PolicySpec) -> list[str]:
    """Each way in which the new policy lets through what the old one did not, or lets somebody in; in words."""
    return [*_people(old, new), *_caps(old, new), *_rules(old, new)]


def _people(old: PolicySpec, new: PolicySpec) -> Iterator[str]:
    if new.quorum < old.quorum:
        yield f"the quorum goes from {old.quorum} to {new.quorum}"
    for name, person in new.people.items():
        before = old.people.get(name)
        if before is None:
            yield f"{name} may sign"
            continue
        yield from (f"{name} may sign with the key {_short(key)}" for key in person.keys if key not in before.keys)
        yield from (f"{name} gets the role {role}" for role in person.roles if role not in before.roles)
    for name, launcher in new.launchers.items():
        known = old.launchers[name].keys if name in old.launchers else ()
        yield from (f"{name} may launch with the key {_short(key)}" for key in launcher.keys if key not in known)


def _caps(old: PolicySpec, new: PolicySpec) -> Iterator[str]:
    caps = (
        ("deleted entries", old.budget.max_deleted, new.budget.max_deleted),
        ("changed entries", old.budget.max_changed, new.budget.max_changed),
        ("seconds to sign in", old.approve_within_s, new.approve_within_s),
        ("seconds that checks are good for", old.evidence_within_s, new.evidence_within_s),
    )
    for what, before, after in caps:
        if before is not None and (after is None or after > before):
            yield f"the cap on {what} goes from {before:g} to {'none' if after is None else f'{after:g}'}"


def _rules(old: PolicySpec, new: PolicySpec) -> Iterator[str]:
    for rule in old.protected:
        if rule not in new.protected:
            yield f"{', '.join(rule.paths)} no longer protected in this way (role {rule.role})"
    for window in old.deny:
        if window not in new.deny:
            yield f"promotions are no longer denied from {window.start} to {window.end} UTC ({window.reason})"
    if (old.launcher, new.launcher) == ("signed", "named"):
        yield "launchers need not sign any more"


def document(
    change: str, digest: str, moves: Sequence[PolicyMove], proposer: str, run: Iterable[tuple[str, str]]
) -> bytes:
    """The review document of a change of policies, as UTF-8 lines, escaped: the same bytes for every reviewer."""
    return "".join(f"{escape(line)}\n" for line in _lines(change, digest, moves, proposer, run)).encode()


def _lines(
    change: str, digest: str, moves: Sequence[PolicyMove], proposer: str, run: Iterable[tuple[str, str]]
) -> Iterator[str]:
    yield f"sandbox review of change {change}, digest {digest}"
    yield "THIS CHANGES WHO MAY SIGN, OR UNDER WHICH RULES; no file of a target is changed"
    for move in moves:
        yield ""
        yield f"target {move.target}, {move.path}"
        yield f"  in force   {move.old.name}"
        yield f"  then       {move.new.name}"
        found = weakened(move.old, move.new)
        yield "  weaker:" if found else "  weaker: nothing that is known to be"
        yield from (f"    ! {line}" for line in found)
        yield "  every difference:"
        yield from (f"    {line}" for line in _differences(move.old, move.new))
    yield ""
    yield f"  proposed by {proposer} (can not vote on it)"
    yield from (f"  {word} {value}" for word, value in run)
    yield "  votes count under the policy in force; `sandbox restore` does not take this back, another proposal does"


def _differences(old: PolicySpec, new: PolicySpec) -> Iterator[str]:
    before, after = dict(_flat(old.model_dump(mode="json"))), dict(_flat(new.model_dump(mode="json")))
    for where in sorted(before.keys() | after.keys()):
        if before.get(where) == after.get(where):
            continue
        if where in before:
            yield f"- {where}: {before[where]}"
        if where in after:
            yield f"+ {where}: {after[where]}"


def _flat(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{where}.{key}" if where else key)
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        for number, inner in enumerate(value, 1):
            yield from _flat(inner, f"{where}[{number}]")
    else:
        yield where, json.dumps(value)


def _short(key: str) -> str:
    fields = key.split()
    return f"…{fields[1][-12:]}" if len(fields) > 1 else key
