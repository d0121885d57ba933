"""FGO per test and the score by the mean over the tests, in GRPO: advantages and loss by hand."""

from __future__ import annotations

import pytest
import torch

from stepcoder_trl import BadInputError
from tests.integration.grpo.test_loss import OPTIONS, gradients, loss_of_first_batch


pytestmark = pytest.mark.sandbox

TESTS = {"type": "call", "fn_name": "f", "inputs": [[1], [5]], "outputs": [1, 1]}
PROBLEM = {
    "task_id": "f",
    "prompt": "Write f.\n",
    "starter_code": "def f(n):\n",
    "canonical_solution": "",
    "tests": TESTS,
}
TEXTS = (
    "\n    if n > 3:\n        return 1\n    return 2",
    "\n    return 1",
    "\n    return 1 // 0",
    "\n    return (",
)
SCORES = torch.tensor([[-0.3, 1.0], [1.0, 1.0], [-0.6, -0.6], [-1.0, -1.0]])


def first_batch(make_trainer, dataset=PROBLEM, **options):
    """Return loss, record and gradient of the first batch, whose completions are `TEXTS`."""
    trainer = make_trainer(dataset=[dataset], texts=TEXTS, **{**OPTIONS, **options})
    loss, _ = loss_of_first_batch(trainer)
    return loss, trainer.seen[0], gradients(trainer.model)


@pytest.mark.parametrize("scale_rewards", ["none", "group"])
def test_advantages_and_loss_by_hand(make_trainer, scale_rewards):
    loss, this, _ = first_batch(make_trainer, fgo="tests", score_tests="mean", scale_rewards=scale_rewards)

    scale = 1.0 if scale_rewards == "none" else SCORES.mean(1).std().item() + 1e-4
    of_tests = (SCORES - SCORES.mean(0)) / scale
    found, (completion, *_) = this.result["advantages"], this.completions
    for row in range(4):
        assert found[row, 0].item() == pytest.approx(of_tests[row].mean().item(), abs=1e-6)  # in both tests
    # The last two lines ran in one test each.
    only_second, only_first = (completion.text.index(text) for text in ("return 1", "return 2"))
    for number, (start, _) in enumerate(completion.spans):
        if start >= only_first and start < len(completion.text):
            assert found[0, number].item() == pytest.approx(of_tests[0, 0].item() / 2, abs=1e-6)
        elif only_second <= start < only_first - 5:
            assert found[0, number].item() == pytest.approx(of_tests[0, 1].item() / 2, abs=1e-6)
    kept = this.loss_mask
    assert loss.item() == pytest.approx((-(found * kept).sum() / kept.sum()).item(), abs=1e-6)  # the ratio is 1


def test_score_of_the_mean_keeps_one_advantage_per_completion(make_trainer):
    _, this, _ = first_batch(make_trainer, score_tests="mean")

    assert this.result["advantages"].tolist() == pytest.approx((SCORES.mean(1) - SCORES.mean()).tolist(), abs=1e-6)
    assert [result[2] for result in this.results] == [False, True, False, False]  # a pass is a pass of all tests


@pytest.mark.parametrize("denominator", ["kept", "valid"])
def test_one_test_is_plain_fgo(make_trainer, denominator):
    problem = {**PROBLEM, "tests": {**TESTS, "inputs": [[5]], "outputs": [1]}}
    options = {"scale_rewards": "group", "fgo_denominator": denominator}

    plain_loss, _, plain = first_batch(make_trainer, problem, fgo="lines", **options)
    loss, _, found = first_batch(make_trainer, problem, fgo="tests", **options)

    assert torch.equal(loss, plain_loss)
    assert all(torch.equal(found[name], gradient) for name, gradient in plain.items())


def test_score_of_the_worst_test_is_refused(make_trainer):
    with pytest.raises(BadInputError, match="Set `score_tests` to 'mean'"):
        make_trainer(dataset=[PROBLEM], fgo="tests")
