"""Summary of an evaluation: pass@k with intervals, outcomes per difficulty, comparison of two runs."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from stepcoder_trl.data.problems import DIFFICULTIES, Problem
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.evaluation.base_tests import base_passed, has_base_tests
from stepcoder_trl.evaluation.results import EvaluatedSample, Evaluation
from stepcoder_trl.evaluation.sampling import Sample
from stepcoder_trl.executor import ExecutorConfig
from stepcoder_trl.metrics import bootstrap_interval, mcnemar_p_value, pass_at_k
from stepcoder_trl.types import Execution, Outcome


def summarize(evaluation: Evaluation, problems: Sequence[Problem], ks: Sequence[int], seed: int = 0) -> dict[str, Any]:
    """
    Return the figures of an evaluation as JSON values. `ks` are the values of `k` in pass@k.

    - `pass@k`: `value`, its 95 % interval over problems from `low` to `high` (see [`bootstrap_interval`]), and the
      number of `problems` with at least `k` executed samples. `None` if there is no such problem.
    - `strict_accuracy`: share of samples that pass every test.
    - `test_case_average`: share of tests passed, averaged over samples of a problem, then over problems (APPS).
    - `outcomes`: share of each outcome among the samples of a difficulty.
    - `difficulties`: number of `problems` of a difficulty, and their `pass@k`.
    - `base`: `pass@k` under the base tests, if all problems say which these are, as those of EvalPlus do.

    Samples that the sandbox failed to run count only in `infrastructure_errors`. If no problem has enough samples for
    a `k`, a `BadInputError` is raised.
    """
    check_sample_counts(ks, evaluation.samples)
    counts = evaluation.counts()
    run = [sample for sample in evaluation.samples if sample.execution is not None]
    return {
        "problems": len(counts),
        "samples": len(evaluation.samples),
        "infrastructure_errors": evaluation.infrastructure_errors,
        "untrusted_passes": sum(sample.passed and not sample.execution.trusted for sample in run if sample.execution),
        **{f"pass@{k}": _pass_at_k(counts, k, seed) for k in ks},
        "strict_accuracy": fmean(sample.passed for sample in run) if run else None,
        "test_case_average": _test_case_average(run),
        "outcomes": _outcomes_by_difficulty(evaluation, problems),
        "difficulties": _by_difficulty(counts, problems, ks, seed),
        **_base(evaluation, problems, ks, seed),
    }


def figures_by_file(
    evaluation: Evaluation, problems: Sequence[Problem], files: Mapping[str, str], ks: Sequence[int], seed: int = 0
) -> dict[str, dict[str, Any]]:
    """
    Return the number of `problems` and `pass@k` of each file of problems, with those under `base` tests if it has any.

    `files` names the file of each `task_id`. A file without a sample is left out. See [`summarize`].
    """
    found: dict[str, dict[str, Any]] = {}
    for file in dict.fromkeys(files.values()):
        part = [problem for problem in problems if files[problem.task_id] == file]
        of_part = Evaluation(tuple(sample for sample in evaluation.samples if files[sample.task_id] == file))
        counts = of_part.counts()
        if counts:
            found[file] = {"problems": len(counts), **{f"pass@{k}": _pass_at_k(counts, k, seed) for k in ks}}
            found[file].update(_base(of_part, part, ks, seed))
    return found


def limits_of(config: ExecutorConfig) -> dict[str, Any]:
    """Return the limits under which programs were run, as JSON values. They belong to every figure."""
    program_s = config.program_timeout_s
    return {
        "timeout_s": config.timeout_s,
        "program_timeout_s": "timeout_s per test" if program_s == math.inf else program_s,
        "memory_limit_bytes": config.memory_limit_bytes,
        "float_tolerance": config.float_tolerance,
    }


def check_sample_counts(ks: Sequence[int], samples: Sequence[Sample | EvaluatedSample]) -> None:
    """Raise a `BadInputError` if no problem has enough samples for a `k` of pass@k."""
    most = max(Counter(sample.task_id for sample in samples).values(), default=0)
    if max(ks, default=0) > most:
        raise BadInputError(
            f"pass@{max(ks)} needs {max(ks)} samples of a problem, but there are at most {most}. Draw more, or ask "
            "for a smaller k."
        )


def _pass_at_k(counts: Mapping[str, tuple[int, int]], k: int, seed: int) -> dict[str, Any] | None:
    values = [pass_at_k(n, c, k) for n, c in counts.values() if n >= k]
    if not values:
        return None
    interval = bootstrap_interval(values, seed)
    return {"value": fmean(values), "low": interval.low, "high": interval.high, "problems": len(values)}


def _base(evaluation: Evaluation, problems: Sequence[Problem], ks: Sequence[int], seed: int) -> dict[str, Any]:
    if not has_base_tests(problems):
        return {}
    counts: dict[str, tuple[int, int]] = {}
    for sample, passed in zip(evaluation.samples, base_passed(evaluation, problems), strict=True):
        if sample.execution is not None:
            n, c = counts.get(sample.task_id, (0, 0))
            counts[sample.task_id] = (n + 1, c + passed)
    return {"base": {f"pass@{k}": _pass_at_k(counts, k, seed) for k in ks}}


def _by_difficulty(
    counts: Mapping[str, tuple[int, int]], problems: Sequence[Problem], ks: Sequence[int], seed: int
) -> dict[str, dict[str, Any]]:
    difficulty = {problem.task_id: problem.difficulty or "unknown" for problem in problems}
    own = sorted({*difficulty.values()} - {*DIFFICULTIES, "unknown"})
    found: dict[str, dict[str, tuple[int, int]]] = {name: {} for name in (*DIFFICULTIES, *own, "unknown")}
    for task_id, count in counts.items():
        found[difficulty[task_id]][task_id] = count
    return {
        name: {"problems": len(part), **{f"pass@{k}": _pass_at_k(part, k, seed) for k in ks}}
        for name, part in found.items()
        if part
    }


def _test_case_average(run: Sequence[EvaluatedSample]) -> float | None:
    shares: dict[str, list[float]] = defaultdict(list)
    for sample in run:
        if sample.execution is not None:
            shares[sample.task_id].append(sample.execution.num_passed / len(sample.execution.tests))
    return fmean(map(fmean, shares.values())) if shares else None


def _outcomes_by_difficulty(evaluation: Evaluation, problems: Sequence[Problem]) -> dict[str, dict[str, float]]:
    """Return the share of each outcome, as in Figure 4 of the paper, among the samples of each difficulty and all."""
    difficulty = {problem.task_id: problem.difficulty or "unknown" for problem in problems}
    own = sorted({*difficulty.values()} - {*DIFFICULTIES, "unknown", "all"})
    counts: dict[str, Counter[str]] = {name: Counter() for name in (*DIFFICULTIES, *own, "unknown", "all")}
    for sample in evaluation.samples:
        if sample.execution is not None:
            for name in (difficulty[sample.task_id], "all"):
                counts[name][sample.execution.outcome.value] += 1
    return {
        name: {outcome.value: found[outcome.value] / found.total() for outcome in Outcome}
        for name, found in counts.items()
        if found
    }


def result_rows(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file of results: one per sample, in order."""
    numbers: Counter[str] = Counter()
    for sample in evaluation.samples:
        execution = sample.execution
        yield {
            "task_id": sample.task_id,
            "sample": numbers[sample.task_id],
            "passed": None if execution is None else sample.passed,
            "outcome": None if execution is None else execution.outcome.value,
            "tests_passed": None if execution is None else execution.num_passed,
            "tests": None if execution is None else len(execution.tests),
            "trusted": None if execution is None else execution.trusted,
            "message": sample.error if execution is None else _first_message(execution),
        }
        numbers[sample.task_id] += 1


def _first_message(execution: Execution) -> str:
    return next((test.message for test in execution.tests if test.outcome is not Outcome.PASSED), "")


def compare_runs(first: Iterable[Mapping[str, Any]], second: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """
    Compare two runs on the problems that both have executed, with McNemar's exact test.

    The arguments are rows of files of results. Only the first sample of each problem is compared, because further
    samples are not independent of it. If the runs have no problem in common, a `BadInputError` is raised.
    """
    verdicts = [
        {row["task_id"]: bool(row["passed"]) for row in rows if row["sample"] == 0 and row["passed"] is not None}
        for rows in (first, second)
    ]
    common = verdicts[0].keys() & verdicts[1].keys()
    if not common:
        raise BadInputError("The two runs have no scored problem in common. Compare runs on the same problems.")
    pairs = Counter((verdicts[0][task_id], verdicts[1][task_id]) for task_id in common)
    only_first, only_second = pairs[True, False], pairs[False, True]
    return {
        "problems": len(common),
        "both": pairs[True, True],
        "only_first": only_first,
        "only_second": only_second,
        "neither": pairs[False, False],
        "p_value": mcnemar_p_value(only_first, only_second),
    }
