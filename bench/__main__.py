"""`make bench`: everything that is published, measured part by part and written down after each.

    python -m bench [--against A,B] [--minutes M] [--only PART,PART] [--most-files N] [--folder DIR]

Owns which runs there are, and how long each may take. Each is the command `sandbox bench`, as anybody would run it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import report, results, scale
from sandbox.drills.stage import terminable
from sandbox.lifecycle.interrupts import deferred

AGAINST = "docker-sdk,bwrap,runc,podman,nitrobox,agentdocker-lite,gvisor,swe-rex,try"
MINUTES = 26.0
"""In all, on two cores; setting up and the last round of each part come on top."""
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Part:
    """One run of `sandbox bench`."""

    title: str
    engine: str
    share: float
    """Of the minutes, for its rounds."""
    options: tuple[str, ...]


def _parts(asked: argparse.Namespace) -> list[Part]:
    crowd = ("--idle", str(asked.idle), "--tasks", str(asked.tasks), "--against", asked.against)
    alone = ("--idle", "0", "--tasks", "0", "--against")
    verbs = ("--only-verbs", "--filesystem")
    return [
        Part("native on xfs", "native", 0.36, crowd),
        Part("docker", "docker", 0.14, (*alone, "docker-sdk")),
        Part("native on ext4", "native", 0.05, (*alone, "bwrap", *verbs, "ext4")),
        Part("native on btrfs", "native", 0.05, (*alone, "bwrap", *verbs, "btrfs")),
    ]


GROWTH = "growth"


def main() -> int:
    """1 where a claim on growth does not hold or a goal is missed without a reason; 130 where it was ended early."""
    asked = _asked()
    parts = _parts(asked)
    steps: dict[str, Callable[[], dict[str, Any]]] = {
        **{part.title: lambda part=part: _run(part, asked) for part in parts},  # type: ignore[misc]
        GROWTH: lambda: _growth(asked),
    }
    wanted = asked.only.split(",") if asked.only else list(steps)
    if unknown := set(wanted) - set(steps):
        print(f"There is no part {sorted(unknown)[0]!r}; there are: {', '.join(steps)}.", file=sys.stderr)
        return 2
    path, document = results.begin(asked.folder, keep=bool(asked.only))
    started = time.monotonic()
    left = list(wanted)
    try:
        with terminable():
            for number, title in enumerate(wanted, 1):
                print(
                    f"== {number} of {len(wanted)}: {title}, {time.monotonic() - started:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
                results.add(document, title, steps[title]())
                left.remove(title)
                results.write(path, document)
    except KeyboardInterrupt:
        for title in left:
            results.add(document, title, {"why": "the run was ended before it"})
        results.write(path, document)
        print(f"Ended early; what was measured until then is in {path.name}.", file=sys.stderr)
    if document["runs"]:
        report.write(path, asked.folder)
        print((asked.folder / "README.md").read_text(encoding="utf-8"))
    print(f"{time.monotonic() - started:.0f} s in all.", file=sys.stderr)
    return INTERRUPTED if left else report.verdict(path, say=lambda line: print(line, file=sys.stderr))


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--against", default=AGAINST)
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, help="after which no round begins (default %(default)g)"
    )
    parser.add_argument(
        "--only", default="", help="these parts, by name; the others stay as the newest results of today have them"
    )
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=9, help="at most")
    parser.add_argument("--idle", type=int, default=200)
    parser.add_argument("--tasks", type=int, default=32)
    parser.add_argument("--most-files", type=int, default=100_000, help="of the trees that growth is measured on")
    parser.add_argument("--short", action="store_true", help="growth on a few small sizes")
    parser.add_argument("--folder", type=Path, default=report.HERE, help="where results, README.md and plots go")
    return parser.parse_args()


def _run(part: Part, asked: argparse.Namespace) -> dict[str, Any]:
    """What `sandbox bench` answers, or why it has nothing to say."""
    seconds = asked.minutes * 60 * part.share
    size = ("--files", str(asked.files), "--rounds", str(asked.rounds), "--seconds", f"{seconds:.0f}")
    command = [sys.executable, "-m", "sandbox", "--engine", part.engine, "bench", *size, *part.options, "--json"]
    code, said = _ended(command)
    answer = json.loads(said)
    if code != 0:
        return {"why": answer["error"]["says"].rstrip(".")}
    del answer["schema"], answer["goals"]  # a verdict is not a measurement
    return {"run": answer}


def _ended(command: list[str]) -> tuple[int, str]:
    """Exit code and output of a process, which ends before an interrupt goes on."""
    process = None
    try:
        with deferred():  # no process without a name to end it by
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        said, _ = process.communicate()
    except KeyboardInterrupt:
        if process:
            process.terminate()  # twice does no harm where a Ctrl-C has met both; it cleans up before it ends
            process.communicate()
        raise
    return process.returncode, said


def _growth(asked: argparse.Namespace) -> dict[str, Any]:
    sizes = scale.SHORT if asked.short else scale.whole(asked.most_files)
    curves = scale.measure("native", sizes, lambda line: print(line, file=sys.stderr, flush=True))
    return {"scale": [asdict(one) for one in curves]}


if __name__ == "__main__":
    sys.exit(main())
