"""Training set of a run: rows, curriculum, and the report on the canonical solutions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from stepcoder_trl.curriculum import CurriculumConfig
from stepcoder_trl.steps.programs import ProgramRunner
from stepcoder_trl.steps.queries import Query
from stepcoder_trl.steps.rows import PromptRow, fitting_rows
from stepcoder_trl.steps.solutions import (
    SolutionReport,
    check_solutions,
    restart_problems,
    use_solutions,
    with_solution,
)
from stepcoder_trl.steps.starts import all_queries, longest_query, make_curriculum
from stepcoder_trl.trainer.announcements import solutions_bar


class TrainingSet:
    """
    Rows that a run trains on, and their curriculum. Rows with a query of more than `limit` tokens are left out.

    Attributes:
        given (`list[PromptRow]`): Rows that are not too long, unchanged.
        left_out (`list[str]`): `task_id` of each row that is too long.
        rows (`list[PromptRow]`): The same rows after the report on their solutions.
        curriculum ([`Curriculum`] or `None`): Curriculum. `None` for rows with `input_ids` only.
        report ([`SolutionReport`] or `None`): Report on the solutions. `None` before they were run.
    """

    def __init__(
        self,
        rows: Sequence[PromptRow],
        config: CurriculumConfig,
        build_query: Callable[[PromptRow, str], Query],
        limit: float,
    ) -> None:
        self.config = config
        self.has_problems = rows[0].token_ids is None
        self.curriculum = make_curriculum(rows, config)
        self.given = fitting_rows(rows, lambda row: longest_query(row, self.curriculum, build_query), limit)
        fitting = {row.task_id for row in self.given}
        self.left_out = [row.task_id for row in rows if row.task_id not in fitting]
        self.rows = self.given
        self.report: SolutionReport | None = None
        if 0 < len(self.given) < len(rows):
            self.curriculum = make_curriculum(self.given, config)

    def queries(self, build_query: Callable[[PromptRow, str], Query]) -> Iterator[tuple[int, ...]]:
        """Yield the tokens of all queries, at all stages."""
        for row in self.rows:
            for query in all_queries(row, self.curriculum, build_query):
                yield query.token_ids

    @property
    def has_tests(self) -> bool:
        """Whether some row has tests."""
        return any(row.tests is not None for row in self.rows)

    def check_solutions(
        self, runner: ProgramRunner, accelerator: Accelerator, show_progress: bool = False
    ) -> SolutionReport:
        """Run each canonical solution once, on the main process. Return the report on every process."""
        found, rows = [SolutionReport()], with_solution(self.given)
        if rows:
            if accelerator.is_main_process:
                with solutions_bar(len(rows), show_progress) as advance:
                    found = [check_solutions(rows, runner.executor, advance)]
            broadcast_object_list(found)
        return found[0]

    def use_solutions(self, report: SolutionReport) -> None:
        """Remove failing solutions from rows and curriculum, and raise time limits."""
        self.report, self.rows = report, use_solutions(self.given, report)
        if report.failing and self.curriculum is not None:
            fresh = make_curriculum(self.rows, self.config)
            self.curriculum = None if fresh is None else restart_problems(self.curriculum, fresh, report.failing)
