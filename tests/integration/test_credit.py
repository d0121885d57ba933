"""FGO per test and the score by the mean over the tests, in PPO."""

from __future__ import annotations

import pytest
import torch

from stepcoder_trl import BadInputError
from stepcoder_trl.trainer import ppo_math
from tests.integration.helpers import TIMES


pytestmark = pytest.mark.sandbox

BRANCHES = "\n    if x > 0:\n        return 1\n    return 2\n"
RIGHT = "\n    return (x > 0) - (x < 0)\n"


def history(trainer):
    return [{name: value for name, value in entry.items() if name not in TIMES} for entry in trainer.state.log_history]


def test_tests_have_their_own_advantages(make_trainer, script):
    script(BRANCHES, RIGHT)
    records = []
    trainer = make_trainer(
        fgo="tests", score_tests="mean", whiten_advantages=False, curriculum="off", response_length=40, max_steps=1
    )
    trainer.on_update = records.append

    trainer.train()

    (update,) = records
    row = next(number for number, one in enumerate(update.rollout.completions) if one.text.startswith(BRANCHES[:12]))
    completion, execution = update.rollout.completions[row], update.feedback.executions[row]
    assert [test.outcome.value for test in execution.tests] == ["passed", "failed", "failed"]
    scores, size = torch.tensor([1.0, -0.3, -0.3]), len(completion.spans)
    assert update.scores.scores[row].item() == pytest.approx(scores.mean().item())
    # The slow way: the advantages of each test's reward, averaged over the tests that ran the token.
    values, kl = update.tokens.values[[row] * 3], update.rewards.kl[[row] * 3]
    lengths = torch.tensor([size] * 3)
    rewards = ppo_math.token_rewards(kl, scores, lengths, trainer.args.kl_coef)
    valid = ppo_math.length_mask(lengths, values.shape[1])
    of_tests = ppo_math.generalized_advantages(rewards, values, valid, trainer.args.gamma, trainer.args.lam)
    for number, (start, end) in enumerate(completion.spans[:-1]):
        word = completion.text[start:end].strip()
        if word in ("1", "2"):
            expected = of_tests[:1, number].sum() / 3 if word == "1" else of_tests[1:, number].sum() / 3
            assert update.experience.advantages[row, number].item() == pytest.approx(expected.item(), abs=1e-6)
    last = update.experience.advantages[row, size - 1].item()
    assert last == pytest.approx(of_tests[:, size - 1].mean().item(), abs=1e-6)
    assert 0 < update.metrics["fgo/test_share"] < 1


def test_one_test_is_plain_fgo(make_trainer, script, problems):
    one_test = {"type": "call", "fn_name": "sign", "inputs": [[5]], "outputs": [1]}
    rows = [{**problem.to_row(), "tests": one_test} for problem in problems]
    logs = []
    for fgo in ("lines", "tests", "tests_random"):
        script(BRANCHES, RIGHT)
        trainer = make_trainer(dataset=rows, fgo=fgo, curriculum="off", response_length=40, max_steps=2)
        trainer.train()
        logs.append(
            [{name: value for name, value in entry.items() if "train_" not in name} for entry in history(trainer)]
        )

    plain, found, control = logs
    assert [entry.pop("fgo/test_share", 1.0) for entry in found] == [1.0] * len(found)
    assert [entry.pop("fgo/test_share", 1.0) for entry in control] == [1.0] * len(control)
    assert plain == found == control


def test_score_of_the_worst_test_is_refused(make_trainer):
    with pytest.raises(BadInputError, match="Set `score_tests` to 'mean'"):
        make_trainer(fgo="tests")
