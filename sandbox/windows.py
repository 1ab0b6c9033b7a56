"""Times in which nothing is promoted: whether one of a policy's windows is open at a moment, in UTC.

Pure: it is told what time it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from sandbox.spec import DAYS, DenyWindow

_MINUTES_A_DAY = 24 * 60


def closed(windows: Iterable[DenyWindow], now: datetime) -> DenyWindow | None:
    """The first of the windows that `now` is in; None where promotions may go on."""
    at = now.astimezone(UTC)
    return next((window for window in windows if _holds(window, at)), None)


def _holds(window: DenyWindow, at: datetime) -> bool:
    if window.recurs:
        return any(_recurring(window, at, day) for day in (at, at - timedelta(days=1)))
    return _instant(window.start) <= at < _instant(window.end)


def _recurring(window: DenyWindow, at: datetime, day: datetime) -> bool:
    """Whether `at` is in the window that starts on the day of `day`; one that ends before it starts goes on past
    midnight, and belongs to the day on which it started."""
    if window.days and DAYS[day.weekday()] not in window.days:
        return False
    midnight = day.replace(hour=0, minute=0, second=0, microsecond=0)
    start, end = _minutes(window.start), _minutes(window.end)
    if end <= start:
        end += _MINUTES_A_DAY
    return midnight + timedelta(minutes=start) <= at < midnight + timedelta(minutes=end)


def _minutes(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


def _instant(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
