"""Configuration of the PPO trainer."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.steps.chat_templates import read_template_kwargs
from stepcoder_trl.trainer._trl import PPOConfig
from stepcoder_trl.trainer.processes import bf16_beside_deepspeed, choose_devices
from stepcoder_trl.trainer.shared_options import (
    INHERITED,
    Help,
    SharedOptions,
    check_needed_options,
    check_options,
    check_schedule,
    option,
    refuse,
    set_renamed_options,
)
from stepcoder_trl.trainer.vllm_options import VLLMOptions


class UpstreamDefault(Enum):
    """
    Default that means upstream's default, `None`, for a dataset with `input_ids` only.

    It compares and prints like its value, but is not a string: argparse would replace a string by a plain one.
    """

    EOS = "eos"

    def __eq__(self, other: object) -> bool:
        return self is other or self.value == other

    def __hash__(self) -> int:
        return hash(self.value)

    def __str__(self) -> str:
        return str(self.value)

    def __repr__(self) -> str:
        return repr(self.value)


EOS: Any = UpstreamDefault.EOS


@dataclass
class StepCoderPPOConfig(VLLMOptions, SharedOptions, PPOConfig):  # type: ignore[misc]  # a default of `None` for `int`
    """
    Configuration of [`StepCoderPPOTrainer`]: the fields below, those of [`SharedOptions`] and [`VLLMOptions`], and
    upstream's.

    Each field describes itself; the docs have a table of them. Batches count completions: per process and update
    `per_device_train_batch_size * gradient_accumulation_steps` of them. `max_steps`, `save_steps` and `logging_steps`
    count updates.
    """

    learning_rate: float = option(5e-7, "Peak learning rate of the policy.", interval="(0, inf)", source="paper, 4.2")
    value_learning_rate: float = option(
        1.5e-6,
        "Peak learning rate of the critic, which has a parameter group of its own.",
        interval="(0, inf)",
        source="paper, 4.2",
    )
    num_generations: int | None = option(
        None,
        "Completions per prompt and update. `None` means 16 for problems with tests, 1 for upstream's `input_ids`.",
        interval="[1, inf)",
        source="ours; upstream draws one",
    )
    temperature: float = option(
        0.8,
        "Sampling temperature, above 0. Log-probabilities are computed at the same temperature.",
        interval="(0, inf)",
        source="paper, 4.2",
    )
    top_p: float = option(
        0.9,
        "Probability mass of the likeliest tokens that are sampled from, in (0, 1].",
        interval="(0, 1]",
        source="paper, 4.2",
    )
    response_length: int = option(
        1024, "Maximum number of tokens per completion.", interval="[1, inf)", source="paper, 4.2"
    )
    stop_token: Literal["eos"] | None = option(
        EOS,
        '`"eos"` ends a completion at each EOS token that the tokenizer or the model\'s generation settings name. '
        "For upstream's `input_ids` the default is `None`. A `stop_token_id` beats it.",
        source="ours",
    )
    max_prompt_length: int | None = option(
        None,
        "Maximum number of tokens of a query, code prefix included. Problems with a longer one are left out and "
        "named. `None` means what the model's positions leave.",
        interval="[1, inf)",
        source="ours",
    )
    num_ppo_epochs: int = option(
        1, "Passes over the completions of an update.", interval="[1, inf)", source="paper silent; upstream 4"
    )
    num_mini_batches: int = option(
        1,
        "Optimizer steps per pass. Divides `gradient_accumulation_steps`.",
        interval="[1, inf)",
        source="upstream, where it has no effect",
    )
    critic_warmup_steps: int = option(
        0, "Updates at the start that train the critic alone.", interval="[0, inf)", source="ours, as OpenRLHF, verl"
    )
    whiten_advantages: bool = option(
        True,
        "Whether advantages are shifted and scaled to mean 0 and variance 1 over the kept tokens of all processes.",
        source="upstream, always and per process",
    )
    reward_clip: float | None = option(
        None,
        "Scores are clipped to plus or minus this value, after weights and penalty. The paper's clip value is 0.8. "
        "`None` does not clip.",
        interval="(0, inf)",
        source='paper, 4.2: "clip value of 0.8"',
        fix="Leave it out not to clip.",
    )
    reward_weights: list[float] | None = option(
        None,
        "Weight of each reward function, and of the reward model as the last. `None` means 1 for each. The argument "
        "of the trainer beats it.",
        source="as TRL's GRPO",
    )
    error_token_penalty: float = option(
        0.0,
        "RLTF's fine-grained feedback: subtracted from the reward of each token on the lines that an error is "
        "blamed on. RLTF uses 0.3.",
        interval="[0, inf)",
        source="RLTF (arXiv:2307.04349), which uses 0.3",
        fix="RLTF uses 0.3, and 0 turns it off.",
    )
    eval_num_generations: int = option(
        1, "Completions per problem of an evaluation.", interval="[1, inf)", source="ours"
    )
    eval_pass_at: list[int] | None = option(
        None,
        "Budgets k of pass@k, at most `eval_num_generations`. pass@1 and pass@`eval_num_generations` are always "
        "measured.",
        source="ours",
    )
    eval_temperature: float = option(
        0.2,
        "Sampling temperature of an evaluation. 0 takes the likeliest token.",
        interval="[0, inf)",
        source="paper, 4.2",
    )
    eval_top_p: float = option(
        0.95,
        "Probability mass of the likeliest tokens that an evaluation samples from, in (0, 1].",
        interval="(0, 1]",
        source="paper, 4.2",
    )
    eval_response_length: int | None = option(
        None,
        "Maximum number of tokens per completion in an evaluation. `None` means `response_length`.",
        interval="[1, inf)",
        source="paper, 4.2: 1024, as that",
    )
    log_completions: bool = option(
        False,
        "Whether to print completions at each logging step, write them to `completions/` in `output_dir` as "
        "parquet, and send them to the trackers that take tables.",
        source="as TRL's GRPO",
    )
    num_completions_to_print: int | None = option(
        4,
        "Number of completions that are printed. `None` prints all.",
        interval="[1, inf)",
        source="as TRL's GRPO, `None` there",
    )
    training_data_name: str | None = option(
        None, "Name of the training set in the model card: its name on the Hub, or a title.", source="ours"
    )
    training_data_license: str | None = option(None, "Licence of the training set, for the model card.", source="ours")
    eval_data_name: str | None = option(None, "Name of the evaluation set in the model card.", source="ours")
    bf16: bool | None = option(  # type: ignore[assignment]
        None,
        "Whether to train in bfloat16 mixed precision. `None` means yes where a GPU has it, unless `fp16` is set.",
        source="ours; upstream always",
    )

    def __post_init__(self) -> None:
        check_options(self, _INHERITED)
        self.executor_choice()  # checked
        check_needed_options(self)
        self.chat_template_kwargs = read_template_kwargs(self.chat_template_kwargs)
        _check_batches(self)
        _check_evaluation(self)
        _check_supported(self)
        if self.load_best_model_at_end and self.metric_for_best_model is None:
            # The default of transformers is the loss, which no evaluation measures.
            self.metric_for_best_model: str | None = "pass@1"
        choose_devices(self)
        set_renamed_options(self)
        # The field of PPOConfig hides the property of TrainingArguments, which DeepSpeed needs.
        if vars(self)["world_size"] is None:
            self.world_size = int(os.environ.get("WORLD_SIZE", "1"))
        with bf16_beside_deepspeed(self):
            super().__post_init__()
        check_schedule(self)


# Intervals of upstream's options.
_INHERITED = {**INHERITED, "missing_eos_penalty": Help("", interval="(0, inf)", fix="It is subtracted as it stands.")}


# Options of upstream and transformers without effect in this trainer. Setting one gives a warning.
WITHOUT_EFFECT = {
    *("dataset_num_proc", "num_sample_generations", "reward_model_path", "sft_model_path"),
    *("auto_find_batch_size", "bf16_full_eval", "data_seed", "dataloader_num_workers", "fp16_full_eval"),
    *("ddp_broadcast_buffers", "ddp_bucket_cap_mb", "ddp_find_unused_parameters", "ddp_static_graph"),
    *("enable_jit_checkpoint", "full_determinism", "group_by_length"),
    *("include_num_input_tokens_seen", "label_smoothing_factor"),
    *("neftune_noise_alpha", "parallelism_config", "save_on_each_node", "torch_compile", "torch_empty_cache_steps"),
    *("train_sampling_strategy", "use_liger_kernel"),
}


def options_without_effect(args: StepCoderPPOConfig) -> list[str]:
    """Return the options that are set but have no effect in this trainer."""
    fields = (field for field in dataclasses.fields(args) if field.name in WITHOUT_EFFECT)
    return [field.name for field in fields if getattr(args, field.name) != field.default]


def _check_supported(args: StepCoderPPOConfig) -> None:
    """Raise an error for options of transformers that are not supported."""
    schedule = getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)
    if schedule in ("reduce_lr_on_plateau", "greedy"):
        raise refuse("lr_scheduler_type", schedule, "a schedule that counts updates", "It would wait for a metric.")
    if args.deepspeed:
        raise BadInputError(
            "`deepspeed` is not supported: accelerate sets DeepSpeed up here. Name the file in an accelerate "
            "configuration, as `deepspeed_config: {deepspeed_config_file: FILE}`, and start with "
            "`--accelerate_config`."
        )


def _check_evaluation(args: StepCoderPPOConfig) -> None:
    """Raise an error for options of evaluations that contradict each other."""
    for k in args.eval_pass_at or ():
        if not 1 <= k <= args.eval_num_generations:
            allowed = f"from 1 to `eval_num_generations`, {args.eval_num_generations}"
            raise refuse("eval_pass_at", k, allowed, "Raise `eval_num_generations`.")
    if args.load_best_model_at_end and args.save_only_model:
        raise refuse("save_only_model", True, "off with `load_best_model_at_end`", "Drop one of the two.")


def _check_batches(args: StepCoderPPOConfig) -> None:
    """Raise an error if a mini-batch is not a whole number of micro-batches."""
    steps, parts = args.gradient_accumulation_steps, args.num_mini_batches
    if steps is not None and steps % parts:
        fits = [n for n in range(1, steps + 1) if steps % n == 0]
        raise BadInputError(
            f"`num_mini_batches` is {parts}, but must divide `gradient_accumulation_steps`, which is {steps}: a "
            f"mini-batch is a whole number of micro-batches. Choose one of {fits} or raise "
            f"`gradient_accumulation_steps` to {-(-steps // parts) * parts}."
        )
