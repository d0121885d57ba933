"""Evaluator: shares of the processes, sets, samples and restored state."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace

import pytest
import torch

from stepcoder_trl.errors import BadInputError, SandboxError
from stepcoder_trl.evaluation.generation import Generation
from stepcoder_trl.steps.programs import ProgramRunner
from stepcoder_trl.steps.queries import Query
from stepcoder_trl.steps.rows import as_rows
from stepcoder_trl.trainer.evaluator import Evaluator, evaluation_sets, share_of, usable_sets
from stepcoder_trl.trainer.records import Rollout, Scores
from stepcoder_trl.trainer.signals import Interruption
from stepcoder_trl.types import Outcome
from tests.unit.steps.samples import make_completion, make_execution


ROWS = as_rows([{"task_id": name, "prompt": name} for name in "abc"])


def build_query(row, prefix):
    return Query(row.prompt, prefix, (1,) * len(row.prompt))


def test_processes_share_the_samples_and_fill_up_from_the_beginning():
    shares = [share_of(7, rank, 4) for rank in range(4)]

    assert shares == [([0, 1], 2), ([2, 3], 2), ([4, 5], 2), ([6, 0], 1)]


def test_sets_by_name_have_their_own_prefix():
    sets = evaluation_sets({"easy": [{"prompt": "p"}], "hard": [{"prompt": "q"}]}, "eval")

    assert list(sets) == ["eval_easy", "eval_hard"]


@pytest.mark.parametrize(
    ("dataset", "strategy", "limit", "message"),
    [
        (None, "steps", 9.0, "`eval_strategy` asks for evaluations"),
        ([], "no", 9.0, "has no rows"),
        ({}, "no", 9.0, "`eval_dataset` has no sets"),
        ({"": [{"prompt": "p"}]}, "no", 9.0, "a set with the name ''"),
        ({3: [{"prompt": "p"}]}, "no", 9.0, "a set with the name 3, but a name must be text"),
        ([{"prompt": "long"}], "no", 2.0, "No row of `eval_dataset` is usable"),
    ],
)
def test_invalid_evaluation_sets_are_refused(dataset, strategy, limit, message):
    args = SimpleNamespace(eval_strategy=strategy, eval_on_start=False)

    with pytest.raises(BadInputError, match=message):
        usable_sets(dataset, args, build_query, limit)


class Trainer(SimpleNamespace):
    """Stand-in for a trainer, which unlike a plain namespace can be referred to weakly."""


def make(runner=None, signals=None, rank=0, num_processes=1):
    """Return a trainer with an evaluator. Its completions are empty and have a score of 1."""
    args = SimpleNamespace(
        seed=0,
        per_device_eval_batch_size=2,
        eval_num_generations=2,
        eval_pass_at=None,
        eval_response_length=None,
        response_length=7,
        eval_temperature=0.2,
        eval_top_p=0.95,
    )

    def generate_rollout(starts, sampling):
        size = len(starts)
        ids, ones = torch.zeros(size, 1, dtype=torch.long), torch.ones(size, dtype=torch.long)
        generation = Generation(ids, ids == 0, ids, ones, ones > 0)
        return Rollout(tuple(make_completion("", "", tests={}) for _ in starts), generation)

    runner = runner or ProgramRunner()
    trainer = Trainer(
        args=args,
        runner=runner,
        submit_programs=lambda rollout: runner.submit(*zip(*[("", {})] * len(rollout.completions), strict=True)),
        collect_feedback=runner.collect,
        signals=signals,
        stop_token_id=2,
        accelerator=SimpleNamespace(process_index=rank, num_processes=num_processes),
        build_query=build_query,
        generate_rollout=generate_rollout,
        check_signals=lambda: None,
        check_infrastructure=lambda *feedback: None,
        score_completions=lambda rollout, feedback: Scores(torch.ones(2), torch.tensor([True, False]), {}),
    )
    trainer.evaluator = Evaluator(trainer)
    trainer.evaluate_rows = trainer.evaluator.evaluate_rows
    return trainer


class Passing:
    """Executor for which every program passes."""

    def submit(self, program, tests):
        future = Future()
        future.set_result(make_execution(Outcome.PASSED))
        return future


@pytest.mark.parametrize(("signals", "error"), [(object(), Interruption), (None, SandboxError)])
def test_reason_of_an_interruption_is_raised_outside_training(signals, error):
    def refuse(*feedback):
        raise Interruption(SandboxError("disk full"))

    trainer = make(ProgramRunner(Passing()), signals)
    trainer.check_infrastructure = refuse

    with pytest.raises(error):
        trainer.evaluator.measure({"eval": ROWS})


def test_sampling_has_the_settings_of_the_evaluation():
    trainer = make()

    paper, greedy = trainer.evaluator.sampling(), trainer.evaluator.sampling(temperature=0.0)

    assert (paper.max_new_tokens, paper.temperature, paper.top_p, paper.stop_token_id) == (7, 0.2, 0.95, 2)
    assert greedy.temperature == 0.0


def test_each_process_starts_its_samples_from_scratch():
    trainer = make(rank=1, num_processes=4)

    starts, num_counted = trainer.evaluator.starts(ROWS, 3)

    assert [(start.row.task_id, start.number, start.query.prefix) for start in starts] == [
        ("b", 3, ""), ("b", 4, ""), ("b", 5, "")
    ]  # fmt: skip
    assert num_counted == 3


def test_samples_have_results_scores_and_the_executor_is_noted():
    runner = ProgramRunner(Passing())
    trainer = make(runner)

    evaluation = trainer.evaluate_rows(ROWS)

    assert [sample.score for sample in evaluation.samples] == [1.0, None] * 3
    assert all(sample.passed for sample in evaluation.samples)
    assert runner.backend == "Passing"
