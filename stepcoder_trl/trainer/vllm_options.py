"""Options of generation with vLLM, and the runs with it that both trainers refuse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.steps.rows import PromptRow
from stepcoder_trl.trainer.shared_options import option


@dataclass
class VLLMOptions:
    """Options of generation with vLLM, with the names, defaults and meanings of TRL's `GRPOConfig`."""

    use_vllm: bool = option(False, "Whether vLLM samples the completions.", source="TRL's GRPO")
    vllm_mode: Literal["colocate", "server"] = option(
        "colocate",
        'Where vLLM runs: in the processes of training (`"colocate"`), or behind a `"server"` that `vllm serve` '
        "started.",
        source="TRL's GRPO",
    )
    vllm_model_impl: str = option(
        "vllm", 'Implementation of the model: `"vllm"` or `"transformers"`.', source="TRL's GRPO"
    )
    vllm_max_model_length: int | None = option(
        None,
        "Context of vLLM in tokens: at least the longest query and its completion. `None` means that of the model.",
        interval="[1, inf)",
        source="TRL's GRPO",
    )
    vllm_gpu_memory_utilization: float = option(
        0.3, "Share of the GPU's memory for a colocated vLLM.", interval="(0, 1]", source="TRL's GRPO"
    )
    vllm_tensor_parallel_size: int = option(
        1,
        "Processes over which a colocated vLLM splits the model. It divides their number.",
        interval="[1, inf)",
        source="TRL's GRPO",
    )
    vllm_enable_sleep_mode: bool = option(
        False, "Whether a colocated vLLM gives its memory back while the models are trained.", source="TRL's GRPO"
    )
    vllm_server_base_url: str | None = option(
        None, "Address of the server, such as http://localhost:8000. It beats host and port.", source="TRL's GRPO"
    )
    vllm_server_host: str = option("0.0.0.0", "Host of the server.", source="TRL's GRPO")
    vllm_server_port: int = option(8000, "Port of the server.", interval="[1, inf)", source="TRL's GRPO")
    vllm_server_timeout: float = option(
        240.0, "Seconds to wait until the server is up.", interval="(0, inf)", source="TRL's GRPO"
    )
    vllm_group_port: int = option(
        51216, "Port over which the server gets the weights.", interval="[1, inf)", source="TRL's GRPO"
    )


class UsesVLLM(Protocol):
    """Options of a configuration that the checks read. TRL's own has them too."""

    @property
    def use_vllm(self) -> bool: ...
    @property
    def vllm_mode(self) -> str: ...
    @property
    def vllm_max_model_length(self) -> int | None: ...


# Entries of `generation_kwargs` that would contradict the trainer, and what to do instead.
_CONTRADICTING = {
    "n": "`num_generations` is the number of samples.",
    "logprobs": "The trainer compares the log-probabilities of vLLM with its own.",
    "max_tokens": "Set `max_completion_length`.",
    "temperature": "Set `temperature`: log-probabilities are computed at it.",
    "truncate_prompt_tokens": "Set `max_prompt_length`: it leaves out problems that are too long.",
}
_STOPS = ("stop", "stop_token_ids")


def check_generation_kwargs(generation_kwargs: dict[str, Any] | None, mask_truncated_completions: bool) -> None:
    """Raise a `BadInputError` for entries that contradict the trainer, or with which all completions are masked."""
    given = generation_kwargs or {}
    for name, fix in _CONTRADICTING.items():
        if name in given:
            raise BadInputError(f'`generation_kwargs` has "{name}", which the trainer sets for vLLM. {fix}')
    stops = [name for name in _STOPS if given.get(name)]
    if stops and mask_truncated_completions:
        raise BadInputError(
            f'`generation_kwargs` has "{stops[0]}", but `mask_truncated_completions` takes each completion that does '
            "not end with EOS out of the loss, so all that stop there. Drop one of the two."
        )


def check_engine(args: UsesVLLM, model: Any) -> None:
    """Raise a `BadInputError` if vLLM is not installed, or shall load a model that was made in memory."""
    if not args.use_vllm:
        return
    from trl.generation import vllm_generation

    if not vllm_generation.is_vllm_available():
        raise BadInputError("`use_vllm` needs vLLM. Run `pip install 'stepcoder-trl[vllm]'`.")
    if args.vllm_mode == "colocate" and not isinstance(model, str) and not model.name_or_path:
        raise BadInputError(
            "`vllm_mode` is 'colocate', so vLLM loads the model from its folder, but `model` was made in memory. Save "
            "it and its tokenizer with `save_pretrained`, and load it from there."
        )


def check_window(
    args: UsesVLLM,
    rows: Sequence[PromptRow],
    query_length: Callable[[PromptRow], int],
    answer: int,
    answer_option: str,
) -> None:
    """
    Raise a `BadInputError` if a query and its answer have more tokens than `vllm_max_model_length`.

    vLLM would end the answer early, without a word.

    Args:
        args: Configuration.
        rows (`Sequence[PromptRow]`): Problems.
        query_length (`Callable`): Returns the number of tokens of a problem's longest query.
        answer (`int`): Maximum number of tokens of an answer.
        answer_option (`str`): Option that sets it.
    """
    window = args.vllm_max_model_length
    if not args.use_vllm or window is None or not rows:
        return
    longest, task_id = max((query_length(row), row.task_id) for row in rows)
    if longest + answer > window:
        raise BadInputError(
            f"`vllm_max_model_length` is {window}, but the longest query, that of problem {task_id!r}, has {longest} "
            f"tokens and `{answer_option}` is {answer}. Set it to at least {longest + answer}, or set "
            f"`max_prompt_length` to leave out long problems."
        )
