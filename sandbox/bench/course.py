"""The whole benchmark: the scratch folder, the rounds, the account.

Owns that every tool runs in every round, so that what else the machine does meets all of them alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from sandbox.bench import contender, machine, product
from sandbox.bench.content import Content, make
from sandbox.bench.outcome import BenchRecord, Comparison, Peer, Timing
from sandbox.bench.peers import ByHand, enter
from sandbox.bench.watch import Stopwatch
from sandbox.clock import now
from sandbox.drills.stage import (
    IMAGES,
    make_keys,
    make_ready,
    managed,
    policy,
    scratch_folder,
    terminable,
    write_config,
)
from sandbox.errors import InputError
from sandbox.manager import Manager
from sandbox.wiring import EngineChoice

LEAST_FILES = 40
POLICY = "signers"


def run(
    *, engine: EngineChoice, against: str | None, files: int, rounds: int, say: Callable[[str], None]
) -> BenchRecord:
    """See `sandbox.bench.run`."""
    if files < LEAST_FILES or rounds < 1:
        raise InputError(f"It takes {LEAST_FILES} files or more, and one round or more.")
    started_at, started = now(), time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(terminable())
        folder = stack.enter_context(scratch_folder())
        content = _set_up(folder, files)
        manager = stack.enter_context(managed(folder, engine, say))
        make_ready(manager, say)
        used = manager.context.default_engine()
        peers, absent = enter(stack, against, folder, content, say)
        watch = Stopwatch()
        for number in range(rounds + 1):
            watch.counting = number > 0
            say(f"Round {number} of {rounds}." if number else "A round that does not count, to warm up.")
            _round(manager, engine, folder, content, peers, watch)
        return BenchRecord(
            engine=used,
            image=IMAGES[used],
            machine=machine.describe(folder),
            files=content.files,
            bytes=content.bytes,
            rounds=rounds,
            operations=_timings(watch, product.WHO, contender.STEPS | product.STEPS),
            floors=_timings(watch, machine.WHO, machine.FLOORS),
            peers=tuple(
                Peer(name=one.name, says=one.says, operations=_timings(watch, one.name, contender.STEPS))
                for one in peers
            ),
            comparisons=tuple(_compared(watch, peers)),
            not_measured=absent,
            started_at=started_at,
            seconds=round(time.monotonic() - started, 3),
        )


def _set_up(folder: Path, files: int) -> Content:
    """The tree, the people, the configuration."""
    make_keys(folder / "keys")
    for name in (product.TARGET, product.CAPTURED):
        spec = {"kind": "directory", "path": str(folder / name), "policy": POLICY}
        write_config(folder / "config", "targets", name, spec)
    write_config(folder / "config", "policies", POLICY, policy(folder / "keys"))
    root = folder / product.TARGET
    root.mkdir()
    content = make(root, files)
    product.settle(folder, content)
    return content


def _round(
    manager: Manager, choice: EngineChoice, folder: Path, content: Content, peers: list[ByHand], watch: Stopwatch
) -> None:
    machine.measure(content.root, watch)
    product.capture(folder, choice, content, watch)
    ours = product.Product(manager)

    def finish(box: str) -> None:
        product.promotion(manager, box, content, folder / "keys", watch)
        manager.destroy(box)

    contender.run(ours, content, watch, finish)
    for peer in peers:
        contender.run(peer, content, watch, peer.destroy)
        peer.forget()


def _timings(watch: Stopwatch, who: str, steps: dict[str, str]) -> tuple[Timing, ...]:
    samples = watch.samples(who)
    return tuple(Timing.of(name, says, samples[name]) for name, says in steps.items() if name in samples)


def _compared(watch: Stopwatch, peers: list[ByHand]) -> list[Comparison]:
    ours = watch.samples(product.WHO)
    return [
        Comparison.of(step, peer.name, ours[step], theirs)
        for peer in peers
        for step in contender.STEPS
        if (theirs := watch.samples(peer.name).get(step))
    ]
