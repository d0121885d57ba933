"""
Fine-tune a model on the canonical solutions of any problem file: what PPO runs begin with.

    python examples/sft.py --problems apps_plus/problems.jsonl --model_name_or_path MODEL --output_dir runs/sft

The same as `stepcoder-trl sft`, which also starts several processes (`--accelerate_config zero3`).
"""

from trl import ModelConfig, SFTConfig, TrlParser

from stepcoder_trl.trainer.launch import SFTScriptArguments, run_sft
from stepcoder_trl.trainer.sft import PAPER_SETTINGS


if __name__ == "__main__":
    parser = TrlParser((SFTScriptArguments, SFTConfig, ModelConfig))
    parser.set_defaults(**PAPER_SETTINGS, completion_only_loss=True, bf16=False)
    for reason in run_sft(*parser.parse_args_and_config()):
        print(f"left out: {reason}")
