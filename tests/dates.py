"""A clock that tests set: put into the one module where the product asks for the time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Self

from sandbox import clock


class SetClock:
    """The product's clock, standing still at `start + ahead`; put into the one module that asks for the time."""

    def __init__(self, start: datetime, ahead: timedelta = timedelta()) -> None:
        self.start = start
        self.ahead = ahead

    @contextmanager
    def installed(self) -> Iterator[Self]:
        real, dates = clock.datetime, self

        class Now(real):  # type: ignore[valid-type,misc]
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:
                assert tz is UTC
                return dates.start + dates.ahead

        clock.datetime = Now  # type: ignore[misc]
        try:
            yield self
        finally:
            clock.datetime = real  # type: ignore[misc]
