"""Ends of completions, padding, masks and token means."""

from __future__ import annotations

import copy

import pytest
import torch

from stepcoder_trl.trainer import ppo_math
from tests.integration.helpers import logged
from tests.integration.upstream import (
    models,
    needs_upstream,
    our_trainer,
    train_upstream,
    upstream_trainer,
    upstreams_warnings,
)


EOS, STOP = 2, 7  # of the test tokenizer; any other token
ENDS_EARLY = ((5, 6, EOS), (8, 9, 10, 11, 12, 13)) * 4


@pytest.fixture
def whitened(monkeypatch):
    """Values and masks that upstream whitens: per update first rewards, then advantages."""
    from trl.experimental.ppo import ppo_trainer

    seen, real = [], ppo_trainer.masked_whiten

    def record(values, mask, shift_mean=True):
        seen.append((values.clone(), mask.clone()))
        return real(values, mask, shift_mean)

    monkeypatch.setattr(ppo_trainer, "masked_whiten", record)
    return seen


ONE_UPDATE = {"per_device_train_batch_size": 4, "total_episodes": 8, "num_ppo_epochs": 1, "kl_coef": 0.0}


@needs_upstream
def test_d14_upstream_rewards_padding_after_eos(tokenizer, tmp_path, whitened):
    given = models(tokenizer, responses=ENDS_EARLY)

    train_upstream(upstream_trainer(tokenizer, tmp_path, given, stop_token="eos", whiten_rewards=True, **ONE_UPDATE))

    rewards, _ = whitened[0]
    assert [row.nonzero().flatten().tolist() for row in rewards[:2]] == [[3], [5]]


def test_d14_ours_rewards_last_valid_token(tokenizer, tmp_path):
    given = models(tokenizer, responses=ENDS_EARLY)
    trainer = our_trainer(tokenizer, tmp_path, given, stop_token="eos", **ONE_UPDATE)

    trainer.train()

    _, rewards, _ = trainer.noted[0]
    assert [row.nonzero().flatten().tolist() for row in rewards[:2]] == [[2], [5]]


def with_eos_as_padding(tokenizer):
    changed = copy.deepcopy(tokenizer)
    changed.pad_token = changed.eos_token
    return changed


@needs_upstream
def test_d15_upstream_masks_eos_if_it_is_the_padding_token(tokenizer, tmp_path, whitened):
    changed = with_eos_as_padding(tokenizer)
    given = models(changed, responses=((5, 6, EOS), (EOS,), (8, 9, 10, 11), *ENDS_EARLY))

    train_upstream(upstream_trainer(changed, tmp_path, given, stop_token="eos", **ONE_UPDATE))

    _, mask = whitened[0]
    assert mask[0, :4].tolist() == [True, True, False, False]
    assert not mask[1].any()


def test_d15_ours_keeps_eos_if_it_is_the_padding_token(tokenizer, tmp_path):
    changed = with_eos_as_padding(tokenizer)
    given = models(changed, responses=((5, 6, EOS), (EOS,), (8, 9, 10, 11), *ENDS_EARLY))
    trainer = our_trainer(changed, tmp_path, given, stop_token="eos", **ONE_UPDATE)

    trainer.train()

    _, _, experience = trainer.noted[0]
    assert experience.loss_mask[0, :4].tolist() == [True, True, True, False]
    assert experience.loss_mask[1, :2].tolist() == [True, False]


@needs_upstream
def test_d15_upstream_ends_completion_at_sampled_padding_token(tokenizer, tmp_path, whitened):
    given = models(tokenizer, responses=((5, tokenizer.pad_token_id, 6, 8, 9, 10),) * 8)

    train_upstream(upstream_trainer(tokenizer, tmp_path, given, **ONE_UPDATE))

    assert whitened[0][1][0].tolist() == [True, False, False, False, False, False]


def test_d15_ours_keeps_sampled_padding_token(tokenizer, tmp_path):
    given = models(tokenizer, responses=((5, tokenizer.pad_token_id, 6, 8, 9, 10),) * 8)
    trainer = our_trainer(tokenizer, tmp_path, given, **ONE_UPDATE)

    trainer.train()

    assert trainer.noted[0][2].loss_mask.all()


@needs_upstream
def test_d16_upstream_gives_nan_for_small_masks():
    from trl.experimental.ppo import ppo_trainer

    values, one = torch.ones(2, 3), torch.tensor([[True, False, False], [False, False, False]])

    assert ppo_trainer.masked_mean(values, torch.zeros(2, 3, dtype=torch.bool)).isnan()
    assert ppo_trainer.masked_whiten(values, one).isnan().any()


@pytest.mark.parametrize("marked", [0, 1])
def test_d16_ours_stays_finite_for_small_masks(tokenizer, tmp_path, marked):
    # The loss mask keeps no token, or one of all sampled tokens.
    trainer = our_trainer(tokenizer, tmp_path, max_steps=1)
    build = trainer.build_loss_mask

    def hardly_any(*given):
        mask = torch.zeros_like(build(*given))
        mask.view(-1)[:marked] = True
        return mask

    trainer.build_loss_mask = hardly_any
    trainer.train()

    assert all(p.isfinite().all() for p in trainer.model.parameters())
    assert all(torch.tensor(float(value)).isfinite() for value in trainer.state.log_history[0].values())
    assert ppo_math.masked_mean(torch.ones(3), torch.zeros(3, dtype=torch.bool)) == 0


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def one_step(make, tokenizer, directory, micro):
    """Return the change of the policy in a step of plain gradient descent on completions of unequal lengths."""
    given = models(tokenizer, responses=ENDS_EARLY)
    start = weights(given["model"])
    sizes = {"per_device_train_batch_size": micro, "gradient_accumulation_steps": 4 // micro, "total_episodes": 4}
    plain = {"optim": "sgd", "num_ppo_epochs": 1, "stop_token": "eos", "learning_rate": 0.1}
    with upstreams_warnings():
        make(tokenizer, directory, given, **sizes, **plain).train()
    return weights(given["model"]) - start


@needs_upstream
def test_d17_upstream_update_depends_on_micro_batches(tokenizer, tmp_path):
    alone, together = (one_step(upstream_trainer, tokenizer, tmp_path, micro) for micro in (1, 4))

    assert (alone - together).norm() > 0.05 * together.norm()


def test_d17_our_update_does_not_depend_on_micro_batches(tokenizer, tmp_path):
    alone, together = (one_step(our_trainer, tokenizer, tmp_path / str(micro), micro) for micro in (1, 4))

    assert together.norm() > 0
    assert (alone - together).norm() < 1e-3 * together.norm()


PENALTY = {"stop_token_id": STOP, "missing_eos_penalty": 100.0, "total_episodes": 4, "num_ppo_epochs": 1}


@needs_upstream
def test_d22_upstream_penalizes_completions_with_another_stop_token(tokenizer, tmp_path):
    given = models(tokenizer, responses=((5, 6, STOP),) * 4)

    trainer = train_upstream(upstream_trainer(tokenizer, tmp_path, given, **PENALTY))

    assert logged(trainer, "objective/scores")[0] < -90


@pytest.mark.parametrize(("responses", "punished"), [(((5, 6, STOP),) * 4, False), (((5, 6, EOS),) * 4, True)])
def test_d22_ours_penalizes_completions_without_the_stop_token(tokenizer, tmp_path, responses, punished):
    trainer = our_trainer(tokenizer, tmp_path, models(tokenizer, responses=responses), **PENALTY)

    trainer.train()

    assert (logged(trainer, "objective/scores")[0] < -90) == punished
