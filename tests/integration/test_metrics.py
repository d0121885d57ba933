"""Compares every metric of an update with its definition in the documentation, computed in a slow way."""

from __future__ import annotations

import copy
import math
import re
from itertools import count
from statistics import fmean, pvariance

import pytest
import torch

from stepcoder_trl.errors import SandboxError
from stepcoder_trl.rewards import unit_test_reward
from stepcoder_trl.trainer.learner import Learner
from stepcoder_trl.trainer.metric_table import PPO_METRICS
from stepcoder_trl.types import Execution, Outcome, TestResult
from tests.integration.helpers import BRANCH, DISK_FULL, RIGHT, TIMES, UNPARSABLE, WRONG, Answers, log_probs


pytestmark = pytest.mark.sandbox

TEXTS = [RIGHT, BRANCH, "\n    y = x\n"]
VERDICTS = (*Outcome, Outcome.PASSED, None)  # outcome of each completion; `None` is a failure of the sandbox
KL_COEF, TEMPERATURE, VF_COEF, CLIP, CLIP_VALUE = 0.2, 0.7, 0.3, 0.05, 0.01


def scripted_execution(number: int, outcome: Outcome | None) -> Execution | SandboxError:
    """Return the result of completion `number`. The first is untrusted. The second has lost its trace."""
    if outcome is None:
        return DISK_FULL
    kept = frozenset() if number == 2 else frozenset(range(1, 7))
    test = TestResult(outcome, trusted=number != 0)
    return Execution(outcome, (test,), kept, kept, 0.1, trusted=number != 0, trace_lost=number == 1)


class Slow(Learner):
    """Learner that records the values of every token in every pass, from which the losses are computed."""

    def __init__(self, *args, **keywords):
        super().__init__(*args, **keywords)
        self.steps, self.norms = [], []

    def optimizer_step(self, experience, indices, totals):
        self.steps.append([])
        super().optimizer_step(experience, indices, totals)

    @torch.no_grad()
    def backward(self, batch, policy_tokens, value_tokens, totals):
        bare = self.model
        for row in range(len(batch.lengths)):
            query = batch.query_ids[row][batch.query_mask[row]].tolist()
            ids = batch.response_ids[row][: batch.lengths[row]].tolist()
            tokens, place = torch.tensor([query + ids]), slice(len(query) - 1, -1)
            scores = log_probs(bare.policy, query, ids, TEMPERATURE)
            values = bare.value_model.score(bare.value_model.model(tokens).last_hidden_state)[0, place, 0]
            for t, token in enumerate(ids):
                self.steps[-1].append(
                    {
                        "new": scores[t, token].item(),
                        "old": batch.log_probs[row, t].item(),
                        "entropy": -(scores[t].exp() * scores[t]).sum().item(),
                        "value": values[t].item(),
                        "old value": batch.values[row, t].item(),
                        "return": batch.returns[row, t].item(),
                        "advantage": batch.advantages[row, t].item(),
                        "valid": batch.valid_mask[row, t].item(),
                        "kept": batch.loss_mask[row, t].item(),
                    }
                )
        with torch.enable_grad():
            super().backward(batch, policy_tokens, value_tokens, totals)

    def clip_gradient(self, totals):
        gradients = [p.grad.flatten() for p in self.model.parameters() if p.grad is not None]
        self.norms.append(torch.cat(gradients).norm().item())
        super().clip_gradient(totals)


def policy_terms(token):
    """Return the ratio of a token, its policy loss, and whether it was clipped."""
    ratio = math.exp(token["new"] - token["old"])
    plain, clipped = (-token["advantage"] * one for one in (ratio, min(max(ratio, 1 - CLIP), 1 + CLIP)))
    return ratio, max(plain, clipped), clipped > plain


def value_terms(token):
    """Return the value loss of a token, and whether it was clipped."""
    near = min(max(token["value"], token["old value"] - CLIP_VALUE), token["old value"] + CLIP_VALUE)
    plain, clipped = ((one - token["return"]) ** 2 for one in (token["value"], near))
    return max(plain, clipped) / 2, clipped > plain


def expected_of_losses(steps, norms):
    """Return the metrics of the optimizer steps: means over tokens of all passes, or over steps."""
    valid = [token for step in steps for token in step if token["valid"]]
    kept = [token for token in valid if token["kept"]]
    ratios = [policy_terms(token)[0] for token in valid]
    return {
        "loss/policy_avg": fmean(fmean(policy_terms(token)[1] for token in step if token["kept"]) for step in steps),
        "loss/value_avg": fmean(fmean(value_terms(token)[0] for token in step if token["valid"]) for step in steps),
        "policy/approxkl_avg": fmean((token["new"] - token["old"]) ** 2 / 2 for token in valid),
        "policy/clipfrac_avg": fmean(policy_terms(token)[2] for token in kept),
        "policy/entropy_avg": fmean(token["entropy"] for token in valid),
        "val/clipfrac_avg": fmean(value_terms(token)[1] for token in valid),
        "val/ratio": fmean(ratios),
        "val/ratio_var": pvariance(ratios),
        "grad_norm": fmean(norms),
    }


def expected_of_rollout(rollout, experience, models, functions):
    """Return the metrics of completions: means over completions, programs or tokens."""
    ran = [(number, one) for number, one in enumerate(VERDICTS) if one is not None]
    kl, surprise = [], []
    for sample, ids in zip(rollout.starts, rollout.generation.completion_ids(), strict=True):
        with torch.no_grad():
            own, other = (log_probs(one, sample.query.token_ids, ids, TEMPERATURE) for one in models)
        kl.append(sum(own[t, token].item() - other[t, token].item() for t, token in enumerate(ids)))
        surprise.append(-sum(own[t, token].item() for t, token in enumerate(ids)))
    feedback = {Outcome.PASSED: 1.0, Outcome.FAILED: -0.3, Outcome.COMPILE_ERROR: -1.0}
    first = [feedback.get(outcome, -0.6) for _, outcome in ran]
    second = [value for value in functions if value is not None]
    total = [2 * one + (functions[number] or 0.0) for one, (number, _) in zip(first, ran, strict=True)]
    ids = rollout.generation.completion_ids()
    masks = [experience.valid_mask, experience.loss_mask]
    valid, kept = ([row[: len(ids[n])].tolist() for n, row in enumerate(mask)] for mask in masks)
    scored = [number for number, _ in ran]
    returns, values = (one[experience.valid_mask].tolist() for one in (experience.returns, experience.values))
    left = [goal - guess for goal, guess in zip(returns, values, strict=True)]
    shares = {f"executor/{one}": fmean(outcome is one for _, outcome in ran) for one in Outcome}
    return {
        "objective/kl": fmean(kl),
        "objective/entropy": fmean(surprise),
        "objective/non_score_reward": -KL_COEF * fmean(kl),
        "objective/scores": fmean(total),
        "objective/rlhf_reward": fmean(total) - KL_COEF * fmean(kl),
        "rewards/unit_test_reward": fmean(first),
        "rewards/sometimes": fmean(second),
        "val/num_eos_tokens": sum(one.count(2) for one in ids),
        "val/explained_variance": 1 - pvariance(left) / pvariance(returns),
        "completions/mean_length": fmean(map(len, ids)),
        "completions/stopped": 0.5,
        "fgo/kept_share": sum(map(sum, kept)) / sum(map(sum, valid)),
        "fgo/empty_share": fmean(not any(kept[number]) for number in scored),
        **shares,
        "executor/lost_traces": 1,
        "executor/untrusted_passes": 1,
        "executor/untrusted_pass_rate": 1 / 2,
        "executor/infrastructure_errors": 1,
    }


def expected_of_curriculum(curriculum, rows, advanced):
    stages = [curriculum.stage(row.task_id) for row in rows]
    state = curriculum.state_dict()["problems"]
    starts = [
        next(start for start in curriculum.stages(row.task_id) if start.stage == now)
        for row, now in zip(rows, stages, strict=True)
    ]
    return {
        "curriculum/scratch_share": fmean(stage == 0 for stage in stages),
        "curriculum/mean_stage": fmean(stages),
        "curriculum/pass_rate": fmean(state[row.task_id]["pass_rate"] for row in rows),
        "curriculum/revealed_share": fmean(
            len(start.prefix) / len(row.canonical_solution) if start.stage else 0.0
            for start, row in zip(starts, rows, strict=True)
        ),
        "curriculum/advanced": advanced,
    }


def documented():
    """Return the names of the metrics in the documentation."""
    return {metric.name for metric in PPO_METRICS}


# Of options that are off here: test_prefix_imitation.py and test_credit.py compute them.
OF_OTHER_OPTIONS = {"loss/imitation_avg", "curriculum/prefix_log_prob", "fgo/test_share"}


def test_every_metric_equals_its_documented_definition(make_trainer, make_policy, script, executor):
    script(*TEXTS)
    policy, reference = make_policy(), make_policy(seed=5)
    start = copy.deepcopy(policy)
    given = [None, 2.0, None, 3.0, 4.0, None, 0.5, None]

    def sometimes(completions, **columns):
        return given

    trainer = make_trainer(
        policy=policy,
        keywords={
            "ref_model": reference,
            "executor": Answers(executor, map(scripted_execution, count(), VERDICTS)),
            "reward_funcs": [unit_test_reward, sometimes],
            "reward_weights": [2.0, 1.0],
        },
        gradient_accumulation_steps=4,
        num_mini_batches=2,
        num_ppo_epochs=2,
        max_steps=1,
        learning_rate=3e-3,
        fgo_outside_program=False,
        temperature=TEMPERATURE,
        kl_coef=KL_COEF,
        vf_coef=VF_COEF,
        cliprange=CLIP,
        cliprange_value=CLIP_VALUE,
        max_infrastructure_error_rate=0.5,
        curriculum_pass_rate=0.2,
    )
    trainer.learner = Slow(trainer.args, trainer.plan, trainer.accelerator, trainer.model, trainer.optimizer)
    generate = trainer.generate_rollout

    def half_of_them_cut_off(samples):
        rollout = generate(samples)
        rollout.generation.stopped[::2] = False
        return rollout

    trainer.generate_rollout = half_of_them_cut_off

    trainer.train()

    (rollout, _, experience), metrics = trainer.seen[0], trainer.state.log_history[0]
    expected = {
        **expected_of_losses(trainer.learner.steps, trainer.learner.norms),
        **expected_of_rollout(rollout, experience, (start, reference), given),
        **expected_of_curriculum(trainer.curriculum, trainer.rows, advanced=1),
        "lr": 3e-3,
        "episode": 8,
        "epoch": 0.5,
    }
    assert {re.sub("^rewards/.*", "rewards/NAME", name) for name in metrics} == documented() - OF_OTHER_OPTIONS | {
        "step"
    }
    assert metrics.keys() - TIMES - {"step"} == expected.keys()
    assert all(map(math.isfinite, metrics.values()))
    assert metrics["policy/clipfrac_avg"] > 0
    assert metrics["val/clipfrac_avg"] > 0
    assert metrics["fgo/empty_share"] > 0
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_metrics_do_not_depend_on_micro_batches(make_trainer, make_policy, script):
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
