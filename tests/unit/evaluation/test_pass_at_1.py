from __future__ import annotations

import pytest
import torch

from stepcoder_trl.evaluation import evaluate_pass_at_1
from stepcoder_trl.evaluation.sampling import GeneratedText, build_requests, draw_batch, split_batches
from stepcoder_trl.evaluation.scoring import score_samples


@pytest.mark.sandbox
def test_programs_run_under_their_tests(tokenizer, problems, executor):
    good = "\n    return (x > 0) - (x < 0)\n"
    bad = "\n    return 1\n"
    texts = iter([good, bad, bad, good])
    batches = split_batches(build_requests(problems[:2], 2, tokenizer), 3)

    def engine(queries, seed):
        return [GeneratedText(next(texts), 8, True) for _ in queries]

    evaluation = score_samples((draw_batch(batch, engine) for batch in batches), executor.submit)

    assert [one.task_id for one in evaluation.samples] == ["sign/0", "sign/0", "sign/1", "sign/1"]
    assert [one.passed for one in evaluation.samples] == [True, False, False, True]
    assert evaluation.samples[0].program == "def sign(x):" + good
    assert evaluation.pass_at_1 == 0.5


@pytest.mark.sandbox
def test_every_sample_of_the_model_is_run(make_policy, tokenizer, problems, executor):
    evaluation = evaluate_pass_at_1(
        make_policy(), tokenizer, problems[:2], executor, max_new_tokens=8, num_samples=2, batch_size=3
    )

    assert [one.task_id for one in evaluation.samples] == ["sign/0", "sign/0", "sign/1", "sign/1"]
    assert all(one.program == "def sign(x):" + one.completion for one in evaluation.samples)
    assert all(one.execution is not None and one.num_tokens <= 8 for one in evaluation.samples)
    assert evaluation.pass_at_1 == 0.0


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
