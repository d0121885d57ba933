"""Loss and gradient of a group whose outcomes and unexecuted lines are known, against a computation by hand."""

from __future__ import annotations

import pytest
import torch

from stepcoder_trl.trainer._trl_grpo import SCALES_LOSS_WRONGLY, trl_version
from tests.integration.helpers import DISK_FULL, Answers


pytestmark = pytest.mark.sandbox

SOLUTION = """def f(n):
    t = 0
    if n > 0:
        t = 1
    else:
        t = 2
    if t > 3:
        t = 3
    return t
"""
PREFIX = SOLUTION[: SOLUTION.index("    if t > 3")]
PROBLEM = {
    "task_id": "f",
    "prompt": "Write f.\n",
    "starter_code": "def f(n):\n",
    "canonical_solution": SOLUTION,
    "tests": {"type": "call", "fn_name": "f", "inputs": [[1], [5]], "outputs": [1, 1]},
}
# Completions after the prefix, their rewards, and the lines that do not run.
TEXTS = (
    "\n    if t > 3:\n        t = 3\n    return t",
    "\n    if t > 3:\n        return 9\n    return 2",
    "\n    return 1 // 0\n    t = 4\n    return t",
    "\n    return (",
)
REWARDS = torch.tensor([1.0, -0.3, -0.6, -1.0])
UNEXECUTED = ("        t = 3", "        return 9", "    t = 4\n    return t", None)
OPTIONS = {
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 1,
    "max_completion_length": 40,
    "use_bias_correction_kl": False,
    "temperature": 1.0,
    "shuffle_dataset": False,
}


def kept_tokens(text, unexecuted, tokenizer):
    """Return ids with EOS, and which are on a line that ran. White space goes with what follows."""
    ids = tokenizer(text)["input_ids"]
    ends = [len(tokenizer.decode(ids[: number + 1])) for number in range(len(ids))]
    first = len(text) if unexecuted is None else text.index(unexecuted)
    last = first + len(unexecuted or "")
    marks = []
    for start, end in zip([0, *ends], ends, strict=False):
        while start < len(text) and text[start].isspace():
            start += 1
        place = start if start >= end else next(n for n in range(start, end) if not text[n].isspace())
        marks.append(not first <= place < last)
    return [*ids, tokenizer.eos_token_id], [*marks, True]


def log_probs(model, query, ids):
    logits = model(torch.tensor([[*query, *ids]])).logits[0, len(query) - 1 : -1]
    return logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0]


def by_hand(model, reference, tokenizer, advantages, loss_type, denominator, level, beta):
    """Compute the loss of the group, token by token."""
    query = tokenizer(PROBLEM["prompt"] + PREFIX.rstrip())["input_ids"]
    pieces = [kept_tokens(text, line, tokenizer) for text, line in zip(TEXTS, UNEXECUTED, strict=True)]
    sums, counts = [], []
    for (ids, marks), advantage in zip(pieces, advantages, strict=True):
        kept = torch.tensor(marks).float()
        log_prob = log_probs(model, query, ids)
        log_ratio = log_prob - log_prob.detach()
        if level == "sequence":
            log_ratio = (log_ratio * kept).sum() / kept.sum() * torch.ones_like(kept)
        ratio = log_ratio.exp()
        if loss_type == "cispo":
            tokens = -ratio.clamp(max=0.2).detach() * advantage * log_prob
        elif loss_type == "sapo":
            temperature = 1.0 if advantage > 0 else 1.05
            tokens = -torch.sigmoid(temperature * (ratio - 1)) * 4 / temperature * advantage
        elif loss_type == "vespo":  # its weight of the ratio is 1 at 1, and has no gradient
            tokens = -advantage * log_prob
        else:
            tokens = -ratio * advantage
        tokens = tokens * kept
        if beta:
            difference = log_probs(reference, query, ids).detach() - log_prob
            kl = difference.exp() - difference - 1
            tokens = tokens + beta * kl * (kept if denominator == "kept" else 1)
        sums.append(tokens.sum())
        counts.append(kept.sum() if denominator == "kept" else torch.tensor(float(len(ids))))
    sums, counts = torch.stack(sums), torch.stack(counts)
    return {
        "dapo": sums.sum() / counts.sum(),
        "cispo": sums.sum() / counts.sum(),
        "bnpo": sums.sum() / counts.sum(),
        "grpo": (sums / counts).mean(),
        "sapo": (sums / counts).mean(),
        "dr_grpo": sums.sum() / (4 * 40),
        "vespo": sums.sum() / counts.sum(),
        "luspo": sums.mean(),
    }[loss_type]


def loss_of_first_batch(trainer):
    """Return the loss of the first batch. Its gradient is in the model."""
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return loss.detach(), batch


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_close(loss, found, expected_loss, expected):
    assert loss.item() == pytest.approx(expected_loss.item(), abs=1e-6)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, atol=1e-6), name


LOSSES = [
    *((loss, "kept", "token", 0.0) for loss in ("dapo", "grpo", "bnpo", "dr_grpo", "cispo", "sapo", "vespo", "luspo")),
    *((loss, "valid", "token", 0.0) for loss in ("dapo", "grpo", "bnpo", "dr_grpo", "cispo", "sapo", "luspo")),
    ("dapo", "kept", "token", 0.3),
    ("dapo", "valid", "token", 0.3),
    ("grpo", "kept", "sequence", 0.0),
    ("luspo", "kept", "sequence", 0.0),
    ("luspo", "kept", "token", 0.3),
]
LUSPO_IS_REFUSED = SCALES_LOSS_WRONGLY.contains(trl_version(), prereleases=True)


@pytest.mark.parametrize(("loss_type", "denominator", "level", "beta"), LOSSES)
def test_loss_and_gradient_equal_hand_computation(
    tokenizer, make_policy, make_trainer, tmp_path, loss_type, denominator, level, beta
):
    if loss_type == "luspo" and LUSPO_IS_REFUSED:
        pytest.skip("TRL below 1.12 does not mask this loss.")
    policy = make_policy()
    policy.save_pretrained(tmp_path / "start")
    policy = type(policy).from_pretrained(tmp_path / "start")  # TRL loads the reference from there
    trainer = make_trainer(
        policy=policy,
        dataset=[PROBLEM],
        texts=TEXTS,
        loss_type=loss_type,
        fgo_denominator=denominator,
        importance_sampling_level=level,
        beta=beta,
        scale_rewards="group",
        **OPTIONS,
    )
    mine, reference = make_policy(), make_policy(seed=1)
    if beta:
        trainer.ref_model.load_state_dict(reference.state_dict())

    loss, _ = loss_of_first_batch(trainer)

    advantages = ((REWARDS - REWARDS.mean()) / (REWARDS.std() + 1e-4)).tolist()
    expected = by_hand(mine, reference, tokenizer, advantages, loss_type, denominator, level, beta)
    expected.backward()
    (this,) = trainer.seen
    assert [one.outcome.value for one in this.executions] == ["passed", "failed", "runtime_error", "compile_error"]
    assert {start.query.text for start in this.starts} == {PROBLEM["prompt"] + PREFIX.rstrip()}
    assert_close(loss, gradients(trainer.model), expected.detach(), gradients(mine))


def test_gradient_changes_if_a_masked_token_is_kept(make_trainer):
    trainer = make_trainer(dataset=[PROBLEM], texts=TEXTS, **OPTIONS)
    _, batch = loss_of_first_batch(trainer)
    before = gradients(trainer.model)
    row, token = ((batch["tool_mask"] == 0) & (batch["completion_mask"] == 1)).nonzero()[0].tolist()
    batch["tool_mask"][row, token] = 1
    trainer.model.zero_grad()

    trainer.compute_loss(trainer.model, batch).backward()

    assert any(not torch.allclose(before[name], one) for name, one in gradients(trainer.model).items())


@pytest.mark.parametrize("denominator", ["kept", "valid"])
def test_completion_that_could_not_be_run_is_not_in_the_loss(make_trainer, executor, denominator):
    answers = {"executor": Answers(executor, [None, DISK_FULL, None, None])}
    trainer = make_trainer(
        dataset=[PROBLEM],
        texts=TEXTS,
        keywords=answers,
        fgo_denominator=denominator,
        max_infrastructure_error_rate=1.0,
        scale_rewards="group",
        **OPTIONS,
    )

    loss_of_first_batch(trainer)

    (this,) = trainer.seen
    scored = torch.tensor([True, False, True, True])
    advantages = this.result["advantages"]
    advantages = advantages if advantages.dim() == 1 else advantages.sum(1) / (advantages != 0).sum(1).clamp(min=1)
    known = REWARDS[scored]
    # The completion without a score has the group's mean: it counts for the deviation, and not for the mean.
    deviation = torch.cat([known, known.mean()[None]]).std()
    assert advantages[scored].tolist() == pytest.approx(
        ((known - known.mean()) / (deviation + 1e-4)).tolist(), abs=1e-5
    )
    assert advantages[1] == 0
    assert not this.result["tool_mask"][1].any()
    assert this.result["tool_mask"][0].any()
    assert this.result["num_items_in_batch"] == (this.result["tool_mask"] * this.result["completion_mask"]).sum()
    assert this.used == (True, False, True, True)
