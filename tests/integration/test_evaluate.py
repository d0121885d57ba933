"""Evaluation during training: pass@k from scratch, the best checkpoint, and no effect on training."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import EarlyStoppingCallback, TrainerCallback

from stepcoder_trl import StepCoderPPOTrainer
from stepcoder_trl.errors import BadInputError, SandboxError
from stepcoder_trl.evaluation.generation import generate
from stepcoder_trl.trainer.metric_table import EVALUATION_METRICS
from tests.integration.helpers import RIGHT, UNPARSABLE, WRONG, logged, parameters, unreliable
from tests.integration.upstream import token_rows


pytestmark = pytest.mark.sandbox


@pytest.fixture
def make(make_trainer, problems):
    """Return a function that makes a trainer with an evaluation on the last two problems after every update."""

    def make(keywords=None, **changes):
        changes = {"eval_strategy": "steps", "eval_steps": 1, "eval_response_length": 12, **changes}
        return make_trainer(keywords={"eval_dataset": problems[6:], **(keywords or {})}, **changes)

    return make


class Scripted(TrainerCallback):
    """Replaces `eval_pass@1` of a trainer's evaluations by the given values in turn."""

    def __init__(self, trainer, *values):
        self.left = list(values)
        evaluate_rows = trainer.evaluate_rows

        def scripted(rows):
            evaluation = evaluate_rows(rows)
            metrics = {**evaluation.metrics(), "pass@1": self.left.pop(0)}
            return type("Scripted", (), {"metrics": lambda self, ks: metrics})()

        trainer.evaluate_rows = scripted


def test_evaluation_measures_pass_at_1_and_outcomes_from_scratch(make, script):
    script(RIGHT, UNPARSABLE)
    trainer = make()

    metrics = trainer.evaluate()

    assert metrics["eval_pass@1"] == 0.5
    shares = {name.removeprefix("eval_executor/"): value for name, value in metrics.items() if "executor" in name}
    assert shares.pop("infrastructure_errors") == 0
    others = dict.fromkeys(("failed", "runtime_error", "timeout", "memory_exceeded"), 0.0)
    assert shares == {"passed": 0.5, "compile_error": 0.5, **others}
    assert metrics["eval_objective/scores"] == 0.0  # (1 - 1) / 2
    assert metrics["eval_completions/stopped"] == 1.0
    assert trainer.state.log_history[-1]["eval_pass@1"] == 0.5
    assert all(math.isfinite(value) for value in metrics.values())


def test_docs_list_every_evaluation_metric(make):
    documented = {metric.name for metric in EVALUATION_METRICS}

    metrics = make(eval_num_generations=2).evaluate()

    assert {name.replace("pass@2", "pass@k") for name in metrics} <= {*documented, "epoch"}


def test_pass_at_k_of_several_samples(make, script):
    # Two of three completions of the first problem pass, and none of the second.
    script(RIGHT, RIGHT, WRONG, WRONG, WRONG, WRONG)
    trainer = make(eval_num_generations=3, eval_pass_at=[2], per_device_eval_batch_size=2)

    metrics = trainer.evaluate()

    assert metrics["eval_pass@1"] == pytest.approx((2 / 3 + 0) / 2)
    assert metrics["eval_pass@2"] == 0.5  # any two of the three include one that passes
    assert metrics["eval_pass@3"] == 0.5


def test_evaluation_has_its_own_sampling_settings(make):
    seen = []

    def watched(model, queries, tokenizer, sampling, batch_size, **options):
        seen.append((sampling, [query.prefix for query in queries]))
        return generate(model, queries, tokenizer, sampling, batch_size, **options)

    for changes in (
        {"eval_response_length": None, "response_length": 7},
        {"eval_temperature": 0.0, "eval_top_p": 1.0, "eval_response_length": 5},
    ):
        trainer = make(**changes)
        trainer.generate = watched
        trainer.evaluate()

    (paper, prefixes), (greedy, _) = seen
    assert (paper.temperature, paper.top_p, paper.max_new_tokens) == (0.2, 0.95, 7)
    assert (greedy.temperature, greedy.top_p, greedy.max_new_tokens) == (0.0, 1.0, 5)
    assert prefixes == ["def sign(x):"] * 2  # no prefix of the curriculum


def test_evaluation_is_repeatable(make):
    trainer = make(eval_temperature=1.0, eval_num_generations=4)

    first, second = trainer.evaluate_rows(trainer.eval_sets["eval"]), trainer.evaluate_rows(trainer.eval_sets["eval"])

    assert [one.completion for one in first.samples] == [one.completion for one in second.samples]
    assert len({one.completion for one in first.samples}) > 1


def test_evaluations_do_not_change_training(make):
    plain, evaluated = make(eval_strategy="no", max_steps=3), make(max_steps=3, eval_on_start=True)

    plain.train()
    evaluated.train()

    assert len(logged(evaluated, "eval_pass@1")) == 4
    assert logged(evaluated, "loss/policy_avg") == logged(plain, "loss/policy_avg")
    expected = parameters(plain.model)
    for name, parameter in evaluated.model.named_parameters():
        assert torch.equal(parameter, expected[name]), name


def test_best_checkpoint_is_kept(make, script):
    script(WRONG)
    trainer = make(max_steps=4, save_strategy="steps", save_steps=2, save_total_limit=1)
    trainer.add_callback(Scripted(trainer, 0.5, 0.75, 0.25, 0.5))

    trainer.train()

    root = Path(trainer.args.output_dir)
    assert sorted(path.name for path in root.glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-4"]
    for name in ("checkpoint-2", "checkpoint-4"):
        state = json.loads((root / name / "trainer_state.json").read_text())
        assert state["best_metric"] == 0.75
        assert state["best_global_step"] == 2
        assert state["best_model_checkpoint"] == str(root / "checkpoint-2")


def test_new_best_model_is_saved_at_once(make, script):
    script(WRONG)
    trainer = make(max_steps=3, save_strategy="best")
    trainer.add_callback(Scripted(trainer, 0.25, 0.75, 0.5))

    trainer.train()

    names = sorted(path.name for path in Path(trainer.args.output_dir).glob("checkpoint-*"))
    assert names == ["checkpoint-1", "checkpoint-2"]
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-2")


def test_best_metric_survives_resumption(make, script):
    script(WRONG)
    first = make(max_steps=2, save_strategy="steps", save_steps=1)
    first.add_callback(Scripted(first, 0.75, 0.5))
    first.train()
    again = make(max_steps=3, save_strategy="steps", save_steps=1)
    again.add_callback(Scripted(again, 0.6))

    again.train(resume_from_checkpoint=True)

    assert again.state.best_metric == 0.75
    assert again.state.best_model_checkpoint.endswith("checkpoint-1")


def test_best_model_is_loaded_at_end(make, script):
    script(WRONG, RIGHT)
    seen = {}

    class Weights(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            seen[state.global_step] = parameters(trainer.model)

    trainer = make(max_steps=3, save_strategy="best", load_best_model_at_end=True)
    assert trainer.args.metric_for_best_model == "pass@1"
    trainer.add_callback(Scripted(trainer, 0.25, 0.75, 0.5))
    trainer.add_callback(Weights())

    trainer.train()

    for name, parameter in trainer.model.named_parameters():
        assert torch.equal(parameter, seen[2][name]), name
    assert not torch.equal(seen[1][name], seen[2][name])


def test_best_model_is_that_of_the_first_of_several_sets(make, script, problems):
    script(WRONG, RIGHT)
    sets = {"easy": problems[:1], "hard": problems[1:2]}
    trainer = make({"eval_dataset": sets}, max_steps=1, save_strategy="best", load_best_model_at_end=True)

    trainer.train()

    assert trainer.args.metric_for_best_model == "easy_pass@1"
    assert [trainer.state.best_metric] == logged(trainer, "eval_easy_pass@1")


def test_early_stopping_ends_training(make, script):
    script(WRONG)
    keywords = {"callbacks": [EarlyStoppingCallback(early_stopping_patience=1)]}
    trainer = make(keywords, max_steps=4, save_strategy="best", load_best_model_at_end=True)
    trainer.add_callback(Scripted(trainer, 0.5, 0.25))

    trainer.train()

    assert trainer.state.global_step == 2


def test_several_eval_sets_have_metrics_of_their_own(make, script, problems):
    script(RIGHT, WRONG)
    trainer = make({"eval_dataset": {"easy": problems[:1], "hard": problems[1:2]}})

    metrics = trainer.evaluate()

    assert metrics["eval_easy_pass@1"] == 1.0
    assert metrics["eval_hard_pass@1"] == 0.0


def test_evaluate_takes_a_dataset(make, script, problems):
    script(RIGHT)
    trainer = make(keywords={"eval_dataset": None}, eval_strategy="no")

    metrics = trainer.evaluate(Dataset.from_list([problem.to_row() for problem in problems[:3]]), None, "test")

    assert metrics["test_pass@1"] == 1.0


def test_predict_names_evaluate(make, problems):
    with pytest.raises(BadInputError, match=r"`predict` is not supported: .* Call `evaluate\(dataset, metric_key"):
        make().predict(problems[:2])


def test_missing_eval_dataset_is_refused(make):
    with pytest.raises(ValueError, match="`eval_dataset`"):
        make(keywords={"eval_dataset": None})
    with pytest.raises(ValueError, match="no `eval_dataset`"):
        make(keywords={"eval_dataset": None}, eval_strategy="no").evaluate()


def test_unknown_metric_for_best_model_lists_known_metrics(make, script):
    script(WRONG)

    with pytest.raises(ValueError, match=r"'loss'.*eval_pass@1"):
        make(metric_for_best_model="loss", save_strategy="best").train()


def test_too_long_problem_is_left_out_with_warning(make, problems, caplog):
    long = type(problems[0]).from_row({**problems[6].to_row(), "prompt": "Write a sign. " * 200}, where="row")

    trainer = make({"eval_dataset": [long, problems[7]]})

    assert [row.task_id for row in trainer.eval_sets["eval"]] == ["sign/7"]
    assert "sign/6" in caplog.text


def test_token_rows_are_scored_by_reward_model(make_trainer, make_classifier, tokenizer):
    rows = token_rows(tokenizer)
    trainer = make_trainer(
        dataset=rows,
        keywords={"reward_model": make_classifier(3), "eval_dataset": rows, "executor": None},
        num_generations=None,
        eval_strategy="steps",
        eval_steps=1,
    )

    trainer.train()

    assert len(logged(trainer, "eval_objective/scores")) == 2
    assert not any("pass@1" in name for entry in trainer.state.log_history for name in entry)
    assert trainer.state.best_metric == max(logged(trainer, "eval_objective/scores"))


def test_sandbox_failure_does_not_count_as_wrong_and_is_logged(make, script, executor, caplog):
    script(RIGHT)
    trainer = make({"executor": unreliable(executor)}, max_infrastructure_error_rate=0.5)

    with caplog.at_level(logging.WARNING, logger="stepcoder_trl"):
        metrics = trainer.evaluate()

    assert metrics["eval_pass@1"] == 1.0
    assert metrics["eval_executor/infrastructure_errors"] == 1
    assert "1 programs could not be run and are left out: disk full" in caplog.text


def test_evaluation_calls_steps_that_a_subclass_overrides(make_trainer, problems, script):
    class WithoutPasses(StepCoderPPOTrainer):
        def submit_programs(self, rollout):
            self.submitted = [completion.program.text for completion in rollout.completions]
            return super().submit_programs(rollout)

        def collect_feedback(self, runs):
            feedback = super().collect_feedback(runs)
            return replace(feedback, executions=(None, *feedback.executions[1:]))

    script(RIGHT, UNPARSABLE)
    trainer = make_trainer(cls=WithoutPasses, keywords={"eval_dataset": problems[6:]}, eval_response_length=12)

    metrics = trainer.evaluate()

    assert len(trainer.submitted) == 2
    assert (metrics["eval_pass@1"], metrics["eval_executor/compile_error"]) == (0.0, 1.0)
    assert trainer.runner.backend == "CodeExecutor"


def test_too_many_sandbox_failures_end_evaluation(make, script, executor):
    script(RIGHT)
    trainer = make({"executor": unreliable(executor)})

    with pytest.raises(SandboxError, match="1 of 2 programs"):
        trainer.evaluate()


def test_executor_made_for_evaluation_is_closed(make, script):
    script(RIGHT)
    trainer = make({"executor": None}, executor_workers=1)

    assert trainer.evaluate()["eval_pass@1"] == 1.0

    assert trainer.executor is None
