"""Prefix imitation in GRPO: loss and gradient against own forward passes, and what is refused."""

from __future__ import annotations

import pytest

from stepcoder_trl.errors import BadInputError
from tests.integration.grpo.helpers import history
from tests.integration.grpo.test_loss import (
    OPTIONS,
    PREFIX,
    PROBLEM,
    REWARDS,
    TEXTS,
    assert_close,
    by_hand,
    gradients,
    log_probs,
    loss_of_first_batch,
)
from tests.integration.helpers import RIGHT, WRONG


pytestmark = pytest.mark.sandbox

SHOWN = PREFIX.removeprefix("def f(n):").rstrip()


def prefix_means(model, tokenizer):
    """Return the mean log-probability of what the curriculum shows beyond the starter code."""
    given = tokenizer(PROBLEM["prompt"] + "def f(n):")["input_ids"]
    shown = tokenizer(PROBLEM["prompt"] + PREFIX.rstrip())["input_ids"][len(given) :]
    assert tokenizer.decode(shown) == SHOWN
    return log_probs(model, given, shown).mean()


@pytest.mark.parametrize("loss_type", ["dapo", "grpo"])
def test_loss_and_gradient_equal_hand_computation(tokenizer, make_policy, make_trainer, loss_type):
    trainer = make_trainer(
        dataset=[PROBLEM], texts=TEXTS, loss_type=loss_type, scale_rewards="group", prefix_imitation=0.3, **OPTIONS
    )
    mine = make_policy()

    loss, _ = loss_of_first_batch(trainer)

    advantages = ((REWARDS - REWARDS.mean()) / (REWARDS.std() + 1e-4)).tolist()
    policy_loss = by_hand(mine, None, tokenizer, advantages, loss_type, "kept", "token", 0.0)
    imitated = prefix_means(mine, tokenizer)
    expected = policy_loss - 0.3 * imitated
    expected.backward()
    assert_close(loss, gradients(trainer.model), expected.detach(), gradients(mine))
    assert trainer._metrics["train"]["curriculum/prefix_log_prob"] == [pytest.approx(imitated.item(), abs=1e-5)]


def test_micro_batches_add_up_to_the_mean_of_all_completions(tokenizer, make_policy, make_trainer):
    problem = {**PROBLEM, "task_id": "g", "canonical_solution": ""}  # it has scratch alone
    trainer = make_trainer(
        dataset=[PROBLEM, problem],
        texts=TEXTS,
        prefix_imitation=0.3,
        loss_type="grpo",
        **{**OPTIONS, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 4},
    )
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 4
    batches = iter(trainer.get_train_dataloader())
    both, alone = [], []
    for _ in range(4):
        batch = trainer._prepare_inputs(next(batches))
        trainer._step += 1
        both.append(trainer.compute_loss(trainer.model, batch).item())
        alone.append(
            trainer.compute_loss(trainer.model, {k: v for k, v in batch.items() if k != "prefix_lengths"}).item()
        )

    # Half of the eight completions have the prefix.
    expected = -0.3 * prefix_means(make_policy(), tokenizer).item() / 2
    assert sum(both) - sum(alone) == pytest.approx(expected, abs=1e-5)


def test_nothing_is_imitated_from_scratch_and_in_evaluations(make_trainer, problems):
    runs = []
    for weight in (0.0, 0.5):
        trainer = make_trainer(
            texts=[RIGHT, WRONG],
            curriculum="mix",
            curriculum_mix_probability=1.0,
            prefix_imitation=weight,
            keywords={"eval_dataset": problems[:4]},
            max_steps=1,
        )
        trainer.train()
        trainer.evaluate()
        runs.append(history(trainer))

    assert runs[0] == runs[1]


def test_imitation_makes_prefixes_likelier(make_trainer):
    trainer = make_trainer(texts=[WRONG], prefix_imitation=1.0, max_steps=4, learning_rate=3e-3)

    trainer.train()

    found = [entry["curriculum/prefix_log_prob"] for entry in trainer.state.log_history if "reward" in entry]
    assert found == sorted(found)
    assert found[-1] > found[0] + 0.1
    # No completion differs from the others of its group: the imitation alone changes the weights.
    assert not any(this.result["advantages"].any() for this in trainer.seen)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"temperature": 0.8}, "`temperature` is 0.8"), ({"use_liger_kernel": True}, "Liger")],
)
def test_what_cannot_be_imitated_is_refused(make_args, options, message):
    with pytest.raises(BadInputError, match=message):
        make_args(prefix_imitation=0.2, **options)
