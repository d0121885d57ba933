"""Model and tokenizer from what the caller of a trainer passes."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig
from transformers import LlamaForSequenceClassification, TrainerCallback

from stepcoder_trl import CodeExecutor, ExecutorConfig, StepCoderGRPOTrainer, StepCoderPPOConfig, StepCoderPPOTrainer
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.jsonl import write_rows
from stepcoder_trl.trainer.inputs import check_types, load_model, load_tokenizer
from tests.conftest import tiny_config


def test_model_is_loaded_by_name_in_float32_and_its_tokenizer_with_it(make_policy, tokenizer, tmp_path):
    make_policy().to(torch.bfloat16).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)

    model = load_model(tmp_path)

    assert model.dtype == torch.float32
    assert load_tokenizer(None, model)("def f")["input_ids"] == tokenizer("def f")["input_ids"]
    assert load_model(model) is model
    assert load_tokenizer(tokenizer, model) is tokenizer


def test_missing_model_and_tokenizer_are_one_line(make_policy):
    with pytest.raises(BadInputError, match="`model` is missing"):
        load_model(None)
    with pytest.raises(BadInputError, match=r"`model` is a LlamaModel, which does not generate text\. Load it by"):
        load_model(make_policy().model)
    with pytest.raises(BadInputError, match="The model 'nowhere' cannot be loaded"):
        load_model("nowhere")
    with pytest.raises(BadInputError, match="`processing_class` is missing, and the model has no name"):
        load_tokenizer(None, make_policy())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"peft_config": "lora"}, r"`peft_config` is 'lora' \(str\), .* Pass `LoraConfig"),
        ({"peft_config": LoraConfig}, "`peft_config` is <class .*must be an object of `peft`"),
        ({"value_model": "critic"}, r"`value_model` is 'critic' \(str\), but must be a model. Pass `AutoModelForSeq"),
        ({"ref_model": "policy"}, "`ref_model` is 'policy' .*Pass `AutoModelForCausalLM"),
        ({"processing_class": "policy"}, "`processing_class` is 'policy' .*Pass `AutoTokenizer"),
        ({"executor": ExecutorConfig()}, "`executor` is ExecutorConfig.*must be an executor. Pass `CodeExecutor"),
        ({"callbacks": TrainerCallback}, r"`callbacks` is <class .*must be a list\. Pass `\[callback\]`"),
        ({"executor": CodeExecutor}, "`executor` is <class .*Pass `CodeExecutor"),
    ],
)
def test_argument_of_another_type_is_one_clear_sentence(given, message):
    with pytest.raises(BadInputError, match=message) as error:
        check_types(**given)

    assert "\n" not in str(error.value)


def test_critic_and_reward_model_have_a_head_with_one_label(make_policy, make_classifier, tokenizer):
    for name, fix in (("value_model", ", or leave it out: one is made from the policy"), ("reward_model", "")):
        check_types(**{name: make_classifier()})
        with pytest.raises(BadInputError) as error:
            check_types(**{name: make_policy()})
        assert str(error.value) == (
            f"`{name}` is a LlamaForCausalLM, which has no head called `score`, but must be a classifier with one "
            f"label. Pass `AutoModelForSequenceClassification.from_pretrained(path, num_labels=1)`{fix}."
        )
    with pytest.raises(BadInputError, match="`value_model` is a LlamaForSequenceClassification with 3 labels, but"):
        check_types(value_model=LlamaForSequenceClassification(tiny_config(tokenizer, num_labels=3)))


def test_field_of_the_configuration_is_no_argument_of_a_trainer(tmp_path):
    with pytest.raises(BadInputError) as error:
        StepCoderGRPOTrainer("m", reward_weights=[1.0])
    assert str(error.value) == (
        "`reward_weights` is no argument of `StepCoderGRPOTrainer`. Write `StepCoderGRPOTrainer(..., "
        "args=StepCoderGRPOConfig(..., reward_weights=[1.0]))`."
    )
    with pytest.raises(BadInputError, match=r"args=StepCoderPPOConfig\(\.\.\., num_generations=4\)\)`"):
        StepCoderPPOTrainer(StepCoderPPOConfig(str(tmp_path), use_cpu=True), model="m", num_generations=4)
    with pytest.raises(BadInputError, match="`tokens` is no argument of `StepCoderGRPOTrainer`"):
        StepCoderGRPOTrainer("m", tokens=3)


def test_both_trainers_check_types(tmp_path, problems):
    rows, args = [problem.to_row() for problem in problems], StepCoderPPOConfig(str(tmp_path), use_cpu=True)

    with pytest.raises(BadInputError, match="`executor` is 3"):
        StepCoderPPOTrainer(args, model="m", train_dataset=rows, executor=3)
    for wrong, message in ((None, "`model` is missing"), (3, "`model` is 3")):
        with pytest.raises(BadInputError, match=message):
            StepCoderGRPOTrainer(model=wrong, train_dataset=rows)
    with pytest.raises(BadInputError, match="`model` is 7"):
        StepCoderPPOTrainer(args, model=7, train_dataset=rows)
    with pytest.raises(BadInputError, match="`executor` is 3"):
        StepCoderGRPOTrainer("m", train_dataset=rows, executor=3)


def test_ppo_trainer_takes_paths_and_defaults(make_policy, tokenizer, problems, tmp_path):
    make_policy(max_position_embeddings=2048).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    write_rows(tmp_path / "problems.jsonl", [problem.to_row() for problem in problems])
    args = StepCoderPPOConfig(output_dir=str(tmp_path / "run"), use_cpu=True)

    trainer = StepCoderPPOTrainer(args, model=str(tmp_path), train_dataset=tmp_path / "problems.jsonl")

    assert (trainer.plan.batch_size, trainer.plan.prompts_per_update) == (16, 1)
    assert args.gradient_accumulation_steps == 2
    assert len(trainer.rows) == 8
