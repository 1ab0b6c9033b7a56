"""The file that holds what was measured, part by part, and which of several is the newest.

Owns its name and its form. No verdict is in it, no path and no name of a host: it is about a kind of machine.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sandbox
from bench.claims import judged
from sandbox.bench import machine
from sandbox.bench.outcome import BenchRecord

FOLDER = "results"
_PATH = re.compile(r"(?<![\w.)])/(?:root|home|tmp|var|mnt|srv|opt|work|run)/[^\s\"\']*")


def begin(folder: Path, *, keep: bool) -> tuple[Path, dict[str, Any]]:
    """The file of today and this kind of machine, and what is in it: nothing yet, unless it is to be kept."""
    now = datetime.now(UTC)
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    described = machine.describe(folder, folder)
    kind = re.sub(r"[^a-z0-9]+", "-", described.cpu.lower().replace("(r)", "").replace("(tm)", "")).strip("-")
    path = folder / FOLDER / f"{now:%Y-%m-%d}-{described.cores}-cores-{kind}.json"
    if keep and path.exists():
        return path, load(path)
    return path, {
        "started_at": f"{now:%Y-%m-%dT%H:%MZ}",
        "version": sandbox.__version__,
        "runs": {},
        "scale": [],
        "not_measured": [],
    }


def add(document: dict[str, Any], title: str, found: dict[str, Any]) -> None:
    """Put in what one part gave, in place of what it gave before: its `run`, its `scale`, or `why` neither."""
    found = json.loads(_PATH.sub("...", json.dumps(found)))  # what a tool raised may name where it was
    document["not_measured"] = [one for one in document["not_measured"] if one["what"] != title]
    if "run" in found:
        document["runs"][title] = found["run"]
    elif "scale" in found:
        document["scale"] = found["scale"]
    elif title not in document["runs"]:
        document["not_measured"].append({"what": title, "why": found["why"]})


def write(path: Path, document: dict[str, Any]) -> None:
    """All of it or nothing: an end in the middle leaves what was there."""
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    os.replace(unfinished, path)


def load(path: Path) -> dict[str, Any]:
    """What is in a file of results, its curves held against what is claimed today."""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for one in document["scale"]:
        medians = dict(zip(one["sizes"], one["medians"], strict=True))
        one.update(asdict(judged(one["axis"], one["operation"], medians)))
    return document


def runs_of(document: dict[str, Any]) -> dict[str, BenchRecord]:
    """Its runs as records, by title; without goals, since a file has none."""
    return {title: BenchRecord.model_validate(run | {"goals": ()}) for title, run in document["runs"].items()}


def newest(folder: Path) -> Path | None:
    """The results that began last; None where nothing was published."""
    began: Callable[[Path], str] = lambda path: str(load(path)["started_at"])  # noqa: E731
    return max((folder / FOLDER).glob("*.json"), key=began, default=None)
