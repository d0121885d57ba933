"""
Train tiny models in fixed runs, and write the results to a folder: `python -m tests.matrix.fixed_run DIR`.

`DIR/history.json` holds the release of TRL, the module of the parent class, and the metrics of every update of each
run. `DIR/NAME.pt` holds the weights after the run NAME.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any


os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import trl
from peft import LoraConfig

from stepcoder_trl import StepCoderPPOConfig, StepCoderPPOTrainer
from tests.conftest import make_tokenizer, sign_problems
from tests.integration.helpers import TIMES
from tests.integration.upstream import OPTIONS, models, token_rows


def letters(completions: list[str], **columns: Any) -> list[float]:
    """Return the share of letters of each completion."""
    return [sum(map(str.isalpha, text)) / max(1, len(text)) for text in completions]


def runs(tokenizer: Any) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Return the trainer's arguments and options of each run."""
    tiny = models(tokenizer)
    plain = {"train_dataset": token_rows(tokenizer), **models(tokenizer)}
    problems = {"train_dataset": sign_problems(), "reward_funcs": letters, "model": tiny["model"]}
    adapter = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    return {
        "plain": (plain, {}),
        "stepcoder": (problems, {"num_generations": 2, "num_mini_batches": 2, "executor_workers": 1}),
        "lora": ({**problems, "model": models(tokenizer)["model"], "peft_config": adapter}, {"num_generations": 2}),
    }


def main(directory: Path) -> None:
    """Do all runs."""
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)
    tokenizer = make_tokenizer()
    parent = next(one for one in StepCoderPPOTrainer.__mro__ if one.__name__ == "PPOTrainer")
    found: dict[str, Any] = {"trl": trl.__version__, "parent": parent.__module__, "runs": {}}
    for name, (arguments, options) in runs(tokenizer).items():
        args = StepCoderPPOConfig(output_dir=str(directory / name), **{**OPTIONS, **options})
        trainer = StepCoderPPOTrainer(args=args, processing_class=tokenizer, **arguments)
        trainer.train()
        varying, history = TIMES | {"train_runtime"}, trainer.state.log_history
        found["runs"][name] = [{k: v for k, v in entry.items() if k not in varying} for entry in history]
        torch.save(dict(trainer.accelerator.unwrap_model(trainer.model).state_dict()), directory / f"{name}.pt")
    (directory / "history.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
