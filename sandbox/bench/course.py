"""The whole benchmark: the scratch folder, the rounds, the account.

Owns that every tool runs in every round, so that what else the machine does meets all of them alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.bench import apart, commands, contender, crowd, filesystem, goals, kernel_floor, machine, product, targets
from sandbox.bench.content import LEAST_FILES, Content, make
from sandbox.bench.kernel_floor import KernelFloor
from sandbox.bench.outcome import BenchRecord, Comparison, NotMeasured, Peer, Timing
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

POLICY = "signers"
LEAST_ROUNDS = 3
"""That count, even where there is no time for them: a median of fewer says nothing of the spread."""


@dataclass(frozen=True, slots=True)
class Track:
    """What a round needs."""

    manager: Manager
    choice: EngineChoice
    used: str
    folder: Path
    content: Content
    peers: list[ByHand]
    kernel: KernelFloor | str
    """The floor of namespaces, or why there is none."""
    only_verbs: bool
    watch: Stopwatch
    say: Callable[[str], None]


def run(
    *,
    engine: EngineChoice,
    against: str | None,
    files: int,
    rounds: int,
    within_s: float | None,
    size: crowd.Size,
    only_verbs: bool,
    on: str,
    say: Callable[[str], None],
) -> BenchRecord:
    """See `sandbox.bench.run`."""
    if files < LEAST_FILES or rounds < 1:
        raise InputError(f"It takes {LEAST_FILES} files or more, and one round or more.")
    started_at, started = now(), time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(terminable())
        scratch = stack.enter_context(scratch_folder())
        folder = stack.enter_context(filesystem.made(on, scratch, say))
        content = set_up(folder, files)
        manager = stack.enter_context(managed(folder, engine, say))
        make_ready(manager, say)
        used = manager.context.default_engine()
        kernel = stack.enter_context(kernel_floor.ready(folder))
        peers, absent = enter(stack, against, folder, content, say)
        track = Track(manager, engine, used, folder, content, peers, kernel, only_verbs, Stopwatch(), say)
        done = _rounds(track, rounds, within_s)
        if not only_verbs:
            apart.clear(folder, engine)
        found = crowd.measure(manager, content, size, done, say)
        record = BenchRecord(
            engine=used,
            image=IMAGES[used],
            machine=machine.describe(folder, scratch),
            files=content.files,
            bytes=content.bytes,
            rounds=done,
            only_verbs=only_verbs,
            crowd=found,
            goals=(),
            not_measured=(*absent, *_no_floor(kernel)),
            started_at=started_at,
            seconds=round(time.monotonic() - started, 3),
            **_figures(track),
        )
        return record.model_copy(update={"goals": tuple(goals.judge(record))})


def set_up(folder: Path, files: int) -> Content:
    """The tree, the people, the configuration."""
    make_keys(folder / "keys")
    for name in (product.TARGET, targets.CAPTURED):
        spec = {"kind": "directory", "path": str(folder / name), "policy": POLICY}
        write_config(folder / "config", "targets", name, spec)
    write_config(folder / "config", "policies", POLICY, policy(folder / "keys"))
    root = folder / product.TARGET
    root.mkdir()
    content = make(root, files)
    targets.settle(folder, content)
    return content


def _rounds(track: Track, most: int, within_s: float | None) -> int:
    """One round that warms up, then as many as there may be and is time for; at least `LEAST_ROUNDS` of them."""
    started = time.monotonic()
    for number in range(most + 1):
        track.watch.round = number
        so_far = time.monotonic() - started
        each = so_far / max(1, number)
        if within_s is not None and number > LEAST_ROUNDS and so_far + each > within_s:
            track.say(
                f"{number - 1} of {most} rounds, since the next would end after the {within_s:.0f} s that it may take."
            )
            return number - 1
        track.say(f"Round {number} of {most}." if number else "A round that does not count, to warm up.")
        _round(track)
    return most


def _round(track: Track) -> None:
    content, watch, manager = track.content, track.watch, track.manager
    started = time.monotonic()
    machine.measure(content.root, watch)
    if not isinstance(track.kernel, str):
        track.kernel.measure(machine.WHO, watch)
    box = contender.Course(product.Product(manager), content, watch, strict=True).run()
    if not track.only_verbs:
        targets.create(manager, watch)
        targets.promotion(manager, box, content, track.folder / "keys", watch)
    manager.destroy(box)
    if not track.only_verbs:
        targets.capture(track.folder, track.choice, content, watch)
        apart.measure(track.folder, track.choice, track.used, content, watch)
        commands.measure(track.folder, track.used, watch)
    track.say(f"  sandbox: {time.monotonic() - started:.0f} s")
    for peer in track.peers:
        started = time.monotonic()
        _peer(peer, content, watch)
        track.say(f"  {peer.name}: {time.monotonic() - started:.0f} s")


def _peer(peer: ByHand, content: Content, watch: Stopwatch) -> None:
    try:
        course = contender.Course(peer, content, watch, strict=False)
        course.end(course.run())
    except contender.Broken:
        pass
    except Exception as error:  # noqa: BLE001 - the round of a tool that breaks down ends; why is kept
        watch.failed(peer.name, "round", f"{type(error).__name__}: {error}"[:200])
    finally:
        peer.forget()


def _figures(track: Track) -> dict[str, Any]:
    """The fields of the record that are medians of what the watch has."""
    watch, peers = track.watch, track.peers
    return {
        "operations": _timings(watch, product.WHO, contender.STEPS | apart.STEPS | targets.STEPS),
        "memory_mib": _memory(watch, product.WHO),
        "commands": _timings(watch, commands.WHO, commands.COMMANDS),
        "floors": _timings(watch, machine.WHO, machine.FLOORS | kernel_floor.FLOORS),
        "peers": tuple(_account(one, watch, str(track.folder)) for one in peers),
        "comparisons": tuple(_compared(watch, peers)),
    }


def _timings(watch: Stopwatch, who: str, steps: dict[str, str]) -> tuple[Timing, ...]:
    found = ((name, says, watch.samples(who, name)) for name, says in steps.items())
    return tuple(Timing.of(name, says, samples) for name, says, samples in found if samples)


def _memory(watch: Stopwatch, who: str) -> float | None:
    samples = watch.samples(who, contender.MEMORY)
    return Timing.of("", "", samples).median_ms if samples else None


def _account(peer: ByHand, watch: Stopwatch, folder: str) -> Peer:
    """What a peer did; where things lay on this machine is nobody's business."""
    return Peer(
        name=peer.name,
        says=peer.says,
        by_hand=peer.by_hand,
        operations=_timings(watch, peer.name, contender.STEPS),
        failed=tuple(
            NotMeasured(what=what, why=why.replace(folder, "...")[:160])
            for what, why in watch.failures(peer.name).items()
        ),
        lacks=tuple(step for step in contender.STEPS if step in peer.lacks),
        memory_mib=_memory(watch, peer.name),
    )


def _compared(watch: Stopwatch, peers: list[ByHand]) -> Iterator[Comparison]:
    for peer in peers:
        for step in contender.STEPS:
            if pairs := watch.pairs(step, product.WHO, peer.name):
                yield Comparison.of(step, peer.name, pairs)


def _no_floor(kernel: KernelFloor | str) -> tuple[NotMeasured, ...]:
    return (NotMeasured(what="namespaces, enter", why=kernel),) if isinstance(kernel, str) else ()
