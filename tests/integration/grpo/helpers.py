"""Options, scripted completions and readings of the tests of the GRPO trainer."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import torch
from trl import GRPOTrainer


# Options of a run that takes a second.
SMALL: dict[str, Any] = {
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "num_generations": 4,
    "max_completion_length": 12,
    "logging_steps": 1,
    "learning_rate": 1e-3,
    "gradient_checkpointing": False,
    "report_to": "none",
    "use_cpu": True,
    "bf16": False,
    "disable_tqdm": True,
}
TIMES = ("runtime", "per_second", "step_time", "wait_s", "programs_per_s")


def script_completions(trainer, texts, eos=True):
    """Let the model answer with these texts in turn, instead of sampling."""
    answers, tokenizer = cycle(texts), trainer.processing_class

    def generate(input_ids, **options):
        end = [tokenizer.eos_token_id] if eos else []
        rows = [[*tokenizer(next(answers))["input_ids"], *end] for _ in input_ids]
        size = max(map(len, rows))
        padded = [row + [tokenizer.pad_token_id] * (size - len(row)) for row in rows]
        return torch.cat([input_ids, torch.tensor(padded)], 1)

    trainer.model.generate = generate


def without_times(entry):
    return {name: value for name, value in entry.items() if not any(time in name for time in TIMES)}


def history(trainer):
    return [without_times(entry) for entry in trainer.state.log_history]


def letters(completions, **columns):
    """Reward function: share of letters."""
    texts = [one if isinstance(one, str) else one[0]["content"] for one in completions]
    return [sum(map(str.isalpha, text)) / max(1, len(text)) for text in texts]


def plain_trainer(model, tokenizer, args, dataset, **keywords):
    """TRL's own trainer, with the options of ours."""
    return GRPOTrainer(model=model, args=args, train_dataset=dataset, processing_class=tokenizer, **keywords)
