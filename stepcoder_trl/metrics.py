"""pass@k with intervals, McNemar's test, and lines that benchmarks share with training data."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.parsing import line_spans


_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """Interval that includes both ends."""

    low: float
    high: float


def pass_at_k(n: int, c: int, k: int) -> float:
    """
    Return an unbiased estimate of the probability that at least one of `k` samples passes.

    Args:
        n (`int`):
            Number of samples drawn, at least `k`.
        c (`int`):
            Number of them that passed, from 0 to `n`.
        k (`int`):
            Budget, at least 1.

    Returns:
        `float`: `1 - prod(1 - k / i)` for `i` from `n - c + 1` to `n`; in [0, 1].

    Raises:
        BadInputError: If the numbers do not fit together.

    Source: Chen et al. (arXiv:2107.03374), section 2.1.
    """
    if not 1 <= k <= n:
        raise BadInputError(f"`k` is {k}, but must be from 1 to `n` = {n}. Draw at least `k` samples per problem.")
    if not 0 <= c <= n:
        raise BadInputError(f"`c` is {c}, but must be from 0 to `n` = {n}.")
    if n - c < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(n - c + 1, n + 1))


def bootstrap_interval(values: Sequence[float], seed: int, resamples: int = 10_000) -> Interval:
    """
    Return a 95 % Bayesian bootstrap interval of the mean of per-problem values in [0, 1], such as pass@k.

    The values, and half an observation each of 0 and of 1, get random weights, `resamples` times. The interval holds
    the middle of the weighted means, and the mean itself. Its width is never zero: 0 of 82 solved problems do not
    prove that the true rate is 0. For values that are 0 or 1 it equals Jeffreys' interval of a proportion.

    Source: Rubin, The Bayesian bootstrap, Annals of Statistics 9 (1981); Brown, Cai and DasGupta, Interval estimation
    for a binomial proportion, Statistical Science 16 (2001).
    """
    if not values or resamples < 1:
        raise BadInputError(f"{len(values)} `values` and {resamples} `resamples`, but at least one of each is needed.")
    if not all(0 <= value <= 1 for value in values):
        raise BadInputError(f"`values` reach from {min(values)} to {max(values)}, but must be in [0, 1].")
    shapes = {value: float(count) for value, count in Counter(values).items()}
    for bound in (0.0, 1.0):
        shapes[bound] = shapes.get(bound, 0.0) + 0.5
    rng = random.Random(seed)
    means = sorted(_weighted_mean(shapes, rng) for _ in range(resamples))
    tail, mean = (1 - _CONFIDENCE) / 2, fmean(values)
    return Interval(min(_quantile(means, tail), mean), max(_quantile(means, 1 - tail), mean))


def _weighted_mean(shapes: Mapping[float, float], rng: random.Random) -> float:
    """Return the mean under Dirichlet weights. The weights of equal observations add up to a gamma variate."""
    weights = [rng.gammavariate(shape, 1.0) for shape in shapes.values()]
    return math.fsum(value * weight for value, weight in zip(shapes, weights, strict=True)) / math.fsum(weights)


def mcnemar_p_value(only_first: int, only_second: int) -> float:
    """
    Return the two-sided p-value of McNemar's exact test for two systems on the same problems.

    The arguments count the problems that only the first, and only the second system solves. The p-value is the
    probability, if both were equally good, that the two numbers differ at least as much.

    Source: McNemar, Psychometrika 12 (1947); exact form by the binomial distribution.
    """
    if min(only_first, only_second) < 0:
        raise BadInputError(f"{only_first} and {only_second} problems, but a number of problems is not negative.")
    total = only_first + only_second
    tail = sum(math.comb(total, count) for count in range(min(only_first, only_second) + 1))
    return float(min(1.0, 2 * tail / 2**total))


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Return the quantile of a sorted sequence, interpolated linearly."""
    position = share * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (position - low) * (ordered[high] - ordered[low])


def code_lines(program: str) -> list[str]:
    """Return the lines of a program, stripped, without blank lines."""
    lines = (program[start:end].strip() for start, end in line_spans(program))
    return [line for line in lines if line]


@dataclass(frozen=True)
class LineOverlap:
    """Number of counted lines of one solution, and number of those that also occur in other solutions."""

    lines: int
    duplicated: int

    @property
    def share(self) -> float | None:
        """Share of duplicated lines in [0, 1]; `None` if no line is counted."""
        return self.duplicated / self.lines if self.lines else None


def line_overlaps(benchmark: Sequence[str], train: Sequence[str]) -> tuple[list[LineOverlap], list[LineOverlap]]:
    """
    Count the lines that each benchmark solution shares with the training solutions, and the other way round.

    Lines are compared stripped. Lines that occur more than twice in the benchmark (`return`, `continue`, ...) are not
    counted in either direction.

    Paper: StepCoder (arXiv:2402.01391), Figure 3; rule of Austin et al. (arXiv:2108.07732).
    """
    of_benchmark, of_train = ([code_lines(program) for program in programs] for programs in (benchmark, train))
    occurrences = Counter(line for lines in of_benchmark for line in lines)
    common = {line for line, count in occurrences.items() if count > 2}
    in_train = {line for lines in of_train for line in lines}
    return (
        [_overlap(lines, common, in_train) for lines in of_benchmark],
        [_overlap(lines, common, occurrences) for lines in of_train],
    )


def _overlap(lines: Sequence[str], common: Container[str], others: Container[str]) -> LineOverlap:
    counted = [line for line in lines if line not in common]
    return LineOverlap(len(counted), sum(line in others for line in counted))
