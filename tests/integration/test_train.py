"""Trains a random model of two layers for a few updates on the CPU."""

from __future__ import annotations

import copy
import json
import logging
import math
from concurrent.futures import Future
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset
from peft import LoraConfig
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, GenerationConfig, TrainerCallback
from trl import TrlParser

from stepcoder_trl import StepCoderPPOConfig, StepCoderPPOTrainer
from stepcoder_trl.errors import BadInputError, SandboxError
from stepcoder_trl.rewards import unit_test_reward
from stepcoder_trl.trainer._trl import PPOConfig


pytestmark = pytest.mark.sandbox

RIGHT = "\n    return (x > 0) - (x < 0)\n"
WRONG = "\n    return 1\n"
BRANCH = "\n    if x > 99:\n        return x\n    return 1\n"  # fails; its third line never runs
UNPARSABLE = "\n    return (\n"


def logged(trainer, name):
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def parameters(module):
    return {name: p.detach().clone() for name, p in module.named_parameters()}


# The whole way


def test_two_updates_change_policy_and_critic(make_trainer):
    trainer = make_trainer()
    before = parameters(trainer.model)

    result = trainer.train()

    assert result.global_step == 2
    assert result.metrics["train_runtime"] > 0
    for name, parameter in trainer.model.named_parameters():
        assert not torch.equal(parameter, before[name]), name
    assert all(torch.equal(p, before[f"policy.{n}"]) for n, p in trainer.ref_model.named_parameters())


UPSTREAM_METRICS = {
    "eps",
    "episode",
    "loss/policy_avg",
    "loss/value_avg",
    "lr",
    "objective/entropy",
    "objective/kl",
    "objective/non_score_reward",
    "objective/rlhf_reward",
    "objective/scores",
    "policy/approxkl_avg",
    "policy/clipfrac_avg",
    "policy/entropy_avg",
    "val/clipfrac_avg",
    "val/num_eos_tokens",
    "val/ratio",
    "val/ratio_var",
}


def test_every_metric_is_logged_finite_and_documented(make_trainer):
    trainer = make_trainer()

    trainer.train()

    table = (Path(__file__).parents[2] / "docs" / "trainer.md").read_text(encoding="utf-8")
    metrics = trainer.state.log_history[0]
    assert set(metrics) >= UPSTREAM_METRICS
    for name, value in metrics.items():
        assert math.isfinite(value), name
        assert name in {"step", "epoch"} or f"`{name}`" in table, name


def test_every_option_of_upstream_is_documented():
    table = (Path(__file__).parents[2] / "docs" / "trainer.md").read_text(encoding="utf-8")

    for name in PPOConfig.__annotations__:
        assert f"`{name}`" in table, name


def test_the_curriculum_of_all_processes_is_compared_in_every_update(make_trainer, script, monkeypatch):
    script(RIGHT, RIGHT, WRONG, UNPARSABLE)
    compared = []
    monkeypatch.setattr("stepcoder_trl.trainer.processes.check_identical", lambda *given: compared.append(given))
    trainer = make_trainer(curriculum_momentum=1.0, curriculum_pass_rate=0.4)
    before = trainer.curriculum.digest()

    trainer.train()

    assert [(what, number) for what, _, number in compared] == [("The curriculum", 1)] * 2
    assert compared[1][1] == trainer.curriculum.digest()
    assert compared[0][1] != before


def test_outcomes_become_scores_shares_and_curriculum_moves(make_trainer, script, problems):
    script(RIGHT, RIGHT, WRONG, UNPARSABLE)
    trainer = make_trainer(max_steps=1, curriculum_momentum=1.0, curriculum_pass_rate=0.4)
    # SIGN has four conditional statements: stages 1 (before the third) and scratch.
    assert trainer.curriculum.summary()["curriculum/scratch_share"] == 0.0

    trainer.train()

    (rollout, _, _), metrics = trainer.seen[0], trainer.state.log_history[0]
    assert all(sample.stage.stage == 1 for sample in rollout.starts)
    assert all(sample.query.prefix.endswith("return -1") for sample in rollout.starts)
    # After that prefix `return` is right for 0 alone: wherever the model goes on, other branches have returned.
    assert metrics["objective/scores"] == pytest.approx((1 + 1 + -0.3 + -1) / 4)
    shares = {name: metrics[f"executor/{name}"] for name in ("passed", "failed", "compile_error", "runtime_error")}
    assert shares == {"passed": 0.5, "failed": 0.25, "compile_error": 0.25, "runtime_error": 0.0}
    # One group passed whole: to scratch. The other did not: stays.
    assert metrics["curriculum/scratch_share"] == 1 / 8
    assert trainer.curriculum.stage(rollout.starts[0].row.task_id) == 0
    assert trainer.curriculum.stage(rollout.starts[2].row.task_id) == 1


def test_a_problem_at_scratch_begins_with_its_starter_code(make_trainer, script):
    script(RIGHT)
    trainer = make_trainer(max_steps=1, curriculum="off")

    trainer.train()

    rollout = trainer.seen[0][0]
    assert {sample.query.prefix for sample in rollout.starts} == {"def sign(x):"}
    assert {completion.program.text for completion in rollout.completions} == {"def sign(x):" + RIGHT}
    assert logged(trainer, "executor/passed") == [1.0]


def kept_text(rollout, experience, row):
    text, mask = rollout.completions[row], experience.loss_mask[row].tolist()
    return "".join(text.text[slice(*span)] for span, keep in zip(text.spans, mask, strict=False) if keep)


def test_tokens_of_lines_that_did_not_run_are_left_out(make_trainer, script):
    script(BRANCH)
    trainer = make_trainer(max_steps=1, curriculum="off")

    trainer.train()

    rollout, _, experience = trainer.seen[0]
    assert kept_text(rollout, experience, 0).split() == ["if", "x", ">", "99:", "return", "1"]
    assert experience.loss_mask[0, rollout.generation.lengths[0] - 1]  # EOS
    assert experience.valid_mask[0].all()
    share = experience.loss_mask.sum() / experience.valid_mask.sum()
    assert logged(trainer, "fgo/kept_share") == [pytest.approx(share.item())]
    assert share < 1


def test_queries_are_never_in_the_loss(make_trainer, script):
    script(RIGHT)
    trainer = make_trainer(max_steps=1)

    trainer.train()

    rollout, _, experience = trainer.seen[0]
    assert experience.loss_mask.shape == experience.response_ids.shape
    for sample, ids in zip(rollout.starts, experience.query_ids, strict=True):
        assert tuple(ids[-len(sample.query.token_ids) :].tolist()) == sample.query.token_ids


# Arithmetic, against an obvious slow version


def slow_ppo(policy, critic, reference, rollout, masks, scores, args):
    """Loss of one update, sample by sample, without padding or batches; returns it with the gradient in the models."""
    rows = []
    for sample, ids, score in zip(rollout.starts, rollout.generation.completion_ids(), scores, strict=True):
        query = list(sample.query.token_ids)
        tokens = torch.tensor([query + ids])
        place = slice(len(query) - 1, -1)

        def log_probs(model, tokens=tokens, place=place, ids=ids):
            scaled = model(tokens).logits[0, place] / args.temperature
            return scaled.log_softmax(-1)[range(len(ids)), ids]

        new, values = log_probs(policy), critic.score(critic.model(tokens).last_hidden_state)[0, place, 0]
        kl = (new - log_probs(reference)).detach().tolist()
        rewards = [-args.kl_coef * one for one in kl]
        rewards[-1] += score
        old, advantages, following = [*values.tolist(), 0.0], [0.0] * len(ids), 0.0
        for t in reversed(range(len(ids))):
            following = rewards[t] + args.gamma * old[t + 1] - old[t] + args.gamma * args.lam * following
            advantages[t] = following
        rows.append((new, values, advantages))
    pairs = [pair for row, mask in zip(rows, masks, strict=True) for pair in zip(row[2], mask, strict=True)]
    kept = [advantage for advantage, keep in pairs if keep]
    mean = sum(kept) / len(kept)
    deviation = math.sqrt(sum((a - mean) ** 2 for a in kept) / (len(kept) - 1))
    policy_loss = value_loss = 0.0
    for (new, values, advantages), mask in zip(rows, masks, strict=True):
        for t, advantage in enumerate(advantages):
            # First pass: the ratio is 1 and nothing is clipped.
            ratio = (new[t] - new[t].detach()).exp()
            policy_loss = policy_loss - ratio * (advantage - mean) / deviation * mask[t] / len(kept)
            target = advantage + values[t].detach()
            value_loss = value_loss + 0.5 * (values[t] - target) ** 2 / sum(len(row[2]) for row in rows)
    (policy_loss + args.vf_coef * value_loss).backward()
    return policy_loss.item(), value_loss.item()


@pytest.mark.parametrize("fgo", ["off", "lines"])
@pytest.mark.parametrize("micro", [1, 4])
def test_an_update_is_the_textbooks(make_trainer, make_policy, make_classifier, script, fgo, micro):
    script(BRANCH, RIGHT, WRONG, BRANCH)
    policy, critic, reference = make_policy(), make_classifier(), make_policy(seed=5)
    slow_policy, slow_critic = copy.deepcopy(policy), copy.deepcopy(critic)
    trainer = make_trainer(
        policy=policy,
        keywords={"value_model": critic, "ref_model": reference},
        curriculum="off",
        fgo=fgo,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=4 // micro,
        max_steps=1,
        optim="sgd",
        lr_scheduler_type="constant",
        learning_rate=0.01,
        value_learning_rate=0.03,
        max_grad_norm=1e9,
    )

    trainer.train()

    rollout, _, experience = trainer.seen[0]
    lengths = rollout.generation.lengths.tolist()
    masks = [row[:length] for row, length in zip(experience.loss_mask.tolist(), lengths, strict=True)]
    assert all(map(all, masks)) == (fgo == "off")
    expected = slow_ppo(slow_policy, slow_critic, reference, rollout, masks, [-0.3, 1.0, -0.3, -0.3], trainer.args)
    metrics = trainer.state.log_history[0]
    assert (metrics["loss/policy_avg"], metrics["loss/value_avg"]) == pytest.approx(expected, abs=1e-5)
    gradients = []
    for trained, slow, lr in ((policy, slow_policy, 0.01), (critic, slow_critic, 0.03)):
        for (name, new), old in zip(trained.named_parameters(), slow.parameters(), strict=True):
            torch.testing.assert_close(new, old - lr * old.grad, atol=1e-6, rtol=1e-4, msg=name)
            gradients.append(old.grad.flatten())
    assert metrics["grad_norm"] == pytest.approx(torch.cat(gradients).norm().item(), rel=1e-3)
    assert metrics["val/ratio"] == pytest.approx(1.0, abs=1e-5)
    assert metrics["policy/approxkl_avg"] == pytest.approx(0.0, abs=1e-9)


def test_one_norm_over_policy_and_critic_is_clipped(make_trainer, make_policy, script):
    script(RIGHT, WRONG)
    policy = make_policy()
    before = parameters(policy)
    trainer = make_trainer(
        policy=policy, max_steps=1, optim="sgd", lr_scheduler_type="constant", max_grad_norm=0.01, learning_rate=1.0,
        value_learning_rate=1.0,
    )  # fmt: skip
    start = parameters(trainer.model)

    trainer.train()

    moved = torch.cat([(p - start[n]).detach().flatten() for n, p in trainer.model.named_parameters()])
    assert moved.norm().item() == pytest.approx(0.01, rel=1e-3)
    assert logged(trainer, "grad_norm")[0] > 0.01
    assert any(not torch.equal(p, before[n]) for n, p in policy.named_parameters())


@pytest.mark.parametrize(("num_mini_batches", "num_ppo_epochs"), [(1, 1), (2, 1), (2, 3), (4, 1)])
def test_every_mini_batch_is_an_optimizer_step(make_trainer, num_mini_batches, num_ppo_epochs):
    trainer = make_trainer(
        per_device_train_batch_size=1,
        gradient_accumulation_steps=4,
        num_mini_batches=num_mini_batches,
        num_ppo_epochs=num_ppo_epochs,
        max_steps=2,
    )
    steps = []
    trainer.optimizer.optimizer.register_step_post_hook(lambda *_: steps.append(trainer.state.global_step))

    trainer.train()

    assert steps == sorted([0, 1] * num_mini_batches * num_ppo_epochs)
    assert trainer.accelerator.gradient_accumulation_steps == 4 // num_mini_batches
    assert trainer.args.gradient_accumulation_steps == 4
    assert logged(trainer, "val/ratio")[0] == pytest.approx(1.0, abs=0.1)


def test_accumulation_is_not_disturbed_by_others_in_the_process(make_trainer):
    trainer = make_trainer(per_device_train_batch_size=1, gradient_accumulation_steps=4, max_steps=2)
    make_trainer(per_device_train_batch_size=4, gradient_accumulation_steps=1)  # tells all accelerators its number
    others = iter(Accelerator().prepare(DataLoader([1])))
    next(others)  # stands at its end from here on
    steps = []
    trainer.optimizer.optimizer.register_step_post_hook(lambda *_: steps.append(trainer.state.global_step))

    trainer.train()

    assert steps == [0, 1]


def test_learning_rates_fall_once_per_update_each_from_its_own_peak(make_trainer):
    trainer = make_trainer(max_steps=4, num_mini_batches=2)
    peaks = [group["lr"] for group in trainer.optimizer.param_groups]

    trainer.train()

    assert peaks == [1e-3, 3e-3]
    assert logged(trainer, "lr") == pytest.approx([1e-3, 0.75e-3, 0.5e-3, 0.25e-3])


def test_weight_decay_spares_norms_in_both_groups(make_trainer):
    trainer = make_trainer(weight_decay=0.1)

    groups = [(group["lr"], group["weight_decay"]) for group in trainer.optimizer.param_groups]

    assert groups == [(1e-3, 0.1), (1e-3, 0.0), (3e-3, 0.1), (3e-3, 0.0)]
    assert sum(len(g["params"]) for g in trainer.optimizer.param_groups) == len(list(trainer.model.parameters()))


def test_critic_warm_up_leaves_the_policy_alone(make_trainer, make_policy):
    policy = make_policy()
    trainer = make_trainer(policy=policy, critic_warmup_steps=2, max_steps=3, weight_decay=0.1, save_steps=1)
    policies, critics = [parameters(policy)], [parameters(trainer.value_model)]

    class Keep(TrainerCallback):
        def on_step_end(self, *args, **kwargs):
            policies.append(parameters(policy))
            critics.append(parameters(trainer.value_model))

    trainer.add_callback(Keep())
    trainer.train()

    same = [all(torch.equal(a[n], b[n]) for n in a) for a, b in pairwise(policies)]
    assert same == [True, True, False]
    assert not any(all(torch.equal(a[n], b[n]) for n in a) for a, b in pairwise(critics))


def test_checkpointing_activations_changes_no_number(make_trainer):
    plain, saving = make_trainer(), make_trainer(gradient_checkpointing=True)
    assert saving.model.policy.model.layers[0].gradient_checkpointing
    assert saving.model.value_model.model.layers[0].gradient_checkpointing

    plain.train()
    saving.train()

    assert saving.model.policy.model.layers[0].gradient_checkpointing
    assert logged(saving, "grad_norm") == pytest.approx(logged(plain, "grad_norm"), rel=1e-4)


def test_bfloat16_takes_effect(make_trainer):
    trainer = make_trainer(max_steps=1, bf16=True)

    trainer.train()

    assert trainer.accelerator.mixed_precision == "bf16"
    assert all(p.dtype is torch.float32 and p.isfinite().all() for p in trainer.model.parameters())


def test_a_launcher_that_sets_another_precision_is_named(make_trainer, monkeypatch, caplog):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")

    with caplog.at_level(logging.WARNING, logger="stepcoder_trl"):
        make_trainer()

    assert "Mixed precision is 'bf16', not 'no'" in caplog.text


# Metrics


def test_metrics_are_means_over_what_they_say(make_trainer, make_policy, script):
    script(BRANCH, RIGHT, WRONG, UNPARSABLE)
    policy, reference = make_policy(), make_policy(seed=5)
    start = copy.deepcopy(policy)
    trainer = make_trainer(
        policy=policy, keywords={"ref_model": reference}, max_steps=1, curriculum="off", temperature=0.5, kl_coef=0.2
    )

    trainer.train()

    (rollout, _, experience), metrics = trainer.seen[0], trainer.state.log_history[0]
    kl, surprise, entropies = [], [], []
    for sample, ids in zip(rollout.starts, rollout.generation.completion_ids(), strict=True):
        tokens, place = torch.tensor([[*sample.query.token_ids, *ids]]), slice(len(sample.query.token_ids) - 1, -1)
        with torch.no_grad():
            own, other = ((m(tokens).logits[0, place] / 0.5).log_softmax(-1) for m in (start, reference))
        kl.append(sum(own[t, token].item() - other[t, token].item() for t, token in enumerate(ids)))
        surprise.append(-sum(own[t, token].item() for t, token in enumerate(ids)))
        entropies += (-(own.exp() * own).sum(-1)).tolist()
    valid, kept = experience.valid_mask.sum().item(), experience.loss_mask.sum().item()
    assert kept < valid
    assert len(entropies) == valid
    expected = {
        "objective/kl": sum(kl) / 4,  # per completion
        "objective/entropy": sum(surprise) / 4,
        "objective/non_score_reward": -0.2 * sum(kl) / 4,
        "objective/scores": (-0.3 + 1.0 - 0.3 - 1.0) / 4,
        "objective/rlhf_reward": -0.2 * sum(kl) / 4 + (-0.3 + 1.0 - 0.3 - 1.0) / 4,
        "policy/entropy_avg": sum(entropies) / valid,  # per valid token
        "val/ratio": 1.0,
        "policy/approxkl_avg": 0.0,
        "completions/mean_length": valid / 4,
        "completions/stopped": 1.0,
        "fgo/kept_share": kept / valid,
        "val/num_eos_tokens": 4,
    }
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_metrics_do_not_depend_on_the_micro_batches(make_trainer, make_policy, script):
    histories = []
    for micro in (1, 2, 4):
        script(BRANCH, RIGHT, WRONG, UNPARSABLE)
        trainer = make_trainer(
            policy=make_policy(),
            per_device_train_batch_size=micro,
            gradient_accumulation_steps=4 // micro,
            num_ppo_epochs=2,
            curriculum="off",
            cliprange=0.01,
            cliprange_value=0.01,
        )
        trainer.train()
        histories.append([{k: v for k, v in one.items() if k not in TIMES} for one in trainer.state.log_history])

    assert histories[0][0]["policy/clipfrac_avg"] > 0
    assert histories[0][0]["val/clipfrac_avg"] > 0
    for history in histories[1:]:
        for found, expected in zip(history, histories[0], strict=True):
            assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)


# Rewards


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


def test_a_completion_without_a_score_moves_no_curriculum(make_trainer, script):
    script(RIGHT)
    keywords = {"reward_funcs": lambda completions, **columns: [None] * len(completions)}
    trainer = make_trainer(max_steps=1, curriculum_momentum=1.0, keywords=keywords)
    before = trainer.curriculum.state_dict()

    trainer.train()

    assert logged(trainer, "executor/passed") == [1.0]
    assert trainer.curriculum.state_dict() == before


def test_a_score_that_is_not_a_number_is_left_out(make_trainer, script):
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


class Unreliable:
    """Executor that cannot run every other program."""

    def __init__(self, executor):
        self.executor, self.count, self.timeout_s = executor, 0, executor.timeout_s

    def run_many(self, *args, **keywords):
        return self.executor.run_many(*args, **keywords)

    def submit(self, program, tests):
        self.count += 1
        if self.count % 2:
            return self.executor.submit(program, tests)
        future = Future()
        future.set_exception(SandboxError("disk full"))
        return future


def test_a_program_that_could_not_be_run_is_left_out_and_counted(make_trainer, script, executor, caplog):
    script(WRONG, RIGHT)
    trainer = make_trainer(
        max_steps=1,
        curriculum_momentum=1.0,
        keywords={"executor": Unreliable(executor)},
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


def test_no_other_reward_speaks_for_a_program_that_could_not_be_run(make_trainer, script, executor):
    script(RIGHT)

    def always(completions, **columns):
        return [5.0] * len(completions)

    trainer = make_trainer(
        max_steps=1,
        max_infrastructure_error_rate=0.5,
        keywords={"executor": Unreliable(executor), "reward_funcs": [unit_test_reward, always]},
    )

    trainer.train()

    _, scores, experience = trainer.seen[0]
    assert scores.scored.tolist() == [True, False, True, False]
    assert scores.scores.tolist() == [6.0, 0.0, 6.0, 0.0]
    assert not experience.valid_mask[1].any()


def test_an_update_without_any_score_moves_nothing_to_nan(make_trainer, executor):
    class Broken(Unreliable):
        def submit(self, program, tests):
            self.count = 1
            return super().submit(program, tests)

    trainer = make_trainer(max_steps=1, keywords={"executor": Broken(executor)}, max_infrastructure_error_rate=1.0)

    trainer.train()

    assert logged(trainer, "loss/policy_avg") == [0.0]
    assert logged(trainer, "loss/value_avg") == [0.0]
    assert all(p.isfinite().all() for p in trainer.model.parameters())


# Solutions, before training


def with_solution(problems, solution, **tests):
    first = {**problems[0].to_row(), "canonical_solution": solution, "tests": {**problems[0].tests, **tests}}
    return [first, *(problem.to_row() for problem in problems[1:])]


def test_a_problem_whose_solution_fails_is_named_and_starts_from_scratch(make_trainer, script, problems, caplog):
    script(WRONG)
    wrong = problems[0].canonical_solution.replace("return -1", "return -2")
    trainer = make_trainer(dataset=with_solution(problems, wrong), max_steps=1)
    assert trainer.curriculum.stage("sign/0") == 1

    with caplog.at_level(logging.WARNING, logger="stepcoder_trl"):
        trainer.train()

    assert "1 of 8 solutions fail their tests" in caplog.text
    assert "sign/0 (failed)" in caplog.text
    assert [stage.stage for stage in trainer.curriculum.stages("sign/0")] == [0]
    assert [trainer.curriculum.stage(row.task_id) for row in trainer.rows[1:]] == [1] * 7


def test_a_slow_solution_raises_its_own_limit(make_trainer, script, problems, caplog):
    script(WRONG)
    slow = "import time\nend = time.process_time() + 0.2\n" + problems[0].canonical_solution
    slow = slow.replace("    if x > 0", "    while time.process_time() < end:\n        pass\n    if x > 0", 1)
    trainer = make_trainer(dataset=with_solution(problems, slow, timeout_s=0.1), max_steps=1)

    trainer.train()

    assert "solutions fail" not in caplog.text
    assert 0.4 < trainer.rows[0].tests["timeout_s"] < 4
    assert all("timeout_s" not in row.tests for row in trainer.rows[1:])


def test_a_solution_that_could_not_be_run_does_not_count_as_failing(make_trainer, script, executor, caplog):
    class Broken(Unreliable):
        def run_many(self, programs, tests, on_error):
            return [SandboxError("disk full")] * len(programs)

    script(WRONG)
    trainer = make_trainer(max_steps=1, keywords={"executor": Broken(executor)}, max_infrastructure_error_rate=1.0)
    before = [trainer.curriculum.stages(row.task_id) for row in trainer.rows]

    trainer.train()

    assert "solutions fail" not in caplog.text
    assert [trainer.curriculum.stages(row.task_id) for row in trainer.rows] == before


def test_solutions_are_not_run_again_to_resume(make_trainer, script, problems, monkeypatch):
    script(WRONG)
    dataset = with_solution(problems, problems[0].canonical_solution.replace("return -1", "return -2"))
    changes = {"dataset": dataset, "save_strategy": "steps", "save_steps": 1}
    first = make_trainer(**changes)
    first.train()

    again = make_trainer(**changes)
    monkeypatch.setattr(again, "check_solutions", lambda: pytest.fail("ran the solutions"))
    again.train(resume_from_checkpoint=f"{again.args.output_dir}/checkpoint-1")

    assert again.curriculum.state_dict() == first.curriculum.state_dict()
    assert again.rows == first.rows


# Kinds of prompts and models


def test_chat_prompts_open_a_fence(make_trainer, problems):
    chat = [{**p.to_row(), "prompt": [{"role": "user", "content": p.prompt}]} for p in problems]
    trainer = make_trainer(dataset=chat, max_steps=1, curriculum="off")

    trainer.train()

    rollout = trainer.seen[0][0]
    for sample in rollout.starts:
        assert sample.query.opened_fence
        assert sample.query.text.endswith("<|assistant|>\n```python\ndef sign(x):")
    assert logged(trainer, "loss/policy_avg")


def test_plain_ppo_on_a_dataset_and_a_reward_model_of_upstreams_kind(
    tokenizer, make_policy, make_classifier, make_args
):
    dataset = Dataset.from_list([{"input_ids": tokenizer(f"def f{n}(x):\n")["input_ids"]} for n in range(8)])
    policy, reference, judge, critic = make_policy(), make_policy(), make_classifier(3), make_classifier(4)
    args = make_args(num_generations=None)

    trainer, updates = StepCoderPPOTrainer(args, tokenizer, policy, reference, judge, dataset, critic), []
    trainer.on_update = updates.append
    trainer.train()

    rollout, scores, experience = updates[0].rollout, updates[0].scores, updates[0].experience
    assert trainer.executor is None
    assert len({sample.row.task_id for sample in rollout.starts}) == 4  # one completion per prompt
    assert rollout.generation.lengths.tolist() == [12] * 4  # no stop token unless asked for
    assert (trainer.stop_token_id, args.stop_token) == (None, "eos")
    assert experience.loss_mask.all()
    ids = torch.tensor([list(rollout.starts[1].query.token_ids) + rollout.generation.completion_ids()[1]])
    alone = judge.score(judge.model(ids).last_hidden_state)[0, -1, 0]
    torch.testing.assert_close(scores.scores[1], alone.detach(), atol=1e-5, rtol=1e-4)
    assert not logged(trainer, "curriculum/mean_stage")


def token_rows(tokenizer):
    return Dataset.from_list([{"input_ids": tokenizer(f"def f{n}(x):\n")["input_ids"]} for n in range(8)])


@pytest.mark.parametrize(
    ("options", "kind", "expected"),
    [
        ([], "input_ids", None),
        (["--stop_token", "eos"], "input_ids", "eos"),
        (["--stop_token_id", "5"], "input_ids", 5),
        ([], "problems", "eos"),
        (["--stop_token_id", "5"], "problems", 5),
        (["--stop_token", "eos", "--stop_token_id", "5"], "problems", 5),
    ],
)
def test_stop_tokens_survive_the_command_line(
    tokenizer, make_policy, make_classifier, make_args, problems, options, kind, expected
):
    known = [
        "output_dir",
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "response_length",
        "max_steps",
    ]
    line = [text for name in known for text in (f"--{name}", str(getattr(make_args(), name)))]
    line += ["--num_generations", "2", "--report_to", "none", "--use_cpu", "true", "--gradient_checkpointing", "false"]
    (args,) = TrlParser((StepCoderPPOConfig,)).parse_args_and_config([*line, *options])
    judge, dataset = (make_classifier(), token_rows(tokenizer)) if kind == "input_ids" else (None, problems)

    trainer = StepCoderPPOTrainer(args, tokenizer, make_policy(), reward_model=judge, train_dataset=dataset)

    assert trainer.stop_token_id == (tokenizer.eos_token_id if expected == "eos" else expected)
    assert json.loads(args.to_json_string())  # nothing that JSON cannot hold
    assert str(args.stop_token) == "eos"


def test_completions_of_upstreams_kind_are_generated_as_upstreams(
    tokenizer, make_policy, make_classifier, make_args, capsys
):
    rows = token_rows(tokenizer)
    trainer = StepCoderPPOTrainer(
        make_args(per_device_eval_batch_size=2), tokenizer, make_policy(), make_policy(), make_classifier(3), rows,
        eval_dataset=rows,
    )  # fmt: skip

    trainer.generate_completions(sampling=True)

    assert "model response" in capsys.readouterr().out


def lora():
    return LoraConfig(r=4, target_modules=["q_proj", "v_proj"], lora_dropout=0.1, task_type="CAUSAL_LM")


# PEFT calls what transformers 5.23 renamed.
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning")
@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_adapters_of_policy_and_critic_are_trained_saved_and_resumed(make_trainer, tmp_path, gradient_checkpointing):
    changes = {"gradient_checkpointing": gradient_checkpointing, "save_strategy": "steps", "save_steps": 1}
    trainer = make_trainer(keywords={"peft_config": lora()}, **changes)
    before = parameters(trainer.model)

    trainer.train()

    assert trainer.ref_model is None
    trained = {name for name, p in trainer.model.named_parameters() if p.requires_grad}
    assert {name for name, p in trainer.model.named_parameters() if not torch.equal(p, before[name])} == trained
    assert {name.split(".")[0] for name in trained} == {"policy", "value_model"}
    last = tmp_path / "run" / "checkpoint-2"
    assert {"adapter_model.safetensors", "value_model"} <= {path.name for path in last.iterdir()}
    assert (last / "value_model" / "adapter_model.safetensors").exists()
    assert sum(path.stat().st_size for path in last.rglob("*.pt")) < 200_000  # the frozen weights are not in it
    again = make_trainer(keywords={"peft_config": lora()}, **changes)
    again.train(resume_from_checkpoint=tmp_path / "run" / "checkpoint-1")
    for name, p in again.model.named_parameters():
        assert torch.equal(p, trainer.model.get_parameter(name)), name


@pytest.mark.parametrize("adapter", [None, lora()], ids=["full", "lora"])
def test_settings_of_the_checkpoint_do_not_reach_the_rollouts(make_trainer, make_policy, problems, tmp_path, adapter):
    policy = make_policy()
    policy.generation_config = GenerationConfig(
        do_sample=True,
        repetition_penalty=50.0,
        eos_token_id=7,
        top_k=1,
        min_new_tokens=9,
        suppress_tokens=list(range(40, 100)),
    )
    policy.save_pretrained(tmp_path / "policy")
    policy = AutoModelForCausalLM.from_pretrained(tmp_path / "policy")
    settings = policy.generation_config
    assert settings.suppress_tokens  # they came with the weights
    changes = {"max_steps": 1, "keywords": {"peft_config": adapter, "eval_dataset": problems[:4]}}
    trainers = [make_trainer(**changes), make_trainer(policy=policy, **changes)]
    evaluated = []

    for trainer in trainers:
        torch.manual_seed(0)
        trainer.train()
        trainer.args.eval_temperature = 1.0
        evaluated.append([one.completion for one in trainer.evaluate_rows(trainer.eval_sets["eval"]).samples])
        trainer.runner.close()
    trainers[1].save_model(str(tmp_path / "saved"))

    plain, other = (trainer.seen[0][0].generation.completion_ids() for trainer in trainers)
    assert plain == other
    assert evaluated[0] == evaluated[1]
    assert policy.generation_config is settings
    if adapter is None:
        assert GenerationConfig.from_pretrained(tmp_path / "saved").to_diff_dict() == settings.to_diff_dict()


def test_where_padding_is_eos_the_eos_is_in_the_loss(
    script, scripted, tokenizer, make_args, make_policy, problems, executor
):
    script(RIGHT)
    without_padding = copy.deepcopy(tokenizer)
    without_padding.pad_token = without_padding.eos_token
    trainer = StepCoderPPOTrainer(
        make_args(max_steps=1), without_padding, make_policy(), train_dataset=problems, executor=executor
    )
    trainer.generate, updates = scripted.generate, []
    trainer.on_update = updates.append

    trainer.train()

    rollout, experience = updates[0].rollout, updates[0].experience
    last = rollout.generation.lengths - 1
    assert experience.loss_mask[torch.arange(4), last].all()
    assert (experience.response_ids[torch.arange(4), last] == tokenizer.eos_token_id).all()
    assert logged(trainer, "val/num_eos_tokens") == [4.0]


def test_the_random_control_keeps_as_much(make_trainer, script):
    script(BRANCH, RIGHT)
    lines, random = make_trainer(max_steps=1), make_trainer(max_steps=1, fgo="random")

    lines.train()
    random.train()

    assert logged(random, "fgo/kept_share") == logged(lines, "fgo/kept_share")


@pytest.mark.parametrize("mode", ["mix", "adaptive"])
def test_other_curricula_train(make_trainer, mode):
    trainer = make_trainer(curriculum=mode)

    trainer.train()

    assert len(logged(trainer, "curriculum/revealed_share")) == 2


# What is refused


def test_a_problem_that_does_not_fit_is_left_out_and_named(make_trainer, problems, caplog):
    long = [
        {**problem.to_row(), "task_id": f"long/{n}", "prompt": "x" * 300} for n, problem in enumerate(problems[:2])
    ]

    with caplog.at_level(logging.WARNING, logger="stepcoder_trl"):
        trainer = make_trainer(dataset=[problem.to_row() for problem in problems] + long, max_prompt_length=120)

    assert len(trainer.rows) == 8
    assert "2 of 10 problems are left out" in caplog.text
    assert "long/0, long/1" in caplog.text


def test_a_problem_that_is_left_out_is_not_in_the_curriculum(make_trainer, problems):
    long = {**problems[0].to_row(), "task_id": "long", "prompt": "x" * 300}

    trainer = make_trainer(dataset=[*(problem.to_row() for problem in problems), long], max_prompt_length=120)

    assert trainer.curriculum.state_dict()["problems"].keys() == {row.task_id for row in trainer.rows}


@pytest.mark.parametrize(
    ("keywords", "changes", "message"),
    [
        ({"dataset": []}, {}, "has no rows"),
        ({}, {"response_length": 256}, "No row of `train_dataset` is usable"),
        ({}, {"num_generations": 3}, "multiple of `num_generations`, 3. The nearest that fit: 3 and 6"),
        ({}, {"gradient_accumulation_steps": 18, "num_generations": 4}, "has 8 usable rows, but an update takes 9"),
        ({"dataset": [{"prompt": "p"}]}, {}, "Row 0 of `train_dataset` has no `tests`"),
        ({"dataset": [{"input_ids": [1]}]}, {}, "neither `reward_funcs` nor `reward_model`"),
        ({"keywords": {"reward_funcs": []}}, {}, "`reward_funcs` is empty"),
        ({"keywords": {"reward_weights": [1.0, 2.0]}}, {}, "`reward_weights` has 2 values"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_training(make_trainer, keywords, changes, message):
    with pytest.raises(ValueError, match=message):
        make_trainer(**keywords, **changes)


def test_the_training_set_is_required(tokenizer, make_policy, make_args):
    with pytest.raises(ValueError, match="`train_dataset` is missing"):
        StepCoderPPOTrainer(make_args(), tokenizer, make_policy())


# Callbacks, logging, saving, resuming


class Events(TrainerCallback):
    def __init__(self, stop_at=None):
        self.events, self.stop_at = [], stop_at

    def on_train_begin(self, args, state, control, **kwargs):
        self.events.append(("train", state.max_steps))

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.events.append(("epoch", state.epoch))

    def on_epoch_end(self, args, state, control, **kwargs):
        self.events.append(("epoch end", state.epoch))

    def on_step_begin(self, args, state, control, **kwargs):
        self.events.append(("step", state.global_step))

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == self.stop_at or control.should_training_stop

    def on_train_end(self, args, state, control, **kwargs):
        self.events.append(("end", state.global_step))


def test_events_come_in_their_order(make_trainer, script):
    script(WRONG)
    events = Events()
    # Eight problems, four per update: two updates per epoch.
    trainer = make_trainer(
        per_device_train_batch_size=4, num_train_epochs=1.5, max_steps=-1, keywords={"callbacks": [events]}
    )

    trainer.train()

    assert events.events == [
        ("train", 3),
        ("epoch", 0.0),
        ("step", 0),
        ("step", 1),
        ("epoch end", 1.0),
        ("epoch", 1.0),
        ("step", 2),
        ("end", 3),
    ]
    assert trainer.state.episode == 24


def test_a_callback_can_stop_training(make_trainer, script):
    script(WRONG)
    trainer = make_trainer(max_steps=5, keywords={"callbacks": [Events(stop_at=2)]})

    assert trainer.train().global_step == 2


def test_logged_metrics_cover_the_updates_since_the_last_time(make_trainer, script):
    script(RIGHT, RIGHT, RIGHT, RIGHT, WRONG, WRONG, WRONG, WRONG)
    trainer = make_trainer(max_steps=5, logging_steps=2, curriculum="off")

    trainer.train()

    assert [entry["step"] for entry in trainer.state.log_history] == [2, 4, 5]
    assert logged(trainer, "objective/scores") == pytest.approx([0.35, 0.35, 1.0])
    assert logged(trainer, "val/num_eos_tokens") == [8.0, 8.0, 4.0]
    assert logged(trainer, "episode") == [8, 16, 20]


def test_a_saved_model_is_whole(make_trainer, tmp_path, tokenizer):
    trainer = make_trainer(max_steps=1)
    trainer.train()

    trainer.save_model(str(tmp_path / "saved"))

    policy = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    critic = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved" / "value_model")
    for loaded, own in ((policy, trainer.policy_model), (critic, trainer.value_model)):
        for name, p in own.named_parameters():
            assert torch.equal(loaded.get_parameter(name), p), name
    curriculum = json.loads((tmp_path / "saved" / "curriculum.json").read_text())
    assert len(curriculum["problems"]) == 8
    assert (tmp_path / "saved" / "tokenizer.json").exists()


TIMES = {"eps", "executor/wait_s", "executor/programs_per_s"}


@pytest.mark.parametrize("logging_steps", [1, 3])
def test_a_resumed_run_equals_an_uninterrupted_one(make_trainer, tmp_path, logging_steps):
    changes = {
        "max_steps": 5,
        "save_strategy": "steps",
        "save_steps": 2,
        "num_mini_batches": 2,
        "per_device_train_batch_size": 4,
        "logging_steps": logging_steps,
        "curriculum": "mix",
        "curriculum_mix_probability": 0.5,
    }
    whole = make_trainer(output_dir=str(tmp_path / "whole"), **changes)
    whole.train()
    torch.manual_seed(12345)

    # Another start, other random state: all must come from the checkpoint.
    again = make_trainer(output_dir=str(tmp_path / "again"), **changes)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))

    for name, p in again.model.named_parameters():
        assert torch.equal(p, whole.model.get_parameter(name)), name
    history = [
        [{k: v for k, v in entry.items() if k not in TIMES} for entry in trainer.state.log_history]
        for trainer in (whole, again)
    ]
    assert history[0] == history[1]
    assert again.curriculum.state_dict() == whole.curriculum.state_dict()
    assert [rollout.generation.completion_ids() for rollout, *_ in again.seen] == [
        rollout.generation.completion_ids() for rollout, *_ in whole.seen[2:]
    ]


def test_training_goes_on_from_the_newest_checkpoint(make_trainer, tmp_path):
    make_trainer(max_steps=2, save_strategy="steps", save_steps=1, save_total_limit=1).train()
    run = tmp_path / "run"
    assert [path.name for path in run.iterdir()] == ["checkpoint-2"]

    trainer = make_trainer(max_steps=3, save_strategy="steps", save_steps=1)
    result = trainer.train(resume_from_checkpoint=True)

    assert result.global_step == 3
    assert len(trainer.seen) == 1
    assert trainer.state.episode == 12


def test_a_run_after_an_interrupted_one_starts_clean(make_trainer, script):
    script(RIGHT, WRONG)
    trainer = make_trainer(max_steps=1)
    backward, synced = trainer.learner.backward, []

    def interrupted(*args):
        backward(*args)
        raise KeyboardInterrupt

    def watched(*args):
        synced.append(trainer.accelerator.sync_gradients)
        assert len(synced) > 1 or all(p.grad is None for p in trainer.model.parameters())
        backward(*args)

    trainer.learner.backward = interrupted
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    trainer.learner.backward = watched
    trainer.train()

    assert synced == [False, True]


def test_learning_rates_start_anew_with_a_second_run(make_trainer):
    trainer = make_trainer(max_steps=2)

    trainer.train()
    trainer.train()

    assert logged(trainer, "lr") == [1e-3, 5e-4, 1e-3, 5e-4]


def test_a_finished_run_has_nothing_left_to_do(make_trainer):
    make_trainer(max_steps=1, save_strategy="steps", save_steps=1).train()
    trainer = make_trainer(max_steps=1)

    result = trainer.train(resume_from_checkpoint=True)

    assert (result.global_step, trainer.seen) == (1, [])


def test_a_checkpoint_of_another_model_is_refused(make_trainer, make_policy):
    make_trainer(max_steps=1, save_strategy="steps", save_steps=1).train()
    trainer = make_trainer(policy=make_policy(num_hidden_layers=1))

    with pytest.raises(BadInputError, match="trained parameters"):
        trainer.train(resume_from_checkpoint=True)


def test_a_checkpoint_without_training_state_is_refused(make_trainer):
    make_trainer(max_steps=1, save_strategy="steps", save_steps=1, save_only_model=True).train()

    with pytest.raises(BadInputError, match="save_only_model"):
        make_trainer().train(resume_from_checkpoint=True)


def test_an_executor_of_our_own_is_closed_after_training(make_trainer, script):
    script(RIGHT)
    trainer = make_trainer(max_steps=1, executor_workers=1, curriculum="off", keywords={"executor": None})

    trainer.train()

    assert trainer.executor is None
    assert logged(trainer, "executor/passed") == [1.0]


def test_an_executor_that_was_given_stays_open(make_trainer, script, executor, problems):
    script(RIGHT)
    make_trainer(max_steps=1).train()

    assert executor.run("def sign(x):" + RIGHT, problems[0].tests).outcome == "passed"


def test_configuration_is_as_the_caller_left_it(make_trainer):
    trainer = make_trainer(num_mini_batches=2, whiten_rewards=True)

    args = trainer.args
    assert (args.gradient_accumulation_steps, args.num_mini_batches, args.whiten_rewards) == (2, 2, True)
    assert (args.total_episodes, args.stop_token) == (None, "eos")
    sizes = (args.batch_size, args.local_batch_size, args.mini_batch_size, args.local_mini_batch_size)
    assert sizes == (4, 4, 2, 2)
    assert (args.micro_batch_size, args.num_total_batches, args.world_size) == (2, 2, 1)


def test_rltf_takes_from_the_tokens_of_the_line_with_the_error(script, make_trainer, tokenizer):
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


def test_rewards_are_whitened_over_the_completions_that_have_a_score(make_trainer):
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
