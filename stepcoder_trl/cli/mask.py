"""`stepcoder-trl mask`: show which tokens of completions Fine-Grained Optimization keeps."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepcoder_trl.cli.executor_flags import add_executor_arguments, add_workers, executor_choice
from stepcoder_trl.cli.outputs import check_outputs, files_of
from stepcoder_trl.cli.progress_bar import progress
from stepcoder_trl.errors import BadInputError, SandboxError
from stepcoder_trl.evaluation.tokenizers import load_tokenizer
from stepcoder_trl.executor import ExecutorConfig
from stepcoder_trl.executor.verdict.schema import Tests
from stepcoder_trl.jsonl import STANDARD_STREAM, Row, read_rows, write_rows, write_text
from stepcoder_trl.masking import MaskRule, loss_mask
from stepcoder_trl.parsing import extract_program
from stepcoder_trl.reports.html import rollouts_page
from stepcoder_trl.reports.rollouts import RolloutView, failing_test, read_rollout
from stepcoder_trl.reports.run_files import run_directory
from stepcoder_trl.reports.run_record import FOLDER, ROLLOUTS
from stepcoder_trl.reports.terminal import rollouts_text
from stepcoder_trl.rewards import unit_test_score
from stepcoder_trl.tokens import TokenizedText, token_texts, without_added_space
from stepcoder_trl.types import Execution, Program


EPILOG = """rows of ROLLOUTS: {"id", "prefix", "completion" or "completion_ids", "tests"}, one JSON object per line.
The program is prefix + completion exactly as given, or the code in the completion's code fence.
rows of MASKS: {"id", "token_ids", "tokens", "loss_mask": [0 or 1], "outcome", "score"}. A token with 1 takes part in
the policy loss: part of its text is on a line that the tests ran.
Rollouts that training wrote (RUN/record/rollouts.jsonl, or RUN for short) are shown as they were trained on. They
are not run again, and need no tokenizer.

example:
  stepcoder-trl mask rollouts.jsonl --tokenizer runs/sft --out masks.jsonl --html masks.html
  stepcoder-trl mask runs/ppo --out masks.jsonl --html masks.html
"""


_SHOWN = 3
_TITLE = "Fine-Grained Optimization: tokens trained on"


@dataclass(frozen=True)
class _Rollout:
    id: str | int
    prefix: str
    completion: str | None
    token_ids: list[int] | None
    tests: Tests


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    add = parser.add_argument
    add("rollouts", metavar="ROLLOUTS", help="Read this JSONL file (-: standard input) or run directory.")
    add("--tokenizer", metavar="DIR", help="Load the Hugging Face tokenizer from this folder.")
    add("--out", required=True, metavar="MASKS", help="Write masks to this JSONL file (-: standard output).")
    add("--html", metavar="FILE", help="Also write an HTML page that shows the masks in colour.")
    add("--show", type=int, metavar="N", help="Show the first N in colour (default: 3 in a terminal, else 0).")
    add_workers(add)
    add("--timeout-s", type=float, default=3.0, metavar="S", help="Limit the CPU seconds per test (default: 3).")
    add_executor_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Mask all rows and return the exit status."""
    if arguments.show is not None and arguments.show < 0:
        raise BadInputError(f"`--show` is {arguments.show}, but must be at least 0.")
    source = _rollouts_file(arguments.rollouts)
    check_outputs({"--out": arguments.out, "--html": arguments.html}, [source, *files_of(arguments.tokenizer)])
    given = read_rows(source)
    if given and all("loss_mask" in row.fields for row in given):
        return _show_recorded(arguments, given)
    config = ExecutorConfig(num_workers=arguments.num_workers, timeout_s=arguments.timeout_s)
    choice = executor_choice(arguments, config)
    rollouts = [_parse(row) for row in given]
    if arguments.tokenizer is None:
        raise BadInputError("`--tokenizer` is missing. Name the folder of the model that sampled the completions.")
    tokenizer = load_tokenizer(arguments.tokenizer, "--tokenizer")
    texts = [_tokenize(rollout, tokenizer) for rollout in rollouts]
    programs = [extract_program(text.text, rollout.prefix) for rollout, (_, text) in zip(rollouts, texts, strict=True)]
    with choice.open() as executor:
        futures = [executor.submit(p.text, r.tests) for p, r in zip(programs, rollouts, strict=True)]
        results: list[Execution | SandboxError] = []
        for future in progress(futures, "executing"):
            try:
                results.append(future.result())
            except SandboxError as error:
                results.append(error)
    rows = []
    for rollout, (ids, text), program, result in zip(rollouts, texts, programs, results, strict=True):
        tokens = [text.text[start:end] for start, end in text.spans]
        row: dict[str, Any] = {"id": rollout.id, "token_ids": ids, "tokens": tokens}
        if isinstance(result, Execution):
            mask = loss_mask(text.spans, text.text, program, result, MaskRule())
            row |= {"loss_mask": [int(kept) for kept in mask], "outcome": result.outcome.value}
            row |= {"score": unit_test_score(result)}
        else:
            row |= {"loss_mask": None, "outcome": None, "score": None, "error": str(result)}
        rows.append(row)
    write_rows(arguments.out, rows)
    views = _views(rollouts, programs, rows, results)
    if arguments.html:
        write_text(arguments.html, rollouts_page(views, _TITLE))
    _show(arguments, views)
    return 1 if any(row["outcome"] is None for row in rows) else 0


def _rollouts_file(path: str) -> str:
    """Return the file of rollouts at a path: the file itself, or the one that training wrote into a run directory."""
    if not Path(path).is_dir():
        return path
    file = run_directory(Path(path)) / FOLDER / ROLLOUTS
    if not file.is_file():
        raise BadInputError(
            f"{path}: the folder has no {FOLDER}/{ROLLOUTS}. Pass the run directory of `ppo` or `grpo`, or a file."
        )
    return str(file)


def _show_recorded(arguments: argparse.Namespace, given: list[Row]) -> int:
    """Write masks and page of rollouts that training recorded, and return the exit status."""
    views = []
    for row in given:
        try:
            views.append(read_rollout(row.fields))
        except (TypeError, ValueError, IndexError) as error:
            raise BadInputError(
                f"{row.where}: is not a rollout that training wrote ({error}). To mask rows of your own, leave the "
                "field `loss_mask` out."
            ) from None
    rows = [
        {
            "id": view.task_id,
            "token_ids": list(view.token_ids),
            "tokens": list(view.tokens),
            "loss_mask": [int(kept) for kept in view.loss_mask],
            "outcome": view.outcome,
            "score": view.score,
        }
        for view in views
    ]
    write_rows(arguments.out, rows)
    if arguments.html:
        updates = [update if isinstance(update := row.fields.get("update"), int) else None for row in given]
        write_text(arguments.html, rollouts_page(views, _TITLE, updates))
    _show(arguments, views)
    return 0


def _show(arguments: argparse.Namespace, views: Sequence[RolloutView]) -> None:
    """Print the first rollouts with their tokens in colour, unless standard output gets the masks."""
    number = arguments.show
    if number is None:
        number = _SHOWN if sys.stdout.isatty() else 0
    if number > 0 and views and arguments.out != STANDARD_STREAM:
        from rich.console import Console

        Console().print(rollouts_text(views[:number]))


def _parse(row: Row) -> _Rollout:
    num_completions = ("completion" in row.fields) + ("completion_ids" in row.fields)
    if num_completions != 1:
        fix = "" if num_completions else " A problem has no tokens to mask: pass rollouts, or the directory of a run."
        raise BadInputError(f"{row.where}: must have exactly one of `completion` and `completion_ids`.{fix}")
    ids = row.fields.get("completion_ids")
    if ids is not None and not (isinstance(ids, list) and all(type(i) is int and i >= 0 for i in ids)):
        raise BadInputError(f"{row.where}: field `completion_ids` must be a list of token ids, e.g. [12, 7].")
    tests = Tests.parse(row.get("tests"), row.where)
    completion = row.text("completion") if ids is None else None
    if completion is not None and any("\ud800" <= character <= "\udfff" for character in completion):
        raise BadInputError(
            f"{row.where}: field `completion` holds a lone surrogate, which no tokenizer can encode. Give "
            "`completion_ids` instead."
        )
    return _Rollout(row.id, row.text("prefix", ""), completion, ids, tests)


def _tokenize(rollout: _Rollout, tokenizer: Any) -> tuple[list[int], TokenizedText]:
    if rollout.token_ids is not None:
        if any(token_id >= len(tokenizer) for token_id in rollout.token_ids):
            raise BadInputError(
                f"row {rollout.id!r}: `completion_ids` holds {max(rollout.token_ids)}, but the tokenizer has "
                f"{len(tokenizer)} tokens. Use the tokenizer of the model that sampled them."
            )
        return rollout.token_ids, token_texts(rollout.token_ids, tokenizer)
    text = rollout.completion or ""
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=tokenizer.is_fast)
    ids = encoding["input_ids"]
    sampled = without_added_space(token_texts(ids, tokenizer), text)
    if sampled.text == text or not tokenizer.is_fast:
        return ids, sampled
    return ids, TokenizedText(text, tuple((start, end) for start, end in encoding["offset_mapping"]))


def _views(
    rollouts: list[_Rollout], programs: list[Program], rows: list[dict[str, Any]], results: list[Any]
) -> list[RolloutView]:
    return [
        RolloutView(
            task_id=str(rollout.id),
            prompt="",
            prefix=rollout.prefix,
            tokens=tuple(row["tokens"]),
            loss_mask=tuple(bool(kept) for kept in row["loss_mask"]),
            outcome=row["outcome"],
            score=row["score"],
            stage=None,
            tests_passed=result.num_passed,
            tests_total=len(result.tests),
            program_span=program.span,
            executed_lines=tuple(sorted(result.executed_lines)),
            failing_test=failing_test(result, rollout.tests),
        )
        for rollout, program, row, result in zip(rollouts, programs, rows, results, strict=True)
        if isinstance(result, Execution)
    ]
