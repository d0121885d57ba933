"""Setup of a run: sizes, arguments of TRL's constructor, policy and critic as one module, and the optimizer."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from transformers.training_args import OptimizerNames

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.evaluation.process_group import leave_gloo_at_exit
from stepcoder_trl.trainer._trl import renamed_attributes_allowed
from stepcoder_trl.trainer.batches import BatchPlan, plan_batches
from stepcoder_trl.trainer.models import PolicyAndCritic, base_of, disable_dropout, warn_of_lost_steps
from stepcoder_trl.trainer.ppo_config import EOS, StepCoderPPOConfig
from stepcoder_trl.trainer.processes import (
    cast_unsharded,
    check_processes,
    configure_deepspeed,
    mixed_precision,
    precision_for_accelerate,
)
from stepcoder_trl.trainer.shared_options import SharedOptions, idle_settings


if TYPE_CHECKING:
    from stepcoder_trl.trainer.ppo_trainer import StepCoderPPOTrainer

logger = logging.getLogger(__name__)


def warn_without_effect(args: SharedOptions, unused: Sequence[str] = ()) -> None:
    """Warn of options that are set but have no effect, `unused` among them, and of one that stops the curriculum."""
    if idle := [*(f"`{name}`" for name in unused), *idle_settings(args)]:
        logger.warning(f"Without effect in this trainer: {', '.join(idle)}.")
    curriculum = args.curriculum_config(seed=0)
    stays = dict.fromkeys(("paper", "mix"), "stays at its first stage") | {
        "adaptive": "gets ever more of its solution"
    }
    leaves = curriculum.pass_rate < 1 or (curriculum.leave_solved and curriculum.mode != "adaptive")
    if not leaves and curriculum.mode in stays:
        logger.warning(
            f"`curriculum_pass_rate` is {curriculum.pass_rate:g}, which no pass rate exceeds: every problem "
            f"{stays[curriculum.mode]}. Lower it."
        )


def query_limit(
    model: torch.nn.Module, max_prompt_length: int | None, response_length: int, option: str = "response_length"
) -> float:
    """
    Return the maximum number of tokens of a query: `max_prompt_length`, or what the model's positions leave.

    Raises:
        BadInputError: If they leave none. `option` is the name of `response_length` in the message.
    """
    limits = [max_prompt_length or math.inf]
    positions = getattr(base_of(model).config.get_text_config(), "max_position_embeddings", None)
    if positions is not None:
        if response_length >= positions:
            raise BadInputError(
                f"`{option}` {response_length} leaves no room in {positions} positions, which is all that the model "
                "has for a query and its completion. Lower it, or use a model with more positions."
            )
        limits.append(positions - response_length)
    return min(limits)


def eval_query_limit(model: torch.nn.Module, args: StepCoderPPOConfig) -> float:
    """Return the maximum number of tokens of a query of an evaluation."""
    name = "response_length" if args.eval_response_length is None else "eval_response_length"
    return query_limit(model, args.max_prompt_length, args.eval_response_length or args.response_length, name)


def plan_run(args: StepCoderPPOConfig, num_rows: int, has_problems: bool, num_processes: int) -> BatchPlan:
    """
    Return the sizes of a run. Warns if the policy is never trained, or if upstream's options name other sizes.

    Raises:
        BadInputError: If no row is left, or the sizes do not fit together.
    """
    if not num_rows:
        raise BadInputError("No row of `train_dataset` is usable: every query is too long, see the warning.")
    plan = plan_batches(args, num_rows, args.num_generations or (16 if has_problems else 1), num_processes)
    if args.critic_warmup_steps >= plan.num_updates:
        logger.warning(
            f"`critic_warmup_steps` is {args.critic_warmup_steps}, but the run has only {plan.num_updates} updates: "
            "the policy is never trained. Lower it, or train longer."
        )
    for name, size in computed_sizes(plan, num_processes).items():
        if vars(args)[name] not in (None, size):
            logger.warning(
                f"`{name}` is {vars(args)[name]}, which has no effect: the trainer computes it, and it is {size}. "
                "Leave it out."
            )
    return plan


def stop_token(args: StepCoderPPOConfig, has_problems: bool, eos_token_id: int | None) -> str | None:
    """Return the stop token. Raises a `BadInputError` if it is EOS and the tokenizer has none."""
    if args.stop_token_id is not None:
        return None  # an id overrides the default, "eos"
    if args.stop_token is EOS and not has_problems:
        return None
    if args.stop_token == "eos" and eos_token_id is None:
        raise BadInputError("`stop_token` is 'eos', but the tokenizer has no EOS token. Set its `eos_token`.")
    return args.stop_token


@contextmanager
def as_upstream_expects(
    args: StepCoderPPOConfig, model: torch.nn.Module, plan: BatchPlan, stop_token: str | None
) -> Iterator[None]:
    """
    Give the options the meaning that upstream's constructor expects. Afterwards restore what it changed.

    Upstream accumulates gradients over a whole update, even with several mini-batches. It checks `whiten_rewards`
    against the batch of one process, and changes the EOS token in the model's generation settings.
    """
    changed: dict[str, Any] = {
        "gradient_accumulation_steps": plan.accumulation_steps,
        "num_mini_batches": 1,
        "whiten_rewards": False,
        "total_episodes": plan.num_updates * plan.batch_size,
        "stop_token": stop_token,
    }
    kept = {name: getattr(args, name) for name in changed}
    base = base_of(model)
    settings, base.generation_config = base.generation_config, copy.deepcopy(base.generation_config)
    for name, value in changed.items():
        setattr(args, name, value)
    try:
        with renamed_attributes_allowed(), precision_for_accelerate(mixed_precision(args.bf16, args.fp16)):
            yield
    finally:
        base.generation_config = settings
        for name, value in kept.items():
            setattr(args, name, value)


def finish(trainer: StepCoderPPOTrainer) -> None:
    """Set what upstream's constructor left: sizes, learning-rate schedule, and models that are not trained."""
    set_sizes(trainer.args, trainer.plan, trainer.accelerator.num_processes)
    check_processes(trainer.accelerator)
    leave_gloo_at_exit()
    if trainer.is_deepspeed_enabled:
        # With offloading, DeepSpeed replaces the optimizer.
        trainer.lr_scheduler.optimizer = trainer.optimizer.optimizer
    check_precision(trainer.args, trainer.accelerator)
    for module in (trainer.ref_model, trainer.reward_model):
        if module is not None:
            module.eval()


def check_precision(args: StepCoderPPOConfig, accelerator: Accelerator) -> None:
    """Warn if the launcher set another mixed precision than the configuration."""
    wanted = mixed_precision(args.bf16, args.fp16)
    if accelerator.mixed_precision != wanted:
        logger.warning(
            f"Mixed precision is {accelerator.mixed_precision!r}, not {wanted!r}: accelerate's launcher decided. Give "
            "it and `bf16`, `fp16` the same setting."
        )


def set_sizes(args: StepCoderPPOConfig, plan: BatchPlan, num_processes: int) -> None:
    """Write the sizes of a run into the fields of upstream's configuration."""
    args.gradient_accumulation_steps = plan.accumulation_steps * args.num_mini_batches
    args.world_size = num_processes
    for name, size in computed_sizes(plan, num_processes).items():
        setattr(args, name, size)


def computed_sizes(plan: BatchPlan, num_processes: int) -> dict[str, int]:
    """Return the sizes of a run by the options of upstream that nobody needs to set."""
    return {
        "num_total_batches": plan.num_updates,
        "batch_size": plan.batch_size,
        "local_batch_size": plan.local_batch_size,
        "micro_batch_size": plan.micro_batch_size * num_processes,
        "local_mini_batch_size": plan.local_mini_batch_size,
        "mini_batch_size": plan.local_mini_batch_size * num_processes,
    }


def join_models(trainer: StepCoderPPOTrainer) -> PolicyAndCritic:
    """
    Join policy and critic into one module, before the accelerator prepares anything.

    Turns off dropout, also in the models that are not trained, and turns on gradient checkpointing if configured.
    """
    args, plan, accelerator = trainer.args, trainer.plan, trainer.accelerator
    for model in (trainer.policy_model, trainer.value_model, trainer.ref_model, trainer.reward_model):
        if model is not None:
            disable_dropout(model)
    joined = PolicyAndCritic(trainer.policy_model, trainer.value_model)
    joined.config = trainer.policy_model.config
    if args.gradient_checkpointing:
        joined.gradient_checkpointing_enable(args.gradient_checkpointing_kwargs)
    if accelerator.state.deepspeed_plugin is not None:
        configure_deepspeed(accelerator, plan.micro_batch_size, plan.accumulation_steps, args.max_grad_norm)
        cast_unsharded(joined, mixed_precision(args.bf16, args.fp16))
    else:
        warn_of_lost_steps(joined)
    return joined


def make_optimizer(
    optimizer_class: Any, settings: dict[str, Any], model: PolicyAndCritic, args: StepCoderPPOConfig, decays: set[str]
) -> torch.optim.Optimizer:
    """
    Make an optimizer with one learning rate for the policy and one for the critic.

    `settings` are the arguments of the class, and `decays` the names of the parameters with weight decay.

    Raises:
        BadInputError: If the optimizer chooses its parameters itself.
    """
    if {"params", "model", "optimizer_dict"} & settings.keys():
        name = str(OptimizerNames(args.optim).value)
        raise BadInputError(
            f"`optim` is {name!r}, which picks its parameters itself and knows of one learning rate: "
            "policy and critic have two here. Choose another, such as 'adamw_torch'."
        )
    groups = []
    for part, lr in (("policy.", args.learning_rate), ("value_model.", args.value_learning_rate)):
        named = [(n, p) for n, p in model.named_parameters() if n.startswith(part) and p.requires_grad]
        if not args.weight_decay:
            groups.append({"params": [p for _, p in named], "lr": lr, "weight_decay": 0.0})
            continue
        for decay in (args.weight_decay, 0.0):
            params = [p for n, p in named if (n in decays) == bool(decay)]
            groups.append({"params": params, "lr": lr, "weight_decay": decay})
    made: torch.optim.Optimizer = optimizer_class([group for group in groups if group["params"]], **settings)
    return made
