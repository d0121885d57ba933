"""`stepcoder-trl ppo`: train a model with StepCoder PPO, in one process or in several."""

from __future__ import annotations

import sys

from stepcoder_trl.cli.launch import train_or_launch
from stepcoder_trl.cli.training import parse_training
from stepcoder_trl.data.formats import FORMAT_TITLES


HELP = f"""usage: stepcoder-trl ppo [--config YAML] --problems FILE
                         --model_name_or_path DIR --output_dir DIR [options]

`stepcoder-trl ppo`: train a model with StepCoder PPO. YAML has the same names as
the flags. Flags take precedence.

main options (--help-all lists all options with their defaults):
  --problems FILE                    Train on these problems. Formats:
    {FORMAT_TITLES}.
  --eval_problems FILE               Evaluate on these problems.
  --prompt_style STYLE               plain, chat or deepseek.
  --chat_template_kwargs JSON        Arguments of the chat template.
  --model_name_or_path DIR           Train this model.
  --output_dir DIR                   Write checkpoints and model here.
  --use_peft, --lora_r R             Train a LoRA adapter.

  --max_steps N                      Do N updates.
  --per_device_train_batch_size N    Completions per forward pass.
  --gradient_accumulation_steps N    Forward passes per update.
  --num_generations N                Completions per problem and update.
  --response_length N                Maximum number of tokens per completion.
  --learning_rate LR                 Learning rate of the policy.
  --value_learning_rate LR           Learning rate of the critic.
  --kl_coef B                        Coefficient of the KL penalty.

  --curriculum MODE                  paper, mix, adaptive or off.
  --fgo MODE                         lines, off or random.
  --reward NAME                      Reward function.
  --executor_workers N               Run N programs in parallel.
  --test_timeout_s S                 Limit the CPU seconds per test.

  --eval_strategy steps, --eval_steps N   Evaluate every N updates.
  --save_steps N                     Save a checkpoint every N updates.
  --resume_from_checkpoint true      Continue from the newest checkpoint.
  --accelerate_config NAME           Train in several processes: ddp, zero2,
  --num_processes N                  zero3 or the path of a configuration.

examples:
  stepcoder-trl ppo --problems apps.jsonl --model_name_or_path runs/sft \\
      --output_dir runs/ppo --max_steps 200
  stepcoder-trl ppo --config ppo.yaml --accelerate_config zero3 --num_processes 8
"""


def main(arguments: list[str]) -> int:
    """Train in this process, or launch the requested processes. Return the exit status."""
    return train_or_launch("stepcoder_trl.cli.ppo", train, arguments, HELP)


def train(arguments: list[str]) -> int:
    """Parse `--config x.yaml` and flags, train in this process, and return the exit status."""
    from stepcoder_trl.trainer.entry import run_ppo

    run_ppo(*parse_training("ppo", arguments))
    return 0


if __name__ == "__main__":  # `accelerate launch` runs this in every process
    from stepcoder_trl.cli.main import report

    sys.exit(report(lambda: train(sys.argv[1:])))
