"""
Train a model with StepCoder PPO on any problem file, in one process or in several.

One GPU, with LoRA:

    python examples/ppo.py --problems problems.jsonl --model_name_or_path deepseek-ai/deepseek-coder-1.3b-instruct \
        --output_dir runs/lora --prompt_style chat --use_peft --lora_r 16 --lora_target_modules all-linear \
        --learning_rate 1e-5 --value_learning_rate 3e-5 --per_device_train_batch_size 8 \
        --gradient_accumulation_steps 8

Eight GPUs, the full model, sharded by DeepSpeed ZeRO-3 (`pip install stepcoder-trl[deepspeed]`):

    accelerate launch --config_file stepcoder_trl/accelerate_configs/zero3.yaml --num_processes 8 examples/ppo.py \
        --problems problems.jsonl --model_name_or_path deepseek-ai/deepseek-coder-6.7b-instruct \
        --output_dir runs/zero3 --prompt_style chat --per_device_train_batch_size 4 --gradient_accumulation_steps 8

Two machines with eight GPUs each and a shared `output_dir`. Run it on both, with `--machine_rank` 0 and 1:

    accelerate launch --config_file stepcoder_trl/accelerate_configs/zero3.yaml --num_processes 16 --num_machines 2 \
        --machine_rank 0 --main_process_ip 10.0.0.1 --main_process_port 29500 examples/ppo.py \
        --problems problems.jsonl --model_name_or_path deepseek-ai/deepseek-coder-6.7b-instruct \
        --output_dir /shared/runs/zero3 --prompt_style chat --per_device_train_batch_size 4 \
        --gradient_accumulation_steps 4

`stepcoder-trl ppo` takes the same flags, and `--accelerate_config zero3` instead of `accelerate launch`.
`--resume_from_checkpoint true` continues an interrupted run. The last line names the folder of the model:

    saved to runs/lora
"""

from __future__ import annotations

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from trl import ModelConfig

    from stepcoder_trl import StepCoderPPOConfig
    from stepcoder_trl.trainer.entry import PPOScriptArguments


def main(script_args: PPOScriptArguments, training_args: StepCoderPPOConfig, model_args: ModelConfig) -> None:
    """Train on the problems of a file."""
    from stepcoder_trl.trainer.entry import run_ppo

    trainer = run_ppo(script_args, training_args, model_args)
    if trainer.is_world_process_zero():
        print(f"saved to {training_args.output_dir}")


if __name__ == "__main__":
    from trl import ModelConfig, TrlParser

    from stepcoder_trl import StepCoderPPOConfig
    from stepcoder_trl.trainer.entry import PPOScriptArguments

    parser = TrlParser((PPOScriptArguments, StepCoderPPOConfig, ModelConfig))
    main(*parser.parse_args_and_config())
