"""`stepcoder-trl grpo`: train a model with StepCoder on GRPO, in one process or in several."""

from __future__ import annotations

import sys

from stepcoder_trl.cli.launch import train_or_launch
from stepcoder_trl.cli.training import parse_training
from stepcoder_trl.data.formats import FORMAT_TITLES


HELP = f"""usage: stepcoder-trl grpo [--config YAML] --problems FILE
                          --model_name_or_path DIR --output_dir DIR [options]

`stepcoder-trl grpo`: train a model with StepCoder on TRL's GRPO. YAML has the
same names as the flags. Flags take precedence.

main options (--help-all lists all options with their defaults):
  --problems FILE                    Train on these problems. Formats:
    {FORMAT_TITLES}.
  --eval_problems FILE               Evaluate on these problems.
  --prompt_style STYLE               plain, chat or deepseek.
  --model_name_or_path DIR           Train this model.
  --output_dir DIR                   Write checkpoints and model here.
  --use_peft, --lora_r R             Train a LoRA adapter.

  --max_steps N                      Do N updates.
  --per_device_train_batch_size N    Completions per forward pass.
  --gradient_accumulation_steps N    Forward passes per update.
  --num_generations N                Completions per problem, a group.
  --max_completion_length N          Maximum number of tokens per completion.
  --learning_rate LR                 Learning rate.
  --beta B                           Coefficient of the KL penalty.
  --loss_type NAME                   Loss of TRL: dapo, grpo, bnpo, ...

  --curriculum MODE                  paper, mix, adaptive or off.
  --fgo MODE                         lines, off or random.
  --scale_rewards NAME               group, batch or none.
  --uninformative_groups NAME        keep, drop_no_spread or drop_no_pass.
  --reward NAME                      Reward function.
  --executor_workers N               Run N programs in parallel.
  --test_timeout_s S                 Limit the CPU seconds per test.

  --eval_strategy steps, --eval_steps N   Evaluate every N updates.
  --save_steps N                     Save a checkpoint every N updates.
  --resume_from_checkpoint true      Continue from the newest checkpoint.
  --accelerate_config NAME           Train in several processes: ddp, zero2,
  --num_processes N                  zero3 or the path of a configuration.

examples:
  stepcoder-trl grpo --problems apps.jsonl --model_name_or_path runs/sft \\
      --output_dir runs/grpo --max_steps 200
"""


def main(arguments: list[str]) -> int:
    """Train in this process, or launch the requested processes. Return the exit status."""
    return train_or_launch("stepcoder_trl.cli.grpo", train, arguments, HELP)


def train(arguments: list[str]) -> int:
    """Parse `--config x.yaml` and flags, train in this process, and return the exit status."""
    from stepcoder_trl.trainer.entry import run_grpo

    run_grpo(*parse_training("grpo", arguments))
    return 0


if __name__ == "__main__":  # `accelerate launch` runs this in every process
    from stepcoder_trl.cli.main import report

    sys.exit(report(lambda: train(sys.argv[1:])))
