"""How programs are spread over hosts: who gets the next batch, and how large it is. benchmarks/scaling.py chose it."""

from __future__ import annotations

from collections.abc import Iterable


MAX_BATCH = 64
_BATCHES_PER_WORKER = 8
_QUEUED_PER_WORKER = 2


def batch_size(num_waiting: int, num_workers: int) -> int:
    """
    Return how many programs the next batch has, given the workers of all hosts.

    Batches are large while much waits, which saves messages, and single programs at the end, so that no host still has
    a queue when the others have none.
    """
    return min(MAX_BATCH, max(1, num_waiting // (_BATCHES_PER_WORKER * max(1, num_workers))))


def has_room(num_running: int, num_workers: int, size: int) -> bool:
    """Whether a host gets another batch of `size`: its workers have too little to run until the next one arrives."""
    return num_running < _QUEUED_PER_WORKER * num_workers + size


def least_busy(loads: Iterable[tuple[int, int]]) -> int | None:
    """Return the index of the host with the fewest programs per worker, of pairs (programs, workers)."""
    ranks = [(programs / workers, index) for index, (programs, workers) in enumerate(loads)]
    return min(ranks)[1] if ranks else None
