"""
Train a model with StepCoder PPO and LoRA on the training problems of MBPP.

It needs MBPP's original file `mbpp.jsonl` and the folder of a pretrained model. A few updates of a model with 135
million parameters on two CPU cores:

    python examples/ppo_mbpp.py --problems mbpp.jsonl --model_name_or_path smollm2 --output_dir runs/mbpp \
        --prompt_style chat --use_peft --lora_r 16 --learning_rate 1e-4 --value_learning_rate 3e-4 \
        --per_device_train_batch_size 4 --gradient_accumulation_steps 2 --num_generations 4 --response_length 96 \
        --max_steps 4 --logging_steps 1 --gradient_checkpointing false --bf16 false --use_cpu --report_to none

All flags of `stepcoder-trl ppo --help` and `--config file.yaml` work. docs/ppo_mbpp.md says where to get the model.
The last lines name the folder of the adapter and the share of problems that start from scratch:

    saved to runs/mbpp
    problems from scratch: 64%
"""

from __future__ import annotations

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from trl import ModelConfig

    from stepcoder_trl import StepCoderPPOConfig
    from stepcoder_trl.trainer.entry import PPOScriptArguments

TRAIN_SPLIT = range(601, 975)  # MBPP's task ids; 11 to 510 are its test split, 511 to 600 its validation split


def main(script_args: PPOScriptArguments, training_args: StepCoderPPOConfig, model_args: ModelConfig) -> None:
    """Train on the problems of MBPP's training split."""
    from stepcoder_trl import load_problems
    from stepcoder_trl.trainer.entry import run_ppo

    problems = [problem for problem in load_problems(script_args.problems) if _number(problem.task_id) in TRAIN_SPLIT]
    trainer = run_ppo(script_args, training_args, model_args, problems)
    if not trainer.is_world_process_zero():
        return
    print(f"saved to {training_args.output_dir}")
    if trainer.curriculum is not None:
        print(f"problems from scratch: {trainer.curriculum.summary()['curriculum/scratch_share']:.0%}")


def _number(task_id: str) -> int:
    return int(task_id.rpartition("/")[2])


if __name__ == "__main__":
    from trl import ModelConfig, TrlParser

    from stepcoder_trl import StepCoderPPOConfig
    from stepcoder_trl.trainer.entry import PPOScriptArguments

    parser = TrlParser((PPOScriptArguments, StepCoderPPOConfig, ModelConfig))
    main(*parser.parse_args_and_config())
