"""pass@k with intervals, McNemar's test, and lines that benchmarks share with training data."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.parsing import line_spans


@dataclass(frozen=True)
class Interval:
    """Confidence interval; both ends belong to it."""

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


def mean_pass_at_k(counts: Iterable[tuple[int, int]], k: int) -> float:
    """
    Return the mean of pass@k over problems.

    Args:
        counts (`Iterable[tuple[int, int]]`):
            `(n, c)` of each problem: samples drawn, samples that passed.
        k (`int`):
            Budget.

    Raises:
        BadInputError: If there is no problem, or the numbers of one do not fit together.
    """
    values = [pass_at_k(n, c, k) for n, c in counts]
    if not values:
        raise BadInputError("`counts` is empty. Pass `(n, c)` of at least one problem.")
    return fmean(values)


def bootstrap_interval(
    values: Sequence[float], seed: int, confidence: float = 0.95, resamples: int = 10_000
) -> Interval:
    """
    Return a Bayesian bootstrap interval of the mean of per-problem values in [0, 1], such as pass@k.

    The values, and half an observation each of 0 and of 1, get random weights, `resamples` times. The interval holds
    the middle of the weighted means, and the mean itself. Its width is never zero: 0 of 82 solved problems do not
    prove that the true rate is 0. For values that are 0 or 1 it equals Jeffreys' interval of a proportion.

    Args:
        values (`Sequence[float]`):
            One value per problem, at least one, each in [0, 1].
        seed (`int`):
            Seed of the weights.
        confidence (`float`, *optional*, defaults to `0.95`):
            Probability that the interval covers, in (0, 1).
        resamples (`int`, *optional*, defaults to `10_000`):
            Number of weightings.

    Raises:
        BadInputError: If there is no value, one is not in [0, 1], there is no resample, or `confidence` is not in
            (0, 1).

    Source: Rubin, The Bayesian bootstrap, Annals of Statistics 9 (1981); Brown, Cai and DasGupta, Interval estimation
    for a binomial proportion, Statistical Science 16 (2001).
    """
    if not 0 < confidence < 1:
        raise BadInputError(f"`confidence` is {confidence}, but must be in (0, 1). Write 0.95 for 95%.")
    if not values or resamples < 1:
        raise BadInputError(f"{len(values)} `values` and {resamples} `resamples`, but at least one of each is needed.")
    if not all(0 <= value <= 1 for value in values):
        raise BadInputError(f"`values` reach from {min(values)} to {max(values)}, but must be in [0, 1].")
    shapes = {value: float(count) for value, count in Counter(values).items()}
    for bound in (0.0, 1.0):
        shapes[bound] = shapes.get(bound, 0.0) + 0.5
    rng = random.Random(seed)
    means = sorted(_weighted_mean(shapes, rng) for _ in range(resamples))
    tail, mean = (1 - confidence) / 2, fmean(values)
    return Interval(min(_quantile(means, tail), mean), max(_quantile(means, 1 - tail), mean))


def _weighted_mean(shapes: Mapping[float, float], rng: random.Random) -> float:
    """Return the mean under Dirichlet weights. The weights of equal observations add up to a gamma variate."""
    weights = [rng.gammavariate(shape, 1.0) for shape in shapes.values()]
    return math.fsum(value * weight for value, weight in zip(shapes, weights, strict=True)) / math.fsum(weights)


def mcnemar_p_value(only_first: int, only_second: int) -> float:
    """
    Return the two-sided p-value of McNemar's exact test for two systems on the same problems.

    Args:
        only_first (`int`):
            Number of problems that only the first system solves.
        only_second (`int`):
            Number of problems that only the second system solves.

    Returns:
        `float`: Probability, if both were equally good, that the two numbers differ at least as much; in [0, 1].

    Raises:
        BadInputError: If a number is negative.

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
    """
    Number of lines that one solution shares with others.

    Attributes:
        lines (`int`): Counted lines of the solution.
        duplicated (`int`): Counted lines that also occur in the other solutions.
    """

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

    Args:
        benchmark (`Sequence[str]`):
            Solutions of the benchmark's problems.
        train (`Sequence[str]`):
            Solutions in the training data.

    Returns:
        `tuple[list[LineOverlap], list[LineOverlap]]`: One overlap per benchmark solution, one per training solution.

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
