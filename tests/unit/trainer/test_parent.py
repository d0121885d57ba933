"""Compares our parent class with TRL's, if TRL has one."""

from __future__ import annotations

import copy
import dataclasses
from types import SimpleNamespace

import pytest
from peft import LoraConfig, get_peft_model

from stepcoder_trl.trainer import _parent
from tests.integration.upstream import models, needs_upstream, token_rows, upstreams_warnings


def defaults(config):
    missing = dataclasses.MISSING
    return {
        field.name: field.default_factory()
        if field.default is missing and field.default_factory is not missing
        else field.default
        for field in dataclasses.fields(config)
    }


@needs_upstream
def test_the_configuration_has_upstreams_names_and_defaults():
    from trl.experimental.ppo import PPOConfig

    assert defaults(_parent.PPOConfig) == defaults(PPOConfig)


def test_every_option_has_a_help_text_that_argparse_can_format():
    own = [field for field in dataclasses.fields(_parent.PPOConfig) if field.name in _parent.PPOConfig.__annotations__]

    assert all(field.metadata["help"] % {} for field in own)


@pytest.fixture
def arguments(tokenizer, tmp_path):
    def make(**changes):
        args = SimpleNamespace(
            **{
                "stop_token": None,
                "stop_token_id": None,
                "model_adapter_name": None,
                "ref_adapter_name": None,
                **changes,
            }
        )
        return {
            "args": args,
            "processing_class": tokenizer,
            "train_dataset": token_rows(tokenizer),
            **models(tokenizer),
        }

    return make


def test_the_policy_is_not_its_own_reference(arguments):
    given = arguments()

    with pytest.raises(ValueError, match="`ref_model` is the `model` itself"):
        _parent.PPOTrainer(**{**given, "ref_model": given["model"]})


def test_one_stop_token_at_most(arguments):
    with pytest.raises(ValueError, match="Both `stop_token` and `stop_token_id`"):
        _parent.PPOTrainer(**arguments(stop_token="eos", stop_token_id=5))


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
def test_a_policy_has_one_adapter(arguments):
    given, adapter = arguments(), LoraConfig(task_type="CAUSAL_LM")

    with pytest.raises(ValueError, match="`model` is a `PeftModel` already"):
        _parent.PPOTrainer(**{**given, "model": get_peft_model(given["model"], adapter)}, peft_config=adapter)


# Written into the trainer by both constructors; the others belong to upstream's own `train` and `evaluate`.
UPSTREAM_ONLY = {"eval_dataloader", "local_dataloader_batch_size", "sample_generations_freq"}


@needs_upstream
def test_the_same_attributes_as_upstreams(tokenizer, tmp_path):
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    options = {"output_dir": str(tmp_path), "use_cpu": True, "report_to": "none", "bf16": False}
    given = {"processing_class": tokenizer, "train_dataset": token_rows(tokenizer)}
    theirs_models, ours_models = models(tokenizer), models(tokenizer)
    with upstreams_warnings():
        args = PPOConfig(**options)
        theirs = PPOTrainer(args=args, **given, **theirs_models, eval_dataset=given["train_dataset"])

    class WithModel(_parent.PPOTrainer):
        """Subclass that sets `model`, as every subclass must."""

        def create_optimizer_and_scheduler(self, num_training_steps):
            self.model = copy.copy(theirs.model)
            super().create_optimizer_and_scheduler(num_training_steps)

    ours = WithModel(args=args, **given, **ours_models)

    assert vars(theirs).keys() - vars(ours).keys() <= UPSTREAM_ONLY
    assert vars(ours).keys() <= vars(theirs).keys()
    for name in ("local_seed", "stop_token_id", "is_peft_model", "is_deepspeed_enabled", "is_fsdp_enabled"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert [type(one) for one in ours.callback_handler.callbacks] == [
        type(one) for one in theirs.callback_handler.callbacks
    ]
    assert dataclasses.asdict(ours.state).keys() == dataclasses.asdict(theirs.state).keys()
