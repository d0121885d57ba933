"""Spreading programs over hosts."""

from __future__ import annotations

import pytest

from stepcoder_trl.executor.ray.policy import MAX_BATCH, batch_size, has_room, least_busy


@pytest.mark.parametrize(
    ("waiting", "workers", "size"),
    [(1, 1, 1), (8192, 16, 64), (8192, 128, 8), (8192, 2048, 1), (1, 2048, 1), (10**6, 1, MAX_BATCH), (5, 0, 1)],
)
def test_batches_are_large_only_while_much_waits(waiting, workers, size):
    assert batch_size(waiting, workers) == size


def test_a_host_gets_a_batch_until_it_has_two_programs_per_worker():
    assert has_room(7, 4, size=1)
    assert has_room(8, 4, size=1)
    assert not has_room(9, 4, size=1)
    assert has_room(0, 1, size=MAX_BATCH)


def test_the_least_busy_host_has_the_fewest_programs_per_worker():
    assert least_busy([(4, 2), (6, 4), (3, 1)]) == 1
    assert least_busy([(2, 2), (4, 4)]) == 0
    assert least_busy([]) is None
