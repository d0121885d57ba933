"""
Parent of the trainer and of its configuration where TRL has none: on TRL 1.13 and newer.

Both have what TRL 1.12's `PPOTrainer` and `PPOConfig` give a subclass with a `train` of its own, under the same names,
and no more. `trainer/_trl.py` chooses between them.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from accelerate import Accelerator, DistributedType
from peft import PeftConfig, PeftModel, get_peft_model
from torch.utils.data import DataLoader
from transformers import (
    DataCollatorWithPadding,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.integrations import get_reporting_integration_callbacks
from transformers.trainer import DEFAULT_CALLBACKS, DEFAULT_PROGRESS_CALLBACK
from transformers.trainer_callback import CallbackHandler, ExportableState


SEED_STRIDE = 100003  # between processes, as upstream's: the same seeds give the same numbers on every TRL


@dataclass
class PPOConfig(TrainingArguments):
    """Options of PPO, with the names and defaults of TRL 1.12's `PPOConfig`."""

    learning_rate: float = field(default=3e-6, metadata={"help": "Peak learning rate."})
    logging_steps: float = field(
        default=10, metadata={"help": "Updates between two logs; below 1 a fraction of all updates."}
    )
    gradient_checkpointing: bool = field(
        default=True, metadata={"help": "Whether activations are computed anew in the backward pass to save memory."}
    )
    bf16: bool | None = field(
        default=None, metadata={"help": "Whether to train in bfloat16. `None` means yes unless `fp16` is set."}
    )
    dataset_num_proc: int | None = field(default=None, metadata={"help": "Processes that prepare the dataset."})
    num_mini_batches: int = field(default=1, metadata={"help": "Optimizer steps per pass over an update."})
    total_episodes: int | None = field(
        default=None, metadata={"help": "Completions of the whole run. `None` means what `num_train_epochs` says."}
    )
    local_rollout_forward_batch_size: int = field(
        default=64, metadata={"help": "Completions per process that are generated at a time."}
    )
    num_sample_generations: int = field(
        default=10, metadata={"help": "Tables of completions that are printed during training."}
    )
    response_length: int = field(default=53, metadata={"help": "Most tokens of a completion."})
    stop_token: Literal["eos"] | None = field(
        default=None, metadata={"help": '`"eos"` ends a completion at the tokenizer\'s EOS token, `None` nowhere.'}
    )
    stop_token_id: int | None = field(
        default=None, metadata={"help": "Token that ends a completion, instead of `stop_token`."}
    )
    temperature: float = field(default=0.7, metadata={"help": "Sampling temperature."})
    missing_eos_penalty: float | None = field(
        default=None, metadata={"help": "Subtracted from the score of a completion that did not come to its end."}
    )
    sft_model_path: str = field(default="EleutherAI/pythia-160m", metadata={"help": "Policy, for scripts."})
    world_size: int | None = field(default=None, metadata={"help": "Processes. Set by the trainer."})
    num_total_batches: int | None = field(default=None, metadata={"help": "Updates. Set by the trainer."})
    micro_batch_size: int | None = field(
        default=None, metadata={"help": "Completions per backward pass of all processes. Set by the trainer."}
    )
    local_batch_size: int | None = field(
        default=None, metadata={"help": "Completions per update and process. Set by the trainer."}
    )
    batch_size: int | None = field(
        default=None, metadata={"help": "Completions per update of all processes. Set by the trainer."}
    )
    local_mini_batch_size: int | None = field(
        default=None, metadata={"help": "Completions per optimizer step and process. Set by the trainer."}
    )
    mini_batch_size: int | None = field(
        default=None, metadata={"help": "Completions per optimizer step of all processes. Set by the trainer."}
    )
    push_to_hub: bool = field(default=False, metadata={"help": "Whether saved models are uploaded to the Hub."})
    reward_model_path: str = field(default="EleutherAI/pythia-160m", metadata={"help": "Reward model, for scripts."})
    model_adapter_name: str | None = field(default=None, metadata={"help": "Adapter to train, of several."})
    ref_adapter_name: str | None = field(default=None, metadata={"help": "Adapter that is the reference."})
    num_ppo_epochs: int = field(default=4, metadata={"help": "Passes over the completions of an update."})
    whiten_rewards: bool = field(default=False, metadata={"help": "Whether rewards are scaled to variance 1."})
    kl_coef: float = field(default=0.05, metadata={"help": "Weight of the KL penalty."})
    kl_estimator: Literal["k1", "k3"] = field(
        default="k1", metadata={"help": "Estimator of the KL divergence: `k1`, or `k3`, which is never negative."}
    )
    cliprange: float = field(default=0.2, metadata={"help": "Largest distance of the probability ratio from 1."})
    vf_coef: float = field(default=0.1, metadata={"help": "Weight of the value loss."})
    cliprange_value: float = field(default=0.2, metadata={"help": "Largest distance of a value from the old one."})
    gamma: float = field(default=1.0, metadata={"help": "Discount factor."})
    lam: float = field(default=0.95, metadata={"help": "Lambda of generalized advantage estimation."})
    ds3_gather_for_generation: bool = field(
        default=True, metadata={"help": "Whether ZeRO-3 gathers all weights to generate: faster, if they fit."}
    )

    def __post_init__(self) -> None:
        if self.bf16 is None:
            self.bf16 = not self.fp16
        super().__post_init__()


@dataclass
class OnlineTrainerState(TrainerState):
    """State of a trainer that generates what it trains on: `episode` counts completions."""

    episode: int = 0


class PPOTrainer(Trainer):
    """
    Models, optimizer, accelerator and callbacks of a PPO trainer; a subclass brings `train`.

    Like TRL's, it does not call the constructor of [`~transformers.Trainer`], which is made for one model and a loss,
    and takes over its methods for logging, callbacks, schedules and the Hub. Positional arguments are TRL's.
    """

    model: Any
    optimizer: Any

    def __init__(
        self,
        args: Any,
        processing_class: PreTrainedTokenizerBase,
        model: Any,
        ref_model: Any,
        reward_model: Any,
        train_dataset: Any,
        value_model: Any,
        data_collator: Callable[..., Any] | None = None,
        eval_dataset: Any = None,
        optimizers: tuple[Any, Any] = (None, None),
        callbacks: list[TrainerCallback] | None = None,
        peft_config: PeftConfig | None = None,
    ) -> None:
        if ref_model is model:
            raise ValueError("`ref_model` is the `model` itself. Pass a copy of it, or `None` to have one made.")
        self.args = args
        self.processing_class = processing_class
        self.train_dataset, self.eval_dataset = train_dataset, eval_dataset
        self.train_dataset_len = len(train_dataset)
        self.data_collator = data_collator or DataCollatorWithPadding(processing_class)
        self._set_stop_token()
        self._set_models(model, ref_model, reward_model, value_model, peft_config)
        self.accelerator = Accelerator(gradient_accumulation_steps=args.gradient_accumulation_steps)
        self.is_deepspeed_enabled = self.accelerator.distributed_type is DistributedType.DEEPSPEED
        self.is_fsdp_enabled = self.accelerator.distributed_type is DistributedType.FSDP
        self.local_seed = args.seed + self.accelerator.process_index * SEED_STRIDE
        args.world_size = self.accelerator.num_processes
        self.optimizer, self.lr_scheduler = optimizers
        self.optimizer_cls_and_kwargs = None
        self.create_optimizer_and_scheduler(num_training_steps=args.num_total_batches)
        self._set_callbacks(callbacks or [])
        self._set_output()
        self._prepare()

    def _set_stop_token(self) -> None:
        args = self.args
        if args.stop_token and args.stop_token_id:
            raise ValueError("Both `stop_token` and `stop_token_id` are set. Leave one of them out.")
        self.stop_token_id = self.processing_class.eos_token_id if args.stop_token == "eos" else args.stop_token_id

    def _set_models(
        self, model: Any, ref_model: Any, reward_model: Any, value_model: Any, peft_config: PeftConfig | None
    ) -> None:
        """Give the policy its adapter. Without a reference, the policy without it is the reference."""
        if peft_config is not None:
            if isinstance(model, PeftModel):
                raise ValueError(
                    "`model` is a `PeftModel` already, and there is a `peft_config` too. Leave the config out to "
                    "train the adapter it has, or merge that first."
                )
            model = get_peft_model(model, peft_config)
        self.is_peft_model = isinstance(model, PeftModel)
        self.model_adapter_name, self.ref_adapter_name = self.args.model_adapter_name, self.args.ref_adapter_name
        self.policy_model, self.ref_model = model, ref_model
        self.reward_model, self.value_model = reward_model, value_model

    def _set_callbacks(self, callbacks: list[TrainerCallback]) -> None:
        self.callbacks = [*DEFAULT_CALLBACKS, *get_reporting_integration_callbacks(self.args.report_to), *callbacks]
        self.callback_handler = CallbackHandler(
            self.callbacks, self.model, self.processing_class, self.optimizer, self.lr_scheduler
        )
        self.add_callback(PrinterCallback if self.args.disable_tqdm else DEFAULT_PROGRESS_CALLBACK)
        self.control = TrainerControl()
        self.state = OnlineTrainerState(
            is_local_process_zero=self.is_local_process_zero(),
            is_world_process_zero=self.is_world_process_zero(),
            stateful_callbacks=[
                callback
                for callback in [*self.callback_handler.callbacks, self.control]
                if isinstance(callback, ExportableState)
            ],
        )
        self.current_flos = 0
        self.hp_search_backend = None

    def _set_output(self) -> None:
        self.hub_model_id = None
        if self.args.push_to_hub:
            self.init_hf_repo()
        if self.args.should_save:
            os.makedirs(self.args.output_dir, exist_ok=True)

    def _prepare(self) -> None:
        """Hand model and optimizer to the accelerator, and put the frozen models where the work is done."""
        args = self.args
        # DeepSpeed reads the size of its batches off a data loader.
        self.dataloader = DataLoader(
            self.train_dataset,
            batch_size=args.per_device_train_batch_size * args.gradient_accumulation_steps,
            shuffle=True,
            collate_fn=self.data_collator,
            drop_last=True,
        )
        torch.manual_seed(args.seed)
        self.model, self.optimizer, self.dataloader = self.accelerator.prepare(
            self.model, self.optimizer, self.dataloader
        )
        torch.manual_seed(self.local_seed)
        place = _inference_engine if self.is_deepspeed_enabled else _on_device
        self.reward_model = place(self.reward_model, self.accelerator)
        if self.ref_model is not None:
            self.ref_model = place(self.ref_model, self.accelerator)


def _on_device(model: torch.nn.Module, accelerator: Accelerator) -> torch.nn.Module:
    return model.to(accelerator.device)


def _inference_engine(model: torch.nn.Module, accelerator: Accelerator) -> torch.nn.Module:
    """DeepSpeed engine around a model that is not trained: sharded under ZeRO-3, whole on every process otherwise."""
    import deepspeed  # only here: importing it initializes devices

    config = copy.deepcopy(accelerator.state.deepspeed_plugin.deepspeed_config)
    for training_only in ("optimizer", "scheduler"):
        config.pop(training_only, None)
    zero = config["zero_optimization"]
    zero.pop("offload_optimizer", None)
    if zero["stage"] != 3:
        zero["stage"] = 0
    engine = deepspeed.initialize(model=model, config=config)[0]
    engine.eval()  # unlike a module's, it returns nothing
    return engine
