"""Options of the trainer. Options that change the arithmetic are in test_updates.py."""

from __future__ import annotations

import gc
import logging
import weakref
from concurrent.futures import Future

import pytest
import torch
from peft import LoraConfig, get_peft_model

from stepcoder_trl import StepCoderPPOTrainer
from stepcoder_trl.curriculum import CurriculumConfig
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.trainer.processes import num_cores_per_process
from stepcoder_trl.types import Execution, Outcome, TestResult
from tests.integration.helpers import BRANCH, RIGHT, WRONG, Answers, kept_text, log_probs, logged
from tests.integration.upstream import models, token_rows


pytestmark = pytest.mark.sandbox


@pytest.fixture
def no_collection():
    """Turn the garbage collection off: only what nobody refers to is freed."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_dropped_trainer_frees_its_models_at_once(make_trainer, no_collection):
    trainer = make_trainer()
    trainer.on_update = None  # the fixture's function refers to the trainer
    left = [weakref.ref(trainer), weakref.ref(trainer.model), weakref.ref(trainer.model.policy)]

    del trainer

    assert [reference() for reference in left] == [None, None, None]


@pytest.mark.parametrize(("workers", "expected"), [(3, 3), (None, num_cores_per_process())])
def test_the_executor_has_the_settings_of_the_trainer(make_trainer, workers, expected):
    trainer = make_trainer(keywords={"executor": None}, executor_workers=workers, test_timeout_s=0.7)

    config = trainer.runner.choice.config

    assert (config.num_workers, config.timeout_s) == (expected, 0.7)


def test_the_curriculum_has_the_settings_of_the_trainer(make_trainer):
    given = {"kinds": "scope", "pass_rate": 0.4, "momentum": 0.2, "rate_of": "stage", "mix_probability": 0.3}

    trainer = make_trainer(curriculum="mix", seed=7, **{f"curriculum_{name}": one for name, one in given.items()})

    assert trainer.curriculum.config == CurriculumConfig(mode="mix", seed=7, **given)


def test_default_num_generations_is_16_for_problems_and_1_for_token_rows(make_trainer, tokenizer):
    sizes = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4, "num_generations": None}

    problems = make_trainer(**sizes)
    tiny = models(tokenizer)
    keywords = {"reward_model": tiny["reward_model"], "value_model": tiny["value_model"]}
    tokens = make_trainer(dataset=token_rows(tokenizer, 16), policy=tiny["model"], keywords=keywords, **sizes)

    assert (problems.plan.num_generations, problems.plan.prompts_per_update) == (16, 1)
    assert (tokens.plan.num_generations, tokens.plan.prompts_per_update) == (1, 16)


def test_warning_names_options_without_effect(make_trainer, caplog):
    with caplog.at_level(logging.WARNING, logger="stepcoder_trl"):
        make_trainer()
    assert caplog.text == ""

    with caplog.at_level(logging.WARNING, logger="stepcoder_trl"):
        make_trainer(data_seed=3, torch_empty_cache_steps=2, curriculum_pass_rate=1.0)

    assert "Without effect in this trainer: `torch_empty_cache_steps`, `data_seed`." in caplog.text
    assert "every problem stays at its first stage" in caplog.text


def test_optimizer_that_chooses_its_parameters_is_refused(make_trainer, monkeypatch):
    chosen = (torch.optim.SGD, {"optimizer_dict": {}})
    monkeypatch.setattr(StepCoderPPOTrainer, "get_optimizer_cls_and_kwargs", lambda self, args, model: chosen)

    with pytest.raises(BadInputError, match="`optim` is 'galore_adamw', which picks its parameters itself"):
        make_trainer(optim="galore_adamw")


def test_generation_batch_size_is_local_rollout_forward_batch_size(make_trainer, script, scripted):
    script(RIGHT)
    trainer, sizes = make_trainer(max_steps=1, local_rollout_forward_batch_size=3), []

    def watched(model, queries, tokenizer, sampling, batch_size, **options):
        sizes.append(batch_size)
        return scripted.generate(model, queries, tokenizer, sampling, batch_size, **options)

    trainer.generate = watched
    trainer.train()

    assert sizes == [3]


@pytest.mark.parametrize("whiten", [True, False])
def test_whiten_advantages(make_trainer, script, whiten):
    script(BRANCH, WRONG, RIGHT, RIGHT)
    trainer = make_trainer(max_steps=1, curriculum="off", whiten_advantages=whiten)

    trainer.train()

    (_, _, experience), *_ = trainer.seen
    kept = experience.advantages[experience.loss_mask]
    white = (kept.mean().item(), kept.std().item()) == pytest.approx((0.0, 1.0), abs=1e-4)
    assert white == whiten


@pytest.mark.parametrize(("rule", "kept"), [("all", "return ( 1 2"), ("up_to_error_line", "return (")])
def test_compile_error_mask_decides_kept_tokens(make_trainer, script, rule, kept):
    script("\n    return (\n    1\n    2\n")
    trainer = make_trainer(max_steps=1, curriculum="off", compile_error_mask=rule)

    trainer.train()

    rollout, _, experience = trainer.seen[0]
    assert kept_text(rollout, experience, 0).split() == kept.split()


def ran(outcome=Outcome.PASSED, *, trusted=True):
    lines = frozenset(range(1, 9))
    return Execution(outcome, (TestResult(outcome, trusted=trusted),), lines, lines, 0.1, trusted=trusted)


@pytest.mark.parametrize(("choice", "scored"), [("accept", [True] * 4), ("drop", [False, True, True, True])])
def test_untrusted_passes_are_dropped_or_accepted(make_trainer, script, executor, choice, scored):
    script(RIGHT)
    answers = [ran(trusted=False), ran(), ran(Outcome.FAILED, trusted=False), ran(Outcome.FAILED)]
    keywords = {"executor": Answers(executor, answers)}
    trainer = make_trainer(max_steps=1, untrusted_passes=choice, keywords=keywords)

    trainer.train()

    assert trainer.seen[0][1].scored.tolist() == scored
    assert logged(trainer, "executor/untrusted_passes") == [1]
    assert logged(trainer, "executor/untrusted_pass_rate") == [0.5]
    assert logged(trainer, "executor/passed") == [2 / 4 if choice == "accept" else pytest.approx(1 / 3)]
    assert logged(trainer, "executor/infrastructure_errors") == [0]


def test_programs_run_while_tokens_are_scored(make_trainer, script, executor):
    script(RIGHT)
    waiting = [Future() for _ in range(4)]

    class Trainer(StepCoderPPOTrainer):
        def score_tokens(self, rollout):
            tokens = super().score_tokens(rollout)
            for future in waiting:  # if training waited for them earlier, it would never continue
                future.set_result(ran())
            return tokens

        def collect_feedback(self, runs):
            assert all(run.done() for run in runs.futures)
            return super().collect_feedback(runs)

    trainer = make_trainer(max_steps=1, cls=Trainer, keywords={"executor": Answers(executor, waiting)})

    trainer.train()

    assert logged(trainer, "executor/passed") == [1.0]


# PEFT calls functions under names that transformers 5.23 deprecates.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_adapter_can_be_the_reference(make_trainer, make_policy, script):
    script(RIGHT, WRONG)
    adapter = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    torch.manual_seed(0)
    policy = get_peft_model(make_policy(), adapter, adapter_name="trained")
    policy.add_adapter("fixed", adapter)
    policy.set_adapter("trained")
    fixed = {name: p.detach().clone() for name, p in policy.named_parameters() if ".fixed." in name}
    trainer = make_trainer(
        policy=policy, max_steps=1, curriculum="off", model_adapter_name="trained", ref_adapter_name="fixed"
    )
    score, seen = trainer.score_tokens, []
    trainer.score_tokens = lambda rollout: seen.append(score(rollout)) or seen[0]
    expected = []

    def by_hand(rollout):
        for name in ("trained", "fixed"):
            policy.set_adapter(name)
            for sample, ids in zip(rollout.starts, rollout.generation.completion_ids(), strict=True):
                with torch.no_grad():
                    rows = log_probs(policy, sample.query.token_ids, ids, trainer.args.temperature)
                expected.append(rows[range(len(ids)), ids].sum().item())
        policy.set_adapter("trained")

    submit = trainer.submit_programs
    trainer.submit_programs = lambda rollout: by_hand(rollout) or submit(rollout)

    trainer.train()

    found = [*seen[0].log_probs.sum(1).tolist(), *seen[0].ref_log_probs.sum(1).tolist()]
    assert found == pytest.approx(expected, abs=1e-3)
    assert abs(logged(trainer, "objective/kl")[0]) > 0.01
    assert policy.active_adapter == "trained"
    assert all(torch.equal(p, policy.get_parameter(name)) for name, p in fixed.items())
