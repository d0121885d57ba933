"""Time of a sitting: long work stops in it and goes on in the next."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar


T = TypeVar("T")


class TimeIsOver(Exception):
    """The sitting ended before everything was done."""


class Sitting:
    """Time of this call. `clock` returns seconds."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._end_s = clock, clock() + seconds

    def left_s(self) -> float:
        """Return the seconds that are left, or raise `TimeIsOver`."""
        left_s = self._end_s - self._clock()
        if left_s <= 0:
            raise TimeIsOver
        return left_s


def in_time(items: Iterable[T], seconds: float, clock: Callable[[], float] = time.monotonic) -> Iterator[T]:
    """
    Yield items while there is time for one that takes as long as the longest so far.

    An item takes the time until the next one is asked for. The first is yielded if there is any time.
    """
    begun_s, longest_s = clock(), 0.0
    for item in items:
        start_s = clock()
        if start_s - begun_s + longest_s > seconds:
            return
        yield item
        longest_s = max(longest_s, clock() - start_s)
