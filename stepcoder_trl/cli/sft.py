"""`stepcoder-trl sft`: fine-tune a model on canonical solutions, in one process or in several."""

from __future__ import annotations

import sys

from stepcoder_trl.cli.launch import train_or_launch
from stepcoder_trl.cli.training import parse_training
from stepcoder_trl.data.formats import FORMAT_TITLES


HELP = f"""usage: stepcoder-trl sft [--config YAML] --problems FILE
                         --model_name_or_path DIR --output_dir DIR [options]

`stepcoder-trl sft`: fine-tune a model on canonical solutions. YAML has the same
names as the flags. Flags take precedence.

main options (--help-all lists all options with their defaults):
  --problems FILE                    Train on these problems. Formats:
    {FORMAT_TITLES}.
  --max_problems N                   Use only the first N problems.
  --prompt_style STYLE               plain, chat or deepseek.
  --chat_template_kwargs JSON        Arguments of the chat template.
  --model_name_or_path DIR           Train this model.
  --output_dir DIR                   Write checkpoints and model here.
  --use_peft, --lora_r R             Train a LoRA adapter.

  --num_train_epochs N               Train for N epochs.
  --per_device_train_batch_size N    Solutions per forward pass.
  --gradient_accumulation_steps N    Forward passes per update.
  --learning_rate LR                 Learning rate.
  --max_length N                     Cut sequences after N tokens.

  --save_steps N                     Save a checkpoint every N updates.
  --resume_from_checkpoint true      Continue from the newest checkpoint.
  --accelerate_config NAME           Train in several processes: ddp, zero2,
  --num_processes N                  zero3 or the path of a configuration.

examples:
  stepcoder-trl sft --problems apps.jsonl --model_name_or_path base \\
      --output_dir runs/sft
  stepcoder-trl sft --config sft.yaml --accelerate_config zero3 --num_processes 8
"""


def main(arguments: list[str]) -> int:
    """Train in this process, or launch the requested processes. Return the exit status."""
    return train_or_launch("stepcoder_trl.cli.sft", train, arguments, HELP)


def train(arguments: list[str]) -> int:
    """Parse `--config x.yaml` and flags, train in this process, and return the exit status."""
    from accelerate import PartialState

    from stepcoder_trl.trainer.entry import run_sft

    left_out = run_sft(*parse_training("sft", arguments))
    if PartialState().is_main_process:
        for reason in left_out:
            print(f"stepcoder-trl: left out: {reason}", file=sys.stderr)
    return 0


if __name__ == "__main__":  # `accelerate launch` runs this in every process
    from stepcoder_trl.cli.main import report

    sys.exit(report(lambda: train(sys.argv[1:])))
