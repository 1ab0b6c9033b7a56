"""Targets: real systems that can be captured, changed and put back.

Owns the choice of the class for a target's kind. Importing it does nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.spec import TargetSpec
    from sandbox.targets.directory import DirectoryTarget


def open_target(spec: TargetSpec, cache_dir: Path | None = None, captured: Path | None = None) -> DirectoryTarget:
    """The target that a spec describes; whether it is there shows when it is used.

    `cache_dir`: where it may remember what it has read; the same one for every target. `captured`: where captures
    remember it.
    """
    from sandbox.targets.directory import DirectoryTarget

    return DirectoryTarget(spec, cache_dir=cache_dir, captured=captured)
