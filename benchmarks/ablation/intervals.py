"""Means, intervals and tests for a few paired runs. The formulas are short and exact, so SciPy is not needed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev


@dataclass(frozen=True)
class Estimate:
    """Mean of `n` independent values, with its 95 % interval by Student's t: NaN for fewer than two values."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Difference(Estimate):
    """Mean of paired differences."""

    p_t: float  # two-sided, of the paired t-test
    p_signs: float  # two-sided, of the exact permutation test of the signs; with n pairs at least 2 / 2**n
    above: int  # pairs whose difference is above 0


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of at least one independent value, with its 95 % interval."""
    mean, half = fmean(values), _half_width(values)
    return Estimate(mean, mean - half, mean + half, len(values))


def paired_difference(values: Sequence[float], others: Sequence[float]) -> Difference:
    """Return the mean of the pairwise differences `values - others`."""
    gaps = [value - other for value, other in zip(values, others, strict=True)]
    mean, half = fmean(gaps), _half_width(gaps)
    above = sum(gap > 0 for gap in gaps)
    return Difference(mean, mean - half, mean + half, len(gaps), p_of_t(gaps), p_of_signs(gaps), above)


def _half_width(values: Sequence[float]) -> float:
    if len(values) < 2:
        return math.nan
    return t_quantile(len(values) - 1) * stdev(values) / math.sqrt(len(values))


def p_of_t(gaps: Sequence[float]) -> float:
    """Return the two-sided p of Student's t-test for mean 0. NaN for fewer than two values, or if all are 0."""
    if len(gaps) < 2:
        return math.nan
    spread, mean = stdev(gaps) / math.sqrt(len(gaps)), fmean(gaps)
    if spread == 0:
        return 0.0 if mean else math.nan
    return 1 - t_within(abs(mean) / spread, len(gaps) - 1)


def p_of_signs(gaps: Sequence[float]) -> float:
    """
    Return the two-sided p of the permutation test of the signs, for up to 20 differences.

    It is the share of all sign assignments with a sum at least as far from 0 as the observed one.
    """
    sums = [abs(sum(signed)) for signed in itertools.product(*((gap, -gap) for gap in gaps))]
    return sum(total >= sums[0] * (1 - 1e-12) for total in sums) / len(sums)


def t_quantile(freedom: int, within: float = 0.95) -> float:
    """Return the t for which Student's t lies in [-t, t] with a given probability."""
    low, high = 0.0, 1.0
    while t_within(high, freedom) < within:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if t_within(middle, freedom) < within else (low, middle)
    return high


def t_within(t: float, freedom: int) -> float:
    """
    Return the probability that Student's t with at least one degree of freedom lies between `-t` and `t`.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(freedom))
    sine, square = math.sin(angle), math.cos(angle) ** 2
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for power in range(odd, freedom - 1, 2):
        total += term
        term *= square * (power + 1) / (power + 2)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def area(points: Sequence[tuple[float, float]], end: float) -> float:
    """Return the mean height of a piecewise linear curve up to `end`. Beyond its last point the curve is constant."""
    curve = [*points, (max(end, points[-1][0]), points[-1][1])]
    total = 0.0
    for (x, y), (later, height) in itertools.pairwise(curve):
        if x >= end or later <= x:
            continue
        stop = min(later, end)
        reached = y + (height - y) * (stop - x) / (later - x)
        total += (stop - x) * (y + reached) / 2
    return total / (end - points[0][0])
