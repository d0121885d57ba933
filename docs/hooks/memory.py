"""
Table of the memory that training needs per process, computed from the shapes of models.

    python -m docs.hooks.memory

It is the estimate of `stepcoder-trl check --config`, for models of the sizes of Qwen2.5-Coder. No model is loaded.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trl import ModelConfig

from stepcoder_trl import StepCoderGRPOConfig, StepCoderPPOConfig
from stepcoder_trl.trainer.dry_run import Model, Sharding, describe_model, estimate_memory


GIB = 1024**3
QUERY_TOKENS, COMPLETION_TOKENS = 512, 1024
PER_DEVICE, SAMPLED_TOGETHER = 4, 16

_QWEN2 = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "vocab_size": 151936}
SHAPES: Mapping[str, Mapping[str, Any]] = {
    "0.5B": {
        **_QWEN2,
        "hidden_size": 896,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "intermediate_size": 4864,
        "tie_word_embeddings": True,
    },
    "1.5B": {
        **_QWEN2,
        "hidden_size": 1536,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "intermediate_size": 8960,
        "tie_word_embeddings": True,
    },
    "7B": {
        **_QWEN2,
        "hidden_size": 3584,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "intermediate_size": 18944,
        "tie_word_embeddings": False,
        "vocab_size": 152064,
    },
}


_ALONE = Sharding()


@dataclass(frozen=True)
class Way:
    """
    Way to train a model.

    Attributes:
        label (`str`): Its name in the table.
        dtype (`str`): Data type in which the weights are loaded.
        lora (`bool`): Whether an adapter of rank 16 on all linear layers is trained, in float32.
        sharding ([`~stepcoder_trl.trainer.dry_run.Sharding`]): Processes that share the model.
    """

    label: str
    dtype: str
    lora: bool
    sharding: Sharding = _ALONE


WAYS = (
    Way("LoRA, bfloat16 weights, one GPU", "bfloat16", lora=True),
    Way("LoRA, float32 weights, one GPU", "float32", lora=True),
    Way("full, float32 weights, one GPU", "float32", lora=False),
    Way("full, float32 weights, ZeRO-3 on 8 GPUs", "float32", lora=False, sharding=Sharding(8, 3)),
)


def model_of(shape: Mapping[str, Any], way: Way, folder: Path) -> Model:
    """Return the facts about a model that has this shape. Its settings are written to a folder."""
    folder.joinpath("config.json").write_text(json.dumps({**shape, "dtype": way.dtype}), encoding="utf-8")
    lora = {"use_peft": True, "lora_r": 16, "lora_target_modules": "all-linear"} if way.lora else {}
    return describe_model(ModelConfig(model_name_or_path=str(folder), dtype=way.dtype, **lora))


def needed_gib(trainer: str, model: Model, sharding: Sharding) -> float:
    """Return the estimated GiB per process, without activations."""
    size = {"per_device_train_batch_size": PER_DEVICE, "num_generations": SAMPLED_TOGETHER}
    common = {"output_dir": "run", "use_cpu": True, "report_to": "none", "gradient_accumulation_steps": 4, **size}
    args: Any
    if trainer == "ppo":
        sampled = {"local_rollout_forward_batch_size": SAMPLED_TOGETHER}
        args = StepCoderPPOConfig(**common, **sampled, response_length=COMPLETION_TOKENS)
    else:
        args = StepCoderGRPOConfig(**common, max_completion_length=COMPLETION_TOKENS)
    return sum(estimate_memory(trainer, args, model, QUERY_TOKENS, sharding).values()) / GIB


def memory_table() -> str:
    """Return the table in Markdown: a row for each model and way to train it."""
    rows = ["| model | way to train | PPO, GiB per GPU | GRPO, GiB per GPU |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        for name, shape in SHAPES.items():
            for way in WAYS:
                model = model_of(shape, way, Path(folder))
                ppo, grpo = (needed_gib(trainer, model, way.sharding) for trainer in ("ppo", "grpo"))
                rows.append(f"| {name} | {way.label} | {ppo:.0f} | {grpo:.0f} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(memory_table())
