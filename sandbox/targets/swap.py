"""Apply: swap in what was staged, one atomic rename per unit, each only if the path is still what was saved.

Owns the compare-and-swap. The comparison comes before the swap, and again after it on what came out, which is
then in a private place and can't change its name any more: so a write in between is found, and undone.
Must not decide what to do about a failure: the caller restores.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from sandbox.targets.base import OnStep
from sandbox.targets.beneath import FEW, GONE, directory, exchange, move, parent
from sandbox.targets.flushing import Flushing
from sandbox.targets.restore_point import APPLYING, RestorePoint, Saved
from sandbox.targets.sight import is_still, untouched
from sandbox.targets.staging import drifted
from sandbox.targets.tree_writer import change_in_place
from sandbox.targets.units import Unit, in_order
from sandbox.trees.entry import parent_of


def apply(root: int, saved: Saved, point: RestorePoint, on_step: OnStep) -> None:
    """Make the change, durable when it returns. Raises Drifted where a path was written to meanwhile."""
    on_step("apply")
    with directory(root, saved.staging) as staging:
        point.mark(APPLYING)
        for unit in in_order(saved.units):
            on_step("swap")
            try:
                with parent(root, unit.path) as (handle, name):
                    if unit.in_place:
                        _in_place(handle, name, staging, unit, saved, point.flushing)
                    else:
                        _swap(handle, name, staging, unit, saved)
            except OSError as error:
                if error.errno in (*GONE, errno.EEXIST):
                    raise drifted(unit.path) from error
                raise
        on_step("flush")
        if away := flush(root, saved.units, point.flushing):
            raise drifted(min(away))
        point.flushing.handle(staging)


def flush(root: int, units: Iterable[Unit], flushing: Flushing) -> set[bytes]:
    """Make the names in every directory that a unit lies in durable; those directories that are not there."""
    away = set()
    homes = {parent_of(unit.path) for unit in units}
    for path in homes:
        try:
            with directory(root, path) as handle:
                if len(homes) <= FEW:
                    flushing.handle(handle)
        except OSError as error:
            if error.errno not in GONE:
                raise
            away.add(path)
    if len(homes) > FEW:
        flushing.file_system(root)
    return away


def _swap(handle: int, name: bytes, staging: int, unit: Unit, saved: Saved) -> None:
    was = saved.seen_in(unit)
    if not is_still(handle, name, was):
        raise drifted(unit.path)
    _turn(handle, name, staging, unit)
    if not is_still(staging, unit.slot, was, moved=True):
        _turn_back(handle, name, staging, unit)
        raise drifted(unit.path)


def _turn(handle: int, name: bytes, staging: int, unit: Unit) -> None:
    if not unit.before:
        move(staging, unit.slot, handle, name)
    elif not unit.after:
        move(handle, name, staging, unit.slot)
    else:
        exchange(handle, name, staging, unit.slot)


def _turn_back(handle: int, name: bytes, staging: int, unit: Unit) -> None:
    if unit.after:
        exchange(handle, name, staging, unit.slot)
    else:
        move(staging, unit.slot, handle, name)


def _in_place(handle: int, name: bytes, staging: int, unit: Unit, saved: Saved, flushing: Flushing) -> None:
    was = saved.seen[unit.path]
    if not untouched(handle, name, was):
        raise drifted(unit.path)
    # The empty slot tells restore that from here on the metadata may be ours.
    os.close(os.open(unit.slot, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=staging))
    change_in_place(handle, name, was, unit.after[0], flushing)
