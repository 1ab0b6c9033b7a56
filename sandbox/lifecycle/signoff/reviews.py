"""The review of a stored change: the document as people sign it, and as they read it now.

Owns what goes into `review.sealed_document`. Must not write anything.
"""

from __future__ import annotations

from sandbox.clock import now
from sandbox.lifecycle.context import Context
from sandbox.lifecycle.sealing import Sealed, load
from sandbox.lifecycle.signoff.requests import load_request, load_review
from sandbox.lifecycle.signoff.views import shown, view
from sandbox.records import Decision, SandboxRecord, StoredChange
from sandbox.reviewing.review import Review, review, sealed_document
from sandbox.reviewing.subject import Subject


def document(record: SandboxRecord, sealed: Sealed, stored: StoredChange, *, full: bool = False) -> bytes:
    """The review document of a change, from what is fixed when it is sealed."""
    undecided = Decision(allowed=False, reasons=())
    seen = shown(stored, tuple(part.delta for part in sealed.targets), (), undecided)
    subjects = [
        Subject(part.delta, part.changes, part.base, sealed.blobs, part.spec, alone=len(sealed.targets) == 1)
        for part in sealed.targets
    ]
    circumstances = [
        ("image", f"{record.image} ({record.image_digest[:12]})"),
        ("engine", record.engine),
        ("network", record.network),
    ]
    return sealed_document(seen, subjects, circumstances, full=full)


def show(ctx: Context, stored: StoredChange, *, full: bool = False) -> Review:
    """The document that people sign, with the verdict as of now around it; `full`: with no difference cut."""
    request, _ = load_request(ctx, stored.id, stored.request)
    signed = load_review(ctx, stored.id, request)
    if full and stored.kind == "files":
        signed = document(ctx.sandbox(stored.sandbox), load(ctx, stored), stored, full=True)
    return review(view(ctx, stored), signed, now(), viewer=ctx.launcher)
