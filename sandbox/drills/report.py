"""The account of a drill as one HTML file that needs nothing else: a timeline, the figures, every step.

Owns the picture. Served answers stand above the line and failed ones hang below it, so that it can be read
without colours. Must not compute figures; they come with the record.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.drills.outcome import Act, DrillRecord
from sandbox.drills.prober import Probe, outages

WIDTH, LEFT, RIGHT = 1080, 110, 20
ROW, TOP = 86, 46
TICK_UP, TICK_DOWN = 26, 26

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --rule: #d1d9e0; --good: #1a7f37; --bad: #cf222e;
  --paper: #ffffff; --band: #f3f5f7; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --rule: #3d444d; --good: #3fb950;
  --bad: #f85149; --paper: #0d1117; --band: #161b22; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1120px;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; }
.verdict { font-weight: 600; } .soft { color: var(--soft); }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif; } svg text { fill: var(--ink); }
svg .soft { fill: var(--soft); } .axis { stroke: var(--rule); } .good { fill: var(--good); }
.bad { fill: var(--bad); } .band { fill: var(--band); } svg text.bad { fill: var(--bad); font-weight: 600; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: .25rem .8rem .25rem 0;
  border-bottom: 1px solid var(--rule); vertical-align: top; overflow-wrap: anywhere; }
td.figure { white-space: nowrap; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
"""


@dataclass(frozen=True, slots=True)
class Timeline:
    """All probes of one production; `at` counts from the beginning of the drill."""

    name: str
    probes: tuple[Probe, ...]


def write_report(path: Path, record: DrillRecord, timelines: Sequence[Timeline]) -> None:
    """Write the file. Raises OSError where it can't be written."""
    path.write_text(render(record, timelines), encoding="utf-8")


def render(record: DrillRecord, timelines: Sequence[Timeline]) -> str:
    """The whole document."""
    verdict = "Everything came out as told." if record.passed else "Not everything came out as told."
    failures = "".join(f"<li>{html.escape(failure)}</li>" for failure in record.failures)
    facts = (
        f"{record.started_at:%Y-%m-%d %H:%M} UTC, {record.seconds:.1f} s, engine {html.escape(record.engine or 'none')}"
        f", image {html.escape(record.image or 'none')}. The agent is a script."
    )
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width">\n<title>Drill {html.escape(record.drill)}</title>\n'
        f"<style>{_STYLE}</style>\n<h1>Drill {html.escape(record.drill)}</h1>\n"
        f'<p class="soft">{facts}</p>\n<p class="verdict">{verdict}</p>\n'
        + (f"<ul>{failures}</ul>\n" if failures else "")
        + "<h2>Right answers, ten questions a second</h2>\n"
        + f'<div class="scroll">{timeline_svg(record, timelines)}</div>\n'
        + '<p class="soft">A mark above the line is a report that was served and right to the cent; one below is a '
        "failed or wrong answer.</p>\n" + _figures(record) + "".join(_act(act) for act in record.acts) + "</html>\n"
    )


def timeline_svg(record: DrillRecord, timelines: Sequence[Timeline]) -> str:
    """The availability of every production over the drill, with the acts behind it."""
    last = max((probe.at for line in timelines for probe in line.probes), default=1.0)
    span = max(last, *(act.start_s + act.seconds for act in record.acts), 1.0) if record.acts else max(last, 1.0)
    scale = (WIDTH - LEFT - RIGHT) / span
    height = TOP + ROW * len(timelines) + 30
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Availability over {span:.0f} seconds">',
        *_acts(record.acts, scale, height),
        *(part for number, line in enumerate(timelines) for part in _row(number, line, scale)),
        *_seconds(span, scale, height),
        "</svg>",
    ]
    return "\n".join(parts)


def _acts(acts: Sequence[Act], scale: float, height: int) -> Iterator[str]:
    for act in acts:
        left, width = LEFT + act.start_s * scale, max(act.seconds * scale, 1.0)
        band = "band" if act.number % 2 else "none"
        yield f'<rect class="{band}" fill="none" x="{left:.1f}" y="18" width="{width:.1f}" height="{height - 44}"/>'
        yield (
            f'<text x="{left + 4:.1f}" y="13" class="soft">Act {act.number}'
            f"<title>{html.escape(act.title)}</title></text>"
        )


def _row(number: int, line: Timeline, scale: float) -> Iterator[str]:
    middle = TOP + ROW * number + TICK_UP
    yield f'<text x="0" y="{middle + 4}">{html.escape(line.name)}</text>'
    yield f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{middle}" y2="{middle}"/>'
    for probe in line.probes:
        x = LEFT + probe.at * scale
        kind, y, tall = ("good", middle - TICK_UP, TICK_UP - 2) if probe.ok else ("bad", middle + 2, TICK_DOWN - 2)
        says = f"{probe.at:.1f} s: {probe.what}, {probe.latency_s * 1000:.0f} ms"
        yield (
            f'<rect class="{kind}" x="{x:.1f}" y="{y}" width="1.6" height="{tall}">'
            f"<title>{html.escape(says)}</title></rect>"
        )
    for outage in outages(line.probes):
        end = outage.end if outage.end is not None else line.probes[-1].at
        text = f"down {end - outage.start:.1f} s" + ("" if outage.end is not None else " and on")
        x = min(LEFT + outage.start * scale, WIDTH - RIGHT - 110)
        yield f'<text class="bad" x="{x:.1f}" y="{middle + TICK_DOWN + 14}">{text}</text>'


def _seconds(span: float, scale: float, height: int) -> Iterator[str]:
    step = next(step for step in (1, 2, 5, 10, 20, 60, 120, 600, 3600, 86400) if span / step <= 16)
    for second in range(0, int(span) + 1, step):
        yield f'<text class="soft" x="{LEFT + second * scale:.1f}" y="{height - 6}">{second} s</text>'


def _figures(record: DrillRecord) -> str:
    rows = "".join(
        f"<tr><td>{'' if index else html.escape(f'{act.number}. {act.title}')}</td><td>{html.escape(one.name)}</td>"
        f'<td class="figure">{html.escape(one.text)}</td></tr>\n'
        for act in record.acts
        for index, one in enumerate(act.measures)
    )
    return f"<h2>Measured</h2>\n<table><tr><th>act<th>what<th>measured</tr>\n{rows}</table>\n"


def _act(act: Act) -> str:
    rows = "".join(
        f"<tr><td>{step.at_s:.1f} s</td><td>{'as told' if step.ok else '<b>not as told</b>'}</td>"
        f"<td>{html.escape(step.told)}</td><td>{html.escape(step.came)}</td></tr>\n"
        for step in act.steps
    )
    title = html.escape(f"Act {act.number}. {act.title}")
    return f"<h2>{title}</h2>\n<table><tr><th>at<th><th>told<th>came</tr>\n{rows}</table>\n"
