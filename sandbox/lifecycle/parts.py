"""Who launched a session and who else had a hand in it: none of them signs off what comes of it (C2).

Owns what counts as taking part: whatever can change what a sandbox holds, or makes a proposal of it. A part is
durable before what it tells of. Must not judge what follows from it (`decide` does).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import rfc8785

from sandbox.clock import fresh_id, now
from sandbox.errors import Refused
from sandbox.facts import PartView
from sandbox.governance import Part
from sandbox.lifecycle.context import CHANGE, PART, SNAPSHOT, Context
from sandbox.records import SandboxRecord, SnapshotRecord, StoredChange
from sandbox.spec import Limits


class Session(NamedTuple):
    """Who was part of the session that a change came from, as the journal has it."""

    parts: tuple[PartView, ...]
    digest: str
    """Over the records of it, so that none can be taken away later."""

    def participants(self, launcher: str) -> tuple[str, ...]:
        """The names of those who took part besides the launcher, sorted."""
        return tuple(sorted({part.person for part in self.parts} - {launcher}))


def work(targets: Sequence[str], limits: Limits, network: str, env: Mapping[str, str]) -> dict[str, Any]:
    """What a launcher signs to be done, besides the task itself."""
    return {
        "targets": list(targets),
        "limits": limits.model_dump(mode="json"),
        "network": network,
        "env": dict(env),
    }


def work_of(record: SandboxRecord) -> dict[str, Any]:
    """The same, as a sandbox's record has it now."""
    return work([base.target for base in record.bases], record.limits, record.network, record.env)


def launched(
    ctx: Context, session: str, verb: str, asked: Mapping[str, Any], key: Path | None, task: Any = None
) -> Part | None:
    """The signed statement of a launch, not yet stored; None where there is no key to sign with."""
    if key is None:
        return None
    return _signed(ctx, session, verb, asked, key, task)


def opening(
    ctx: Context, targets: Sequence[str], limits: Limits, network: str, env: Mapping[str, str], key: Path | None
) -> Part | None:
    """The signed statement of somebody who makes a sandbox to work in, not yet stored. Raises Refused."""
    admit(ctx, targets, "create", signed=key is not None)
    launch = launched(ctx, fresh_id("sbx"), "create", work(targets, limits, network, env), key)
    check_known(ctx, launch, targets)
    return launch


def _signed(ctx: Context, session: str, verb: str, asked: Mapping[str, Any], key: Path, task: Any) -> Part:
    from sandbox.lifecycle.signoff import launching  # here, because most commands sign nothing

    part = _part(ctx, session, verb)
    if task is not None:
        part = part.model_copy(update={"task": launching.salted(part, task)})
    with ctx.home.scratch(ctx.owner.name) as folder:
        return launching.signed(part, ctx.home.id, asked, key, folder)


def _part(ctx: Context, session: str, verb: str, origin: str | None = None) -> Part:
    return Part(
        part=fresh_id("part"), session=session, verb=verb, person=ctx.launcher, at=now(), origin=origin,
        salt=secrets.token_hex(16),
    )  # fmt: skip


def keep(ctx: Context, part: Part) -> None:
    """Store a part; durable on return."""
    ctx.ledger.put(
        PART, part.part, part, event=f"session.{part.verb}", actor=part.person, session=part.session,
        statement=part.message.decode("utf-8"), signature=part.signature,
    )  # fmt: skip
    ctx.sat[part.session] = ctx.sat.get(part.session, False) or bool(part.signature)


def take_part(
    ctx: Context,
    record: SandboxRecord,
    verb: str,
    *,
    key: Path | None = None,
    origin: str | None = None,
    task: Any = None,
) -> None:
    """Remember that whoever runs this process has a hand in a sandbox from now on.

    What one process does is one part, the first signature in it covers what follows. `origin`: the sandbox that the
    state comes from, where that is another one.
    """
    session = record.sandbox
    if key is not None:
        keep(ctx, _signed(ctx, session, verb, work_of(record), key, task).model_copy(update={"origin": origin}))
        return
    if origin is None:
        if session in ctx.sat:
            return
        if ctx.launcher == record.launcher and record.launch is None:
            return  # nobody signed for this session, so another name that was only given says nothing new
        earlier = ctx.ledger.find(PART, Part, session=session, person=ctx.launcher)
        if any(not part.signature for part in earlier):
            return
    part = _part(ctx, session, verb, origin)
    keep(ctx, part.model_copy(update={"origin": origin}))


def admit(ctx: Context, targets: Iterable[str], what: str, *, signed: bool) -> None:
    """Raise Refused where it is plain now that nothing that comes of it could be promoted: a policy that was edited,
    or one that wants a signature which is not given."""
    from sandbox.lifecycle.signoff import policies

    for name, policy in policies.in_force(ctx, targets, what).items():
        if policy and policy.launcher == "signed" and not signed:
            ctx.ledger.note("launch.refused", actor=ctx.launcher, subject=name, what=what, says="not signed")
            raise Refused(f"{name}: its policy wants a launcher who signs.", "Give your SSH key with --key FILE.")
        if policy and policy.max_open and what in ("run", "propose"):
            _check_flood(ctx, name, policy.max_open, what)


def _check_flood(ctx: Context, target: str, most: int, what: str) -> None:
    """Who floods the people who sign gets one of many past them: refused before there is one more (T27)."""
    mine = ctx.ledger.find(CHANGE, StoredChange, launcher=ctx.launcher, status="open")
    waiting = [one.id for one in mine if one.expires_at > now() and target in {delta.name for delta in one.targets}]
    if len(waiting) >= most:
        ctx.ledger.note("launch.refused", actor=ctx.launcher, subject=target, what=what, says=f"{len(waiting)} open")
        raise Refused(
            f"{target}: {len(waiting)} changes of {ctx.launcher} wait for people, and its policy allows {most}.",
            f"Have one of them promoted or rejected first: `sandbox reject {waiting[0]} ...`.",
        )


def check_known(ctx: Context, part: Part | None, targets: Iterable[str]) -> None:
    """Raise Refused where a policy that wants a signature does not know this one's key as its person's."""
    if part is None:
        return
    from sandbox import sshsig
    from sandbox.decide import launch_keys
    from sandbox.lifecycle.signoff import policies

    key = sshsig.fingerprint(sshsig.parse(part.signature).key)
    for name in targets:
        policy = policies.policy_of(ctx, ctx.target(name).spec)
        if policy and policy.launcher == "signed" and key not in launch_keys(policy, part.person):
            ctx.ledger.note("launch.refused", actor=part.person, subject=name, what=part.verb, key=key)
            raise Refused(
                f"{name}: its policy does not know the key {key} as one of {part.person}'s.",
                "Say who you are with --as, and sign with a key that the policy lists under people or launchers.",
            )


def check_session(ctx: Context, record: SandboxRecord) -> None:
    """Raise Refused where a policy wants signatures of all who took part, and somebody's is missing or not theirs."""
    from sandbox.decide import unproven
    from sandbox.lifecycle.signoff import policies

    for base in record.bases:
        policy = policies.policy_of(ctx, ctx.target(base.target).spec)
        if policy is None or policy.launcher != "signed":
            continue
        for says in unproven(session_of(ctx, record.sandbox, now()).parts, record.launcher, policy):
            ctx.ledger.note("launch.refused", actor=ctx.launcher, subject=base.target, what="propose", says=says)
            raise Refused(f"{base.target}: {says}", "Start anew, and let everybody who takes part sign with --key.")


# --- gathering ----------------------------------------------------------------------------------------


def session_of(ctx: Context, sandbox: str, until: datetime) -> Session:
    """All who had a hand in a sandbox up to a time, and in those that its state came from."""
    views: list[PartView] = []
    records: list[dict[str, Any]] = []
    for record, parts, first in _lineage(ctx, sandbox, until):
        stored = {part.part: part for part in parts}
        launch = stored.pop(record.launch, None) if record.launch else None
        asked = work_of(record)
        views.append(
            _view(ctx, launch, asked, launched_=first) if launch else PartView(record.launcher, "launch", first)
        )
        views += [_view(ctx, part, asked, launched_=False) for part in stored.values()]
        records.append(
            {
                "sandbox": record.sandbox,
                "launcher": record.launcher,
                "launch": record.launch,
                "parts": [part.model_dump(mode="json") for part in sorted(parts, key=lambda part: part.part)],
            }
        )
    return Session(tuple(views), hashlib.sha256(rfc8785.dumps(records)).hexdigest())


def session_of_proposal(ctx: Context, change: str, launcher: str, asked: Mapping[str, Any]) -> Session:
    """Who proposed a change that came from no sandbox."""
    parts = ctx.ledger.find(PART, Part, session=change)
    views = tuple(_view(ctx, part, asked, launched_=True) for part in parts)
    digest = hashlib.sha256(rfc8785.dumps([part.model_dump(mode="json") for part in parts])).hexdigest()
    return Session(views or (PartView(launcher, "policy", launched=True),), digest)


def _view(ctx: Context, part: Part, asked: Mapping[str, Any], *, launched_: bool) -> PartView:
    from sandbox.lifecycle.signoff import launching

    if not part.signature:
        return PartView(part.person, part.verb, launched_, part=part.part)
    key, says = launching.judge(part, ctx.home.id, asked, now())
    return PartView(part.person, part.verb, launched_, key, says, part.part)


def _lineage(ctx: Context, sandbox: str, until: datetime) -> Iterator[tuple[SandboxRecord, list[Part], bool]]:
    """The sandbox first, then those that its state came from, each with its parts up to then."""
    ends: dict[str, datetime] = {}
    waiting = [(sandbox, until)]
    while waiting:
        name, end = waiting.pop()
        if name in ends and ends[name] >= end:
            continue
        ends[name] = end
        record = ctx.sandbox(name)
        waiting += [(part.origin, part.at) for part in _parts(ctx, name, end) if part.origin]
        if record.forked_from:
            waiting.append((ctx.ledger.get(SNAPSHOT, record.forked_from, SnapshotRecord).sandbox, record.created_at))
    for name, end in ends.items():
        yield ctx.sandbox(name), _parts(ctx, name, end), name == sandbox


def _parts(ctx: Context, session: str, until: datetime) -> list[Part]:
    return [part for part in ctx.ledger.find(PART, Part, session=session) if part.at <= until]
