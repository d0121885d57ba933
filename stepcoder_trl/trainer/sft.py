"""Rows for supervised fine-tuning on canonical solutions, with which the paper's PPO runs begin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback

from stepcoder_trl.data.problems import Problem
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.executor.choice import ExecutorChoice
from stepcoder_trl.jsonl import parse_json, write_json
from stepcoder_trl.steps.queries import FENCE, Query, build_query
from stepcoder_trl.steps.rows import PromptRow, as_rows, dataset_digest
from stepcoder_trl.steps.solutions import check_solutions, with_solution
from stepcoder_trl.trainer.announcements import solutions_bar


# Paper, section 4.2: a global batch of 64, 3 epochs, of which 0.3 are warm-up, then linear decay.
PAPER_SETTINGS: dict[str, Any] = {
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 8,
    "learning_rate": 2e-5,
    "num_train_epochs": 3,
    "warmup_steps": 0.1,
    "lr_scheduler_type": "linear",
}
# Defaults of `stepcoder-trl sft`.
SFT_DEFAULTS: dict[str, Any] = {**PAPER_SETTINGS, "completion_only_loss": True, "bf16": False}
_SOLUTIONS = "solutions.json"  # in each checkpoint


def sft_row(
    problem: Problem, tokenizer: Any, chat_template_kwargs: Mapping[str, Any] | None = None
) -> dict[str, list[int]]:
    """
    Return the tokens of a problem, `input_ids`, and `completion_mask`, which is 1 for the solution and its end.

    The query is that of generation. Query and solution are tokenized separately, as they are in generation.

    Raises:
        BadInputError: If the query cannot be built, there is no solution, or it does not begin with the starter code.
    """
    return _tokens(problem, _query(problem, tokenizer, chat_template_kwargs), tokenizer)


def _query(problem: Problem, tokenizer: Any, chat_template_kwargs: Mapping[str, Any] | None) -> Query:
    prompt, code = problem.prompt, problem.starter_code
    return build_query(prompt, code, tokenizer, chat_template_kwargs, task_id=problem.task_id)


def _tokens(problem: Problem, query: Query, tokenizer: Any) -> dict[str, list[int]]:
    """Return the tokens of a query and a solution. Raises an error if the solution cannot be learnt from."""
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


class SolutionsCallback(TrainerCallback):
    """Writes into each checkpoint which solutions fail their tests, so that a resumed run need not run them again."""

    def __init__(self, problems: Sequence[Problem], failing: Mapping[str, str]) -> None:
        self._findings = {"problems": dataset_digest(as_rows(problems)), "failing": dict(failing)}

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            write_json(Path(args.output_dir) / f"checkpoint-{state.global_step}" / _SOLUTIONS, self._findings)


def failing_solutions(
    problems: Sequence[Problem], choice: ExecutorChoice, show_progress: bool, checkpoint: Path | None = None
) -> dict[str, str]:
    """
    Run each canonical solution once, on the main process, and warn of those that fail.

    Return the outcome of each solution that fails its tests, by `task_id`, on every process. They are read from a
    `checkpoint` of the same problems, if one is given.
    """
    found: list[dict[str, str]] = [{}]
    rows = as_rows(problems)
    solved = with_solution(rows)
    if solved:
        if PartialState().is_main_process:
            stored = None if checkpoint is None else _stored(checkpoint, rows)
            found = [_run_solutions(solved, choice, show_progress) if stored is None else stored]
        broadcast_object_list(found)
    return found[0]


def _run_solutions(rows: Sequence[PromptRow], choice: ExecutorChoice, show_progress: bool) -> dict[str, str]:
    with solutions_bar(len(rows), show_progress) as advance, choice.open() as executor:
        return dict(check_solutions(rows, executor, advance, "They are left out.").failing)


def check_problems(checkpoint: Path, problems: Sequence[Problem]) -> None:
    """Raise a `BadInputError` if a checkpoint says that it was saved with other problems."""
    if _findings(checkpoint).get("problems") not in (None, dataset_digest(as_rows(problems))):
        raise BadInputError(
            f"{checkpoint} was saved with other problems. Resume with the ones it was saved with, or train its model "
            "in a run of its own."
        )


def _stored(checkpoint: Path, rows: Sequence[PromptRow]) -> dict[str, str] | None:
    """Return what a checkpoint says about the solutions of these rows. `None` if it says nothing."""
    findings = _findings(checkpoint)
    return dict(findings["failing"]) if findings.get("problems") == dataset_digest(rows) else None


def _findings(checkpoint: Path) -> dict[str, Any]:
    """Return what [`SolutionsCallback`] wrote into a checkpoint. Empty for one of an older release."""
    path = checkpoint / _SOLUTIONS
    return dict(parse_json(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def sft_dataset(
    problems: Sequence[Problem],
    tokenizer: Any,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    failing: Mapping[str, str] | None = None,
    max_length: int | None = None,
) -> tuple[Any, list[str]]:
    """
    Return a dataset for TRL's `SFTTrainer`, and the reason for each problem that is left out.

    `failing` has the outcome of each solution that fails its tests, by `task_id`. Sequences are cut after `max_length`
    tokens: a problem whose query is as long is left out.

    Raises:
        BadInputError: If the query of a problem cannot be built, as in the other trainers, or all are left out.
    """
    from datasets import Dataset

    rows, reasons = [], []
    for problem in problems:
        query = _query(problem, tokenizer, chat_template_kwargs)
        if failing and problem.task_id in failing:
            outcome = failing[problem.task_id]
            reasons.append(f"The `canonical_solution` of problem {problem.task_id!r} fails its tests ({outcome}).")
            continue
        if max_length is not None and len(query.token_ids) >= max_length:
            length = len(query.token_ids)
            reasons.append(f"The query of problem {problem.task_id!r} has {length} tokens. Raise `max_length`.")
            continue
        try:
            rows.append(_tokens(problem, query, tokenizer))
        except BadInputError as reason:
            reasons.append(str(reason))
    if not rows:
        raise BadInputError(f"No problem can be learnt from. {reasons[0]}")
    return Dataset.from_list(rows), reasons
