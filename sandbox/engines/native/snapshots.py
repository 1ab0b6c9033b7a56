"""Taking a snapshot: a copy of a sandbox's upper layer, made while nothing in it moves.

Owns the order of its steps. A snapshot is there once its record is; before that, what was made is rubbish that
a sweep removes.
"""

from __future__ import annotations

import marshal
import os
from pathlib import Path

from sandbox.engines.native import cloning, flattening, removal
from sandbox.engines.native.cgroups import Group
from sandbox.engines.native.cloning import Cloner, Index
from sandbox.engines.native.store import Origin, SandboxState, SnapshotState, Store
from sandbox.errors import InputError

MAX_SNAPSHOT_LAYERS = 32
"""Snapshots in one chain, one for each rollback or fork that was gone on from; looking a name up asks each."""


class Snapshots:
    """The snapshots of one engine root."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def take(self, state: SandboxState, snapshot: str, group: Group) -> None:
        """Keep the sandbox as it is now; it must be held by the caller."""
        if self._store.has_snapshot(snapshot):
            raise InputError(f"Snapshot {snapshot} exists already.")
        fresh, layer = self._store.fresh_layer(state.sandbox), self._store.layers / snapshot
        fresh.mkdir(mode=0o700)
        try:
            previous, known = self._previous(state)
            with group.frozen():
                cloner = Cloner(previous, known, mapped=cloning.shares_mappings(group.pids()))
                cloner.clone(Path(state.upper, "upper"), fresh / "tree")
            (fresh / "index").write_bytes(marshal.dumps(cloner.index))
            chain = [str(layer / "tree"), *self._below(state.origin, fresh, layer)]
            origin = state.origin.model_copy(update={"chain": tuple(chain)})
            with self._store.locked():
                os.rename(fresh, layer)
                self._store.put_snapshot(SnapshotState(snapshot=snapshot, sandbox=state.sandbox, origin=origin))
                self._store.put_sandbox(state.model_copy(update={"last_snapshot": snapshot}))
        finally:
            removal.remove(fresh)

    def _previous(self, state: SandboxState) -> tuple[Path | None, Index]:
        """The copy before this one of the same upper layer, where it is still there."""
        if state.last_snapshot is None:
            return None, {}
        layer = self._store.layers / state.last_snapshot
        try:
            return layer / "tree", marshal.loads((layer / "index").read_bytes())  # noqa: S302 - our own, closed to others
        except (OSError, ValueError, EOFError, TypeError):
            return None, {}  # or another version of Python wrote it: all is copied

    def _below(self, origin: Origin, fresh: Path, layer: Path) -> list[str]:
        """The chain below the new copy: as it was, or with all snapshots in it made one where they are many."""
        above = len(origin.chain) - origin.base_layers
        if above < MAX_SNAPSHOT_LAYERS:
            return list(origin.chain)
        flattening.flatten([Path(path) for path in origin.chain[:above]], fresh / "below")
        return [str(layer / "below"), *origin.chain[above:]]
