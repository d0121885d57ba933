"""Configuration of the trainer."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

from transformers import TrainingArguments
from transformers.utils import is_torch_bf16_gpu_available

from stepcoder_trl.curriculum import CurriculumConfig
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.executor import ExecutorConfig
from stepcoder_trl.masking import MaskRule
from stepcoder_trl.trainer._trl import PPOConfig
from stepcoder_trl.trainer.processes import asks_for_deepspeed, has_gpu, launch_settings, precision_for_accelerate


class UpstreamDefault(Enum):
    """
    Default that gives way to upstream's own, `None`, for a dataset of upstream's kind.

    It equals, prints and is stored as its value, but is no string: argparse would turn that into a plain one.
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
class StepCoderPPOConfig(PPOConfig):
    r"""
    Configuration of [`StepCoderPPOTrainer`].

    Only what is added to, or has another default than in, [`trl.experimental.ppo.PPOConfig`] is listed here. Batches
    count completions: per process and update `per_device_train_batch_size * gradient_accumulation_steps` of them.
    `max_steps`, `save_steps` and `logging_steps` count updates.

    Args:
        learning_rate (`float`, *optional*, defaults to `5e-7`):
            Peak learning rate of the policy.
        value_learning_rate (`float`, *optional*, defaults to `1.5e-6`):
            Peak learning rate of the critic.
        num_generations (`int`, *optional*):
            Completions per prompt and update. `None` means 16 for problems with tests, 1 for upstream's `input_ids`.
        temperature (`float`, *optional*, defaults to `0.8`):
            Sampling temperature, above 0.
        top_p (`float`, *optional*, defaults to `0.9`):
            Probability mass of the likeliest tokens that are sampled from, in (0, 1].
        response_length (`int`, *optional*, defaults to `1024`):
            Most tokens of a completion.
        stop_token (`str`, *optional*, defaults to `"eos"`):
            `"eos"` ends a completion at the tokenizer's EOS token. For upstream's `input_ids` the default is `None`.
        max_prompt_length (`int`, *optional*):
            Most tokens of a query, code prefix included. Problems with a longer one are left out and named. `None`
            means what the model's positions leave.
        num_ppo_epochs (`int`, *optional*, defaults to `1`):
            Passes over the completions of an update.
        num_mini_batches (`int`, *optional*, defaults to `1`):
            Optimizer steps per pass. Divides `gradient_accumulation_steps`.
        critic_warmup_steps (`int`, *optional*, defaults to `0`):
            Updates at the start that train the critic alone.
        whiten_advantages (`bool`, *optional*, defaults to `True`):
            Whether advantages are shifted and scaled to mean 0 and variance 1 over the kept tokens of all processes.
        reward_clip (`float`, *optional*):
            Scores are clipped to plus or minus this value. The paper's clip value is 0.8. `None` does not clip.
        error_token_penalty (`float`, *optional*, defaults to `0.0`):
            RLTF's fine-grained feedback: taken from the reward of each token on the lines that an error is blamed on.
            RLTF uses 0.3.
        curriculum (`str`, *optional*, defaults to `"paper"`):
            Curriculum of Code Completion Subtasks: `"paper"`, `"mix"`, `"adaptive"` or `"off"`.
        curriculum_kinds (`str`, *optional*, defaults to `"statements"`):
            What counts as a conditional statement: `"statements"` (if, for, while, try, match) or `"scope"` (the
            APPS+ field). The paper names no kinds.
        curriculum_pass_rate (`float`, *optional*, defaults to `0.5`):
            Pass rate above which a problem moves to its next stage, in [0, 1]. The paper gives no value.
        curriculum_momentum (`float`, *optional*, defaults to `0.3`):
            Weight of the newest group in the moving pass rate, in (0, 1]. The paper gives no value.
        curriculum_rate_of (`str`, *optional*, defaults to `"problem"`):
            Whose pass rate decides in `"paper"` and `"mix"`: each `"problem"`'s own, or that of all problems at the
            same `"stage"`, which then move on together. Give the latter a smaller `curriculum_momentum`.
        curriculum_pass_score (`float`, *optional*):
            Score above which a completion counts as passing where a problem has no tests.
        curriculum_mix_probability (`float`, *optional*, defaults to `0.1`):
            Probability that `"mix"` draws a problem from scratch, in [0, 1].
        fgo (`str`, *optional*, defaults to `"lines"`):
            Fine-Grained Optimization: `"lines"` keeps tokens of executed lines in the policy loss, `"off"` keeps all,
            `"random"` keeps as many at random, as a control.
        fgo_outside_program (`bool`, *optional*, defaults to `True`):
            Whether EOS, the closing fence and text outside the program stay in the policy loss.
        compile_error_mask (`str`, *optional*, defaults to `"all"`):
            Tokens kept of a program that does not compile: `"all"` or `"up_to_error_line"`.
        executor_workers (`int`, *optional*):
            Worker processes that run programs. `None` means this process's share of the cores.
        test_timeout_s (`float`, *optional*, defaults to `3.0`):
            CPU seconds a test may take. A problem's own limit beats it.
        untrusted_passes (`str`, *optional*, defaults to `"accept"`):
            What a pass counts whose verdict a hostile program could have forged: `"accept"` scores it, `"drop"` leaves
            the completion out of the losses.
        eval_num_generations (`int`, *optional*, defaults to `1`):
            Completions per problem of an evaluation.
        eval_pass_at (`list[int]`, *optional*):
            Budgets k of pass@k, at most `eval_num_generations`. pass@1 and pass@`eval_num_generations` are always
            measured.
        eval_temperature (`float`, *optional*, defaults to `0.2`):
            Sampling temperature of an evaluation. 0 takes the likeliest token.
        eval_top_p (`float`, *optional*, defaults to `0.95`):
            Probability mass of the likeliest tokens that an evaluation samples from, in (0, 1].
        eval_response_length (`int`, *optional*):
            Most tokens of a completion in an evaluation. `None` means `response_length`.
        max_infrastructure_error_rate (`float`, *optional*, defaults to `0.1`):
            Share of a batch's programs, in [0, 1], that may fail for a reason that is not theirs. Beyond it training
            writes a checkpoint and stops.
        log_completions (`bool`, *optional*, defaults to `False`):
            Whether to print completions at each logging step, write them to `completions/` in `output_dir` as
            parquet, and send them to the trackers that take tables.
        num_completions_to_print (`int`, *optional*, defaults to `4`):
            Completions that are printed. `None` prints all.
        training_data_name (`str`, *optional*):
            What the model card calls the training set: its name on the Hub or a title.
        training_data_license (`str`, *optional*):
            Licence of the training set, for the model card.
        eval_data_name (`str`, *optional*):
            What the model card calls the evaluation set.
        bf16 (`bool`, *optional*):
            Whether to train in bfloat16 mixed precision. `None` means yes where a GPU has it, unless `fp16` is set.
    """

    learning_rate: float = field(default=5e-7, metadata={"help": "Peak learning rate of the policy."})
    value_learning_rate: float = field(default=1.5e-6, metadata={"help": "Peak learning rate of the critic."})
    num_generations: int | None = field(
        default=None,
        metadata={
            "help": "Completions per prompt and update. `None` means 16 for problems with tests, 1 for upstream's "
            "`input_ids`."
        },
    )
    temperature: float = field(default=0.8, metadata={"help": "Sampling temperature, above 0."})
    top_p: float = field(
        default=0.9,
        metadata={"help": "Probability mass of the likeliest tokens that are sampled from, in (0, 1]."},
    )
    response_length: int = field(default=1024, metadata={"help": "Most tokens of a completion."})
    stop_token: Literal["eos"] | None = field(
        default=EOS,
        metadata={
            "help": "`\"eos\"` ends a completion at the tokenizer's EOS token. For upstream's `input_ids` the default "
            "is `None`."
        },
    )
    max_prompt_length: int | None = field(
        default=None,
        metadata={
            "help": "Most tokens of a query, code prefix included. Problems with a longer one are left out and named. "
            "`None` means what the model's positions leave."
        },
    )
    num_ppo_epochs: int = field(default=1, metadata={"help": "Passes over the completions of an update."})
    num_mini_batches: int = field(
        default=1,
        metadata={"help": "Optimizer steps per pass. Divides `gradient_accumulation_steps`."},
    )
    critic_warmup_steps: int = field(default=0, metadata={"help": "Updates at the start that train the critic alone."})
    whiten_advantages: bool = field(
        default=True,
        metadata={
            "help": "Whether advantages are shifted and scaled to mean 0 and variance 1 over the kept tokens of all "
            "processes."
        },
    )
    reward_clip: float | None = field(
        default=None,
        metadata={
            "help": "Scores are clipped to plus or minus this value. The paper's clip value is 0.8. `None` does not "
            "clip."
        },
    )
    error_token_penalty: float = field(
        default=0.0,
        metadata={
            "help": "RLTF's fine-grained feedback: taken from the reward of each token on the lines that an error is "
            "blamed on. RLTF uses 0.3."
        },
    )
    curriculum: Literal["paper", "mix", "adaptive", "off"] = field(
        default="paper",
        metadata={"help": 'Curriculum of Code Completion Subtasks: `"paper"`, `"mix"`, `"adaptive"` or `"off"`.'},
    )
    curriculum_kinds: Literal["statements", "scope"] = field(
        default="statements",
        metadata={
            "help": 'What counts as a conditional statement: `"statements"` (if, for, while, try, match) or '
            '`"scope"` (the APPS+ field). The paper names no kinds.'
        },
    )
    curriculum_pass_rate: float = field(
        default=0.5,
        metadata={
            "help": "Pass rate above which a problem moves to its next stage, in [0, 1]. The paper gives no value."
        },
    )
    curriculum_momentum: float = field(
        default=0.3,
        metadata={"help": "Weight of the newest group in the moving pass rate, in (0, 1]. The paper gives no value."},
    )
    curriculum_rate_of: Literal["problem", "stage"] = field(
        default="problem",
        metadata={
            "help": 'Whose pass rate decides in `"paper"` and `"mix"`: each `"problem"`\'s own, or that of all '
            'problems at the same `"stage"`, which then move on together. Give the latter a smaller '
            "`curriculum_momentum`."
        },
    )
    curriculum_pass_score: float | None = field(
        default=None,
        metadata={"help": "Score above which a completion counts as passing where a problem has no tests."},
    )
    curriculum_mix_probability: float = field(
        default=0.1,
        metadata={"help": 'Probability that `"mix"` draws a problem from scratch, in [0, 1].'},
    )
    fgo: Literal["lines", "off", "random"] = field(
        default="lines",
        metadata={
            "help": 'Fine-Grained Optimization: `"lines"` keeps tokens of executed lines in the policy loss, '
            '`"off"` keeps all, `"random"` keeps as many at random, as a control.'
        },
    )
    fgo_outside_program: bool = field(
        default=True,
        metadata={"help": "Whether EOS, the closing fence and text outside the program stay in the policy loss."},
    )
    compile_error_mask: Literal["all", "up_to_error_line"] = field(
        default="all",
        metadata={"help": 'Tokens kept of a program that does not compile: `"all"` or `"up_to_error_line"`.'},
    )
    executor_workers: int | None = field(
        default=None,
        metadata={"help": "Worker processes that run programs. `None` means this process's share of the cores."},
    )
    test_timeout_s: float = field(
        default=3.0,
        metadata={"help": "CPU seconds a test may take. A problem's own limit beats it."},
    )
    untrusted_passes: Literal["accept", "drop"] = field(
        default="accept",
        metadata={
            "help": 'What a pass counts whose verdict a hostile program could have forged: `"accept"` scores it, '
            '`"drop"` leaves the completion out of the losses.'
        },
    )
    eval_num_generations: int = field(default=1, metadata={"help": "Completions per problem of an evaluation."})
    eval_pass_at: list[int] | None = field(
        default=None,
        metadata={
            "help": "Budgets k of pass@k, at most `eval_num_generations`. pass@1 and pass@`eval_num_generations` are "
            "always measured."
        },
    )
    eval_temperature: float = field(
        default=0.2,
        metadata={"help": "Sampling temperature of an evaluation. 0 takes the likeliest token."},
    )
    eval_top_p: float = field(
        default=0.95,
        metadata={"help": "Probability mass of the likeliest tokens that an evaluation samples from, in (0, 1]."},
    )
    eval_response_length: int | None = field(
        default=None,
        metadata={"help": "Most tokens of a completion in an evaluation. `None` means `response_length`."},
    )
    max_infrastructure_error_rate: float = field(
        default=0.1,
        metadata={
            "help": "Share of a batch's programs, in [0, 1], that may fail for a reason that is not theirs. Beyond it "
            "training writes a checkpoint and stops."
        },
    )
    log_completions: bool = field(
        default=False,
        metadata={
            "help": "Whether to print completions at each logging step, write them to `completions/` in `output_dir` "
            "as parquet, and send them to the trackers that take tables."
        },
    )
    num_completions_to_print: int | None = field(
        default=4, metadata={"help": "Completions that are printed. `None` prints all."}
    )
    training_data_name: str | None = field(
        default=None,
        metadata={"help": "What the model card calls the training set: its name on the Hub or a title."},
    )
    training_data_license: str | None = field(
        default=None, metadata={"help": "Licence of the training set, for the model card."}
    )
    eval_data_name: str | None = field(
        default=None, metadata={"help": "What the model card calls the evaluation set."}
    )
    bf16: bool | None = field(
        default=None,
        metadata={
            "help": "Whether to train in bfloat16 mixed precision. `None` means yes where a GPU has it, unless `fp16` "
            "is set."
        },
    )

    def __post_init__(self) -> None:
        _check_ranges(self)
        _check_batches(self)
        _check_evaluation(self)
        _check_supported(self)
        if self.load_best_model_at_end and self.metric_for_best_model is None:
            # transformers would take the loss, which no evaluation measures.
            self.metric_for_best_model: str | None = "pass@1"
        for name, value in launch_settings(self.use_cpu, self.ddp_backend, self.fsdp).items():
            setattr(self, name, value)
        if self.bf16 is None:
            self.bf16 = not (self.fp16 or self.use_cpu) and is_torch_bf16_gpu_available()
        # TRL's configs set the name that transformers 5.23 deprecates; under the new one it is silent.
        if "activation_checkpointing" in {f.name for f in dataclasses.fields(TrainingArguments)}:
            for name in ("checkpointing", "checkpointing_kwargs"):
                if getattr(self, f"activation_{name}") is None:
                    setattr(self, f"activation_{name}", getattr(self, f"gradient_{name}"))
        # PPOConfig's field `world_size` hides the property of TrainingArguments, which a DeepSpeed file needs.
        if vars(self)["world_size"] is None:
            self.world_size = int(os.environ.get("WORLD_SIZE", "1"))
        with _bf16_beside_deepspeed(self):
            super().__post_init__()

    def curriculum_config(self) -> CurriculumConfig:
        """Settings of the curriculum."""
        return CurriculumConfig(
            mode=self.curriculum,
            kinds=self.curriculum_kinds,
            pass_rate=self.curriculum_pass_rate,
            momentum=self.curriculum_momentum,
            rate_of=self.curriculum_rate_of,
            mix_probability=self.curriculum_mix_probability,
            seed=self.seed,
        )

    def mask_rule(self) -> MaskRule:
        """Rule of the tokens in the policy loss."""
        return MaskRule(self.fgo, self.fgo_outside_program, self.compile_error_mask, self.seed)

    def executor_config(self, num_workers: int) -> ExecutorConfig:
        """Settings of an executor that the trainer makes."""
        return ExecutorConfig(num_workers=num_workers, timeout_s=self.test_timeout_s)


@contextmanager
def _bf16_beside_deepspeed(args: StepCoderPPOConfig) -> Iterator[None]:
    """
    Hide `bf16` from transformers, where DeepSpeed trains on the CPU, and say it another way.

    Transformers refuses it there without `use_cpu`, which turns DeepSpeed off. DeepSpeed itself can do it.
    """
    if not (args.bf16 and asks_for_deepspeed() and not has_gpu()):
        yield
        return
    args.bf16 = False
    with precision_for_accelerate("bf16"):
        yield
    args.bf16 = True


def _refuse(name: str, value: Any, allowed: str, fix: str) -> None:
    raise BadInputError(f"`{name}` is {value!r}, but must be {allowed}. {fix}")


def _check_ranges(args: StepCoderPPOConfig) -> None:
    """Refuse a value outside its range or its choices."""
    for name in ("temperature", "learning_rate", "value_learning_rate", "test_timeout_s"):
        if not getattr(args, name) > 0:
            _refuse(name, getattr(args, name), "above 0", "Leave it out for the default.")
    for name in (
        "num_ppo_epochs",
        "num_mini_batches",
        "response_length",
        "gradient_accumulation_steps",
        "eval_num_generations",
    ):
        if getattr(args, name) < 1:
            _refuse(name, getattr(args, name), "at least 1", "Leave it out for the default.")
    for name in (
        "num_generations",
        "max_prompt_length",
        "executor_workers",
        "eval_response_length",
        "num_completions_to_print",
    ):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            _refuse(name, getattr(args, name), "at least 1 or `None`", "Leave it out for the default.")
    if args.critic_warmup_steps < 0:
        _refuse("critic_warmup_steps", args.critic_warmup_steps, "at least 0", "Write 0 for none.")
    for name in ("top_p", "eval_top_p"):
        if not 0 < getattr(args, name) <= 1:
            _refuse(name, getattr(args, name), "in (0, 1]", "It is a fraction: write 0.9 for 90%.")
    if not 0 <= args.curriculum_pass_rate <= 1:
        _refuse("curriculum_pass_rate", args.curriculum_pass_rate, "in [0, 1]", "It is a fraction: write 0.5 for 50%.")
    if not 0 < args.curriculum_momentum <= 1:
        _refuse(
            "curriculum_momentum", args.curriculum_momentum, "in (0, 1]", "Write 1 to count the newest group alone."
        )
    if not 0 <= args.curriculum_mix_probability <= 1:
        _refuse("curriculum_mix_probability", args.curriculum_mix_probability, "in [0, 1]", "It is a probability.")
    if args.error_token_penalty < 0:
        _refuse("error_token_penalty", args.error_token_penalty, "at least 0", "RLTF uses 0.3, 0 turns it off.")
    if args.reward_clip is not None and args.reward_clip <= 0:
        _refuse("reward_clip", args.reward_clip, "above 0 or `None`", "Leave it out not to clip.")
    if args.missing_eos_penalty is not None and args.missing_eos_penalty <= 0:
        _refuse("missing_eos_penalty", args.missing_eos_penalty, "above 0 or `None`", "It is subtracted as it stands.")
    for name, choices in _CHOICES.items():
        if getattr(args, name) not in choices:
            allowed = ", ".join(repr(choice) for choice in choices)
            _refuse(name, getattr(args, name), f"one of {allowed}", "Check the spelling.")


_CHOICES: dict[str, tuple[str | None, ...]] = {
    "curriculum": ("paper", "mix", "adaptive", "off"),
    "curriculum_kinds": ("statements", "scope"),
    "curriculum_rate_of": ("problem", "stage"),
    "fgo": ("lines", "off", "random"),
    "compile_error_mask": ("all", "up_to_error_line"),
    "untrusted_passes": ("accept", "drop"),
    "stop_token": ("eos", None),
    "kl_estimator": ("k1", "k3"),
}


# Options of transformers that do nothing in this trainer, where it matters that they do not.
WITHOUT_EFFECT = {
    *("auto_find_batch_size", "bf16_full_eval", "data_seed", "dataloader_num_workers", "fp16_full_eval"),
    *("ddp_broadcast_buffers", "ddp_bucket_cap_mb", "ddp_find_unused_parameters", "ddp_static_graph"),
    *("enable_jit_checkpoint", "full_determinism", "include_num_input_tokens_seen", "label_smoothing_factor"),
    *("neftune_noise_alpha", "parallelism_config", "save_on_each_node", "torch_compile", "torch_empty_cache_steps"),
    *("train_sampling_strategy", "use_liger_kernel"),
}


def options_without_effect(args: StepCoderPPOConfig) -> list[str]:
    """Options that are set to something, but do nothing in this trainer."""
    fields = (field for field in dataclasses.fields(args) if field.name in WITHOUT_EFFECT)
    return [field.name for field in fields if getattr(args, field.name) != field.default]


def _check_supported(args: StepCoderPPOConfig) -> None:
    """Refuse what transformers can do and this trainer cannot."""
    schedule = getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)
    if schedule in ("reduce_lr_on_plateau", "greedy"):
        _refuse("lr_scheduler_type", schedule, "a schedule that counts updates", "It would wait for a metric.")
    if args.deepspeed:
        raise BadInputError(
            "`deepspeed` is not supported: accelerate sets DeepSpeed up here. Name the file in an accelerate "
            "configuration, as `deepspeed_config: {deepspeed_config_file: FILE}`, and start with "
            "`--accelerate_config`."
        )


def _check_evaluation(args: StepCoderPPOConfig) -> None:
    """Refuse what an evaluation cannot do."""
    if args.eval_temperature < 0:
        _refuse("eval_temperature", args.eval_temperature, "at least 0", "Write 0 for the likeliest token.")
    if not 0 <= args.max_infrastructure_error_rate <= 1:
        rate = args.max_infrastructure_error_rate
        _refuse("max_infrastructure_error_rate", rate, "in [0, 1]", "It is a fraction: write 0.1 for 10%.")
    for k in args.eval_pass_at or ():
        if not 1 <= k <= args.eval_num_generations:
            allowed = f"from 1 to `eval_num_generations`, {args.eval_num_generations}"
            _refuse("eval_pass_at", k, allowed, "Raise `eval_num_generations`.")
    if args.load_best_model_at_end and args.save_only_model:
        _refuse("save_only_model", True, "off with `load_best_model_at_end`", "Drop one of the two.")


def _check_batches(args: StepCoderPPOConfig) -> None:
    """Refuse mini-batches that do not consist of whole micro-batches."""
    steps, parts = args.gradient_accumulation_steps, args.num_mini_batches
    if steps % parts:
        fits = [n for n in range(1, steps + 1) if steps % n == 0]
        raise BadInputError(
            f"`num_mini_batches` is {parts}, but must divide `gradient_accumulation_steps`, which is {steps}: a "
            f"mini-batch is a whole number of micro-batches. Choose one of {fits} or raise "
            f"`gradient_accumulation_steps` to {-(-steps // parts) * parts}."
        )
