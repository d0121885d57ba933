"""Time of a sitting, which ends before a piece of work that would not fit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar


T = TypeVar("T")


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
