"""From a verified change to a decision: `requests` makes the bytes that people sign, `signing` signs and judges,
`votes` keeps votes, `policies` finds whose rules apply, `rulings` asks `decide`, `views` and `reviews` show it all.

Loads a module when it is first asked for, as `signoff.votes`, like `lifecycle` itself.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sandbox.lifecycle.signoff import reviews, views, votes

__all__ = ["reviews", "views", "votes"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
