"""Options of generation with vLLM, and the runs with it that both trainers refuse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.steps.rows import PromptRow


class UsesVLLM(Protocol):
    """Options of a configuration that the checks read."""

    use_vllm: bool
    vllm_mode: str
    vllm_max_model_length: int | None


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


def check_model_folder(args: UsesVLLM, model: Any) -> None:
    """Raise a `BadInputError` if vLLM shall load a model that was made in memory."""
    if args.use_vllm and args.vllm_mode == "colocate" and not isinstance(model, str) and not model.name_or_path:
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
