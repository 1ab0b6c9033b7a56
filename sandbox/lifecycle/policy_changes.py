"""Changing a policy: proposed, signed under the one in force, and only then in force itself (C9).

Owns the sealed form of such a change and how a pin moves. It never comes together with a change of files: it is a
change of its own kind. Votes, requests and the decision are those of every other change.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rfc8785

from sandbox import durable
from sandbox.clock import fresh_id, now
from sandbox.decide import policy_digest
from sandbox.errors import Conflict, Drifted, InputError, Refused, in_words
from sandbox.facts import Facts, TargetFacts
from sandbox.governance import PolicyPin
from sandbox.lifecycle import exports, parts
from sandbox.lifecycle.context import CHANGE, PIN, PROMOTION, Context
from sandbox.lifecycle.signoff import objections, policies, testimony
from sandbox.lifecycle.signoff.requests import evidence_digest, write_request
from sandbox.records import (
    EntryChange,
    Hazard,
    PromotedTarget,
    PromotionRecord,
    RequestTarget,
    StoredChange,
    TargetDelta,
)
from sandbox.reviewing.policies import PolicyMove, document, weakened
from sandbox.spec import PolicySpec, TargetSpec

SEAL = "seal.json"


@dataclass(frozen=True, slots=True)
class Move:
    """One target's part of it."""

    target: str
    identity: str
    """Of the pin that governs it when this is proposed."""
    path: str
    old: PolicySpec
    new: PolicySpec

    @property
    def base(self) -> str:
        return policy_digest(self.old)

    @property
    def predicted(self) -> str:
        return policy_digest(self.new)


@dataclass(frozen=True, slots=True)
class SealedPolicy:
    """A change of policies out of the configuration's reach."""

    digest: str
    moves: tuple[Move, ...]

    @property
    def deltas(self) -> tuple[TargetDelta, ...]:
        """The same in the words of every change."""
        return tuple(_delta(move) for move in self.moves)


def propose(ctx: Context, policy: str, key: Path | None) -> StoredChange:
    """Make a change of what the configuration says of `policy` and is not in force. Raises InputError, Refused."""
    moves = _moves(ctx, ctx.config.policy(policy))
    for move in moves:
        if move.old.launcher == "signed" and key is None:
            raise Refused(
                f"{move.target}: its policy wants a launcher who signs, and a proposal is one.",
                "Give your SSH key with --key FILE.",
            )
    change = fresh_id("chg")
    seal = _seal_bytes(moves)
    digest = hashlib.sha256(seal).hexdigest()
    launch = parts.launched(ctx, change, "policy", {"digest": digest}, key)
    parts.check_known(ctx, launch, [move.target for move in moves])
    directory = ctx.home.change(change)
    directory.mkdir(mode=0o700)
    durable.write(directory / SEAL, seal)
    if launch:
        parts.keep(ctx, launch)
    return _request(ctx, change, SealedPolicy(digest, moves))


def _moves(ctx: Context, wanted: PolicySpec) -> tuple[Move, ...]:
    found: list[Move] = []
    named = False
    for name in ctx.config.targets():
        try:
            spec = ctx.config.target(name)
        except InputError:
            continue  # what is wrong in it is told to whoever asks for it
        if spec.policy != wanted.name:
            continue
        named = True
        stands = policies.standing(ctx, spec)
        if stands.pin and stands.policy and stands.says:
            found.append(Move(name, stands.pin.identity, os.path.realpath(spec.path), stands.policy, wanted))
    if not found:
        raise InputError(
            f"There is nothing to sign in the policy {wanted.name}: no target is governed by another state of it.",
            "Edit it first." if named else "Name it in a target's file; where a target has none yet, the first counts.",
        )
    return tuple(found)


def _seal_bytes(moves: tuple[Move, ...]) -> bytes:
    targets: list[dict[str, Any]] = [
        {
            "name": move.target,
            "identity": move.identity,
            "path": move.path,
            "old": move.old.model_dump(mode="json"),
            "new": move.new.model_dump(mode="json"),
        }
        for move in moves
    ]
    return rfc8785.dumps({"type": "sandbox-policy-change/v1", "targets": targets})


def _request(ctx: Context, change: str, sealed: SealedPolicy) -> StoredChange:
    made_at = now()
    session = parts.session_of_proposal(ctx, change, ctx.launcher, {"digest": sealed.digest})
    hazards = tuple(
        Hazard(kind="policy_weakened", path=_path(move), says=says, target=move.target)
        for move in sealed.moves
        for says in weakened(move.old, move.new)
    )
    draft = StoredChange(
        id=change,
        digest=sealed.digest,
        status="open",
        run="",
        sandbox="",
        launcher=ctx.launcher,
        participants=session.participants(ctx.launcher),
        kind="policy",
        asked="",
        image_digest="",
        created_at=made_at,
        expires_at=made_at + policies.signing_time(move.old for move in sealed.moves),
        request="",
        targets=tuple(delta.model_copy(update={"entries": ()}) for delta in sealed.deltas),
        hazards=hazards,
        evidence=(),
        rehearsals=(),
    )
    proof = evidence_digest((), (), hazards, draft.salt)
    seen = [PolicyMove(move.target, move.path, move.old, move.new) for move in sealed.moves]
    shown = document(change, sealed.digest, seen, ctx.launcher, [("at", made_at.isoformat(timespec="seconds"))])
    request = write_request(ctx, draft, _asked(sealed), proof, shown, session.digest)
    stored = draft.model_copy(update={"request": hashlib.sha256(request).hexdigest()})
    ctx.ledger.put(
        CHANGE,
        change,
        stored,
        event="change.proposed",
        actor=ctx.launcher,
        **testimony.proposed(stored, request, proof),
    )
    return stored


def _asked(sealed: SealedPolicy) -> tuple[RequestTarget, ...]:
    return tuple(
        RequestTarget(
            name=move.target,
            identity=move.identity,
            base=move.base,
            predicted=move.predicted,
            policy=move.old.name,
            policy_digest=move.base,
        )
        for move in sealed.moves
    )


def _delta(move: Move) -> TargetDelta:
    size = len(policies.policy_text(move.new))
    entry = EntryChange(
        path=_path(move),
        op="modified",
        kind="policy",
        kind_before="policy",
        sha256_before=move.base,
        sha256_after=move.predicted,
        bytes_before=len(policies.policy_text(move.old)),
        bytes_after=size,
    )
    return TargetDelta(
        name=move.target,
        kind="policy",
        identity=move.identity,
        base=move.base,
        predicted=move.predicted,
        added=0,
        modified=1,
        deleted=0,
        bytes=size,
        entries=(entry,),
    )


def _path(move: Move) -> str:
    return f"policies/{move.new.name}.yaml"


def load(ctx: Context, stored: StoredChange) -> SealedPolicy:
    """Read anew and held against its digest. Raises Conflict where it differs."""
    seal = (ctx.home.kept_change(stored.id) / SEAL).read_bytes()
    digest = hashlib.sha256(seal).hexdigest()
    if digest != stored.digest:
        raise Conflict(
            f"The sealed change {stored.id} is not what was sealed: its digest is {digest[:12]}, not "
            f"{stored.digest[:12]}.",
            "Nothing was changed. Find out who wrote to the home directory; propose the change anew.",
        )
    moves = tuple(
        Move(
            one["name"],
            one["identity"],
            one["path"],
            PolicySpec.model_validate_json(json.dumps(one["old"])),
            PolicySpec.model_validate_json(json.dumps(one["new"])),
        )
        for one in json.loads(seal)["targets"]
    )
    return SealedPolicy(digest, moves)


def facts(ctx: Context, move: Move, *, applying: bool) -> TargetFacts:
    """One target as it is now."""
    stands = policies.standing(ctx, _spec(ctx, move))
    again = "it was edited again after this was proposed; propose it anew." if stands.wanted != move.new else ""
    return TargetFacts(
        name=move.target,
        policy=stands.policy,
        added=0,
        modified=1,
        deleted=0,
        empties=False,
        identity=stands.pin.identity if stands.pin and applying else None,
        fingerprint=stands.pin.digest if stands.pin and applying else None,
        policy_says=again,
        files=False,
    )


def _spec(ctx: Context, move: Move) -> TargetSpec:
    return ctx.target(move.target).spec


# --- putting it in force --------------------------------------------------------------------------------


def promote(ctx: Context, stored: StoredChange, name: str, decided: Facts, started: float) -> PromotionRecord:
    """Move the pins, all or none, in one step of the journal; the caller has asked whether that may be.

    Nothing outside the journal changes, so there is nothing to put back after a crash.
    """
    sealed = load(ctx, stored)
    record = PromotionRecord(
        promotion=name,
        change=stored.id,
        kind="policy",
        digest=stored.digest,
        status="committed",
        targets=tuple(
            PromotedTarget(name=move.target, status="committed", fingerprint=move.predicted) for move in sealed.moves
        ),
        started_at=now(),
    )
    with ctx.ledger.together():
        objections.check(ctx, stored)
        ctx.ledger.note("promotion.started", actor=ctx.launcher, subject=name, **testimony.decided(decided))
        ctx.ledger.spend(decided.request.nonce, promotion=name)
        for move in sealed.moves:
            _move(ctx, move, stored.id)
        record = _closed(ctx, stored, record, "committed", "promoted", started)
    try:
        exports.vouch(ctx)
    except Exception as error:  # noqa: BLE001 (what can't be vouched for outside does not stay in force)
        return _taken_back(ctx, stored, sealed, record, in_words(error), started)
    return record


def _move(ctx: Context, move: Move, change: str) -> None:
    pins = ctx.ledger.held(PIN, PolicyPin)
    old = pins.get(move.target)
    new = policies.pin(ctx, _spec(ctx, move), move.new, change)
    detail = {"policy": new.policy, "digest": new.digest, "text": new.text, "change": change}
    if old is None:
        done = ctx.ledger.add(PIN, move.target, new, event="policy.moved", actor=ctx.launcher, **detail)
    else:
        new = new.model_copy(update={"paths": tuple(dict.fromkeys((*old.paths, *new.paths)))})
        done = ctx.ledger.swap(PIN, move.target, old, new, event="policy.moved", actor=ctx.launcher, **detail)
    if not done:
        raise Drifted(f"The policy of {move.target} moved on meanwhile.", "Look at it, and propose yours anew.")


def _closed(
    ctx: Context, stored: StoredChange, record: PromotionRecord, status: str, change: str, started: float
) -> PromotionRecord:
    done = record.model_copy(update={"status": status, "seconds": round(time.monotonic() - started, 6)})
    ctx.ledger.put(PROMOTION, done.promotion, done, event=f"promotion.{status}", actor=ctx.launcher, change=stored.id)
    ended = stored.model_copy(update={"status": change})
    ctx.ledger.put(CHANGE, stored.id, ended, event=f"change.{change}", actor=ctx.launcher, promotion=done.promotion)
    return done


def _taken_back(
    ctx: Context, stored: StoredChange, sealed: SealedPolicy, record: PromotionRecord, why: str, started: float
) -> PromotionRecord:
    targets = tuple(
        part.model_copy(update={"status": "restored", "fingerprint": move.base})
        for part, move in zip(record.targets, sealed.moves, strict=True)
    )
    record = record.model_copy(update={"targets": targets, "reasons": (why,), "restore_seconds": 0.0})
    with ctx.ledger.together():
        for move in sealed.moves:
            pin = ctx.ledger.held(PIN, PolicyPin)[move.target]
            text = policies.policy_text(move.old)
            back = pin.model_copy(
                update={"policy": move.old.name, "digest": move.base, "text": text, "by": record.promotion}
            )
            ctx.ledger.swap(
                PIN, move.target, pin, back, event="policy.moved_back", actor=ctx.launcher, policy=back.policy,
                digest=back.digest, text=text,
            )  # fmt: skip
        return _closed(ctx, stored, record, "restored", "restored", started)
