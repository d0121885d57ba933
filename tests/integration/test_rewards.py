"""Reward functions and reward models in training."""

from __future__ import annotations

import logging
import math

import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset
from trl.rewards import think_format_reward

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.rewards import unit_test_reward
from tests.integration.helpers import DISK_FULL, RIGHT, WRONG, Answers, logged, unreliable


pytestmark = pytest.mark.sandbox


def test_reward_functions_get_every_column_and_are_summed_by_weight(make_trainer, script, problems):
    script(RIGHT, WRONG)
    calls = []

    def length(completions, **columns):
        calls.append({"completions": completions, **columns})
        return [float(len(text)) for text in completions]

    def sometimes(completions, execution, **columns):
        return [1.0 if run.outcome == "passed" else None for run in execution]

    dataset = Dataset.from_list([{**problem.to_row(), "level": 7} for problem in problems])
    trainer = make_trainer(
        dataset=dataset,
        max_steps=1,
        curriculum="off",
        keywords={"reward_funcs": [length, sometimes], "reward_weights": [0.1, 2.0]},
    )

    trainer.train()

    (call,) = calls
    assert call["completions"] == [RIGHT, WRONG, RIGHT, WRONG]
    assert call["prefix"] == ["def sign(x):"] * 4
    assert call["program"][1] == "def sign(x):" + WRONG
    assert call["level"] == [7] * 4
    assert call["prompts"][0].startswith("Write sign")
    assert call["prompt"] == call["prompts"]
    assert [run.outcome for run in call["execution"]] == ["passed", "failed"] * 2
    expected = [0.1 * len(RIGHT) + 2, 0.1 * len(WRONG)] * 2
    assert trainer.seen[0][1].scores.tolist() == pytest.approx(expected)
    metrics = trainer.state.log_history[0]
    assert metrics["rewards/sometimes"] == 1.0
    assert metrics["rewards/length"] == pytest.approx((len(RIGHT) + len(WRONG)) / 2)


def test_rows_without_tests_train_on_a_reward_function_and_its_threshold(make_trainer, script, problems):
    script(RIGHT, WRONG)
    rows = [{"task_id": p.task_id, "prompt": p.prompt, "canonical_solution": p.canonical_solution} for p in problems]

    def likes(completions, **columns):
        return [1.0 if text == RIGHT else 0.0 for text in completions]

    trainer = make_trainer(
        dataset=rows,
        max_steps=1,
        curriculum_pass_score=0.5,
        curriculum_momentum=1.0,
        curriculum_pass_rate=0.4,
        keywords={"reward_funcs": likes, "executor": None},
    )

    trainer.train()

    assert trainer.executor is None
    assert logged(trainer, "objective/scores") == [0.5]
    assert logged(trainer, "curriculum/advanced") == [2.0]
    assert not logged(trainer, "executor/passed")


def test_completion_without_score_does_not_change_curriculum(make_trainer, script):
    script(RIGHT)
    keywords = {"reward_funcs": lambda completions, **columns: [None] * len(completions)}
    trainer = make_trainer(max_steps=1, curriculum_momentum=1.0, keywords=keywords)
    before = trainer.curriculum.state_dict()

    trainer.train()

    assert logged(trainer, "executor/passed") == [1.0]
    assert trainer.curriculum.state_dict() == before


def test_nan_score_is_left_out(make_trainer, script):
    script(RIGHT, WRONG)
    keywords = {"reward_funcs": lambda completions, **columns: [math.nan] + [1.0] * (len(completions) - 1)}
    trainer = make_trainer(max_steps=1, keywords=keywords)

    trainer.train()

    assert trainer.seen[0][1].scored.tolist() == [False, True, True, True]
    assert all(torch.isfinite(parameter).all() for parameter in trainer.model.parameters())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_scores_of_a_reward_model_are_checked_too(make_trainer, make_classifier, script, value):
    script(RIGHT)
    trainer = make_trainer(max_steps=1, keywords={"reward_model": make_classifier(), "reward_funcs": []})
    trainer.reward_model_scores = lambda rollout: torch.full((4,), value)

    if math.isnan(value):
        trainer.train()
        assert not trainer.seen[0][1].scored.any()
    else:
        with pytest.raises(ValueError, match="`reward_model` gave inf for completion 0"):
            trainer.train()


def test_reward_model_and_tests_can_be_combined(make_trainer, make_classifier, script, tokenizer):
    script(RIGHT, WRONG)
    judge = make_classifier(seed=7)
    trainer = make_trainer(
        max_steps=1,
        curriculum="off",
        keywords={"reward_model": judge, "reward_weights": [1.0, 10.0]},
    )

    trainer.train()

    rollout, scores, _ = trainer.seen[0]
    ids = torch.tensor([list(rollout.starts[0].query.token_ids) + rollout.generation.completion_ids()[0]])
    alone = judge.score(judge.model(ids).last_hidden_state)[0, -1, 0].item()
    assert scores.scores[0].item() == pytest.approx(1.0 + 10 * alone, abs=1e-5)
    assert set(scores.by_source) == {"unit_test_reward", "reward_model"}


@pytest.mark.parametrize(
    ("changes", "eos", "expected"),
    [
        ({"reward_clip": 0.8}, True, [0.8, -0.3, 0.8, -0.3]),
        ({"missing_eos_penalty": 0.5}, True, [1.0, -0.3, 1.0, -0.3]),
        ({"missing_eos_penalty": 0.5}, False, [0.5, -0.8, 0.5, -0.8]),
        ({"missing_eos_penalty": 0.5, "reward_clip": 0.6}, False, [0.5, -0.6, 0.5, -0.6]),
    ],
)
def test_penalty_then_clip(make_trainer, script, changes, eos, expected):
    script(RIGHT, WRONG, eos=eos)
    trainer = make_trainer(max_steps=1, curriculum="off", **changes)

    trainer.train()

    assert trainer.seen[0][1].scores.tolist() == pytest.approx(expected)


def test_sandbox_failure_is_left_out_and_counted(make_trainer, script, executor, caplog):
    script(WRONG, RIGHT)
    trainer = make_trainer(
        max_steps=1,
        curriculum_momentum=1.0,
        keywords={"executor": unreliable(executor)},
        whiten_advantages=False,
        max_infrastructure_error_rate=0.5,
    )

    with caplog.at_level(logging.WARNING, logger="stepcoder_trl"):
        trainer.train()

    _, scores, experience = trainer.seen[0]
    assert scores.scored.tolist() == [True, False, True, False]
    assert not experience.loss_mask[1].any()
    assert not experience.valid_mask[3].any()
    metrics = trainer.state.log_history[0]
    assert metrics["executor/infrastructure_errors"] == 2
    assert metrics["objective/scores"] == pytest.approx(-0.3)
    assert metrics["executor/failed"] == 1.0
    assert metrics["curriculum/advanced"] == 0
    assert "2 programs could not be run" in caplog.text


def test_sandbox_failure_is_left_out_despite_another_reward(make_trainer, script, executor):
    script(RIGHT)

    def always(completions, **columns):
        return [5.0] * len(completions)

    trainer = make_trainer(
        max_steps=1,
        max_infrastructure_error_rate=0.5,
        keywords={"executor": unreliable(executor), "reward_funcs": [unit_test_reward, always]},
    )

    trainer.train()

    _, scores, experience = trainer.seen[0]
    assert scores.scored.tolist() == [True, False, True, False]
    assert scores.scores.tolist() == [6.0, 0.0, 6.0, 0.0]
    assert not experience.valid_mask[1].any()


def test_update_without_scores_keeps_weights_finite(make_trainer, executor):
    keywords = {"executor": Answers(executor, [DISK_FULL] * 4)}
    trainer = make_trainer(max_steps=1, keywords=keywords, max_infrastructure_error_rate=1.0)

    trainer.train()

    assert logged(trainer, "loss/policy_avg") == [0.0]
    assert logged(trainer, "loss/value_avg") == [0.0]
    assert all(p.isfinite().all() for p in trainer.model.parameters())


def test_rltf_penalizes_tokens_of_the_line_with_the_error(script, make_trainer, tokenizer):
    crash = "\n    y = 1\n    return 1 / 0\n"
    script(crash)
    found = []

    for penalty in (0.0, 0.3):
        trainer = make_trainer(error_token_penalty=penalty, curriculum="off", max_steps=1, kl_coef=0.0)
        trainer.on_update = lambda update: found.append(update.rewards.rewards[0])
        trainer.train()

    taken = (found[0] - found[1]).tolist()
    blamed = [one for one, part in zip(tokenizer(crash)["input_ids"], taken, strict=False) if part > 0]
    assert tokenizer.decode(blamed).strip() == "return 1 / 0"
    assert {round(part, 6) for part in taken} == {0.0, 0.3}


def test_rewards_are_whitened_over_scored_completions(make_trainer):
    found = []

    def watch(update):
        rewards = update.rewards.rewards
        valid = torch.arange(rewards.shape[1])[None] < update.rollout.generation.lengths[:, None]
        found.append(rewards[valid & update.scores.scored[:, None]])

    def half(completions, **columns):
        return [2.0 * number if number % 2 else None for number in range(len(completions))]

    trainer = make_trainer(whiten_rewards=True, kl_coef=0.0, max_steps=1, keywords={"reward_funcs": half})
    trainer.on_update = watch
    trainer.train()

    assert found[0].var().item() == pytest.approx(1.0, abs=1e-4)


def chats(problems):
    return [{**problem.to_row(), "prompt": [{"role": "user", "content": problem.prompt}]} for problem in problems]


def test_rewards_of_trl_score_chats(make_trainer, script, problems):
    script("<think>\nx\n</think>\nreturn 1", WRONG)

    trainer = make_trainer(
        dataset=chats(problems), max_steps=1, reward_weights=[2.0], keywords={"reward_funcs": [think_format_reward]}
    )
    trainer.train()

    assert trainer.seen[0][1].scores.tolist() == [2.0, 0.0, 2.0, 0.0]


def test_async_function_and_what_it_logs(make_trainer, script, tmp_path):
    script(RIGHT, WRONG)

    async def judge(completions, log_extra, log_metric):
        log_metric("judged", len(completions))
        log_extra("grade", ["good" if text == RIGHT else 0 for text in completions])
        return [1.0 if text == RIGHT else None for text in completions]

    keywords = {"reward_funcs": [judge, "stepcoder"], "reward_weights": [3.0, 1.0]}
    trainer = make_trainer(max_steps=1, curriculum="off", log_completions=True, keywords=keywords, reward_weights=[9])
    trainer.train()

    assert trainer.seen[0][1].scores.tolist() == pytest.approx([4.0, -0.3, 4.0, -0.3])
    assert logged(trainer, "judged") == [4.0]
    assert logged(trainer, "rewards/judge") == [1.0]
    (path,) = (tmp_path / "run" / "completions").iterdir()
    assert pq.read_table(path)["grade"].to_pylist() == ["good", "0", "good", "0"]


def test_reward_model_is_no_reward_function(make_trainer, make_classifier):
    with pytest.raises(BadInputError, match=r"is a reward model. Pass it as `reward_model`"):
        make_trainer(keywords={"reward_funcs": [make_classifier()]})
    with pytest.raises(BadInputError, match="`reward_funcs` has 'org/judge', but must name functions"):
        make_trainer(keywords={"reward_funcs": ["org/judge"]})
