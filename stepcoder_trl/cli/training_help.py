"""Help of the verbs `sft`, `ppo` and `grpo`: the options that most runs need, in groups, and examples."""

from __future__ import annotations

import textwrap

from stepcoder_trl.data.formats import FORMAT_TITLES


_WIDTH = 79
_COLUMN = 33

_DATA = (
    ("--problems FILE...", "Train on these problems."),
    ("--prompt_style STYLE", "plain (default), chat or deepseek."),
    ("--model_name_or_path DIR", "Train this model."),
    ("--use_peft, --lora_r R", "Train a LoRA adapter."),
    ("--output_dir DIR", "Write checkpoints and model here."),
)
_METHOD = (
    ("--curriculum MODE", "paper, mix, adaptive or off."),
    ("--curriculum_start WHERE", "first, or measured with the model."),
    ("--prefix_imitation W", "Also imitate the code shown (0: off)."),
    ("--fgo MODE", "lines, off, random, tests or tests_random."),
    ("--reward NAME", "stepcoder, ppocoder or rltf."),
    ("--score_tests HOW", "By the worst test, or by the mean."),
    ("--reward_funcs MODULE:FUNCTION", "Use functions of your own instead."),
    ("--executor NAME", "Run programs local, remote or on ray."),
    ("--executor_urls URL...", "Hosts of remote (stepcoder-trl serve)."),
    ("--test_timeout_s S", "Limit the CPU seconds per test."),
)
_RUN = (
    ("--save_steps N", "Save a checkpoint every N updates."),
    ("--resume_from_checkpoint true", "Continue from the newest checkpoint."),
    ("--overwrite_output_dir true", "Delete another run in `output_dir`."),
    ("--report_to NAME", "Log to tensorboard, wandb, trackio, ..."),
    ("--accelerate_config NAME", "Train in several processes: ddp, zero2,"),
    ("--num_processes N", "zero3 or the path of a configuration."),
)
_EVALUATION = (
    ("--eval_problems FILE...", "Evaluate on these problems, with"),
    ("--eval_strategy steps", "and --eval_steps N: every N updates."),
)
_UPDATES = (
    ("--max_steps N", "Do N updates."),
    ("--per_device_train_batch_size N", "Completions per forward pass."),
    ("--gradient_accumulation_steps N", "Forward passes per update."),
    ("--num_generations N", "Completions per problem and update."),
)
_SENTENCES = {
    "sft": "Fine-tune a model on canonical solutions, with which the paper's runs begin.",
    "ppo": "Train a model with StepCoder PPO on the outcomes of unit tests.",
    "grpo": "Train a model with StepCoder on TRL's GRPO, on the outcomes of unit tests.",
}
_OPTIMIZATION = {
    "sft": (
        ("--num_train_epochs N", "Train for N epochs."),
        ("--per_device_train_batch_size N", "Solutions per forward pass."),
        ("--gradient_accumulation_steps N", "Forward passes per update."),
        ("--learning_rate LR", "Learning rate."),
        ("--max_length N", "Cut sequences after N tokens."),
    ),
    "ppo": (
        *_UPDATES,
        ("--response_length N", "Maximum number of tokens per completion."),
        ("--learning_rate LR", "Learning rate of the policy."),
        ("--value_learning_rate LR", "Learning rate of the critic."),
        ("--kl_coef B", "Coefficient of the KL penalty."),
    ),
    "grpo": (
        *_UPDATES,
        ("--max_completion_length N", "Maximum number of tokens per completion."),
        ("--learning_rate LR", "Learning rate."),
        ("--beta B", "Coefficient of the KL penalty."),
    ),
}


def help_text(verb: str) -> str:
    """Return the help of a verb that trains."""
    is_sft = verb == "sft"
    groups = {
        "problems and model": _DATA,
        "optimization": _OPTIMIZATION[verb],
        **({} if is_sft else {"StepCoder": _METHOD}),
        "run": _RUN if is_sft else (*_EVALUATION, *_RUN),
    }
    lines = [f"usage: stepcoder-trl {verb} [--config YAML] --problems FILE... [options]", _SENTENCES[verb]]
    lines.append("YAML has the names of the flags, and flags beat it. --help-all lists all options")
    lines.append("with their defaults. Formats of problems:")
    lines += textwrap.wrap(
        " ".join(FORMAT_TITLES.split()) + ".",
        _WIDTH,
        initial_indent="  ",
        subsequent_indent="  ",
        max_lines=None if is_sft else 2,
        placeholder=" and those of docs/data.md.",
    )
    for title, options in groups.items():
        lines += ["", f"{title}:", *(f"  {option:{_COLUMN}} {text}" for option, text in options)]
    lines += [
        "",
        "examples:",
        f"  stepcoder-trl {verb} --problems mine.jsonl --model_name_or_path base \\",
        f"      --output_dir runs/{verb}",
        f"  stepcoder-trl {verb} --config {verb}.yaml --accelerate_config ddp",
    ]
    return "\n".join(lines) + "\n"
