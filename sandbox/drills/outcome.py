"""What a drill gave, as frozen records: acts, steps that came out as told or not, and measured figures."""

from __future__ import annotations

from datetime import datetime

from sandbox.records import Record


class Measure(Record):
    """One figure that was measured, never estimated."""

    name: str
    value: int | float
    unit: str
    """`s` for seconds, else what is counted; empty where the name says it."""
    says: str = ""

    @property
    def text(self) -> str:
        """The figure with its unit, as a person reads it."""
        shown = f"{self.value:.2f}" if isinstance(self.value, float) else f"{self.value}"
        return f"{shown} {self.unit}".strip() + (f" ({self.says})" if self.says else "")


class Step(Record):
    """One thing that was told beforehand, and what came of it."""

    told: str
    came: str
    ok: bool
    at_s: float
    """Seconds since the drill began."""


class Act(Record):
    number: int
    title: str
    steps: tuple[Step, ...] = ()
    measures: tuple[Measure, ...] = ()
    start_s: float
    seconds: float

    def measure(self, name: str) -> Measure:
        """The figure of that name. Raises KeyError."""
        for one in self.measures:
            if one.name == name:
                return one
        raise KeyError(name)


class DrillRecord(Record):
    drill: str
    engine: str
    image: str
    passed: bool
    failures: tuple[str, ...]
    """What did not come out as told; empty where everything did."""
    acts: tuple[Act, ...]
    started_at: datetime
    seconds: float
