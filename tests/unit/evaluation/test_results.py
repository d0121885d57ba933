from __future__ import annotations

from stepcoder_trl.evaluation import EvaluatedSample, Evaluation
from stepcoder_trl.types import Execution, Outcome


def sample(task_id, outcome):
    run = outcome and Execution(outcome, (), frozenset(), frozenset(), 0.0, True)
    return EvaluatedSample(task_id, "", "", run, error="" if outcome else "disk full")


def test_pass_at_1_is_mean_over_problems():
    passed, failed = Outcome.PASSED, Outcome.FAILED
    evaluation = Evaluation((sample("a", passed), sample("a", failed), sample("b", failed), sample("b", failed)))

    assert evaluation.counts() == {"a": (2, 1), "b": (2, 0)}
    assert evaluation.pass_at_1 == 0.25


def test_sample_with_sandbox_error_is_not_counted():
    evaluation = Evaluation((sample("a", Outcome.PASSED), sample("a", None), sample("b", None)))

    assert evaluation.counts() == {"a": (1, 1), "b": (0, 0)}
    assert evaluation.pass_at_1 == 1.0
    assert evaluation.infrastructure_errors == 2
    assert Evaluation(()).pass_at_1 == 0.0
