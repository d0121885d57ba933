"""Spreading programs over hosts: one at a time, to the least busy. benchmarks/scaling.py compares other ways."""

from __future__ import annotations

from collections.abc import Iterable


_QUEUED_PER_WORKER = 2


def has_room(num_running: int, num_workers: int) -> bool:
    """Whether a host gets another program: its workers would have too little to run until the next one arrives."""
    return num_running < _QUEUED_PER_WORKER * num_workers


def least_busy(loads: Iterable[tuple[int, int]]) -> int | None:
    """Return the index of the host with the fewest programs per worker, of pairs (programs, workers)."""
    ranks = [(programs / workers, index) for index, (programs, workers) in enumerate(loads)]
    return min(ranks)[1] if ranks else None
