"""Check of problems before training: rows, canonical solutions, tests, stages and lengths of queries."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from stepcoder_trl.curriculum import curriculum_stages
from stepcoder_trl.curriculum.cut import Kinds
from stepcoder_trl.data.formats import LeftOut, RawRow
from stepcoder_trl.data.problems import Problem, misnamed
from stepcoder_trl.errors import BadInputError, SandboxError
from stepcoder_trl.executor import Backend
from stepcoder_trl.executor.verdict.schema import Tests
from stepcoder_trl.parsing import extract_program, parse
from stepcoder_trl.steps.queries import build_query
from stepcoder_trl.steps.solutions import patient, with_runs_inside
from stepcoder_trl.types import Execution, Outcome


MISSING = "missing"  # instead of an outcome: the problem has no canonical solution
NOT_RUN = "not run"  # instead of an outcome: the sandbox failed, or the row cannot be read

ShowProgress = Callable[[Sequence[Future[Execution]]], Iterable[Future[Execution]]]


@dataclass(frozen=True)
class QueryRule:
    """
    How training builds queries.

    Attributes:
        tokenizer (tokenizer or `None`): Tokenizer of the model. `None` leaves lengths of queries out.
        limit (`float`): Most tokens of a query with which a problem is trained on.
        max_length (`float`): Tokens of a query from which on `sft` leaves a problem out.
        kinds (`"statements"` or `"scope"`): Statements at which a stage may start.
        has_curriculum (`bool`): Whether completions start from prefixes of the solution, too.
        chat_template_kwargs (`dict[str, Any]` or `None`): Arguments of the chat template.
    """

    tokenizer: Any = None
    limit: float = math.inf
    max_length: float = math.inf
    kinds: Kinds = "statements"
    has_curriculum: bool = True
    chat_template_kwargs: dict[str, Any] | None = None


@dataclass(frozen=True)
class ProblemCheck:
    """
    Result of the check of one row.

    Attributes:
        row (`int`): Position in its source, counted from 1. 0 if the text of the row cannot be parsed.
        task_id (`str`): Name of the problem.
        error (`str`): Reason why the row cannot be used. Empty if it can.
        skipped (`str`): Reason why loading skips the row although it is in order, such as another language.
        difficulty (`str` or `None`): Difficulty of the problem.
        tests (`int`): Number of tests.
        trusted_tests (`int`): Number of tests whose outcome a program cannot forge.
        solution (`str`): Outcome of the canonical solution, `"missing"` or `"not run"`.
        message (`str`): Message of the first test that the solution does not pass, with a hint.
        time_s (`float`): CPU seconds of all tests of the solution.
        stages (`int`): Stages of the curriculum. 1 means that all completions start from scratch.
        query_tokens (`int` or `None`): Tokens of the longest query. `None` without a tokenizer.
        left_out (`str`): Reason why `ppo` and `grpo` leave the problem out. Empty if they do not.
        left_out_of_sft (`str`): Reason why `sft` leaves the problem out. Empty if it does not.
    """

    row: int
    task_id: str
    error: str = ""
    skipped: str = ""
    difficulty: str | None = None
    tests: int = 0
    trusted_tests: int = 0
    solution: str = NOT_RUN
    message: str = ""
    time_s: float = 0.0
    stages: int = 0
    query_tokens: int | None = None
    left_out: str = ""
    left_out_of_sft: str = ""

    @property
    def is_wrong(self) -> bool:
        """Whether somebody should look at the row. A problem without a solution is in order."""
        if self.skipped:
            return False
        missing = self.solution == MISSING and not self.message  # a message says where it probably is
        return bool(self.error or self.left_out) or not (missing or self.solution == Outcome.PASSED)


def check_rows(
    rows: Sequence[RawRow], executor: Backend, rule: QueryRule, show_progress: ShowProgress = iter
) -> list[ProblemCheck]:
    """
    Check rows as training would: read them, run their canonical solutions, cut them, and build their queries.

    A solution gets ten times its time limit, as before training. Of a problem without a solution the empty program is
    run, which tells the number of tests and which are trusted.

    Args:
        rows (`Sequence[RawRow]`): Rows, some of which may be unusable.
        executor (`Backend`): Runs the solutions.
        rule ([`QueryRule`]): How training builds queries.
        show_progress (callable, *optional*): Takes the futures of the solutions and yields them, to show progress.

    Returns:
        `list[ProblemCheck]`: One per row, in order.
    """
    problems = [row.problem for row in rows]
    runs = iter(_run_solutions([one for one in problems if one is not None], executor, show_progress))
    checks = []
    for row, problem in zip(rows, problems, strict=True):
        if isinstance(row.error, LeftOut):
            checks.append(ProblemCheck(row.number, row.task_id, skipped=row.error.reason))
            continue
        if problem is None:
            checks.append(ProblemCheck(row.number, row.task_id, str(row.error)))
            continue
        found = _check_problem(row.number, problem, next(runs), rule)
        if row.repeated_id is not None:
            found = replace(found, task_id=row.repeated_id, error=str(row.repetition))
        checks.append(found)
    return checks


_Run = Execution | SandboxError


def _run_solutions(problems: Sequence[Problem], executor: Backend, show_progress: ShowProgress) -> list[_Run]:
    """Run each canonical solution. Those that may pass with their tests inside are run again so."""
    solutions = [problem.canonical_solution for problem in problems]
    tests = [Tests.parse(patient(problem.tests, executor.timeout_s)) for problem in problems]
    futures = [executor.submit(solution, given) for solution, given in zip(solutions, tests, strict=True)]
    runs, _ = with_runs_inside(solutions, tests, list(_results(show_progress(futures))), executor)
    return runs


def _results(futures: Iterable[Future[Execution]]) -> Iterator[_Run]:
    for future in futures:
        try:
            yield future.result()
        except SandboxError as error:
            yield error


def _where_it_may_be(problem: Problem) -> str:
    """Return a hint for a problem without a canonical solution that has a column of another name for it."""
    other = misnamed(problem.columns, "canonical_solution")
    return "" if other is None else f"`{other}` is not read. Did you mean `canonical_solution`?"


def _check_problem(number: int, problem: Problem, run: _Run, rule: QueryRule) -> ProblemCheck:
    found = ProblemCheck(number, problem.task_id, difficulty=problem.difficulty)
    has_solution = bool(problem.canonical_solution.strip())
    if isinstance(run, SandboxError):
        found = replace(found, message=str(run))
    else:
        found = replace(
            found,
            tests=len(run.tests),
            trusted_tests=sum(test.trusted for test in run.tests),
            solution=run.outcome.value if has_solution else MISSING,
            message=_message(problem, run) if has_solution else _where_it_may_be(problem),
            time_s=round(run.time_s, 3) if has_solution else 0.0,
        )
    stages = curriculum_stages(problem.canonical_solution, problem.starter_code, rule.kinds)
    is_cut = rule.has_curriculum and found.solution == Outcome.PASSED
    found = replace(found, stages=len(stages) if is_cut else 1, left_out_of_sft=_left_out_of_sft(problem, found))
    if rule.tokenizer is None:
        return found
    prefixes = ["", *(stage.prefix for stage in stages if stage.prefix and rule.has_curriculum)]
    try:
        lengths = [_query_length(problem, prefix or problem.starter_code, rule) for prefix in prefixes]
    except BadInputError as error:
        return replace(found, error=str(error))
    longest = max(lengths)
    reason = f"its longest query has {longest} tokens, more than {rule.limit:.0f}" if longest > rule.limit else ""
    of_sft = found.left_out_of_sft
    if not of_sft and lengths[0] >= rule.max_length:
        of_sft = f"its query has {lengths[0]} tokens, and `max_length` is {rule.max_length:.0f}"
    return replace(found, query_tokens=longest, left_out=reason, left_out_of_sft=of_sft)


def _message(problem: Problem, run: Execution) -> str:
    """Return the message of the first test that the solution does not pass, with a hint where one is known."""
    message = next((test.message for test in run.tests if test.outcome is not Outcome.PASSED), "")
    solution, starter_code = problem.canonical_solution, problem.starter_code
    is_body = run.outcome is Outcome.COMPILE_ERROR and starter_code.strip()
    if is_body and any(parse(f"{starter_code.rstrip()}{gap}{solution}") is not None for gap in ("\n", "")):
        message += (
            ". It compiles with its starter code before it: write the complete program into `canonical_solution`"
        )
    elif run.outcome is Outcome.COMPILE_ERROR and parse(extract_program(solution).text) is not None:
        message += ". It compiles without its code fence: drop the lines with ```"
    return message


def _left_out_of_sft(problem: Problem, found: ProblemCheck) -> str:
    """Return why `sft` cannot learn from a problem, empty if it can."""
    solution = problem.canonical_solution.strip("\n")
    if not solution.strip():
        return "it has no canonical solution"
    if not solution.startswith(problem.starter_code.strip("\n").rstrip()):
        return "its canonical solution does not begin with its starter code"
    if found.solution not in (Outcome.PASSED, NOT_RUN):
        return f"its canonical solution fails its tests ({found.solution})"
    return ""


def _query_length(problem: Problem, code: str, rule: QueryRule) -> int:
    query = build_query(problem.prompt, code, rule.tokenizer, rule.chat_template_kwargs, task_id=problem.task_id)
    return len(query.token_ids)
