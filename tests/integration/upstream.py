"""Runs a script for TRL's own `PPOTrainer` and for ours, on the same models, prompts and random draws."""

from __future__ import annotations

import contextlib
import importlib.util
import warnings
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import DataCollatorWithPadding, LlamaForCausalLM, LlamaForSequenceClassification

from stepcoder_trl import StepCoderPPOConfig, StepCoderPPOTrainer
from tests.conftest import tiny_config


HAS_UPSTREAM = importlib.util.find_spec("trl.experimental.ppo") is not None
needs_upstream = pytest.mark.skipif(not HAS_UPSTREAM, reason="TRL 1.13 and newer have no PPOTrainer to compare with")

# What a user of upstream writes; ours takes it as it stands.
OPTIONS = {
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "total_episodes": 12,
    "num_ppo_epochs": 2,
    "response_length": 12,
    "temperature": 0.7,
    "learning_rate": 1e-3,
    "logging_steps": 1,
    "num_sample_generations": 0,
    "save_strategy": "no",
    "report_to": "none",
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "disable_tqdm": True,
}
# Where our defaults are not upstream's: the paper's nucleus sampling and critic's rate, and gradients are clipped.
AS_UPSTREAM = {"top_p": 1.0, "value_learning_rate": 1e-3, "max_grad_norm": 0.0, "num_generations": 1}


class SeededPolicy(LlamaForCausalLM):
    """Policy with a seed per call: it draws the same completions for any random state."""

    calls = 0
    without: tuple[int, ...] = ()  # tokens that no completion may hold

    def generate(self, **keywords: Any) -> Any:
        """Draw again until no forbidden token is in a completion."""
        self.calls += 1
        start = keywords["input_ids"].shape[1]
        for attempt in count():
            torch.manual_seed(1000 * self.calls + attempt)
            output = super().generate(**keywords)
            drawn = (output if isinstance(output, torch.Tensor) else output.sequences)[:, start:]
            if not torch.isin(drawn, torch.tensor(self.without, dtype=drawn.dtype)).any():
                return output
        raise AssertionError


class ScriptedPolicy(LlamaForCausalLM):
    """Policy that answers the queries of a batch with given tokens, in order."""

    responses: tuple[tuple[int, ...], ...] = ()
    padding = 0

    def generate(self, input_ids: Any, attention_mask: Any, generation_config: Any, **options: Any) -> Any:
        """Return the responses to all queries. If requested, return the logits of their tokens too."""
        rows = self.responses[: len(input_ids)]
        width = max(map(len, rows))
        answers = torch.tensor([[*row, *[self.padding] * (width - len(row))] for row in rows])
        sequences = torch.cat([input_ids, answers], 1)
        if not options.get("return_dict_in_generate"):
            return sequences
        mask = torch.cat([attention_mask.long(), torch.ones_like(answers)], 1)
        logits = self(input_ids=sequences, attention_mask=mask).logits[:, input_ids.shape[1] - 1 : -1]
        return SimpleNamespace(sequences=sequences, scores=(logits / generation_config.temperature).unbind(1))


def token_rows(tokenizer: Any, number: int = 8) -> Dataset:
    """Return a dataset with `input_ids` of three lengths."""
    names = ("x", "x, y", "x, y, z")
    return Dataset.from_list(
        [{"input_ids": tokenizer(f"def f{n}({names[n % 3]}):\n")["input_ids"]} for n in range(number)]
    )


def models(
    tokenizer: Any, without: tuple[int, ...] = (), responses: tuple[tuple[int, ...], ...] | None = None
) -> dict[str, Any]:
    """Return random models under the names of the trainer's arguments. Every call gives equal models."""
    kinds = {
        "model": SeededPolicy if responses is None else ScriptedPolicy,
        "ref_model": LlamaForCausalLM,
        "reward_model": LlamaForSequenceClassification,
        "value_model": LlamaForSequenceClassification,
    }
    made: dict[str, Any] = {}
    for seed, (name, kind) in enumerate(kinds.items()):
        torch.manual_seed(seed)
        made[name] = kind(tiny_config(tokenizer, num_labels=1))
    if responses is None:
        made["model"].without = without
    else:
        made["model"].responses, made["model"].padding = responses, tokenizer.pad_token_id
    return made


@contextlib.contextmanager
def upstreams_warnings():
    """Silence the warnings of transformers 5.23 and torch about upstream."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"var\(\): degrees of freedom", category=UserWarning)
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)
        yield


def our_trainer(tokenizer: Any, output_dir: Any, arguments: dict[str, Any] | None = None, **options: Any) -> Any:
    """Return our trainer before training. It records the queries, rewards and masks of each update."""

    def note(update):
        trainer.drawn.append([list(start.row.token_ids or ()) for start in update.rollout.starts])
        trainer.noted.append((update.rollout, update.rewards.rewards, update.experience))

    args = StepCoderPPOConfig(output_dir=str(output_dir), **{**OPTIONS, **AS_UPSTREAM, **options})
    given = {"processing_class": tokenizer, "train_dataset": token_rows(tokenizer), **models(tokenizer)}
    trainer = StepCoderPPOTrainer(args=args, **{**given, **(arguments or {})})
    trainer.drawn, trainer.noted, trainer.on_update = [], [], note
    return trainer


def upstream_trainer(
    tokenizer: Any,
    output_dir: Any,
    arguments: dict[str, Any] | None = None,
    drawn: list[list[list[int]]] | None = None,
    **options: Any,
) -> Any:
    """Return upstream's trainer before training. With `drawn` it takes the queries of each update from there."""
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    given = {"processing_class": tokenizer, "train_dataset": token_rows(tokenizer), **models(tokenizer)}
    with upstreams_warnings():
        args = PPOConfig(output_dir=str(output_dir), **{**OPTIONS, **options})
        trainer = PPOTrainer(args=args, **{**given, **(arguments or {})})
    if drawn is not None:
        collate = DataCollatorWithPadding(tokenizer)
        trainer.dataloader = [collate([{"input_ids": ids} for ids in queries]) for queries in drawn]
    return trainer


def train_upstream(trainer: Any) -> Any:
    """Train upstream's trainer, and return it."""
    with upstreams_warnings():
        trainer.train()
    return trainer
