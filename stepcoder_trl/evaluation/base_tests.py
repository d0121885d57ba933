"""
Verdicts under the base tests of a benchmark that others extend, such as HumanEval in HumanEval+.

A problem whose column `num_base_tests` is `n` has the base tests first, `n` of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from stepcoder_trl.data.formats.common import BASE_TESTS
from stepcoder_trl.data.problems import Problem
from stepcoder_trl.evaluation.results import Evaluation
from stepcoder_trl.types import Outcome


def has_base_tests(problems: Sequence[Problem]) -> bool:
    """Return whether all problems say which of their tests are base tests."""
    return len(problems) > 0 and all(type(problem.columns.get(BASE_TESTS)) is int for problem in problems)


def base_passed(evaluation: Evaluation, problems: Sequence[Problem]) -> list[bool]:
    """Return for each sample whether it passed all base tests of its problem. `False` for one that was not run."""
    numbers = {problem.task_id: int(problem.columns[BASE_TESTS]) for problem in problems}
    return [
        sample.execution is not None
        and all(test.outcome is Outcome.PASSED for test in sample.execution.tests[: numbers[sample.task_id]])
        for sample in evaluation.samples
    ]
