"""What may still stop a promotion that was decided on: a reject, a policy that moved, a stop, a window (B7, E8).

Owns the look that is taken again at each step that can't be taken lightly. It finds what people did since the decision;
must not decide anew (`rulings` does), which would cost reading all that was sealed.
"""

from __future__ import annotations

from sandbox.clock import now
from sandbox.decide import EXPORT_MOVED, policy_digest
from sandbox.errors import Refused
from sandbox.lifecycle.context import VOTE, Context
from sandbox.lifecycle.signoff import signing
from sandbox.lifecycle.signoff.policies import policies_of, standing
from sandbox.lifecycle.signoff.requests import load_request
from sandbox.records import Request, StoredChange, Vote
from sandbox.windows import closed


def check(ctx: Context, stored: StoredChange, *, windows: bool = True) -> None:
    """Raise Refused where somebody has taken their word back, or stopped it all, since it was decided.

    A change of policies moves its own, which its caller compares. `windows`: a time in which nothing is promoted
    counts, too. It does not where all is applied already: taking it back would be one more change in that time.
    """
    request, _ = load_request(ctx, stored.id, stored.request)
    if says := _rejected(ctx, stored, request):
        raise Refused(says)
    if reason := ctx.config.manager().stop:
        raise Refused(f"All promotions are stopped: {reason}")
    if ctx.config.manager().audit_export != request.audit_export:
        raise Refused(EXPORT_MOVED)
    for asked in request.targets if stored.kind == "files" else ():
        stands = standing(ctx, ctx.target(asked.name).spec)
        if stands.says:
            raise Refused(f"{asked.name}: {stands.says}")
        if (policy_digest(stands.policy) if stands.policy else None) != asked.policy_digest:
            raise Refused(f"{asked.name}: its policy changed after the request was made; propose the change anew.")
        if windows and (window := closed(stands.policy.deny if stands.policy else (), now())):
            raise Refused(f"{asked.name}: a time in which its policy denies promotions began: {window.reason}")


def _rejected(ctx: Context, stored: StoredChange, request: Request) -> str:
    rejects = ctx.ledger.find(VOTE, Vote, change=stored.id, decision="reject")
    policies = policies_of(ctx, stored) if rejects else []
    for vote in rejects:
        if signing.judge(vote, request, policies, stored.launcher, now()).valid:
            return f"{vote.person} rejected it" + (f": {vote.reason}." if vote.reason else ".")
    return ""
