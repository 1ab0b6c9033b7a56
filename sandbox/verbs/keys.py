"""What a verb is given to sign with.

Owns the word; the lifecycle signs.
"""

from __future__ import annotations

from pathlib import Path

Key = str | Path | None
"""An SSH key to sign with, private or public with an agent; None: nothing is signed."""


def path_of(key: Key) -> Path | None:
    """Where the key is, if there is one."""
    return Path(key) if key else None
