"""Removing a sandbox, and what crashed work left behind.

Owns telling rubbish from what is in use: what somebody holds, or what a record names, is in use.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from sandbox.engines.native import removal
from sandbox.engines.native.containers import Containers, nothing
from sandbox.engines.native.image_store import ImageStore
from sandbox.engines.native.store import NEW, Store
from sandbox.engines.warm import is_idle
from sandbox.errors import Conflict, NotFound
from sandbox.trees.removal import remove_tree


class Left(NamedTuple):
    """Of a sandbox that has ended."""

    doomed: list[Path]
    """To be removed."""
    clear: Callable[[], None]
    """Lets the kernel have time to clear its container away; before that is called, only this process knows of it."""


def remove(store: Store, containers: Containers, sandbox: str) -> Left:
    """End a sandbox that the caller holds, whatever there is of it. The layers that it stood on alone are free then;
    the caller sees to them."""
    clear = nothing
    with suppress(NotFound):  # its making may have ended before anything ran
        clear = containers.stop(store.sandbox(sandbox))
    with store.locked():
        aside = removal.set_aside(store.sandboxes / sandbox)
    return Left([aside] if aside is not None else [], clear)


def sweep(store: Store, containers: Containers, images: ImageStore) -> list[str]:
    """Remove all rubbish of one home; a line for each thing."""
    if not store.root.is_dir():
        return []
    done = images.sweep()
    for sandbox in store.sandbox_ids():
        done += _sweep_sandbox(store, containers, sandbox)
    for sandbox, layer in store.half_made_layers():
        done += _sweep_layer(store, sandbox, layer)
    with store.locked():
        rubbish = store.free_layers()
        done += [f"a layer that nothing stands on ({len(rubbish)})"] if rubbish else []
        for directory in (store.sandboxes, store.snapshots, store.layers, store.images):
            rubbish += directory.glob(f"{removal.GONE}*")
        for directory in (store.sandboxes, store.snapshots):
            rubbish += directory.glob(f"{NEW}*")
    for path in rubbish:
        removal.remove(path)
    return done + _sweep_strays(store, containers)


def _sweep_sandbox(store: Store, containers: Containers, sandbox: str) -> list[str]:
    """Remove a sandbox that was never finished; let one go on that was left frozen."""
    try:
        with store.holding(sandbox, wait=False):
            if is_idle(sandbox) or not store.recorded(sandbox) or not store.sandbox(sandbox).ready:
                left = remove(store, containers, sandbox)
                left.clear()
                with store.locked():
                    free = store.free_layers()
                for path in (*left.doomed, *free):
                    remove_tree(path)
                return [f"half-made sandbox {sandbox}"]
            containers.group(store.sandbox(sandbox)).thaw()
    except (Conflict, NotFound):
        pass  # somebody works on it, or has just removed it
    return []


def _sweep_layer(store: Store, sandbox: str, layer: Path) -> list[str]:
    try:
        with store.holding(sandbox, wait=False):
            removal.remove(layer)
    except Conflict:
        return []
    except NotFound:
        removal.remove(layer)
    return [f"half-made layer of {sandbox}"]


def _sweep_strays(store: Store, containers: Containers) -> list[str]:
    done = []
    # With the lock held no sandbox can get a new container's name that we don't know.
    with store.locked():
        known = {store.sandbox(name).container for name in store.sandbox_ids() if store.recorded(name)}
        ended = [container for container in containers.strays(known) if containers.end_stray(container)]
        done += [f"container {container}, which belongs to no sandbox" for container in ended]
        containers.tidy()
    return done
