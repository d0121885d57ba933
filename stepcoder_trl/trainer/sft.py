"""Supervised fine-tuning on canonical solutions: the paper's first baseline, and the start of its PPO runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepcoder_trl.data.problems import Problem
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.steps.queries import FENCE, build_query


# Paper, section 4.2: a global batch of 64, 3 epochs, of which 0.3 are warm-up, then linear decay.
PAPER_SETTINGS: dict[str, Any] = {
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 8,
    "learning_rate": 2e-5,
    "num_train_epochs": 3,
    "warmup_steps": 0.1,
    "lr_scheduler_type": "linear",
}


def sft_row(problem: Problem, tokenizer: Any) -> dict[str, list[int]]:
    """
    Tokens of one problem: the query as generation shows it, then the rest of the canonical solution.

    Query and solution are tokenized apart, as they are when the model writes: the loss sees the segmentation that
    generation will ask for.

    Args:
        problem ([`Problem`]):
            Problem with a canonical solution.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model.

    Returns:
        `dict[str, list[int]]`: `input_ids`, and `completion_mask`, 1 for the solution and its end.

    Raises:
        BadInputError: If there is no solution, or it does not begin with the starter code.
    """
    query = build_query(problem.prompt, problem.starter_code, tokenizer)
    solution = problem.canonical_solution.strip("\n")
    starter = query.prefix.lstrip("\n")
    if not solution.strip():
        raise BadInputError(f"Problem {problem.task_id!r} has no `canonical_solution` to learn.")
    if not solution.startswith(starter):
        raise BadInputError(
            f"The `canonical_solution` of problem {problem.task_id!r} does not begin with its starter code: what the "
            "model is to write cannot be told."
        )
    rest = solution[len(starter) :]
    text = f"{rest}\n{FENCE}" if query.opened_fence else rest
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    completion = tokenizer(text, add_special_tokens=False)["input_ids"] + end
    return {
        "input_ids": [*query.token_ids, *completion],
        "completion_mask": [0] * len(query.token_ids) + [1] * len(completion),
    }


def sft_dataset(problems: Sequence[Problem], tokenizer: Any) -> tuple[Any, list[str]]:
    """
    Dataset for TRL's `SFTTrainer`, and the problems that it leaves out.

    Args:
        problems (`Sequence[Problem]`):
            Problems.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model.

    Returns:
        `tuple[Dataset, list[str]]`: Rows of `input_ids` and `completion_mask`; why each problem left out is.

    Raises:
        BadInputError: If no problem is left.
    """
    from datasets import Dataset

    rows, reasons = [], []
    for problem in problems:
        try:
            rows.append(sft_row(problem, tokenizer))
        except BadInputError as reason:
            reasons.append(str(reason))
    if not rows:
        raise BadInputError(f"No problem can be learnt from. {reasons[0]}")
    return Dataset.from_list(rows), reasons
