from __future__ import annotations

import math
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.metrics import (
    LineOverlap,
    bootstrap_interval,
    line_overlaps,
    mcnemar_p_value,
    pass_at_k,
)


@given(n=st.integers(1, 8), data=st.data())
def test_pass_at_k_is_share_of_subsets_with_a_pass(n, data):
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    subsets = list(combinations([True] * c + [False] * (n - c), k))

    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


@pytest.mark.parametrize(
    ("n", "c", "k", "value"),
    [(1, 0, 1, 0), (1, 1, 1, 1), (10, 3, 1, 0.3), (5, 2, 2, 0.7), (200, 1, 100, 0.5), (4, 1, 4, 1)],
)
def test_pass_at_k_of_known_counts(n, c, k, value):
    assert pass_at_k(n, c, k) == pytest.approx(value)


@given(n=st.integers(2, 300), data=st.data())
def test_pass_at_k_grows_with_c_and_k_and_is_in_0_to_1(n, data):
    c, k = data.draw(st.integers(0, n - 1)), data.draw(st.integers(1, n - 1))

    assert 0 <= pass_at_k(n, c, k) <= pass_at_k(n, c + 1, k) + 1e-12 <= 1 + 1e-9
    assert pass_at_k(n, c, k) <= pass_at_k(n, c, k + 1) + 1e-12


@pytest.mark.parametrize(("n", "c", "k"), [(1, 0, 2), (5, 6, 1), (5, -1, 1), (5, 1, 0), (0, 0, 1)])
def test_invalid_counts_raise(n, c, k):
    with pytest.raises(BadInputError, match="must be from"):
        pass_at_k(n, c, k)


def test_bootstrap_interval_depends_only_on_seed():
    values = [math.sqrt(n) / 7 for n in range(50)]

    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)


# Quantiles of Beta(solved + 1/2, problems - solved + 1/2), to three places.
@pytest.mark.parametrize(
    ("solved", "problems", "low", "high"),
    [(0, 10, 0.0, 0.217), (1, 10, 0.011, 0.381), (5, 10, 0.224, 0.776), (10, 10, 0.783, 1.0), (0, 82, 0.0, 0.030)],
)
def test_bootstrap_interval_of_zeros_and_ones_is_jeffreys_interval(solved, problems, low, high):
    interval = bootstrap_interval([1.0] * solved + [0.0] * (problems - solved), seed=0)

    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.012)


@given(values=st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.999, 1.0]), min_size=1, max_size=20))
def test_bootstrap_interval_contains_mean_and_has_width(values):
    interval = bootstrap_interval(values, seed=0, resamples=200)

    assert 0 <= interval.low <= sum(values) / len(values) + 1e-12
    assert sum(values) / len(values) - 1e-12 <= interval.high <= 1
    assert interval.low < interval.high


def test_bootstrap_interval_of_many_values_equals_normal_interval():
    interval = bootstrap_interval([0.0, 1.0] * 200, seed=0)

    # Standard error 0.025.
    assert (interval.low, interval.high) == pytest.approx((0.451, 0.549), abs=0.01)


@pytest.mark.parametrize(
    "call",
    [
        lambda: bootstrap_interval([], seed=0),
        lambda: bootstrap_interval([1.0], seed=0, resamples=0),
        lambda: bootstrap_interval([2.0], seed=0),
    ],
)
def test_invalid_values_for_interval_raise(call):
    with pytest.raises(BadInputError):
        call()


def test_mcnemar_p_values_of_known_counts():
    # Heads at most once in 6 tosses, or at least 5 times: 2 (1 + 6) / 64.
    assert mcnemar_p_value(1, 5) == mcnemar_p_value(5, 1) == pytest.approx(14 / 64)
    assert mcnemar_p_value(0, 0) == 1.0
    assert mcnemar_p_value(3, 3) == 1.0
    with pytest.raises(BadInputError):
        mcnemar_p_value(-1, 2)


def test_line_overlap_ignores_common_lines():
    benchmark = ["a = 1\nreturn x\n", "b = 2\n    c = 3\n\nreturn x", "return x\r\nd = 4", "return x"]
    train = ["    a = 1\nc = 3\nc = 3\ne = 5", "return x\n"]

    of_benchmark, of_train = line_overlaps(benchmark, train)

    assert [overlap.share for overlap in of_benchmark] == [1.0, 0.5, 0.0, None]
    assert of_train == [LineOverlap(4, 3), LineOverlap(0, 0)]
