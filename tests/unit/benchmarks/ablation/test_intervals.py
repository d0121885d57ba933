"""Intervals and tests for paired runs."""

from __future__ import annotations

import math

import pytest

from benchmarks.ablation.intervals import area, estimate, p_of_signs, p_of_t, paired_difference, t_quantile, t_within


@pytest.mark.parametrize(
    ("freedom", "bound"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (9, 2.2622), (10, 2.2281), (30, 2.0423)],
)
def test_t_quantiles_match_published_tables(freedom, bound):
    assert t_quantile(freedom) == pytest.approx(bound, abs=1e-4)


def test_t_with_one_degree_of_freedom_is_cauchy():
    assert t_within(1.0, 1) == pytest.approx(0.5)
    assert t_within(0.0, 7) == 0.0


def test_t_with_two_degrees_of_freedom_matches_closed_form():
    assert t_within(1.5, 2) == pytest.approx(1.5 / math.sqrt(2 + 1.5**2))


def test_interval_of_three_values():
    found = estimate([1.0, 2.0, 3.0])

    assert (found.mean, found.n) == (2.0, 3)
    assert found.high - 2.0 == pytest.approx(4.3027 / math.sqrt(3), abs=1e-4)


def test_single_value_has_no_interval():
    assert math.isnan(estimate([0.5]).low)


def test_paired_difference_of_five_seeds():
    found = paired_difference([1, 2, 3, 4, 5], [0, 1, 1, 3, 3])

    # Differences 1, 1, 2, 1, 2: mean 1.4, standard error 0.2449, t 5.715.
    assert found.mean == pytest.approx(1.4)
    assert found.above == 5
    assert found.p_t == pytest.approx(0.00464, abs=1e-5)
    assert found.p_signs == 2 / 32


def test_differences_that_cancel_give_p_of_one():
    assert p_of_signs([1.0, -1.0]) == 1.0
    assert p_of_t([1.0, -1.0]) == pytest.approx(1.0)
    assert math.isnan(p_of_t([0.0, 0.0]))


def test_area_is_mean_height_of_curve():
    curve = [(0.0, 0.0), (2.0, 1.0), (4.0, 1.0)]

    assert area(curve, 4.0) == pytest.approx(0.75)
    assert area(curve, 1.0) == pytest.approx(0.25)
    assert area(curve, 8.0) == pytest.approx(0.875)
