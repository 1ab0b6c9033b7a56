"""Prepare: verify what is about to change, save it, and build what is to come beside it.

Owns the staging directory, `.sandbox-TAG` in the target's root: on the target's own file system, so that all
that is left to do is a rename. Must not change anything that is visible elsewhere in the target.
"""

from __future__ import annotations

import os
from pathlib import Path

from sandbox.errors import Drifted, InputError
from sandbox.targets import identity, preflight
from sandbox.targets.base import ApplyRequest, Blobs, OnStep
from sandbox.targets.beneath import FEW, GONE, can_exchange, directory, parent, remove_tree
from sandbox.targets.flushing import Flushing
from sandbox.targets.restore_point import RestorePoint, Saved, staging_name
from sandbox.targets.sight import Labels, Seen, digest_of, is_still, look
from sandbox.targets.tree_writer import Source, write_tree
from sandbox.targets.units import Unit, only_metadata, units_of
from sandbox.trees.entry import Change, path_text
from sandbox.trees.walk import RESERVED

STAGED = b"staged"
"""In a staging directory: all slots were filled once, so what is in them now tells what was swapped."""


def prepare(root: int, path: Path, request: ApplyRequest, on_step: OnStep, flushing: Flushing) -> None:
    """See `Target.prepare`. `path` is where `root` was opened, for messages."""
    preflight.check(root, path, request.changes, request.point)
    on_step("save")
    point = RestorePoint(request.point, flushing, sync_each=len(request.changes) <= FEW)
    point.begin()
    _clear_leftovers(root, path, request.tag)
    saved = _save(root, request, point)
    point.seal(saved, (block.canonical() for block in request.base.blocks()))
    on_step("validate")
    point.validate()
    on_step("stage")
    try:
        _stage(root, path, saved, request.blobs, flushing)
    except BaseException:
        # Nothing has been swapped, so nothing in there is worth keeping.
        remove_tree(root, saved.staging)
        raise


def drifted(path: bytes) -> Drifted:
    """The error for a path that is not what the change was made from."""
    return Drifted(
        f"{path_text(path)!r} is no longer what the change was made from.",
        "Somebody wrote to the target meanwhile: run the task again on its present state.",
    )


def _clear_leftovers(root: int, path: Path, tag: str) -> None:
    for name in map(os.fsencode, os.listdir(root)):
        if name == staging_name(tag):
            remove_tree(root, name)
        elif name.startswith(RESERVED):
            raise InputError(
                f"{path} still holds {path_text(name)!r} of another promotion.",
                "Run `sandbox recover` with the home it was promoted from: it puts it back, or lists the steps that"
                " a frozen one still needs. Remove it by hand only if that home is lost.",
            )


def _save(root: int, request: ApplyRequest, point: RestorePoint) -> Saved:
    seen: dict[bytes, Seen] = {}
    for change in request.changes:
        if change.before is not None:
            seen[change.path] = _save_one(root, change, point)
    hard_linked = {path for path, each in seen.items() if each.entry.kind == "file" and each.links > 1}
    units = units_of(request.changes, hard_linked)
    saved = Saved(identity.of(root), request.tag, request.base.fingerprint, units, seen)
    for unit in units:
        if not unit.in_place and not _holds(root, unit, saved):
            raise drifted(unit.path)
    return saved


def _save_one(root: int, change: Change, point: RestorePoint) -> Seen:
    """Read a path whole, keeping a copy of the bytes that were read: the very ones that are compared."""
    try:
        with parent(root, change.path) as (handle, name):
            found = os.stat(name, dir_fd=handle, follow_symlinks=False)
            keep = found.st_nlink > 1 or not only_metadata(change)
            seen = look(handle, name, change.path, point.keep_content if keep else digest_of)
    except OSError as error:
        if error.errno in GONE:
            raise drifted(change.path) from error
        raise
    if seen is None or seen.entry != change.before:
        raise drifted(change.path)
    return seen


def _holds(root: int, unit: Unit, saved: Saved) -> bool:
    """Whether the target has exactly what the unit says was before, with nothing more in its directories."""
    try:
        with parent(root, unit.path) as (handle, name):
            return is_still(handle, name, saved.seen_in(unit))
    except OSError as error:
        if error.errno in GONE:
            return False
        raise


def _stage(root: int, path: Path, saved: Saved, blobs: Blobs, flushing: Flushing) -> None:
    os.mkdir(saved.staging, 0o700, dir_fd=root)
    with directory(root, saved.staging) as staging:
        if not can_exchange(staging):
            raise InputError(
                f"The file system of {path} can't swap two names in one step.",
                "Keep the target on ext4, XFS, Btrfs or tmpfs: without that, a change would not be atomic.",
            )

        few = sum(len(unit.after) for unit in saved.units) <= FEW

        def labels(where: bytes) -> Labels:
            was = saved.seen.get(where)
            return was.labels if was is not None and was.entry.kind == after[where] else ()

        for unit in saved.units:
            if unit.after and not unit.in_place:
                after = {entry.path: entry.kind for entry in unit.after}
                source = Source(lambda entry: blobs.open(entry.content), labels, durable=few and flushing.on)
                write_tree(staging, unit.slot, unit.after, source)
        os.close(os.open(STAGED, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=staging))
        flushing.handle(staging)
        if not few:
            flushing.file_system(staging)
    flushing.handle(root)
