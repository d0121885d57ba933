"""Trains a random model of two layers for a few updates on the CPU."""

from __future__ import annotations

import copy
import logging
import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader
from transformers import TrainerCallback

from docs.hooks.reference import ppo_options, shared_options
from stepcoder_trl.trainer._trl import PPOConfig
from tests.integration.helpers import BRANCH, RIGHT, UNPARSABLE, WRONG, kept_text, log_probs, logged, parameters


pytestmark = pytest.mark.sandbox


def test_two_updates_change_policy_and_critic(make_trainer):
    trainer = make_trainer()
    before = parameters(trainer.model)

    result = trainer.train()

    assert result.global_step == 2
    assert result.metrics["train_runtime"] > 0
    for name, parameter in trainer.model.named_parameters():
        assert not torch.equal(parameter, before[name]), name
    assert all(torch.equal(p, before[f"policy.{n}"]) for n, p in trainer.ref_model.named_parameters())


def test_every_option_of_upstream_is_documented():
    table = (Path(__file__).parents[2] / "docs" / "reference" / "options.md").read_text(encoding="utf-8")
    table += ppo_options() + shared_options()

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


def test_outcomes_decide_scores_metrics_and_curriculum(make_trainer, script, problems):
    script(RIGHT, RIGHT, WRONG, UNPARSABLE)
    trainer = make_trainer(max_steps=1, curriculum_momentum=1.0, curriculum_pass_rate=0.4)
    # SIGN has four conditional statements: stages 1 (before the third) and scratch.
    assert trainer.curriculum.summary()["curriculum/scratch_share"] == 0.0

    trainer.train()

    (rollout, _, _), metrics = trainer.seen[0], trainer.state.log_history[0]
    assert all(sample.stage.stage == 1 for sample in rollout.starts)
    assert all(sample.query.prefix.endswith("return -1") for sample in rollout.starts)
    # After this prefix only 0 is left: the branches of the prefix return for all other numbers.
    assert metrics["objective/scores"] == pytest.approx((1 + 1 + -0.3 + -1) / 4)
    shares = {name: metrics[f"executor/{name}"] for name in ("passed", "failed", "compile_error", "runtime_error")}
    assert shares == {"passed": 0.5, "failed": 0.25, "compile_error": 0.25, "runtime_error": 0.0}
    # Every completion of one group passed: its problem moves to scratch. The other problem stays.
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


def slow_ppo(policy, critic, reference, rollout, masks, scores, args):
    """Compute the losses of one update without padding or batches. The models then hold the gradients."""
    rows = []
    for sample, ids, score in zip(rollout.starts, rollout.generation.completion_ids(), scores, strict=True):
        query = list(sample.query.token_ids)
        hidden = critic.model(torch.tensor([query + ids])).last_hidden_state
        values = critic.score(hidden)[0, len(query) - 1 : -1, 0]
        models = (policy, reference)
        new, referred = (log_probs(one, query, ids, args.temperature)[range(len(ids)), ids] for one in models)
        kl = (new - referred).detach().tolist()
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
def test_update_equals_slow_ppo(make_trainer, make_policy, make_classifier, script, fgo, micro):
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


def test_another_accelerator_does_not_change_accumulation(make_trainer):
    trainer = make_trainer(per_device_train_batch_size=1, gradient_accumulation_steps=4, max_steps=2)
    make_trainer(
        per_device_train_batch_size=4, gradient_accumulation_steps=1
    )  # sets the accumulation of all accelerators
    others = iter(Accelerator().prepare(DataLoader([1])))
    next(others)  # stays at its end
    steps = []
    trainer.optimizer.optimizer.register_step_post_hook(lambda *_: steps.append(trainer.state.global_step))

    trainer.train()

    assert steps == [0, 1]


def test_both_learning_rates_fall_once_per_update(make_trainer):
    trainer = make_trainer(max_steps=4, num_mini_batches=2)
    peaks = [group["lr"] for group in trainer.optimizer.param_groups]

    trainer.train()

    assert peaks == [1e-3, 3e-3]
    assert logged(trainer, "lr") == pytest.approx([1e-3, 0.75e-3, 0.5e-3, 0.25e-3])


def test_weight_decay_leaves_out_norms(make_trainer):
    trainer = make_trainer(weight_decay=0.1)

    groups = [(group["lr"], group["weight_decay"]) for group in trainer.optimizer.param_groups]

    assert groups == [(1e-3, 0.1), (1e-3, 0.0), (3e-3, 0.1), (3e-3, 0.0)]
    assert sum(len(g["params"]) for g in trainer.optimizer.param_groups) == len(list(trainer.model.parameters()))


def test_critic_warm_up_does_not_change_the_policy(make_trainer, make_policy):
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


def test_gradient_checkpointing_changes_no_number(make_trainer):
    plain, saving = make_trainer(), make_trainer(gradient_checkpointing=True)
    assert saving.model.policy.model.layers[0].gradient_checkpointing
    assert saving.model.value_model.model.layers[0].gradient_checkpointing

    plain.train()
    saving.train()

    assert saving.model.policy.model.layers[0].gradient_checkpointing
    assert logged(saving, "grad_norm") == pytest.approx(logged(plain, "grad_norm"), rel=1e-4)


def test_bf16_keeps_weights_in_float32(make_trainer):
    trainer = make_trainer(max_steps=1, bf16=True)

    trainer.train()

    assert trainer.accelerator.mixed_precision == "bf16"
    assert all(p.dtype is torch.float32 and p.isfinite().all() for p in trainer.model.parameters())


def test_warning_names_other_precision_of_launcher(make_trainer, monkeypatch, caplog):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")

    with caplog.at_level(logging.WARNING, logger="stepcoder_trl"):
        make_trainer()

    assert "Mixed precision is 'bf16', not 'no'" in caplog.text


def test_random_masks_keep_as_many_tokens(make_trainer, script):
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
