"""
Parent classes of the trainer and its configuration for TRL 1.13 and newer, which has no PPO.

They have the names of TRL 1.12's `PPOTrainer` and `PPOConfig`, without `train` and `evaluate`. `_trl.py` chooses which
parents are used.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass
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
)
from transformers.integrations import get_reporting_integration_callbacks
from transformers.trainer import DEFAULT_CALLBACKS, DEFAULT_PROGRESS_CALLBACK
from transformers.trainer_callback import CallbackHandler, ExportableState
from transformers.training_args import TrainingArguments

from stepcoder_trl.trainer.shared_options import option


SEED_STRIDE = 100003  # between processes, as upstream: equal seeds give equal numbers with every TRL


@dataclass
class PPOConfig(TrainingArguments):
    """Options of PPO, with the names and defaults of TRL 1.12's `PPOConfig`."""

    learning_rate: float = option(3e-6, "Peak learning rate.")
    logging_steps: float = option(10, "Updates between two logs. Below 1: a fraction of all updates.")
    gradient_checkpointing: bool = option(
        True, "Whether to recompute activations in the backward pass, which saves memory."
    )
    bf16: bool | None = option(  # type: ignore[assignment]
        None, "Whether to train in bfloat16. `None` means yes unless `fp16` is set."
    )
    dataset_num_proc: int | None = option(None, "Number of processes that prepare the dataset.")
    num_mini_batches: int = option(1, "Optimizer steps per pass over an update.")
    total_episodes: int | None = option(None, "Completions of the whole run. `None` leaves it to `num_train_epochs`.")
    local_rollout_forward_batch_size: int = option(64, "Completions per process that are generated at once.")
    num_sample_generations: int = option(10, "Number of tables of completions that are printed during training.")
    response_length: int = option(53, "Maximum number of tokens per completion.")
    stop_token: Literal["eos"] | None = option(
        None, '`"eos"` ends a completion at the tokenizer\'s EOS token. `None` ends it nowhere.'
    )
    stop_token_id: int | None = option(None, "Token that ends a completion, instead of `stop_token`.")
    temperature: float = option(0.7, "Sampling temperature.")
    missing_eos_penalty: float | None = option(None, "Subtracted from the score of a completion without a stop token.")
    sft_model_path: str = option("EleutherAI/pythia-160m", "Name of the policy, for scripts.")
    world_size: int | None = option(None, "Number of processes. Set by the trainer.")
    num_total_batches: int | None = option(None, "Number of updates. Set by the trainer.")
    micro_batch_size: int | None = option(None, "Completions per backward pass of all processes. Set by the trainer.")
    local_batch_size: int | None = option(None, "Completions per update and process. Set by the trainer.")
    batch_size: int | None = option(None, "Completions per update of all processes. Set by the trainer.")
    local_mini_batch_size: int | None = option(None, "Completions per optimizer step and process. Set by the trainer.")
    mini_batch_size: int | None = option(None, "Completions per optimizer step of all processes. Set by the trainer.")
    push_to_hub: bool = option(False, "Whether to upload saved models to the Hub.")
    reward_model_path: str = option("EleutherAI/pythia-160m", "Name of the reward model, for scripts.")
    model_adapter_name: str | None = option(None, "Name of the adapter to train, if there are several.")
    ref_adapter_name: str | None = option(None, "Name of the adapter that is the reference.")
    num_ppo_epochs: int = option(4, "Passes over the completions of an update.")
    whiten_rewards: bool = option(False, "Whether to scale rewards to variance 1.")
    kl_coef: float = option(0.05, "Weight of the KL penalty.")
    kl_estimator: Literal["k1", "k3"] = option(
        "k1", "Estimator of the KL divergence: `k1`, or `k3`, which is never negative."
    )
    cliprange: float = option(0.2, "Clip range of the probability ratio around 1.")
    vf_coef: float = option(0.1, "Weight of the value loss.")
    cliprange_value: float = option(0.2, "Clip range of a value around the old one.")
    gamma: float = option(1.0, "Discount factor.")
    lam: float = option(0.95, "Lambda of generalized advantage estimation.")
    ds3_gather_for_generation: bool = option(
        True, "Whether ZeRO-3 gathers all weights to generate, which is faster if they fit."
    )

    def __post_init__(self) -> None:
        if self.bf16 is None:
            self.bf16 = not self.fp16
        super().__post_init__()


@dataclass
class OnlineTrainerState(TrainerState):
    """State with the number of completions so far, `episode`."""

    episode: int = 0


class PPOTrainer(Trainer):
    """
    Models, optimizer, accelerator and callbacks of a PPO trainer, without `train`. Positional arguments are TRL's.

    The constructor of [`~transformers.Trainer`] is not called: it expects one model with a loss. Its methods for
    logging, callbacks, schedules and the Hub are used.
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
        """Set the models, and add the adapter to the policy."""
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
        """Prepare model and optimizer with the accelerator, and move the frozen models to its device."""
        args = self.args
        # DeepSpeed needs a data loader to find the batch size.
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
        self.reward_model = self._placed(self.reward_model)
        if self.ref_model is not None:
            self.ref_model = self._placed(self.ref_model)

    def _placed(self, model: torch.nn.Module) -> torch.nn.Module:
        """Move a frozen model to the device, or wrap it in a DeepSpeed engine."""
        if self.is_deepspeed_enabled:
            return _inference_engine(model, self.accelerator)
        return model.to(self.accelerator.device)


def _inference_engine(model: torch.nn.Module, accelerator: Accelerator) -> torch.nn.Module:
    """Wrap a frozen model in a DeepSpeed engine: sharded with ZeRO-3, otherwise complete on every process."""
    import deepspeed  # not at the top: the import initializes devices

    config = copy.deepcopy(accelerator.state.deepspeed_plugin.deepspeed_config)
    for training_only in ("optimizer", "scheduler"):
        config.pop(training_only, None)
    zero = config["zero_optimization"]
    zero.pop("offload_optimizer", None)
    if zero["stage"] != 3:
        zero["stage"] = 0
    engine = deepspeed.initialize(model=model, config=config)[0]
    engine.eval()  # returns `None`, unlike that of a module
    return engine
