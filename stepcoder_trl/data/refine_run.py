"""
Runs the rules of `refine_rules.py` on a dataset: executes the solutions and stores finished rows.

The same input gives byte-identical files for any number of workers, also after an interruption. No file contains
times.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from stepcoder_trl.curriculum import curriculum_stages, find_conditionals
from stepcoder_trl.data import refine_rules as rules
from stepcoder_trl.data.formats import RawRow
from stepcoder_trl.data.problems import Problem
from stepcoder_trl.data.refine_rules import (
    CONTAMINATED,
    DUPLICATE,
    EXTENDED_TESTS,
    MALFORMED,
    NO_TESTS,
    NOT_RUN,
    Refined,
    RuleFinding,
    answers_match,
    contaminated,
    duplicates,
    mutated,
    refine_row,
)
from stepcoder_trl.errors import BadInputError, NoTestsError, SandboxError
from stepcoder_trl.executor import Backend, BaseBackend
from stepcoder_trl.executor.choice import ExecutorChoice
from stepcoder_trl.executor.verdict.schema import Tests, count_tests
from stepcoder_trl.jsonl import cut_to_whole_lines
from stepcoder_trl.types import Execution, Outcome, TestResult


WINDOW = 8  # rows whose programs are in the executor at a time
KEEP = "keep"


@dataclass(frozen=True)
class RefineSettings:
    """Settings of a refinement."""

    runs: int = 2  # of each solution, each with another `PYTHONHASHSEED`
    max_solutions: int = 20  # of a row that are run, the first ones
    timeout_s: float = 10.0  # CPU seconds of one test
    max_overlap: float = 0.5  # largest share of lines that a solution may have in common with benchmarks
    extend_to: int = 0  # rows with fewer tests get more, up to this number
    seed: int = 0  # of the inputs that are tried as additional tests


@dataclass(frozen=True)
class RefinedRow:
    """Row with the result of its refinement."""

    number: int  # position in the input, counted from 1
    task_id: str
    problem: Problem | None  # `None` if the row is dropped
    findings: tuple[RuleFinding, ...]
    unexecuted: float | None = None  # as in `Refined`

    @property
    def not_run(self) -> bool:
        """Whether the sandbox failed to run its solutions."""
        return any(finding.rule == NOT_RUN for finding in self.findings)

    def log_rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of the log: one per rule with a finding, and one more if the row is kept."""
        where = {"row": self.number, "task_id": self.task_id}
        details: dict[tuple[str, str], list[str]] = {}
        for finding in self.findings:
            details.setdefault((finding.rule, finding.action), []).append(finding.detail)
        for (rule, action), found in details.items():
            yield {**where, "rule": rule, "action": action, "detail": "; ".join(found)}
        if self.problem is not None:
            yield {**where, "rule": KEEP, "action": KEEP, "detail": ""}


def refine(
    raw_rows: Sequence[RawRow],
    folder: Path,
    settings: RefineSettings,
    benchmark: Sequence[Problem] = (),
    choice: ExecutorChoice | None = None,
    on_row: Callable[[], None] = lambda: None,
) -> list[RefinedRow]:
    """
    Refine a dataset. Finished rows are stored in `folder`, so that an interrupted run can be resumed.

    The rows must not overlap with the problems of `benchmark`. `on_row` is called after each row. `choice` says where
    programs run, and how many at once.

    Raises:
        BadInputError: If the folder has the rows of another dataset.
    """
    choice = choice or ExecutorChoice()
    store = _Store(folder / "rows.jsonl", settings)
    store.check_input(raw_rows)
    with ExitStack() as stack:
        executors = [stack.enter_context(_executor(settings, number, choice)) for number in range(settings.runs)]
        rows: list[RefinedRow] = []
        for start in range(0, len(raw_rows), WINDOW):
            window = raw_rows[start : start + WINDOW]
            pending = [None if store.has(row) else _submit(row, settings, executors) for row in window]
            for row, runs in zip(window, pending, strict=True):
                if runs is None:
                    rows.append(store.get(row))
                else:
                    rows.append(_refined(row, runs, settings, executors))
                    if not rows[-1].not_run:
                        store.add(row, rows[-1])
                on_row()
    return _compare_rows(rows, benchmark, settings.max_overlap)


def _executor(settings: RefineSettings, number: int, choice: ExecutorChoice) -> BaseBackend:
    # The hash seed differs from run to run, so that answers which depend on the order of a set are found.
    config = replace(
        choice.config,
        timeout_s=settings.timeout_s,
        program_timeout_s=math.inf,
        keep_outputs=True,
        hash_seed=number,
    )
    return replace(choice, config=config).open()


_Runs = list[list[Future[Execution]]]


def _submit(row: RawRow, settings: RefineSettings, executors: Sequence[Backend]) -> _Runs:
    if row.problem is None:
        return []
    tests = row.problem.parsed_tests
    return [
        [executor.submit(program, tests) for executor in executors]
        for program in row.solutions[: settings.max_solutions]
    ]


def _refined(row: RawRow, runs: _Runs, settings: RefineSettings, executors: Sequence[Backend]) -> RefinedRow:
    if row.problem is None:
        reason = NO_TESTS if isinstance(row.error, NoTestsError) else MALFORMED
        return RefinedRow(row.number, row.task_id, None, (RuleFinding(reason, "drop", str(row.error)),))
    try:
        observed = [[future.result() for future in futures] for futures in runs]
        refined = refine_row(row.problem, row.solutions[: settings.max_solutions], observed)
        if refined.problem is None:
            refined = _with_tests_inside(row, row.problem, settings, executors) or refined
        if refined.problem is not None and settings.extend_to:
            refined = _extended(refined, refined.problem, settings, executors)
    except SandboxError as error:
        return RefinedRow(row.number, row.task_id, None, (RuleFinding(NOT_RUN, "drop", str(error)),))
    return RefinedRow(row.number, row.task_id, refined.problem, refined.findings, refined.unexecuted)


def _with_tests_inside(
    row: RawRow, problem: Problem, settings: RefineSettings, executors: Sequence[Backend]
) -> Refined | None:
    """Return the row, marked as untrusted, if its solutions pass only with their tests inside."""
    if problem.tests["type"] != "assert" or problem.tests.get("trusted") is False:
        return None
    marked = replace(problem, tests={**problem.tests, "trusted": False})
    runs = _submit(replace(row, problem=marked), settings, executors)
    observed = [[future.result() for future in futures] for futures in runs]
    refined = refine_row(marked, row.solutions[: settings.max_solutions], observed)
    return refined if refined.problem is not None else None


def _extended(refined: Refined, problem: Problem, settings: RefineSettings, executors: Sequence[Backend]) -> Refined:
    """Return the row with additional tests: changed inputs on which all correct solutions agree in all runs."""
    tests = problem.tests
    wanted = settings.extend_to - len(tests.get("inputs", ()))
    if tests["type"] in ("assert", "checker") or wanted < 1 or len(refined.correct) < 2:
        return refined
    rng = random.Random(f"{settings.seed} {problem.task_id}")
    candidates: list[Any] = []
    for _ in range(4 * wanted):
        value = mutated(tests, rng.randrange(len(tests["inputs"])), rng.randrange)
        if value not in candidates and value not in tests["inputs"]:
            candidates.append(value)
    if not candidates:
        return refined
    # Their outputs are not known yet.
    untested = Tests.parse({**tests, "inputs": candidates, "outputs": [""] * len(candidates)})
    futures = [executor.submit(program, untested) for program in refined.correct for executor in executors]
    runs = [future.result() for future in futures]
    new = [
        (value, runs[0].tests[index].output)
        for index, value in enumerate(candidates)
        if _agree(tests["type"], [run.tests[index] for run in runs])
    ][:wanted]
    if not new:
        return refined
    extended = {
        **tests,
        "inputs": [*tests["inputs"], *(value for value, _ in new)],
        "outputs": [*tests["outputs"], *(output for _, output in new)],
    }
    finding = RuleFinding(EXTENDED_TESTS, "note", f"{len(new)} tests, {len(refined.correct)} solutions agree")
    return replace(refined, problem=replace(problem, tests=extended), findings=(*refined.findings, finding))


def _agree(kind: str, results: Sequence[TestResult]) -> bool:
    """Return whether all runs gave the same answer, and it can be written as an expected output."""
    ended = all(result.outcome in (Outcome.PASSED, Outcome.FAILED) for result in results)
    first = results[0].output
    is_writable = first != "" and first == first  # an answer that is not plain data is unequal to itself
    return ended and is_writable and all(answers_match(kind, result.output, first) for result in results)


def _compare_rows(rows: list[RefinedRow], benchmark: Sequence[Problem], max_overlap: float) -> list[RefinedRow]:
    """Drop rows by the rules that compare them with each other and with the benchmarks."""

    def in_common(problems: Sequence[Problem]) -> dict[int, str]:
        return contaminated(problems, benchmark, max_overlap)

    return _drop_rows(_drop_rows(rows, DUPLICATE, duplicates), CONTAMINATED, in_common)


def _drop_rows(
    rows: Sequence[RefinedRow], code: str, rule: Callable[[Sequence[Problem]], dict[int, str]]
) -> list[RefinedRow]:
    """Drop the rows that a rule finds among the problems of the kept rows."""
    kept = [(index, row.problem) for index, row in enumerate(rows) if row.problem is not None]
    result = list(rows)
    for number, detail in rule([problem for _, problem in kept]).items():
        index = kept[number][0]
        finding = RuleFinding(code, "drop", detail)
        result[index] = replace(rows[index], problem=None, findings=(*rows[index].findings, finding))
    return result


class _Store:
    """Finished rows in a file. A stored row is reused if its content, the settings and the rules are the same."""

    def __init__(self, path: Path, settings: RefineSettings) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        cut_to_whole_lines(path)
        self._path = path
        self._settings = json.dumps(asdict(settings), sort_keys=True)
        stored = path.read_bytes().splitlines() if path.exists() else []
        self._rows = {row["key"]: row for row in map(json.loads, stored)}

    def check_input(self, rows: Sequence[RawRow]) -> None:
        """Raise a `BadInputError` if problems are stored, and none of them is among the rows."""
        stored = {row["problem"]["task_id"] for row in self._rows.values() if row["problem"] is not None}
        if stored and stored.isdisjoint(row.task_id for row in rows):
            raise BadInputError(
                f"{self._path} has the rows of another input, such as {min(stored)!r}, whose results would be "
                "overwritten. Name another folder, or delete that one."
            )

    def _key(self, row: RawRow) -> str:
        content = [_rules_digest(), self._settings, row.number, row.task_id, dict(row.values)]
        text = json.dumps(content, sort_keys=True, default=repr)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def has(self, row: RawRow) -> bool:
        return self._key(row) in self._rows

    def add(self, row: RawRow, refined: RefinedRow) -> None:
        entry = {
            "key": self._key(row),
            "problem": None if refined.problem is None else refined.problem.to_row(),
            "findings": [[finding.rule, finding.action, finding.detail] for finding in refined.findings],
            "unexecuted": refined.unexecuted,
        }
        self._rows[entry["key"]] = entry
        with self._path.open("a", encoding="ascii", newline="\n") as stream:
            stream.write(json.dumps(entry) + "\n")

    def get(self, row: RawRow) -> RefinedRow:
        entry = self._rows[self._key(row)]
        problem = None if entry["problem"] is None else Problem.from_row(entry["problem"], row.task_id)
        findings = tuple(RuleFinding(*finding) for finding in entry["findings"])
        return RefinedRow(row.number, row.task_id, problem, findings, entry["unexecuted"])


@lru_cache(maxsize=1)
def _rules_digest() -> str:
    """Return a digest of the rules' source. Rows that were stored under other rules are not reused."""
    return hashlib.sha256(Path(rules.__file__).read_bytes()).hexdigest()


# Figures


def summarize_rows(rows: Sequence[RefinedRow]) -> dict[str, Any]:
    """
    Return the figures of a refinement as JSON values.

    These are `rows`, `kept`, rows per rule and action, and histograms of the rows kept: `difficulty`, `tests`,
    `conditionals`, `stages`, `unexecuted` (share of the canonical solution's lines).
    """
    kept = [row for row in rows if row.problem is not None]
    problems = [row.problem for row in kept if row.problem is not None]
    rules = Counter(pair for row in rows for pair in {(finding.action, finding.rule) for finding in row.findings})
    solutions = [(problem.canonical_solution, problem.starter_code) for problem in problems]
    return {
        "rows": len(rows),
        "kept": len(kept),
        "rules": {f"{action}/{rule}": count for (action, rule), count in sorted(rules.items())},
        "difficulty": _histogram(problem.difficulty or "unknown" for problem in problems),
        "tests": _histogram(_count_bar(count_tests(problem.tests)) for problem in problems),
        "conditionals": _histogram(_count_bar(len(find_conditionals(solution))) for solution, _ in solutions),
        "stages": _histogram(_count_bar(len(curriculum_stages(*texts))) for texts in solutions),
        "unexecuted": _histogram(_share_bar(row.unexecuted) for row in kept if row.unexecuted is not None),
    }


def _count_bar(number: int) -> str:
    """Return the name of the histogram bar for a count. Counts from 20 on share one bar."""
    return f"{number:2d}" if number < 20 else "20+"


def _share_bar(share: float) -> str:
    """Return the name of the histogram bar for a share, such as `"10-20 %"`."""
    low = min(int(share * 10), 9) * 10
    return f"{low:2d}-{low + 10} %"


def _histogram(names: Iterable[str]) -> dict[str, int]:
    return {name.strip(): count for name, count in sorted(Counter(names).items())}
