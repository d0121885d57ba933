"""Plan of a run before it starts: its batches, and an estimate of the memory that it needs per process."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from trl import ModelConfig, get_peft_config

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.evaluation.engines import loading
from stepcoder_trl.trainer.ppo_config import StepCoderPPOConfig
from stepcoder_trl.trainer.setup import plan_run


_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
_STATE_BYTES = 8.0  # two moments in float32 per trained parameter
_STATE_BYTES_8BIT = 2.0


@dataclass(frozen=True)
class Sharding:
    """How the processes of a run share its model: their number, and the stage of ZeRO, 0 for copies."""

    num_processes: int = 1
    zero_stage: int = 0

    def share(self, stage: int) -> float:
        """Return the share of one process of what ZeRO splits from this stage on."""
        return 1 / self.num_processes if self.zero_stage >= stage else 1.0


@dataclass(frozen=True)
class Model:
    """Facts about a model that its settings tell."""

    config: Any
    parameters: int
    trained: int  # parameters of one trained model: all of them, or the adapter's
    bytes: float  # per weight


@dataclass(frozen=True)
class DryRun:
    """
    Plan of a run.

    Attributes:
        batches (`Mapping[str, int]`): Sizes of the run by their description.
        memory_bytes (`Mapping[str, float]`): Estimated bytes per process by their use. Empty without a model.
        parameters (`int`): Parameters of the model. 0 without one.
        trained (`int`): Parameters that are trained, those of the critic included.
    """

    batches: Mapping[str, int]
    memory_bytes: Mapping[str, float]
    parameters: int
    trained: int


def plan_batches_of(trainer: str, args: Any, num_rows: int, num_processes: int) -> dict[str, int]:
    """
    Return the sizes of a run on `num_rows` problems by their description.

    Raises:
        BadInputError: If the sizes do not fit together, or the problems do not fill an update.
    """
    if trainer == "ppo":
        plan = plan_run(args, num_rows, True, num_processes)
        return {
            "completions per update": plan.batch_size,
            "problems per update": plan.prompts_per_update,
            "completions per problem": plan.num_generations,
            "forward passes per update and process": plan.local_batch_size // plan.micro_batch_size,
            "optimizer steps per update": plan.local_batch_size // plan.local_mini_batch_size * args.num_ppo_epochs,
            "updates per epoch": plan.updates_per_epoch,
            "updates": plan.num_updates,
        }
    size, steps = args.per_device_train_batch_size * num_processes, args.gradient_accumulation_steps
    if trainer == "sft":
        per_epoch = -(-num_rows // (size * steps))
        updates = args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * per_epoch)
        return {"solutions per update": size * steps, "updates per epoch": per_epoch, "updates": updates}
    round_size = args.per_device_train_batch_size * args.steps_per_generation * num_processes
    problems = round_size // args.num_generations
    if round_size % args.num_generations or num_rows < problems:
        raise BadInputError(
            f"A round has {round_size} completions, {args.num_generations} per problem, but there are {num_rows} "
            "usable problems. Choose a multiple of `num_generations` that the problems fill."
        )
    per_epoch = num_rows // problems * args.num_iterations * args.steps_per_generation // steps
    return {
        "completions per round": round_size,
        "problems per round": problems,
        "completions per problem": args.num_generations,
        "completions per optimizer step": size * steps,
        "optimizer steps per epoch": per_epoch,
        "optimizer steps": args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * per_epoch),
    }


def describe_model(model_args: ModelConfig) -> Model:
    """Build a model without weights, and count its parameters. Raises a `BadInputError` if it cannot be loaded."""
    name = str(model_args.model_name_or_path)
    with loading(name), torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of initialising adapters without weights
        config = AutoConfig.from_pretrained(name, revision=model_args.model_revision)
        model = AutoModelForCausalLM.from_config(config)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        peft_config = get_peft_config(model_args)
        trained = parameters
        if peft_config is not None:
            from peft import get_peft_model

            adapted = get_peft_model(model, peft_config)
            trained = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    dtype = str(config.dtype if model_args.dtype in (None, "auto") else model_args.dtype).removeprefix("torch.")
    size = 0.5 if model_args.load_in_4bit else 1.0 if model_args.load_in_8bit else _BYTES.get(dtype, 4.0)
    return Model(config.get_text_config(), parameters, trained, size)


def estimate_memory(trainer: str, args: Any, model: Model, longest_query: int, sharding: Sharding) -> dict[str, float]:
    """
    Estimate the bytes that a process needs, by their use.

    Weights are those of the policy, of a full critic (PPO) and of a full reference. With an adapter they share one
    model. Gradients have the size of the trained weights, and the optimizer keeps two float32 moments. Logits are
    those of one forward pass in float32, with their gradient. The cache is that of completions sampled together.
    Activations are not estimated: with gradient checkpointing they are small beside the rest.
    """
    is_full = model.trained == model.parameters
    trained_models = 2 if trainer == "ppo" else 1
    references = 1 if trainer == "ppo" or (trainer == "grpo" and args.beta) else 0
    copies = trained_models + references if is_full else 1
    trained = model.trained * trained_models
    trained_size = model.bytes if is_full else 4.0
    state = _STATE_BYTES_8BIT if "8bit" in str(args.optim) else _STATE_BYTES
    length = longest_query + completion_length(args, trainer)
    batch = args.per_device_train_batch_size
    scored = length if trainer == "sft" else completion_length(args, trainer)
    adapters = 0.0 if is_full else trained * trained_size
    needed = {
        "weights": (copies * model.parameters * model.bytes + adapters) * sharding.share(3),
        "gradients": trained * trained_size * sharding.share(2),
        "optimizer": trained * state * sharding.share(1),
        "logits": batch * scored * model.config.vocab_size * 4.0 * 2,
    }
    if trainer != "sft":
        sampled = args.local_rollout_forward_batch_size if trainer == "ppo" else batch * args.steps_per_generation
        needed["cache while sampling"] = sampled * length * _cache_bytes(model)
    return needed


def completion_length(args: Any, trainer: str) -> int:
    """Return the most tokens of a completion. For fine-tuning it is 0: a solution is part of the sequence."""
    if trainer == "sft":
        return int(args.max_length or 0)
    return int(args.response_length if trainer == "ppo" else args.max_completion_length or 0)


def _cache_bytes(model: Model) -> float:
    """Return the bytes of keys and values of one token."""
    config = model.config.to_dict()
    heads = config.get("num_attention_heads") or 1
    size = config.get("head_dim") or config.get("hidden_size", 0) // heads
    kept = config.get("num_key_value_heads") or heads
    return 2.0 * config.get("num_hidden_layers", 0) * kept * size * max(model.bytes, 2.0)


def dry_run(
    trainer: str,
    args: StepCoderPPOConfig | Any,
    model_args: ModelConfig,
    num_rows: int,
    longest_query: int,
    sharding: Sharding,
) -> DryRun:
    """
    Plan a run on `num_rows` problems, whose longest query has `longest_query` tokens.

    Args:
        trainer (`str`): `"ppo"`, `"grpo"` or `"sft"`.
        args (configuration of the trainer): Options of training.
        model_args ([`~trl.ModelConfig`]): Model to train. Without a name there is no estimate of memory.
        num_rows (`int`): Problems that training does not leave out.
        longest_query (`int`): Tokens of the longest query. 0 if unknown.
        sharding ([`Sharding`]): Processes of the run.

    Raises:
        BadInputError: If the sizes do not fit together, or the model cannot be loaded.
    """
    batches = plan_batches_of(trainer, args, num_rows, sharding.num_processes)
    if not model_args.model_name_or_path:
        return DryRun(batches, {}, 0, 0)
    model = describe_model(model_args)
    memory = estimate_memory(trainer, args, model, longest_query, sharding)
    return DryRun(batches, memory, model.parameters, model.trained * (2 if trainer == "ppo" else 1))
