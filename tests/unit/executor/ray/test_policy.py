"""Spreading programs over hosts."""

from __future__ import annotations

from stepcoder_trl.executor.ray.policy import has_room, least_busy


def test_a_host_gets_programs_until_it_has_two_per_worker():
    assert has_room(0, 4)
    assert has_room(7, 4)
    assert not has_room(8, 4)


def test_the_least_busy_host_has_the_fewest_programs_per_worker():
    assert least_busy([(4, 2), (6, 4), (3, 1)]) == 1
    assert least_busy([(2, 2), (4, 4)]) == 0
    assert least_busy([]) is None
