"""
Fine-tune a model on the canonical solutions of any problem file, before PPO.

    python examples/sft.py --problems examples/data/problems.jsonl --model_name_or_path MODEL --output_dir runs/sft

Defaults are the paper's: 3 epochs, learning rate 2e-5, batch size 64. `stepcoder-trl sft` takes the same flags and
also launches several processes (`--accelerate_config zero3`). The last line names the folder of the model:

    saved to runs/sft
"""

from __future__ import annotations

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from trl import ModelConfig, SFTConfig

    from stepcoder_trl.trainer.entry import SFTScriptArguments


def main(script_args: SFTScriptArguments, training_args: SFTConfig, model_args: ModelConfig) -> None:
    """Fine-tune on the problems of a file."""
    from accelerate import PartialState

    from stepcoder_trl.trainer.entry import run_sft

    left_out = run_sft(script_args, training_args, model_args)
    if not PartialState().is_main_process:
        return
    for reason in left_out:
        print(f"left out: {reason}")
    print(f"saved to {training_args.output_dir}")


if __name__ == "__main__":
    from trl import ModelConfig, SFTConfig, TrlParser

    from stepcoder_trl.trainer.entry import SFTScriptArguments
    from stepcoder_trl.trainer.sft import PAPER_SETTINGS

    parser = TrlParser((SFTScriptArguments, SFTConfig, ModelConfig))
    parser.set_defaults(**PAPER_SETTINGS, completion_only_loss=True, bf16=False)
    main(*parser.parse_args_and_config())
