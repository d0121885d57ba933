"""
TRL's `GRPOTrainer`, its stub for the type checker, and checks of the methods that we override.

Eight of these methods are not public. A release that renames one, calls it no more or passes it other arguments would
train on wrong masks without a word. Therefore signatures are checked when a trainer is made, and calls in each round.
Only the modules of the GRPO trainer import this one: TRL's GRPO imports more than its PPO.
"""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from packaging.specifiers import SpecifierSet

from stepcoder_trl.errors import ParentImportError
from stepcoder_trl.trainer._trl import check_trl_version


if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from transformers import TrainerState, TrainingArguments
    from transformers.trainer_callback import CallbackHandler

    @dataclass
    class GRPOConfig(TrainingArguments):
        """Stub of the configuration: the fields of upstream that we read."""

        output_dir: str = ""
        bf16: bool | None = None  # type: ignore[assignment]
        temperature: float = 1.0
        num_generations: int = 8
        num_generations_eval: int | None = None
        max_completion_length: int = 512
        generation_batch_size: int | None = None
        steps_per_generation: int | None = None
        generation_kwargs: dict[str, Any] | None = None
        use_vllm: bool = False
        vllm_mode: str = "colocate"
        vllm_max_model_length: int | None = None
        importance_sampling_level: str = "token"
        reward_weights: list[float] | None = None
        loss_type: str = "dapo"
        log_completions: bool = False
        mask_truncated_completions: bool = False

    class GRPOTrainer:
        """Stub of the parent: what we call and override."""

        model: Any
        processing_class: Any
        accelerator: Accelerator
        state: TrainerState
        train_dataset: Any
        eval_dataset: Any
        is_in_train: bool
        num_generations: int
        num_generations_eval: int
        reward_funcs: list[Any]
        reward_weights: torch.Tensor
        callback_handler: CallbackHandler
        args: Any
        current_gradient_accumulation_steps: int
        _metrics: dict[str, dict[str, list[float]]]

        def __init__(self, **kwargs: Any) -> None: ...
        def add_callback(self, callback: Any) -> None: ...
        def remove_callback(self, callback: Any) -> None: ...
        def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any: ...
        def evaluate(
            self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
        ) -> dict[str, float]: ...
        def is_world_process_zero(self) -> bool: ...
        def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None: ...
        def _save_checkpoint(self, model: Any, trial: Any) -> None: ...
        def _get_train_sampler(self, dataset: Any = None) -> Any: ...
        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]: ...
        def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], Any, dict[str, Any]]: ...
        def _generate_single_turn(self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any) -> Any: ...
        def _generate(self, prompts: list[Any]) -> Any: ...
        def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor: ...
        def _get_per_token_logps_and_entropies(
            self,
            model: Any,
            input_ids: torch.Tensor,
            attention_mask: torch.Tensor,
            logits_to_keep: int,
            *args: Any,
            **kwargs: Any,
        ) -> tuple[Any, ...]: ...
        def _calculate_rewards(
            self,
            inputs: list[dict[str, Any]],
            prompts: list[Any],
            completions: list[Any],
            completion_ids_list: list[list[int]],
        ) -> torch.Tensor: ...
        def _log_completion_extra(self, column: str, values: list[Any]) -> None: ...

else:
    _version = check_trl_version(importlib.metadata.version("trl"))
    try:
        from trl import GRPOConfig, GRPOTrainer
    except (ImportError, RuntimeError) as error:  # TRL turns the one into the other
        _reason = str(error).splitlines()[-1]
        raise ParentImportError(
            f"`GRPOTrainer` of trl {_version} cannot be imported: {_reason}. Up to 1.13 it needs `pip install "
            "requests`. With a release of vLLM that it does not know it fails too: uninstall that one."
        ) from error


__all__ = ["GRPOConfig", "GRPOTrainer"]

# Where `steps_per_generation` is not `gradient_accumulation_steps`, and with the loss `luspo`, which it does not mask.
SCALES_LOSS_WRONGLY = SpecifierSet("<1.12")

# Losses whose terms and divisors are known here. Upstream refuses other names only when it computes the loss.
LOSS_TYPES = ("grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo")

# First parameters of the methods that we override or call. Upstream may add others to some.
HOOKS: Mapping[str, tuple[str, ...]] = {
    "_generate_and_score_completions": ("self", "inputs"),
    "_tokenize_prompts": ("self", "prompts"),
    "_generate_single_turn": ("self", "prompt_ids"),
    "_calculate_rewards": ("self", "inputs", "prompts", "completions", "completion_ids_list"),
    "_generate": ("self", "prompts"),
    "_compute_loss": ("self", "model", "inputs"),
    "_get_per_token_logps_and_entropies": ("self", "model", "input_ids", "attention_mask", "logits_to_keep"),
    "_log_completion_extra": ("self", "column", "values"),
    "_save_checkpoint": ("self", "model", "trial"),
    "_get_train_sampler": ("self", "dataset"),
}
_OPEN_ENDED = {"_generate_single_turn", "_get_per_token_logps_and_entropies"}
# Entries of a round's result that we read or replace.
RESULT = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "advantages", "num_items_in_batch")


def trl_version() -> str:
    """Return the installed version of TRL."""
    return importlib.metadata.version("trl")


def changed_upstream(what: str) -> RuntimeError:
    """Return the error for a release of TRL whose `GRPOTrainer` works otherwise than those that were tested."""
    return RuntimeError(
        f"trl {trl_version()}: {what}. `StepCoderGRPOTrainer` was tested with releases 1.0 to 1.16 and does not fit "
        "this one. Run `pip install 'trl<=1.16'`."
    )


def check_hooks(parent: type) -> None:
    """Raise a `RuntimeError` if a method that we override is missing, or has other parameters than expected."""
    for name, expected in HOOKS.items():
        method: Callable[..., Any] | None = vars(parent).get(name) or getattr(parent, name, None)
        found = () if method is None else tuple(inspect.signature(method).parameters)
        if found[: len(expected)] != expected or (len(found) > len(expected) and name not in _OPEN_ENDED):
            raise changed_upstream(f"`{parent.__name__}.{name}` has the parameters {found}, not {expected}")


def check_result(
    result: Mapping[str, Any], query_ids: Sequence[Sequence[int]], completion_ids: Sequence[Sequence[int]]
) -> None:
    """Raise a `RuntimeError` if a round's result lacks an entry, or has other tokens than were sampled and run."""
    missing = [name for name in RESULT if name not in result]
    if missing or "tool_mask" in result:
        raise changed_upstream(f"a round's result has the entries {sorted(result)}, which is not what is expected")
    prompts = zip(result["prompt_ids"], result["prompt_mask"], query_ids, strict=True)
    if any(ids[mask.bool()].tolist() != list(query) for ids, mask, query in prompts):
        raise changed_upstream("the prompts of a round are not the queries that were handed over")
    sampled = zip(result["completion_ids"].tolist(), completion_ids, strict=True)
    if any(row[: len(ids)] != list(ids) for row, ids in sampled):
        raise changed_upstream("the completions of a round are not those that were sampled and run")
