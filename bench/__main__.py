"""`make bench`: everything that is published, measured and written down.

    python -m bench [--against A,B] [--files N] [--rounds N] [--idle N] [--most-files N] [--folder DIR]

Owns which runs there are. Each is the command `sandbox bench`, as anybody would run it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sandbox
from bench import report, scale

AGAINST = "docker-sdk,bwrap,podman,nitrobox,agentdocker-lite"


def main() -> int:
    """1 where a claim on growth does not hold; goals are written down, met or not."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--against", default=AGAINST)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--idle", type=int, default=200)
    parser.add_argument("--tasks", type=int, default=32)
    parser.add_argument("--most-files", type=int, default=100_000, help="of the trees that growth is measured on")
    parser.add_argument("--short", action="store_true", help="growth on a few small sizes")
    parser.add_argument("--folder", type=Path, default=report.HERE, help="where results, README.md and plots go")
    asked = parser.parse_args()
    runs: dict[str, Any] = {}
    missing: list[dict[str, str]] = []
    size = ["--files", str(asked.files), "--rounds", str(asked.rounds)]
    crowd = ["--idle", str(asked.idle), "--tasks", str(asked.tasks)]
    alone = ["--idle", "0", "--tasks", "0"]
    for title, engine, options in (
        ("native on xfs", "native", [*size, *crowd, "--against", asked.against]),
        ("native on ext4", "native", [*size, *alone, "--against", "bwrap", "--filesystem", "ext4"]),
        ("native on btrfs", "native", [*size, *alone, "--against", "bwrap", "--filesystem", "btrfs"]),
        ("docker", "docker", [*size, *alone, "--against", "docker-sdk"]),
    ):
        print(f"== {title}", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "sandbox", "--engine", engine, "bench", *options, "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        answer = json.loads(done.stdout)
        if done.returncode == 0:
            answer.pop("schema")
            runs[title] = answer
        else:
            missing.append({"what": title, "why": answer["error"]["says"].rstrip(".")})
    print("== growth", file=sys.stderr, flush=True)
    sizes = scale.SHORT if asked.short else scale.whole(asked.most_files)
    curves = scale.measure("native", sizes, lambda line: print(line, file=sys.stderr, flush=True))
    now = datetime.now(UTC)
    document = {
        "date": f"{now:%Y-%m-%d}",
        "version": sandbox.__version__,
        "runs": runs,
        "scale": [asdict(one) for one in curves],
        "not_measured": missing,
    }
    results = asked.folder / "results" / f"{now:%Y-%m-%d}.json"
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    report.write(results, asked.folder)
    print((asked.folder / "README.md").read_text(encoding="utf-8"))
    return 1 if any(one.holds is False for one in curves) and not asked.short else 0


if __name__ == "__main__":
    sys.exit(main())
