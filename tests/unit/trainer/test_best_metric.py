"""The metric that the best checkpoint is chosen by."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.trainer.best_metric import best_metric_name, settle_best_metric


@pytest.mark.parametrize(
    ("given", "metrics", "name"),
    [
        (None, {"eval_a_pass@1": 1.0, "eval_b_pass@1": 0.0}, "eval_a_pass@1"),
        (None, {"eval_objective/scores": 1.0}, "eval_objective/scores"),
        (None, {"eval_runtime": 1.0}, None),
        ("pass@1", {"eval_pass@1": 1.0}, "eval_pass@1"),
        ("pass@1", {"eval_executor/infrastructure_errors": 2.0}, None),
    ],
)
def test_metric_for_the_best_model(given, metrics, name):
    assert best_metric_name(given, metrics) == name


def test_unknown_metric_is_refused():
    with pytest.raises(BadInputError, match="'loss', but an evaluation measures eval_pass@1"):
        best_metric_name("loss", {"eval_pass@1": 1.0})


TESTED, UNTESTED = [SimpleNamespace(tests={})], [SimpleNamespace(tests=None)]


@pytest.mark.parametrize(
    ("given", "sets", "name"),
    [
        ("pass@1", {"": TESTED}, "pass@1"),
        ("pass@1", {"": UNTESTED}, "reward"),
        ("eval_pass@1", {"easy": TESTED, "hard": TESTED}, "easy_pass@1"),
        ("pass@1", {"easy": UNTESTED, "hard": TESTED}, "easy_reward"),
        ("eval_hard_pass@1", {"easy": TESTED, "hard": TESTED}, "eval_hard_pass@1"),
        ("loss", {"": TESTED}, "loss"),
        (None, {"easy": TESTED}, None),
        ("loss", {}, "loss"),
    ],
)
def test_metric_fits_the_sets(given, sets, name):
    args = SimpleNamespace(metric_for_best_model=given)

    settle_best_metric(args, sets, without_tests="reward")

    assert args.metric_for_best_model == name


def test_metric_of_none_of_several_sets_is_refused():
    args = SimpleNamespace(metric_for_best_model="reward")

    with pytest.raises(BadInputError, match=r"have their names: easy, hard\. Write for example 'eval_easy_reward'"):
        settle_best_metric(args, {"easy": TESTED, "hard": TESTED}, without_tests="reward")
