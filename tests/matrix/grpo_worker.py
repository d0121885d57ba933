"""
One process of small GRPO runs, one after the other: `python -m tests.matrix.grpo_worker SETTINGS.json...`.

The completions of the first rounds come from a table, which is the same for every number of processes. Later ones are
sampled. Each process writes its results to `rank-N.json`. The first process also writes the trained weights.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer

from stepcoder_trl import StepCoderGRPOConfig, StepCoderGRPOTrainer, load_problems
from stepcoder_trl.trainer.processes import gathered
from tests.integration.helpers import BRANCH, RIGHT, UNPARSABLE, WRONG


TABLED_ROUNDS, UPDATES = 3, 5
TABLE = [RIGHT, WRONG, BRANCH, UNPARSABLE, RIGHT, "\n    y = 0\n    while y < x:\n        y += 1\n    return y\n"]


def take_from_table(trainer: StepCoderGRPOTrainer) -> None:
    """Let the model answer from the table in the first rounds, by the number in the global batch."""
    model, tokenizer = trainer.accelerator.unwrap_model(trainer.model), trainer.processing_class
    sample = model.generate

    def generate(input_ids: torch.Tensor, **options: Any) -> torch.Tensor:
        if trainer.rounds >= TABLED_ROUNDS:
            return sample(input_ids=input_ids, **options)
        first = trainer.accelerator.process_index * len(input_ids)
        texts = [TABLE[(number + trainer.rounds) % len(TABLE)] for number in range(first, first + len(input_ids))]
        rows = [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in texts]
        size = max(map(len, rows))
        padded = torch.tensor([row + [tokenizer.pad_token_id] * (size - len(row)) for row in rows])
        return torch.cat([input_ids, padded], 1)

    model.generate = generate


def main(path: str) -> None:
    warnings.filterwarnings("ignore", message=".*(gradient|activation)_checkpointing", category=FutureWarning)
    settings = json.loads(Path(path).read_text())
    out = Path(settings["output_dir"])
    args = StepCoderGRPOConfig(
        **{
            "output_dir": str(out),
            "num_generations": 4,
            "gradient_accumulation_steps": 2,
            "max_completion_length": 24,
            "max_steps": UPDATES,
            "logging_steps": 1,
            "save_steps": TABLED_ROUNDS,
            "learning_rate": 1e-3,
            "curriculum_momentum": 0.6,
            "gradient_checkpointing": False,
            "report_to": "none",
            "bf16": False,
            "disable_tqdm": True,
            **settings["args"],
        }
    )
    adapter = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM") if settings["lora"] else None
    torch.manual_seed(0)  # for the adapter
    trainer = StepCoderGRPOTrainer(
        AutoModelForCausalLM.from_pretrained(settings["model"]),
        args=args,
        train_dataset=load_problems(settings["problems"]),
        processing_class=AutoTokenizer.from_pretrained(settings["model"], padding_side="left"),
        peft_config=adapter,
    )
    rounds: list[Any] = []
    trainer.on_round = rounds.append
    take_from_table(trainer)
    trainer.train(resume_from_checkpoint=settings.get("resume"))
    trainer.save_model(str(out / "final"))
    bare = trainer.accelerator.unwrap_model(trainer.model)
    with gathered(bare.parameters()):
        weights = {name: p.detach().clone() for name, p in bare.named_parameters() if p.requires_grad}
    if trainer.accelerator.is_main_process:
        torch.save(weights, out / "weights.pt")
    seen = {
        "wrapper": type(trainer.model_wrapped).__name__,
        "num_processes": trainer.accelerator.num_processes,
        "curriculum": trainer.curriculum.digest(),
        "workers": trainer.runner.choice.config.num_workers,
        "results": [this.results for this in rounds],
        "queries": [[start.query.text for start in this.starts] for this in rounds],
        "history": [entry for entry in trainer.state.log_history if "reward" in entry],
    }
    (out / f"rank-{trainer.accelerator.process_index}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    for path in sys.argv[1:]:
        main(path)
