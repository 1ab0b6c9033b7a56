"""The document that a person reads before signing, in a fixed order, destructive things first.

Owns what is said and in which order. Must not decide (`decide` does), verify, or read a clock. Two parts: what is
fixed when the change is sealed (`sealed_document`, whose SHA-256 people sign: A5), and what is only true
now, the verdict and the votes (`review` puts it around). Every line passes `terminal.escape` in one place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sandbox.records import ChangeView, Evidence, Hazard, Rehearsal, VoteView
from sandbox.reviewing.diffs import diff_section
from sandbox.reviewing.subject import Subject, counted, entry_words
from sandbox.terminal import escape

SHORT = 12
"""Digits of a digest that a person types."""

_WIDTH = 78
_LOSS = frozenset({"lost_content", "emptied", "kind_changed"})
_SURFACE = ("executable_surface", "executable_bit", "mode_widened", "owner_changed", "symlink", "test_changed")
_SHOWN_PER_KIND = 100


@dataclass(frozen=True, slots=True)
class Review:
    """What `review` gives: the lines for a person, escaped, and the record for a script."""

    lines: tuple[str, ...]
    view: ChangeView


def sealed_document(
    view: ChangeView, subjects: Sequence[Subject], circumstances: Iterable[tuple[str, str]] = (), *, full: bool = False
) -> bytes:
    """The part of the review that is fixed at sealing, as UTF-8 lines: the same bytes for every reviewer.

    Of `view` it uses only what is fixed then; not its status, votes, decision or request. `circumstances` are
    words and values about the run (`image`, `network`, …). `full` shows each difference to its end; what is
    signed is the document without it.
    """
    lines = _lines(view, subjects, circumstances, full)
    return "".join(f"{escape(line, keep=chr(9))}\n" for line in lines).encode("utf-8")


def review(view: ChangeView, sealed: bytes, now: datetime, viewer: str = "") -> Review:
    """The whole review: the verdict as of `now`, the sealed part as it is, the votes, what can be done."""
    head = [escape(line) for line in _verdict(view, now, viewer)]
    foot = [escape(line) for line in _action(view)]
    return Review((*head, *sealed.decode("utf-8").splitlines(), *foot), view)


def short(digest: str) -> str:
    """What a person types of a digest."""
    return digest[:SHORT]


def _verdict(view: ChangeView, now: datetime, viewer: str) -> Iterator[str]:
    yield "=" * _WIDTH
    yield "CAN BE PROMOTED NOW" if view.decision.allowed else "CAN NOT BE PROMOTED NOW"
    yield from (f"  because {reason}" for reason in view.decision.reasons)
    if viewer and viewer == view.launcher:
        yield f"  you ({viewer}) launched it: your own vote does not count"
    elif viewer in view.participants:
        yield f"  you ({viewer}) took part in it: your own vote does not count"
    yield f"change     {view.id}, {view.status}"
    yield f"digest     {view.digest}"
    yield f"to type    {short(view.digest)}"
    yield f"request    {view.request or 'none yet'}"
    if view.expires_at:
        yield f"sign by    {_time(view.expires_at)}, {_left(view.expires_at, now)}"
    yield from _votes(view.votes)
    yield "=" * _WIDTH


def _votes(votes: Sequence[VoteView]) -> Iterator[str]:
    if not votes:
        yield "votes      none"
    for vote in votes:
        said = "" if vote.valid else f" - DOES NOT COUNT: {vote.says}"
        reason = f" ({vote.reason})" if vote.reason else ""
        yield f"vote       {vote.person}: {vote.decision}{reason}{said}"


def _action(view: ChangeView) -> Iterator[str]:
    yield from ("", "=" * _WIDTH)
    if view.status != "open":
        yield f"ACTION     none: this change is {view.status}"
        return
    yield f"APPROVE    sandbox approve {view.id} --as NAME --key FILE --digest {short(view.digest)}"
    yield f"REJECT     sandbox reject {view.id} --as NAME --key FILE --reason TEXT"
    if view.decision.allowed:
        yield f"PROMOTE    sandbox promote {view.id}"


def _lines(
    view: ChangeView, subjects: Sequence[Subject], circumstances: Iterable[tuple[str, str]], full: bool
) -> Iterator[str]:
    sections = (
        ("WHERE", _where(subjects)),
        ("WHAT WILL BE LOST OR CAN NOT BE UNDONE", _lost(subjects, view.hazards)),
        ("ASKED AND DONE", _asked(view)),
        ("EFFECT, AS MEASURED", _effect(subjects)),
        ("PROTECTED OR EXECUTABLE SURFACE", _hazard_lines(view.hazards, _SURFACE, fold=False)),
        ("SUSPICIOUS", _suspicious(view.hazards)),
        ("VERIFICATION", _verification(view.evidence, view.rehearsals)),
        ("BASE", _base(subjects)),
        ("WAY BACK", _way_back(subjects, view.rehearsals)),
        ("WHO", _who(view, circumstances)),
        ("DIFFERENCE, BY RISK", diff_section(subjects, view.hazards, view.id, full=full)),
    )
    yield f"sandbox review of change {view.id}, digest {view.digest}"
    for number, (title, lines) in enumerate(sections, 2):
        yield ""
        yield f"-- {number}. {title} ".ljust(_WIDTH, "-")
        yield from lines


def _where(subjects: Sequence[Subject]) -> Iterator[str]:
    for subject in subjects:
        yield f"target {subject.delta.name} ({subject.delta.kind})"
        yield f"  is       {subject.delta.identity}"
        yield f"  path     {subject.spec.path}"
        yield f"  policy   {subject.spec.policy or 'NONE: nobody can approve it'}"


def _lost(subjects: Sequence[Subject], hazards: Sequence[Hazard]) -> Iterator[str]:
    """Always there, and never folded."""
    lines = [f"  {hazard.where}: {hazard.says}" for hazard in hazards if hazard.kind in _LOSS]
    for subject in subjects:
        gone = [change for change in subject.changes if change.after is None and change.before is not None]
        lines += [f"  DELETED  {entry_words(c.before)}  {subject.shown(c.path)}" for c in gone if c.before]
    yield from lines or ["  none"]
    for subject in subjects:
        for command in subject.spec.after_apply:
            yield f"  can not be undone: {subject.delta.name} runs {_command(command)} after the apply (and a restore)"


def _asked(view: ChangeView) -> Iterator[str]:
    if not view.asked.strip():
        yield "asked: nothing in words"
    else:
        yield "asked:"
        yield from (f"  | {line}" for line in view.asked.strip().splitlines())
    for delta in view.targets:
        yield f"done:  {delta.name}: {delta.added} added, {delta.modified} modified, {delta.deleted} deleted"


def _effect(subjects: Sequence[Subject]) -> Iterator[str]:
    for subject in subjects:
        before, after = counted(subject)
        yield f"target {subject.delta.name}"
        for kind in sorted(before.keys() | after.keys()):
            yield f"  {kind:<8} {before.get(kind, 0)} -> {after.get(kind, 0)}"
        yield f"  written  {subject.delta.bytes} bytes"


def _suspicious(hazards: Sequence[Hazard]) -> Iterator[str]:
    others = sorted({hazard.kind for hazard in hazards} - _LOSS - {*_SURFACE})
    return _hazard_lines(hazards, others, fold=True)


def _hazard_lines(hazards: Sequence[Hazard], kinds: Sequence[str], *, fold: bool) -> Iterator[str]:
    """By kind; with `fold`, only so many of each, and the rest counted. What blocks is never left out."""
    nothing = True
    for kind in kinds:
        found = sorted((h for h in hazards if h.kind == kind), key=lambda h: not h.blocks)
        blocking = sum(h.blocks for h in found)
        shown = found[: max(blocking, _SHOWN_PER_KIND)] if fold else found
        for hazard in shown:
            nothing = False
            mark = "BLOCKS" if hazard.blocks else "[ ]"
            yield f"  {mark} {kind}: {hazard.where}: {hazard.says}"
        if len(shown) < len(found):
            yield f"  ... {len(found) - len(shown)} more of this kind: `sandbox review CHANGE --json` has them all"
    if nothing:
        yield "  none"


def _verification(evidence: Sequence[Evidence], rehearsals: Sequence[Rehearsal]) -> Iterator[str]:
    if not evidence:
        yield "  !!! NO CHECKS CONFIGURED: nothing says that this change works !!!"
    for one in evidence:
        result = "passed" if one.passed else f"FAILED, {one.failure}"
        yield f"  check {one.check}: {result} in {one.seconds:.1f} s"
        yield f"    output sha256 {one.output_sha256}"
        if one.counts:
            told = f"{one.counts.ran} ran, {one.counts.skipped} skipped"
            yield f"    tests: {told}; on the bare base {one.counts.base_ran} ran, {one.counts.base_skipped} skipped"
        if one.image_digest:
            yield f"    in a clean room from image {one.image_digest}"
        if one.pristine:
            yield f"    with these paths taken from the base: {', '.join(one.pristine)}"
    if not rehearsals:
        yield "  !!! NOT REHEARSED: nothing says that it can be taken back !!!"
    for done in rehearsals:
        steps = (("apply", done.applied), ("restore to the base fingerprint", done.restored))
        told = ", ".join(f"{name} {_yes(ok)}" for name, ok in (*steps, ("apply again", done.reapplied)))
        yield f"  rehearsal of {done.target}: {told}{f' ({done.says})' if done.says else ''}"


def _base(subjects: Sequence[Subject]) -> Iterator[str]:
    for subject in subjects:
        yield f"target {subject.delta.name}"
        yield f"  base       {subject.delta.base}"
        yield f"  predicted  {subject.delta.predicted}"
    yield "  a promotion reads each target again under its lease and is refused if it is no longer this base"


def _way_back(subjects: Sequence[Subject], rehearsals: Sequence[Rehearsal]) -> Iterator[str]:
    seconds = {done.target: done.restore_seconds for done in rehearsals if done.restored}
    for subject in subjects:
        name = subject.delta.name
        kept = sum(c.before.size for c in subject.changes if c.before is not None)
        yield f"target {name}"
        yield f"  restore point  all {len(subject.changes)} changed paths, {kept} bytes, kept in the manager's home"
        measured = (
            f"about {seconds[name]:.2f} s, by a rehearsal on a copy and a sample of the target"
            if name in seconds
            else "not measured"
        )
        yield f"  restore takes  {measured}"
        health = len(subject.spec.health)
        watched = f"{health} health checks, {subject.spec.bake_s:g} s bake" if health else "NO HEALTH CHECK CONFIGURED"
        yield f"  by itself      if the apply fails or the result is not as predicted; then {watched}"
    yield "  by hand        sandbox restore PROMOTION, as long as nobody else wrote to the changed paths"


def _who(view: ChangeView, circumstances: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield f"  launcher   {view.launcher} (can not vote on it)"
    for person in view.participants:
        yield f"  took part  {person} (can not vote on it)"
    yield f"  run        {view.run or 'none: proposed by hand'}"
    if view.created_at:
        yield f"  sealed     {_time(view.created_at)}"
    yield from (f"  {word:<9}  {value}" for word, value in circumstances)


def _command(command: Sequence[str]) -> str:
    return "[" + ", ".join(repr(part) for part in command) + "]"


def _yes(ok: bool) -> str:
    return "ok" if ok else "FAILED"


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S %Z")


def _left(moment: datetime, now: datetime) -> str:
    seconds = int((moment - now).total_seconds())
    if seconds <= 0:
        return "EXPIRED"
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    return f"{hours} h {minutes:02} min left"
