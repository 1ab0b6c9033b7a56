"""Launch statements: signing that one launches or takes part, and judging such a signature.

Owns the exact bytes, in a namespace of their own, so that no vote is a launch and no launch a vote. Must not decide
whose key it is (`decide` does, by each policy) or store anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import rfc8785

from sandbox import sshsig
from sandbox.governance import LaunchStatement, Part
from sandbox.lifecycle.signoff import signing

NAMESPACE = "sandbox-launch@v1"

_SKEW = timedelta(minutes=5)


def salted(part: Part, what: Any) -> str:
    """SHA-256 over a value that may hold secrets (G6)."""
    return hashlib.sha256(rfc8785.dumps([part.part + part.salt, what])).hexdigest()


def signed(part: Part, home: str, work: Mapping[str, Any], key: Path, folder: Path) -> Part:
    """The same part with a signature of its person; `folder` as for `signing.sign`. Raises InputError."""
    message = _statement(part, home, work)
    signature = signing.sign(message, key, folder, namespace=NAMESPACE)
    return part.model_copy(update={"message": message, "signature": signature})


def judge(part: Part, home: str, work: Mapping[str, Any], now: datetime) -> tuple[str, str]:
    """The fingerprint of the key that signed a part, and why that does not count (empty: it does)."""
    try:
        signature = signing.parsed(part.signature, NAMESPACE)
        key = sshsig.fingerprint(signature.key)
    except signing.Void as void:
        return "", str(void)
    try:
        if part.message != _statement(part, home, work):
            raise signing.Void("the signed text is about something else than this session")
        if part.at > now + _SKEW:
            raise signing.Void("it was signed in the future: a clock is wrong")
        signing.check_crypto(part.message, part.signature, signature)
    except signing.Void as void:
        return key, str(void)
    return key, ""


def _statement(part: Part, home: str, work: Mapping[str, Any]) -> bytes:
    """What the row of a part must have been signed as: it is a cache of these bytes."""
    statement = LaunchStatement(
        part=part.part,
        session=part.session,
        verb=part.verb,
        person=part.person,
        home=home,
        work=salted(part, {**work, "task": part.task}),
        signed_at=part.at,
    )
    return rfc8785.dumps(statement.model_dump(mode="json"))
