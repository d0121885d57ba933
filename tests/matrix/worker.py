"""
One process of small training runs, one after the other: `python -m tests.matrix.worker SETTINGS.json...`.

The first updates take completions from a table, which are the same for every number of processes. Later ones are
sampled. Each process writes its results to `rank-N.json`. The first process also writes the trained weights.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from stepcoder_trl import StepCoderPPOConfig, StepCoderPPOTrainer, load_problems
from stepcoder_trl.evaluation.generation import Generation, generate
from stepcoder_trl.trainer.processes import gathered
from tests.integration.helpers import BRANCH, RIGHT, UNPARSABLE, WRONG, generation_of


TABLED_UPDATES = 3  # of `UPDATES`
UPDATES = 5
MAX_GRAD_NORM = 0.05
TABLE = [
    *(RIGHT, WRONG, BRANCH, UNPARSABLE),
    "\n    y = 0\n    while y < x:\n        y += 1\n        if y > 50:\n            break\n    return y\n",
]


class FromTable:
    """Takes completions from the table by their number in the global batch."""

    def __init__(self, trainer: StepCoderPPOTrainer) -> None:
        self.trainer = trainer

    def __call__(self, policy: Any, queries: Any, tokenizer: Any, *args: Any, **kwargs: Any) -> Generation:
        step, first = self.trainer.state.global_step, self.trainer.accelerator.process_index * len(queries)
        if step >= TABLED_UPDATES:
            return generate(policy, queries, tokenizer, *args, **kwargs)
        texts = [TABLE[(3 * number + step) % len(TABLE)] for number in range(first, first + len(queries))]
        return generation_of(queries, texts, tokenizer)


class ShorterOnOthers:
    """Samples at most two tokens, except on the first process."""

    def __init__(self, trainer: StepCoderPPOTrainer) -> None:
        self.trainer = trainer

    def __call__(self, policy: Any, queries: Any, tokenizer: Any, sampling: Any, *args: Any, **kwargs: Any) -> Any:
        assert not self.trainer.args.ds3_gather_for_generation or all(p.numel() for p in policy.parameters())
        if self.trainer.accelerator.process_index:
            sampling = type(sampling)(2, sampling.temperature, sampling.top_p, sampling.stop_token_id)
        return generate(policy, queries, tokenizer, sampling, *args, **kwargs)


class Rates(TrainerCallback):
    """Records the learning rates of each update."""

    def __init__(self) -> None:
        self.seen: list[list[float]] = []
        self.trainer: Any = None

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        inner = self.trainer.optimizer.optimizer
        self.seen.append([group["lr"] for group in inner.param_groups])


def inner_optimizer(trainer: Any) -> Any:
    """Return the optimizer inside the wrappers of DeepSpeed and accelerate."""
    optimizer = trainer.optimizer.optimizer
    return getattr(optimizer, "optimizer", optimizer)


RANDPERM = torch.randperm


def in_order(order: list[int]) -> Any:
    """Return a `torch.randperm` that gives mini-batches the same completions for every number of processes."""

    def permutation(number: int, **kwargs: Any) -> torch.Tensor:
        return torch.tensor(order) if "generator" not in kwargs else RANDPERM(number, **kwargs)

    return permutation


def main(path: str) -> None:
    settings = json.loads(Path(path).read_text())
    args = StepCoderPPOConfig(
        **{
            "output_dir": settings["output_dir"],
            "gradient_accumulation_steps": 4,
            "num_mini_batches": 2,
            "num_ppo_epochs": 2,
            "num_generations": 2,
            "response_length": 24,
            "max_steps": UPDATES,
            "logging_steps": 1,
            "save_steps": TABLED_UPDATES,
            "learning_rate": 1e-3,
            "value_learning_rate": 3e-3,
            "max_grad_norm": MAX_GRAD_NORM,
            "gradient_checkpointing": False,
            "report_to": "none",
            "bf16": False,
            **settings["args"],
        }
    )
    tokenizer = AutoTokenizer.from_pretrained(settings["model"], padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(settings["model"])
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM") if settings["lora"] else None
    rates = Rates()
    problems = load_problems(settings["problems"])
    trainer = StepCoderPPOTrainer(
        args,
        tokenizer,
        model,
        train_dataset=problems,
        eval_dataset=problems[:3] if args.eval_strategy != "no" else None,  # the processes' shares are not equal
        peft_config=lora,
        callbacks=[rates],
    )
    rates.trainer = trainer
    trainer.generate = ShorterOnOthers(trainer) if settings.get("shorter") else FromTable(trainer)
    torch.randperm = in_order(settings["order"])
    trainer.train(resume_from_checkpoint=settings.get("resume"))
    out = Path(settings["output_dir"])
    trainer.save_model(str(out / "final"))
    bare = trainer.accelerator.unwrap_model(trainer.model)
    with gathered(bare.parameters()):
        weights = {name: p.detach().clone() for name, p in bare.named_parameters() if p.requires_grad}
    if trainer.accelerator.is_main_process:
        torch.save(weights, out / "weights.pt")
    seen = {
        "wrapper": type(trainer.model).__name__,
        "distributed_type": str(trainer.accelerator.distributed_type.value),
        "num_processes": trainer.accelerator.num_processes,
        "dtype": str(next(bare.parameters()).dtype),
        "optimizer": type(inner_optimizer(trainer)).__name__,
        "curriculum": trainer.curriculum.digest(),
        "workers": trainer.runner.choice.config.num_workers,
        "rates": rates.seen,
        "evaluations": [entry["eval_pass@1"] for entry in trainer.state.log_history if "eval_pass@1" in entry],
        "best": trainer.state.best_global_step,
        "history": [entry for entry in trainer.state.log_history if "loss/policy_avg" in entry],
    }
    (out / f"rank-{trainer.accelerator.process_index}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    for path in sys.argv[1:]:
        main(path)
