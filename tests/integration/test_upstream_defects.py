"""
Defects of upstream's PPOTrainer by their numbers in docs/trainer.md ("Against TRL's trainer"), and that ours has none.

Where it is cheap upstream is shown to have the defect, so that the claim is checked too. What test_train.py says of
ours already is not said again. D1, D2, D3 and D18 need several processes: tests/matrix.
"""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from transformers import TrainerCallback

from stepcoder_trl.trainer import ppo_math
from tests.integration.upstream import (
    logged,
    models,
    needs_upstream,
    our_trainer,
    token_rows,
    train_upstream,
    upstream_trainer,
)


EOS, STOP = 2, 7  # of the tokenizer here; any token
ENDS_EARLY = ((5, 6, EOS), (8, 9, 10, 11, 12, 13)) * 4


class StopsAtOnce(TrainerCallback):
    """Asks to stop after the first update, and notes the events."""

    def __init__(self):
        self.events = []

    def on_step_begin(self, args, state, control, **kwargs):
        self.events.append("step begin")

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.events.append("epoch begin")

    def on_step_end(self, args, state, control, **kwargs):
        self.events.append("step end")
        control.should_training_stop = True


def steps_of(trainer):
    """List that grows with every optimizer step."""
    steps = []
    trainer.optimizer.optimizer.register_step_post_hook(lambda *_: steps.append(trainer.state.global_step))
    return steps


# 10 completions are asked for, but no more than one update; two optimizer steps each; hardly any gradient.
DEMANDS = {
    "total_episodes": 10,
    "max_steps": 1,
    "logging_steps": 3,
    "num_ppo_epochs": 1,
    "num_mini_batches": 2,
    "max_grad_norm": 1e-6,
    "optim": "sgd",
    "learning_rate": 1.0,
    "lr_scheduler_type": "constant",
    "gradient_checkpointing": True,
}


@pytest.fixture(scope="module")
def upstreams_run(tokenizer, tmp_path_factory):
    """One run of upstream that is asked for much: trainer, callback, optimizer steps, distance the weights moved."""
    callback, given = StopsAtOnce(), models(tokenizer)
    start = copy.deepcopy(given["model"])
    arguments = {**given, "callbacks": [callback]}
    trainer = upstream_trainer(tokenizer, tmp_path_factory.mktemp("upstream"), arguments, **DEMANDS)
    steps = steps_of(trainer)
    train_upstream(trainer)
    moved = sum((p - start.get_parameter(n)).norm().item() ** 2 for n, p in given["model"].named_parameters()) ** 0.5
    return trainer, callback, steps, moved


@needs_upstream
def test_d4_upstream_does_not_resume(upstreams_run):
    with pytest.raises(TypeError, match="resume_from_checkpoint"):
        upstreams_run[0].train(resume_from_checkpoint=True)


@needs_upstream
def test_d5_upstream_does_not_save_the_critic(upstreams_run, tmp_path):
    upstreams_run[0].save_model(str(tmp_path))

    assert not [path for path in tmp_path.rglob("*") if "value" in path.name]


@needs_upstream
def test_d6_upstream_steps_once_however_many_mini_batches_and_dilutes_its_means(upstreams_run):
    trainer, _, steps, _ = upstreams_run

    assert steps.count(0) == 1  # two were asked for
    assert logged(trainer, "val/ratio") == pytest.approx([0.5] * 3, abs=0.05)  # half of its slots are never filled


@needs_upstream
def test_d7_upstream_does_not_clip_gradients(upstreams_run):
    assert upstreams_run[3] > 1000 * DEMANDS["max_grad_norm"]


@needs_upstream
def test_d8_upstream_has_one_learning_rate(upstreams_run):
    assert {group["lr"] for group in upstreams_run[0].optimizer.param_groups} == {1.0}


@needs_upstream
def test_d9_upstream_checkpoints_no_activations(upstreams_run):
    trainer = upstreams_run[0]

    for model in (trainer.policy_model, trainer.value_model):
        assert not any(layer.gradient_checkpointing for layer in model.model.layers)


@needs_upstream
def test_d21_upstream_ignores_max_steps_logging_steps_and_requests_to_stop(upstreams_run):
    trainer, callback, *_ = upstreams_run

    assert trainer.state.global_step == 3
    assert len(logged(trainer, "lr")) == 3
    assert callback.events == ["step end"] * 3


@needs_upstream
def test_d25_upstream_trains_past_total_episodes(upstreams_run):
    assert upstreams_run[0].state.episode == 12


def test_ours_does_as_it_is_told(tokenizer, tmp_path):
    callback, given = StopsAtOnce(), models(tokenizer)
    start = copy.deepcopy(given["model"])
    demands = {**DEMANDS, "max_steps": -1, "logging_steps": 1, "value_learning_rate": 2.0}
    trainer = our_trainer(tokenizer, tmp_path, {**given, "callbacks": [callback]}, **demands)
    steps = steps_of(trainer)

    trainer.train()

    assert trainer.state.max_steps == 2  # D25: 8 completions, not 12
    assert callback.events == ["epoch begin", "step begin", "step end"]  # D21
    assert steps == [0, 0]  # D6
    assert logged(trainer, "val/ratio") == pytest.approx([1.0], abs=0.01)
    moved = sum((p - start.get_parameter(n)).norm().item() ** 2 for n, p in given["model"].named_parameters()) ** 0.5
    assert moved <= 2 * DEMANDS["max_grad_norm"]  # D7: two steps
    assert logged(trainer, "grad_norm")[0] > 1000 * DEMANDS["max_grad_norm"]  # the metric is the norm before
    assert {group["lr"] for group in trainer.optimizer.param_groups} == {1.0, 2.0}  # D8


def test_d9_activations_are_recomputed_for_policy_and_critic(tokenizer, tmp_path):
    calls = {}
    for saving in (False, True):
        trainer = our_trainer(tokenizer, tmp_path, max_steps=1, num_ppo_epochs=1, gradient_checkpointing=saving)
        for part in (trainer.policy_model, trainer.value_model):
            key = (saving, type(part).__name__)
            calls[key] = 0

            def note(*_, key=key):
                calls[key] += torch.is_grad_enabled()

            part.model.layers[0].mlp.register_forward_pre_hook(note)
        trainer.train()

    # Two micro-batches; with checkpointing each layer runs once more in the backward pass.
    assert {key: number for key, number in calls.items() if not key[0]} == {
        (False, "SeededPolicy"): 2,
        (False, "LlamaForSequenceClassification"): 2,
    }
    assert {key: number for key, number in calls.items() if key[0]} == {
        (True, "SeededPolicy"): 4,
        (True, "LlamaForSequenceClassification"): 4,
    }


def largest_logits(model):
    """List of one number that grows to the rows times columns of the largest logits that the model gave."""
    largest = [0]
    model.lm_head.register_forward_hook(
        lambda module, inputs, output: largest.__setitem__(0, max(largest[0], output.shape[0] * output.shape[1]))
    )
    return largest


@needs_upstream
def test_d10_upstream_holds_the_scores_of_all_sampled_tokens(tokenizer, tmp_path, monkeypatch):
    from trl.experimental.ppo import ppo_trainer

    held, real = [], ppo_trainer.batch_generation
    monkeypatch.setattr(ppo_trainer, "batch_generation", lambda *args: held.append(real(*args)) or held[-1])

    train_upstream(upstream_trainer(tokenizer, tmp_path, total_episodes=8, gradient_accumulation_steps=4))

    assert held[0][1].shape == (8, 12, len(tokenizer))


def test_d10_ours_holds_those_of_a_micro_batch(tokenizer, tmp_path):
    trainer = our_trainer(tokenizer, tmp_path, total_episodes=8, gradient_accumulation_steps=4)
    largest = largest_logits(trainer.policy_model)

    trainer.train()

    assert largest[0] <= 2 * (12 + 1)


def test_d11_sampling_can_be_narrowed(tokenizer, tmp_path):
    trainer = our_trainer(tokenizer, tmp_path, max_steps=1, top_p=1e-6)
    policy = copy.deepcopy(trainer.policy_model)

    trainer.train()

    rollout, _, _ = trainer.noted[0]
    for sample, ids in zip(rollout.starts, rollout.generation.completion_ids(), strict=True):
        query = list(sample.query.token_ids)
        logits = policy(torch.tensor([query + ids])).logits[0, len(query) - 1 : -1]
        assert logits.argmax(-1).tolist() == ids


@needs_upstream
def test_d12_upstream_samples_with_settings_of_the_checkpoint(tokenizer, tmp_path):
    given = models(tokenizer)
    given["model"].generation_config.repetition_penalty = 50.0

    trainer = train_upstream(upstream_trainer(tokenizer, tmp_path, given, num_ppo_epochs=1, total_episodes=4))

    assert logged(trainer, "policy/approxkl_avg")[0] > 1e-5  # in the first pass, where the policy has not moved


def test_d13_prompts_are_answered_several_times(tokenizer, tmp_path):
    trainer = our_trainer(tokenizer, tmp_path, max_steps=1, num_generations=2)

    trainer.train()

    (first, second, third, fourth), (rollout, *_) = trainer.drawn[0], trainer.noted[0]
    assert first == second != third == fourth
    assert len({tuple(ids) for ids in rollout.generation.completion_ids()}) == 4


@pytest.fixture
def whitened(monkeypatch):
    """What upstream whitens: rewards with their mask, then advantages with theirs, update by update."""
    from trl.experimental.ppo import ppo_trainer

    seen, real = [], ppo_trainer.masked_whiten

    def note(values, mask, shift_mean=True):
        seen.append((values.clone(), mask.clone()))
        return real(values, mask, shift_mean)

    monkeypatch.setattr(ppo_trainer, "masked_whiten", note)
    return seen


ONE_UPDATE = {"per_device_train_batch_size": 4, "total_episodes": 8, "num_ppo_epochs": 1, "kl_coef": 0.0}


@needs_upstream
def test_d14_upstream_rewards_the_padding_after_eos(tokenizer, tmp_path, whitened):
    given = models(tokenizer, responses=ENDS_EARLY)

    train_upstream(upstream_trainer(tokenizer, tmp_path, given, stop_token="eos", whiten_rewards=True, **ONE_UPDATE))

    rewards, _ = whitened[0]
    assert [row.nonzero().flatten().tolist() for row in rewards[:2]] == [[3], [5]]


def test_d14_ours_rewards_the_last_valid_token(tokenizer, tmp_path):
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
def test_d15_upstream_loses_eos_where_it_is_the_padding(tokenizer, tmp_path, whitened):
    changed = with_eos_as_padding(tokenizer)
    given = models(changed, responses=((5, 6, EOS), (EOS,), (8, 9, 10, 11), *ENDS_EARLY))

    train_upstream(upstream_trainer(changed, tmp_path, given, stop_token="eos", **ONE_UPDATE))

    _, mask = whitened[0]
    assert mask[0, :4].tolist() == [True, True, False, False]
    assert not mask[1].any()


def test_d15_ours_keeps_it(tokenizer, tmp_path):
    changed = with_eos_as_padding(tokenizer)
    given = models(changed, responses=((5, 6, EOS), (EOS,), (8, 9, 10, 11), *ENDS_EARLY))
    trainer = our_trainer(changed, tmp_path, given, stop_token="eos", **ONE_UPDATE)

    trainer.train()

    _, _, experience = trainer.noted[0]
    assert experience.loss_mask[0, :4].tolist() == [True, True, True, False]
    assert experience.loss_mask[1, :2].tolist() == [True, False]


@needs_upstream
def test_d15_upstream_ends_a_completion_at_a_padding_token_that_was_sampled(tokenizer, tmp_path, whitened):
    given = models(tokenizer, responses=((5, tokenizer.pad_token_id, 6, 8, 9, 10),) * 8)

    train_upstream(upstream_trainer(tokenizer, tmp_path, given, **ONE_UPDATE))

    assert whitened[0][1][0].tolist() == [True, False, False, False, False, False]


def test_d15_ours_takes_it_for_a_token_like_others(tokenizer, tmp_path):
    given = models(tokenizer, responses=((5, tokenizer.pad_token_id, 6, 8, 9, 10),) * 8)
    trainer = our_trainer(tokenizer, tmp_path, given, **ONE_UPDATE)

    trainer.train()

    assert trainer.noted[0][2].loss_mask.all()


@needs_upstream
def test_d16_upstream_turns_small_masks_into_nan():
    from trl.experimental.ppo import ppo_trainer

    values, one = torch.ones(2, 3), torch.tensor([[True, False, False], [False, False, False]])

    assert ppo_trainer.masked_mean(values, torch.zeros(2, 3, dtype=torch.bool)).isnan()
    assert ppo_trainer.masked_whiten(values, one).isnan().any()


@pytest.mark.parametrize("marked", [0, 1])
def test_d16_ours_stays_finite(tokenizer, tmp_path, marked):
    # Nothing or one token of everything that was sampled is kept.
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


def after_one_step(make, tokenizer, directory, micro, **options):
    """Weights of the policy after one step of plain gradient descent on completions of unequal lengths."""
    given = models(tokenizer, responses=ENDS_EARLY)
    sizes = {"per_device_train_batch_size": micro, "gradient_accumulation_steps": 4 // micro, "total_episodes": 4}
    plain = {"optim": "sgd", "num_ppo_epochs": 1, "stop_token": "eos", "learning_rate": 0.1}
    trainer = make(tokenizer, directory, given, **sizes, **plain, **options)
    if make is upstream_trainer:
        train_upstream(trainer)
    else:
        trainer.train()
    return torch.cat([p.detach().flatten() for p in given["model"].parameters()])


@needs_upstream
def test_d17_upstreams_update_depends_on_the_micro_batches(tokenizer, tmp_path):
    start = torch.cat([p.detach().flatten() for p in models(tokenizer)["model"].parameters()])

    alone = after_one_step(upstream_trainer, tokenizer, tmp_path, 1) - start
    together = after_one_step(upstream_trainer, tokenizer, tmp_path, 4) - start

    assert (alone - together).norm() > 0.05 * together.norm()


def test_d17_ours_does_not(tokenizer, tmp_path):
    start = torch.cat([p.detach().flatten() for p in models(tokenizer)["model"].parameters()])

    alone = after_one_step(our_trainer, tokenizer, tmp_path, 1) - start
    together = after_one_step(our_trainer, tokenizer, tmp_path, 4) - start

    assert together.norm() > 0
    assert (alone - together).norm() < 1e-3 * together.norm()


@needs_upstream
def test_d19_upstream_draws_from_an_empty_loader_without_end(tokenizer, tmp_path):
    few = {"train_dataset": token_rows(tokenizer, 3)}

    assert len(upstream_trainer(tokenizer, tmp_path, {**models(tokenizer), **few}).dataloader) == 0


def test_d19_ours_refuses(tokenizer, tmp_path):
    with pytest.raises(ValueError, match="`train_dataset` has 3 usable rows, but an update takes 4 prompts"):
        our_trainer(tokenizer, tmp_path, {"train_dataset": token_rows(tokenizer, 3)})


@needs_upstream
def test_d20_upstream_evaluates_nothing(tokenizer, tmp_path):
    few = {"eval_dataset": token_rows(tokenizer, 3)}
    trainer = upstream_trainer(tokenizer, tmp_path, few, per_device_eval_batch_size=8)

    assert len(trainer.get_eval_dataloader()) == 0
    with pytest.raises(AttributeError, match="_memory_tracker"):
        trainer.evaluate()


def test_d20_ours_evaluates_every_row(tokenizer, tmp_path, capsys):
    few = {"eval_dataset": token_rows(tokenizer, 3)}
    trainer = our_trainer(tokenizer, tmp_path, few, per_device_eval_batch_size=8)

    trainer.generate_completions()
    metrics = trainer.evaluate()

    table = capsys.readouterr().out
    assert all(f"f{number}(" in table for number in range(3))
    assert any(name.startswith("eval_") for name in metrics)


PENALTY = {"stop_token_id": STOP, "missing_eos_penalty": 100.0, "total_episodes": 4, "num_ppo_epochs": 1}


@needs_upstream
def test_d22_upstream_punishes_completions_that_ended_with_another_stop_token(tokenizer, tmp_path):
    given = models(tokenizer, responses=((5, 6, STOP),) * 4)

    trainer = train_upstream(upstream_trainer(tokenizer, tmp_path, given, **PENALTY))

    assert logged(trainer, "objective/scores")[0] < -90


@pytest.mark.parametrize(("responses", "punished"), [(((5, 6, STOP),) * 4, False), (((5, 6, EOS),) * 4, True)])
def test_d22_ours_looks_for_the_one_that_is_set(tokenizer, tmp_path, responses, punished):
    trainer = our_trainer(tokenizer, tmp_path, models(tokenizer, responses=responses), **PENALTY)

    trainer.train()

    assert (logged(trainer, "objective/scores")[0] < -90) == punished


def trained_share(model):
    return sum(p.numel() for p in model.parameters() if p.requires_grad) / sum(p.numel() for p in model.parameters())


@pytest.fixture
def adapter():
    return {"peft_config": LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"), "ref_model": None}


@needs_upstream
def test_d23_upstream_trains_a_whole_critic_beside_an_adapter(tokenizer, tmp_path, adapter):
    trainer = upstream_trainer(tokenizer, tmp_path, {**models(tokenizer), **adapter})

    assert trained_share(trainer.value_model) == 1


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
def test_d23_ours_gives_the_critic_an_adapter_on_the_policys_weights(tokenizer, tmp_path, adapter):
    trainer = our_trainer(tokenizer, tmp_path, {**models(tokenizer), **adapter, "value_model": None})

    assert trained_share(trainer.value_model) < 0.1
    shared = {id(p) for p in trainer.policy_model.parameters()}
    assert sum(p.numel() for p in trainer.value_model.parameters() if id(p) not in shared) < 5_000


def length_reward(completions, **columns):
    return [float(len(text)) for text in completions]


@needs_upstream
def test_d26_upstream_takes_no_reward_function(tokenizer, tmp_path):
    with pytest.raises(AttributeError):
        upstream_trainer(tokenizer, tmp_path, {**models(tokenizer), "reward_model": length_reward})


def test_d26_ours_does(tokenizer, tmp_path):
    given = {**models(tokenizer), "reward_model": None, "reward_funcs": length_reward}
    trainer = our_trainer(tokenizer, tmp_path, given, max_steps=1)

    trainer.train()

    lengths = [len(completion.text) for completion in trainer.noted[0][0].completions]
    assert logged(trainer, "objective/scores") == pytest.approx([sum(lengths) / 4])


def in_bfloat16(tokenizer):
    given = models(tokenizer)
    given["model"], given["ref_model"] = given["model"].bfloat16(), given["ref_model"].bfloat16()
    return given


FIRST_PASS = {"num_ppo_epochs": 1, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1}


@needs_upstream
def test_d27_upstreams_first_ratio_is_not_one(tokenizer, tmp_path):
    given = in_bfloat16(tokenizer)

    trainer = train_upstream(upstream_trainer(tokenizer, tmp_path, given, **FIRST_PASS, total_episodes=4))

    assert logged(trainer, "policy/approxkl_avg")[0] > 1e-8


def test_d27_ours_is(tokenizer, tmp_path):
    trainer = our_trainer(tokenizer, tmp_path, in_bfloat16(tokenizer), **FIRST_PASS, total_episodes=4)

    trainer.train()

    assert logged(trainer, "policy/approxkl_avg") == pytest.approx([0.0], abs=1e-12)


TWO_UPDATES = {"num_ppo_epochs": 1, "total_episodes": 8}  # all rows once


@needs_upstream
def test_d28_upstream_does_not_accumulate_at_the_end_of_an_epoch(tokenizer, tmp_path):
    trainer = upstream_trainer(tokenizer, tmp_path, **TWO_UPDATES)
    steps = steps_of(trainer)

    train_upstream(trainer)

    assert steps == [0, 1, 1]


def test_d28_ours_does(tokenizer, tmp_path):
    trainer = our_trainer(tokenizer, tmp_path, **TWO_UPDATES)
    steps = steps_of(trainer)

    trainer.train()

    assert steps == [0, 1]


def test_every_defect_is_named_here_or_elsewhere():
    table = (Path(__file__).parents[2] / "docs" / "trainer.md").read_text(encoding="utf-8")

    assert all(f"| D{number} |" in table for number in range(1, 29))
