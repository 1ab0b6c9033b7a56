"""What may be promoted, in the words of the invariants A to C, and nothing else: the judge of the state machine.

Written from the invariants. Must not import the product, and must not see what the product decides.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

SKEW = timedelta(minutes=5)
"""A clock that is behind by less is not a clock that was set back."""

Policy = dict[str, Any]
"""As in the file, but people's keys by the names that they have here."""


@dataclass
class Vote:
    person: str
    """Whose it says it is."""
    key: str
    """By which it is really signed."""
    decision: str
    at: timedelta
    genuine: bool = True
    """Signed for this purpose, over this very request."""


@dataclass
class Change:
    """One sealed change with its request."""

    id: str
    digest: str
    launcher: str
    targets: tuple[str, ...]
    roles: dict[str, tuple[str, ...]]
    """By target: the roles that its protected paths need."""
    policies: dict[str, Policy]
    """By target: as they were when the request was made."""
    expires: timedelta
    wanted: dict[str, Policy] | None = None
    """By target: the policy that it brings into force. None: it changes files."""
    launched_with: str = ""
    """The key that the launch was signed with; empty: the launcher was only named."""
    votes: list[Vote] = field(default_factory=list)
    edited: set[str] = field(default_factory=set)
    """Files of the sealed change whose bytes are not those that were sealed."""
    forged: set[str] = field(default_factory=set)
    """Fields of its record that were written behind the manager."""
    closed: str = ""
    """Why it can never be promoted (again)."""


@dataclass
class World:
    """What is true outside the product; `Stage` keeps it up to date."""

    now: timedelta = timedelta()
    latest: timedelta = timedelta()
    """The latest time that any entry of the log was made at."""
    policies: dict[str, Policy | None] = field(default_factory=dict)
    """By target: the one that it names and that can be read now."""
    in_force: dict[str, Policy] = field(default_factory=dict)
    """By target: the one that was accepted, or that people signed since."""
    edited: set[str] = field(default_factory=set)
    """Targets whose settings are not those that were there when the requests were made."""
    stopped: bool = False
    moved: set[str] = field(default_factory=set)
    """Targets that are not what was captured: other content, or another directory."""


def against(change: Change, world: World) -> list[str]:
    """Everything that forbids promoting the change now, by its invariant; empty: nothing does."""
    return [*_bytes(change), *_time(change, world), *_state(change, world), *_people(change, world)]


def _bytes(change: Change) -> Iterator[str]:
    yield from (f"A1 A7: {part} of the sealed change was edited" for part in sorted(change.edited))
    yield from (f"A3 C3: its {part} was written by somebody else" for part in sorted(change.forged))


def _time(change: Change, world: World) -> Iterator[str]:
    if world.now >= change.expires:
        yield "B4: the request has expired"
    if world.now < world.latest - SKEW:
        yield "B4 T32: the clock was set back"
    if world.stopped:
        yield "E8: everything is stopped"
    for target in change.targets:
        for start, end in world.in_force[target].get("deny", ()):
            if timedelta(hours=start) <= world.now < timedelta(hours=end):
                yield f"E8: {target} is closed now"


def _state(change: Change, world: World) -> Iterator[str]:
    if change.closed:
        yield f"B5 C6: {change.closed}"
    for target in change.targets:
        if target in world.moved and change.wanted is None:
            yield f"A2 A6 B2 B6: {target} is not what was captured"
        if target in world.edited and change.wanted is None:
            yield f"C9: the settings of {target} are not those that were signed"
        if world.in_force[target] != change.policies[target]:
            yield f"A4 C9: the policy in force for {target} is not the one that the request names"
        if world.policies[target] != (change.wanted or change.policies)[target]:
            yield f"A4 C9: what the files say of the policy of {target} is not what was signed"


def _people(change: Change, world: World) -> Iterator[str]:
    for target in change.targets:
        policy = world.in_force[target]
        if policy.get("launcher") == "signed" and change.launched_with not in _launch_keys(policy, change.launcher):
            yield f"C2 T3: nobody knows whether {change.launcher} launched it"
        people = approvers(change, policy)
        if len(people) < max(policy["quorum"], 1):
            yield f"C1 C2: {target} has {sorted(people)}, which is no quorum"
        if not _fills(people, change.roles.get(target, ()), policy):
            yield f"C5: {target} lacks a person for each of {change.roles[target]}"


def approvers(change: Change, policy: Policy) -> set[str]:
    """The different people, the launcher apart, whose approval is theirs and in force."""
    return {
        vote.person
        for vote in change.votes
        if vote.decision == "approve" and vote.person != change.launcher and counts(vote, change, policy)
    }


def _launch_keys(policy: Policy, person: str) -> set[str]:
    return {key for known in ("people", "launchers") for key in policy.get(known, {}).get(person, {}).get("keys", ())}


def counts(vote: Vote, change: Change, policy: Policy) -> bool:
    """Signed by somebody of the policy with a key of their own, for this request, in time."""
    person = policy["people"].get(vote.person)
    return vote.genuine and person is not None and vote.key in person["keys"] and vote.at < change.expires


def _fills(people: set[str], roles: tuple[str, ...], policy: Policy) -> bool:
    """Whether different people can fill the roles: tries them all."""
    return any(
        all(role in policy["people"][one]["roles"] for one, role in zip(order, roles, strict=True))
        for order in itertools.permutations(sorted(people), len(roles))
    )
