"""Runs AI agents' tasks in ephemeral containers and promotes only verified, signed-off net differences.

Importing this does nothing; `Manager` and `Box` are loaded when they are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Box", "Manager", "__version__"]

if TYPE_CHECKING:
    from sandbox.manager import Box, Manager


def __getattr__(name: str) -> Any:
    if name in ("Box", "Manager"):
        from sandbox import manager

        return getattr(manager, name)
    raise AttributeError(f"module 'sandbox' has no attribute {name!r}")
