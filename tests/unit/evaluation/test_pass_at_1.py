from __future__ import annotations

import pytest
import torch

from stepcoder_trl.evaluation import engines, evaluate_pass_at_1
from stepcoder_trl.evaluation.generation import Generation


@pytest.fixture
def script(monkeypatch, tokenizer):
    """Makes `generate` return the given texts in turn."""

    def write(*texts):
        left = list(texts)

        def generate(model, queries, tokenizer, sampling, batch_size):
            ids = [tokenizer(left.pop(0))["input_ids"] for _ in queries]
            size = max(map(len, ids))
            rows = torch.tensor([row + [0] * (size - len(row)) for row in ids])
            lengths = torch.tensor([len(row) for row in ids])
            return Generation(rows, rows > -1, rows, lengths, lengths > 0)

        monkeypatch.setattr(engines, "generate", generate)

    return write


@pytest.mark.sandbox
def test_programs_run_under_their_tests(script, make_policy, tokenizer, problems, executor):
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
def test_model_mode_and_random_state_are_restored(make_policy, tokenizer, problems, executor):
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
