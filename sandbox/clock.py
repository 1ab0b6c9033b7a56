"""The time and fresh ids: the two things that differ from one run to the next, in one place."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime


def now() -> datetime:
    """The current time, aware, in UTC, to the microsecond."""
    return datetime.now(UTC)


def fresh_id(prefix: str) -> str:
    """A new id such as `sbx_3f2a…`: 80 random bits behind the prefix, lower case, safe in a file name."""
    return f"{prefix}_{secrets.token_hex(10)}"
