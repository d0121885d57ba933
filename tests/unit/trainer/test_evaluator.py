"""Evaluator: shares of the processes, sets, and what an evaluation leaves as it was."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from stepcoder_trl.errors import BadInputError, SandboxError
from stepcoder_trl.steps.programs import ProgramRunner
from stepcoder_trl.steps.queries import Query
from stepcoder_trl.steps.rows import as_rows
from stepcoder_trl.trainer.evaluator import Evaluator, evaluation_sets, share_of, usable_sets
from stepcoder_trl.trainer.signals import Interruption


ROWS = as_rows([{"task_id": name, "prompt": name} for name in "abc"])


def build_query(row, prefix):
    return Query(row.prompt, prefix, (1,) * len(row.prompt))


def test_processes_share_the_samples_and_fill_up_from_the_beginning():
    shares = [share_of(ROWS, 2, rank, 4) for rank in range(4)]

    assert [len(share) for share in shares] == [2] * 4
    items = [item for share in shares for item in share]
    assert "".join(item.row.task_id for item in items) == "aabbccaa"
    assert [item.counts for item in items] == [True] * 6 + [False] * 2


def test_sets_by_name_have_their_own_prefix():
    sets = evaluation_sets({"easy": [{"prompt": "p"}], "hard": [{"prompt": "q"}]}, "eval")

    assert list(sets) == ["eval_easy", "eval_hard"]


@pytest.mark.parametrize(
    ("dataset", "strategy", "limit", "message"),
    [
        (None, "steps", 9.0, "`eval_strategy` asks for evaluations"),
        ([], "no", 9.0, "has no rows"),
        ([{"prompt": "long"}], "no", 2.0, "No row of `eval_dataset` is usable"),
    ],
)
def test_sets_that_cannot_be_used_are_refused(dataset, strategy, limit, message):
    args = SimpleNamespace(eval_strategy=strategy, eval_on_start=False)

    with pytest.raises(BadInputError, match=message):
        usable_sets(dataset, args, build_query, limit)


class Steps:
    """Steps of a trainer. Every batch is empty, and too many programs could not be run."""

    def build_query(self, row, prefix):
        return build_query(row, prefix)

    def generate_rollout(self, starts, sampling=None):
        return SimpleNamespace(
            completions=(), generation=SimpleNamespace(lengths=torch.tensor([]), stopped=torch.tensor([]))
        )

    def check_infrastructure(self, *feedback):
        raise Interruption(SandboxError("disk full"))

    def check_signals(self):
        pass


def make(steps, runner=None):
    args = SimpleNamespace(
        seed=0,
        per_device_eval_batch_size=2,
        eval_num_generations=1,
        eval_pass_at=None,
        eval_response_length=None,
        response_length=7,
        eval_temperature=0.2,
        eval_top_p=0.95,
    )
    accelerator = SimpleNamespace(process_index=0, num_processes=1)
    return Evaluator(args, steps, runner or ProgramRunner(), accelerator, stop_token_id=2)


@pytest.mark.parametrize(("during_training", "error"), [(True, Interruption), (False, SandboxError)])
def test_outside_training_the_reason_itself_is_raised(during_training, error):
    evaluator = make(Steps())

    with pytest.raises(error):
        evaluator.measure({"eval": ROWS}, evaluator.evaluate_rows, during_training)


def test_sampling_has_the_settings_of_the_evaluation():
    evaluator = make(Steps())

    paper, greedy = evaluator.sampling(), evaluator.sampling(temperature=0.0)

    assert (paper.max_new_tokens, paper.temperature, paper.top_p, paper.stop_token_id) == (7, 0.2, 0.95, 2)
    assert greedy.temperature == 0.0
