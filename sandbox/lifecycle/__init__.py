"""What happens to sandboxes, changes and promotions: a module for each concern.

Loads a module when it is first asked for, as `lifecycle.runs`: what lists sandboxes must not wait for what
promotes them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sandbox.lifecycle import (
        audits,
        capturing,
        events,
        exports,
        frozen,
        housekeeping,
        inquiries,
        instants,
        interrupts,
        listing,
        parts,
        policy_changes,
        promotion,
        quarantine,
        recovery,
        restoring,
        runs,
        sealing,
        sessions,
        signoff,
    )

__all__ = [
    "audits",
    "capturing",
    "events",
    "exports",
    "frozen",
    "housekeeping",
    "inquiries",
    "instants",
    "interrupts",
    "listing",
    "parts",
    "policy_changes",
    "promotion",
    "quarantine",
    "recovery",
    "restoring",
    "runs",
    "sealing",
    "sessions",
    "signoff",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
