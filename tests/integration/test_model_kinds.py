"""Kinds of prompts, datasets, models and adapters."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig
from trl import TrlParser

from stepcoder_trl import StepCoderPPOConfig, StepCoderPPOTrainer
from tests.integration.helpers import logged, lora, parameters
from tests.integration.upstream import token_rows


pytestmark = pytest.mark.sandbox


def test_chat_prompts_open_a_fence(make_trainer, problems):
    chat = [{**p.to_row(), "prompt": [{"role": "user", "content": p.prompt}]} for p in problems]
    trainer = make_trainer(dataset=chat, max_steps=1, curriculum="off")

    trainer.train()

    rollout = trainer.seen[0][0]
    for sample in rollout.starts:
        assert sample.query.opened_fence
        assert sample.query.text.endswith("<|assistant|>\n```python\ndef sign(x):")
    assert logged(trainer, "loss/policy_avg")


def test_plain_ppo_on_token_rows_and_reward_model(tokenizer, make_policy, make_classifier, make_args):
    policy, reference, judge, critic = make_policy(), make_policy(), make_classifier(3), make_classifier(4)
    args, dataset = make_args(num_generations=None), token_rows(tokenizer)

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
def test_stop_tokens_can_be_given_on_the_command_line(
    tokenizer, make_policy, make_classifier, make_args, problems, options, kind, expected
):
    sizes = ("per_device_train_batch_size", "gradient_accumulation_steps", "response_length", "max_steps")
    line = [text for name in ("output_dir", *sizes) for text in (f"--{name}", str(getattr(make_args(), name)))]
    line += ["--num_generations", "2", "--report_to", "none", "--use_cpu", "true", "--gradient_checkpointing", "false"]
    (args,) = TrlParser((StepCoderPPOConfig,)).parse_args_and_config([*line, *options])
    judge, dataset = (make_classifier(), token_rows(tokenizer)) if kind == "input_ids" else (None, problems)

    trainer = StepCoderPPOTrainer(args, tokenizer, make_policy(), reward_model=judge, train_dataset=dataset)

    assert trainer.stop_token_id == (tokenizer.eos_token_id if expected == "eos" else expected)
    assert json.loads(args.to_json_string())  # every value fits into JSON
    assert str(args.stop_token) == "eos"


def test_generate_completions_prints_token_rows(tokenizer, make_policy, make_classifier, make_args, capsys):
    rows = token_rows(tokenizer)
    trainer = StepCoderPPOTrainer(
        make_args(per_device_eval_batch_size=2), tokenizer, make_policy(), make_policy(), make_classifier(3), rows,
        eval_dataset=rows,
    )  # fmt: skip

    trainer.generate_completions(sampling=True)

    assert "model response" in capsys.readouterr().out


# PEFT calls functions under names that transformers 5.23 deprecates.
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
def test_generation_config_of_checkpoint_does_not_change_rollouts(
    make_trainer, make_policy, problems, tmp_path, adapter
):
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


def test_completions_end_at_each_eos_token_of_the_generation_settings(make_trainer, make_policy, tokenizer):
    policy = make_policy()
    named = [tokenizer.eos_token_id, *range(100, 200)]
    policy.generation_config.eos_token_id = named
    trainer = make_trainer(policy=policy, max_steps=1)

    trainer.train()

    ((rollout, *_),) = trainer.seen
    assert rollout.generation.stopped.any()
    for one, stopped in zip(rollout.completions, rollout.generation.stopped.tolist(), strict=True):
        assert (one.token_ids[-1] in named) == stopped
        assert not set(one.token_ids[:-1]) & set(named)
        assert one.text == tokenizer.decode(one.token_ids[:-1] if stopped else one.token_ids)
