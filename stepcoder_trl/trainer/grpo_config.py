"""Configuration of the GRPO trainer."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from accelerate.utils.environment import get_int_from_env

from stepcoder_trl.curriculum import CurriculumConfig
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.steps.chat_templates import read_template_kwargs
from stepcoder_trl.trainer._trl_grpo import LOSS_TYPES, SCALES_LOSS_WRONGLY, GRPOConfig, trl_version
from stepcoder_trl.trainer.processes import bf16_beside_deepspeed, choose_devices
from stepcoder_trl.trainer.shared_options import (
    INHERITED,
    SharedOptions,
    check_needed_options,
    check_options,
    check_schedule,
    option,
    refuse,
    set_renamed_options,
    sizes_that_fit,
    steps_of_whole_groups,
)
from stepcoder_trl.trainer.vllm_options import check_generation_kwargs


FgoDenominator = Literal["kept", "valid"]
UninformativeGroups = Literal["keep", "drop_no_spread", "drop_no_pass"]


@dataclass
class StepCoderGRPOConfig(SharedOptions, GRPOConfig):  # type: ignore[misc]  # a default of `None` for `int`
    """
    Configuration of [`StepCoderGRPOTrainer`]: the fields below, those of [`SharedOptions`], and upstream's.

    Each field describes itself; the docs have a table of them.
    """

    fgo_denominator: FgoDenominator = option(
        "kept",
        'What the losses that divide by tokens count: `"kept"` tokens alone, or all `"valid"` tokens of the '
        'completions in the loss. With `"kept"` the KL penalty covers kept tokens, with `"valid"` all.',
        source="ours",
    )
    curriculum_leave_solved: bool = option(
        True,
        "Whether a problem leaves a stage above scratch as soon as every scored sample of a group passes: such a "
        "group has no advantage.",
        source="ours",
    )
    uninformative_groups: UninformativeGroups = option(
        "keep",
        'Groups that leave the loss and its denominators: none (`"keep"`), those with equal scores '
        '(`"drop_no_spread"`), or those in which nothing passed (`"drop_no_pass"`).',
        source="ours",
    )
    scale_rewards: Literal["group", "batch", "none"] | None = option(
        None,
        "What advantages are divided by: the standard deviation of the `group`, of the `batch`, or `none`. `None` "
        "means `none` with compiler feedback, otherwise upstream's `group`. In a group where nothing passes, the "
        "division would turn the difference between a wrong answer and a runtime error into a full advantage, and "
        "the model learns to fail safely.",
        source="ours; upstream `group`",
    )
    max_prompt_length: int | None = option(
        None,
        "Maximum number of tokens of a query, code prefix included. Problems with a longer one are left out and "
        "named. `None` means what the model's positions leave.",
        interval="[1, inf)",
        source="ours",
    )
    bf16: bool | None = option(  # type: ignore[assignment]
        None,
        "Whether to train in bfloat16 mixed precision. `None` means yes where a GPU has it, unless `fp16` is set.",
        source="ours; upstream always",
    )

    def __post_init__(self) -> None:
        given: Any = self.scale_rewards
        if isinstance(given, bool):  # upstream takes these, too
            self.scale_rewards = "group" if given else "none"
        check_options(self, INHERITED)
        self.executor_choice()  # checked
        check_needed_options(self)
        if self.num_generations is None or self.num_generations < 2:
            fix = "An advantage compares the completions of a problem."
            raise refuse("num_generations", self.num_generations, "at least 2", fix)
        _set_accumulation(self)
        _check_groups(self)
        _check_evaluated_groups(self)
        self.chat_template_kwargs = read_template_kwargs(self.chat_template_kwargs)
        if self.load_best_model_at_end and self.metric_for_best_model is None:
            # The default of transformers is the loss, which is about 0 at each evaluation of GRPO.
            self.metric_for_best_model: str | None = "pass@1"
        choose_devices(self)
        set_renamed_options(self)
        with bf16_beside_deepspeed(self):
            super().__post_init__()
        check_schedule(self)
        _check_sampling(self)
        _check_loss(self)
        _check_imitation(self)
        _check_measurement(self)

    def curriculum_config(self, seed: int) -> CurriculumConfig:
        """Return the settings of the curriculum."""
        return replace(super().curriculum_config(seed), leave_solved=self.curriculum_leave_solved)


def _set_accumulation(args: StepCoderGRPOConfig) -> None:
    """Set `gradient_accumulation_steps` where it is `None`. With a generation batch of its own it is upstream's 1."""
    if args.gradient_accumulation_steps is None:
        given = args.generation_batch_size is not None or args.steps_per_generation is not None
        num_processes = get_int_from_env(["WORLD_SIZE"], 1)
        size = args.per_device_train_batch_size
        args.gradient_accumulation_steps = (
            1 if given else steps_of_whole_groups(size, args.num_generations, num_processes)
        )


def _check_groups(args: StepCoderGRPOConfig) -> None:
    """Raise an error if an update is not whole groups. Other sizes of a batch than an update's are left to TRL."""
    given, num_processes = args.generation_batch_size, get_int_from_env(["WORLD_SIZE"], 1)
    size, steps = args.per_device_train_batch_size, args.gradient_accumulation_steps or 1
    total = size * steps * num_processes
    if given is None and args.steps_per_generation is None and total % args.num_generations:
        raise BadInputError(
            f"`per_device_train_batch_size` {size} x `gradient_accumulation_steps` {steps} x {num_processes} "
            f"processes = {total} completions per update, which is not a multiple of `num_generations`, "
            f"{args.num_generations}. {sizes_that_fit(size, args.num_generations, num_processes, steps)}"
        )


def _check_evaluated_groups(args: StepCoderGRPOConfig) -> None:
    """Raise an error if a batch of an evaluation is not whole groups."""
    name = "num_generations_eval" if args.num_generations_eval else "num_generations"
    size, num_processes, group = args.per_device_eval_batch_size, get_int_from_env(["WORLD_SIZE"], 1), vars(args)[name]
    if args.eval_strategy != "no" and size * num_processes % group:
        multiple = group // math.gcd(group, num_processes)
        raise BadInputError(
            f"`per_device_eval_batch_size` {size} x {num_processes} processes = {size * num_processes} completions, "
            f"which is not a multiple of `{name}`, {group}. Set `per_device_eval_batch_size` to a multiple of "
            f"{multiple}, or `num_generations_eval` to 1."
        )


def _check_sampling(args: StepCoderGRPOConfig) -> None:
    """Raise an error for options with which reward functions lack columns, or a group has equal samples."""
    if "seed" in (args.generation_kwargs or {}):
        raise BadInputError(
            '`generation_kwargs` has a "seed", with which vLLM gives all samples of a group the same text. Leave it '
            "out: `seed` of the configuration is enough."
        )
    if args.top_k is not None and args.top_k < (-1 if args.use_vllm else 0):
        raise refuse("top_k", args.top_k, "at least 0", "Write 0 to sample from all tokens.")
    if args.vllm_mode not in ("colocate", "server"):
        raise refuse("vllm_mode", args.vllm_mode, "'colocate' or 'server'", "Check the spelling.")
    if args.use_vllm:
        check_generation_kwargs(args.generation_kwargs, args.mask_truncated_completions)
    if args.remove_unused_columns:
        raise refuse("remove_unused_columns", True, "off", "Reward functions and the sandbox need the columns.")


def _check_loss(args: StepCoderGRPOConfig) -> None:
    """Raise an error for options with which the loss would be wrong."""
    if args.loss_type not in LOSS_TYPES:
        raise BadInputError(
            f"`loss_type` is {args.loss_type!r}, but must be one of {', '.join(LOSS_TYPES)}. Check the spelling."
        )
    version, steps = trl_version(), args.steps_per_generation
    is_old = SCALES_LOSS_WRONGLY.contains(version, prereleases=True)
    if args.loss_type == "luspo" and is_old:
        raise BadInputError(
            f"`loss_type` is 'luspo', for which trl {version} does not apply the mask. Choose another, or run `pip "
            "install 'trl>=1.12'`."
        )
    if steps != args.gradient_accumulation_steps and is_old:
        raise BadInputError(
            f"`steps_per_generation` is {steps} and `gradient_accumulation_steps` {args.gradient_accumulation_steps}, "
            f"but trl {version} scales the loss wrongly where they differ. Set them to the same number, or run "
            "`pip install 'trl>=1.12'`."
        )
    if args.fgo_denominator == "valid":
        _check_token_advantages(args, "fgo_denominator", "kept")
    if args.fgo in ("tests", "tests_random"):
        _check_token_advantages(args, "fgo", "lines")
        if vars(args).get("multi_objective_aggregation", "sum_then_normalize") != "sum_then_normalize":  # new in 1.6
            raise BadInputError(
                f"`fgo` is {args.fgo!r}, which takes one deviation for the sum of all rewards, but "
                "`multi_objective_aggregation` divides each reward by its own. Leave it out."
            )


def _check_token_advantages(args: StepCoderGRPOConfig, option_name: str, otherwise: str) -> None:
    """Raise an error if an option needs one advantage per token, and another takes one per completion."""
    reasons = {
        "importance_sampling_level": (args.importance_sampling_level == "sequence", "'sequence'"),
        "loss_type": (args.loss_type == "vespo", "'vespo'"),
        "use_liger_kernel": (bool(args.use_liger_kernel), "on"),
    }
    for name, (unfit, value) in reasons.items():
        if unfit:
            raise BadInputError(
                f"`{option_name}` is {vars(args)[option_name]!r}, which needs one advantage per token, but `{name}` "
                f"is {value}, which takes one per completion. Choose `{option_name}` {otherwise!r}."
            )


def _check_imitation(args: StepCoderGRPOConfig) -> None:
    """Raise an error for options with which TRL does not compute the log-probabilities of prefixes."""
    if not args.prefix_imitation:
        return
    if args.use_liger_kernel:
        raise BadInputError(
            f"`prefix_imitation` is {args.prefix_imitation}, but Liger's loss does not give the log-probabilities of "
            "prefixes. Turn `use_liger_kernel` off."
        )
    if args.temperature != 1.0:
        raise BadInputError(
            f"`prefix_imitation` is {args.prefix_imitation}, which imitates at temperature 1, but `temperature` is "
            f"{args.temperature}, and TRL computes all log-probabilities of a forward pass at it. Set `temperature` "
            "to 1, or train with PPO."
        )


def _check_measurement(args: StepCoderGRPOConfig) -> None:
    """Raise an error for groups of a measurement that a server of vLLM cannot sample."""
    if args.curriculum_start != "measured" or not (args.use_vllm and args.vllm_mode == "server"):
        return
    if args.curriculum_start_samples % args.num_generations:
        raise BadInputError(
            f"`curriculum_start_samples` is {args.curriculum_start_samples}, but a server of vLLM samples "
            f"`num_generations` {args.num_generations} completions of a query. Set it to a multiple of that."
        )
