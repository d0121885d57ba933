from __future__ import annotations

from concurrent.futures import Future

import pytest
import torch

from stepcoder_trl.errors import SandboxError
from stepcoder_trl.evaluation import EvaluatedSample, Evaluation, evaluate_pass_at_1
from stepcoder_trl.evaluation import pass_at_1 as module
from stepcoder_trl.evaluation.generation import Generation
from stepcoder_trl.types import Execution, Outcome


def sample(task_id, outcome):
    run = outcome and Execution(outcome, (), frozenset(), frozenset(), 0.0, True)
    return EvaluatedSample(task_id, "", "", run, error="" if outcome else "disk full")


def test_pass_at_1_is_the_mean_over_problems():
    passed, failed = Outcome.PASSED, Outcome.FAILED
    evaluation = Evaluation((sample("a", passed), sample("a", failed), sample("b", failed), sample("b", failed)))

    assert evaluation.counts() == {"a": (2, 1), "b": (2, 0)}
    assert evaluation.pass_at_1 == 0.25


def test_what_could_not_be_run_is_neither_a_pass_nor_a_failure():
    evaluation = Evaluation((sample("a", Outcome.PASSED), sample("a", None), sample("b", None)))

    assert evaluation.counts() == {"a": (1, 1), "b": (0, 0)}
    assert evaluation.pass_at_1 == 1.0
    assert evaluation.infrastructure_errors == 2
    assert Evaluation(()).pass_at_1 == 0.0


@pytest.fixture
def script(monkeypatch, tokenizer):
    """Makes `generate` answer with given texts, in turn."""

    def write(*texts):
        left = list(texts)

        def generate(model, queries, tokenizer, sampling, batch_size):
            ids = [tokenizer(left.pop(0))["input_ids"] for _ in queries]
            size = max(map(len, ids))
            rows = torch.tensor([row + [0] * (size - len(row)) for row in ids])
            lengths = torch.tensor([len(row) for row in ids])
            return Generation(rows, rows > -1, rows, lengths, lengths > 0)

        monkeypatch.setattr(module, "generate", generate)

    return write


@pytest.mark.sandbox
def test_programs_are_run_under_their_tests(script, make_policy, tokenizer, problems, executor):
    good = "\n    return (x > 0) - (x < 0)\n"
    bad = "\n    return 1\n"
    script(good, bad, bad, good)

    evaluation = evaluate_pass_at_1(
        make_policy(), tokenizer, problems[:2], executor, max_new_tokens=8, num_samples=2, batch_size=3
    )

    assert [one.task_id for one in evaluation.samples] == ["sign/0", "sign/0", "sign/1", "sign/1"]
    assert [one.passed for one in evaluation.samples] == [True, False, False, True]
    assert evaluation.samples[0].program == "def sign(x):" + good
    assert evaluation.pass_at_1 == 0.5


@pytest.mark.sandbox
def test_model_and_random_state_are_left_as_they_were(make_policy, tokenizer, problems, executor):
    policy = make_policy().train()
    state = torch.get_rng_state()

    def evaluate(seed):
        result = evaluate_pass_at_1(
            policy, tokenizer, problems[:2], executor, max_new_tokens=8, temperature=1.0, seed=seed
        )
        return [one.completion for one in result.samples]

    first, again, other = evaluate(0), evaluate(0), evaluate(1)

    assert first == again != other
    assert policy.training
    assert torch.equal(torch.get_rng_state(), state)


def test_an_error_of_the_sandbox_is_kept_with_its_sample(make_policy, tokenizer, problems):
    class Broken:
        def submit(self, program, tests):
            future = Future()
            future.set_exception(SandboxError("disk full"))
            return future

    evaluation = evaluate_pass_at_1(make_policy(), tokenizer, problems[:1], Broken(), max_new_tokens=4)

    assert evaluation.samples[0].error == "disk full"
    assert evaluation.infrastructure_errors == 1
