"""Run the corpus through a backend and report failures."""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from stepcoder_trl.errors import BadInputError, SandboxError
from stepcoder_trl.executor.backend import HARMLESS_PROGRAM, HARMLESS_TESTS, Backend, BaseBackend
from stepcoder_trl.executor.local.config import ExecutorConfig
from stepcoder_trl.executor.local.executor import CodeExecutor
from stepcoder_trl.executor.selftest import leftovers
from stepcoder_trl.executor.selftest.corpus import Case, load
from stepcoder_trl.parsing import line_spans
from stepcoder_trl.types import Execution, Outcome


MAX_GROWTH_BYTES = 64 * 2**20  # programs print up to 16 MiB, and the allocator keeps some of it


@dataclass(frozen=True)
class SelftestFinding:
    """One failure of the suite."""

    kind: str  # "hostile", "correct", or "after" for leftovers and checks after the programs
    name: str  # of the program, or of the programs that ran in parallel
    expected: str  # allowed outcomes, separated by `|`; empty for leftovers
    found: str  # actual outcome, or a description of the leftover
    detail: str = ""  # message of the first test that did not pass, and the note of the corpus


@dataclass(frozen=True)
class SelftestReport:
    """Result of the suite."""

    hostile: int  # programs that ran
    correct: int
    findings: tuple[SelftestFinding, ...]
    checked: tuple[str, ...]  # properties
    layers: dict[str, bool]  # `True` where active; empty if the backend does not report them
    wall_s: float
    growth_bytes: int | None = None  # of the memory of this process

    @property
    def ok(self) -> bool:
        """Return whether there are no findings."""
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return {"ok": self.ok, **asdict(self)}


def choose(names: Sequence[str] = ()) -> list[Case]:
    """Select programs of the corpus by name, or all if there are no names. An unknown name is a `BadInputError`."""
    cases = [*load("hostile"), *load("correct")]
    if not names:
        return cases
    unknown = set(names) - {case.name for case in cases}
    if unknown:
        raise BadInputError(
            f"The corpus has no program {', '.join(map(repr, sorted(unknown)))}. Use the names of the files in "
            f"stepcoder_trl/executor/selftest/programs, without `.txt`."
        )
    return [case for case in cases if case.name in names]


def run_selftest(
    backend: Backend,
    names: Sequence[str] = (),
    *,
    at_once: int = 1,
    scratch_root: Path | None = None,
    on_case: Callable[[Case], None] = lambda case: None,
) -> SelftestReport:
    """
    Run hostile and correct programs through a backend.

    The suite checks outcomes and executed lines. For a [`CodeExecutor`] it also checks that no process, file, shared
    memory or IPC object is left, that every fork server is alive, and that the memory of this process does not grow.

    Args:
        backend ([`Backend`]): Backend to test. Only its `submit` is called.
        names (`Sequence[str]`): Programs to run. Empty means all.
        at_once (`int`): Number of programs run in parallel. Leftovers are searched after each such batch.
        scratch_root (`Path`, *optional*): Folder that only this backend uses for its scratch folders.
        on_case (`Callable`): Called after each program.

    Returns:
        `SelftestReport`: Counts and failures.

    Raises:
        BadInputError: If a name is unknown.
        SandboxError: If the backend cannot run a harmless program.
    """
    cases = choose(names)
    local = isinstance(backend, CodeExecutor) and sys.platform == "linux"
    start = time.monotonic()
    census = leftovers.Census(scratch_root)
    outcome = backend.submit(HARMLESS_PROGRAM, HARMLESS_TESTS).result().outcome
    if outcome is not Outcome.PASSED:
        raise SandboxError(f"A harmless correct program got the outcome {outcome}. The selftest needs it to pass.")
    before = leftovers.resident_bytes() if local else 0
    findings: list[SelftestFinding] = []
    for first in range(0, len(cases), at_once):
        batch = cases[first : first + at_once]
        servers = leftovers.children_of_ours() if local else set[int]()
        futures = [backend.submit(case.program, case.tests) for case in batch]
        for case, future in zip(batch, futures, strict=True):
            findings += _check_case(case, future)
            on_case(case)
        if local:
            batch_names = ", ".join(case.name for case in batch)
            findings += (SelftestFinding("after", batch_names, "", left) for left in census.left_behind(servers))
    harmless = Case("after", "harmless program", HARMLESS_PROGRAM, HARMLESS_TESTS, frozenset({"passed"}), "")
    findings += _check_case(harmless, backend.submit(HARMLESS_PROGRAM, HARMLESS_TESTS))
    growth = None
    if local:
        gc.collect()
        growth = leftovers.resident_bytes() - before
        if growth > MAX_GROWTH_BYTES:
            findings.append(SelftestFinding("after", "all", "", f"this process grew by {growth / 2**20:.0f} MiB"))
    return SelftestReport(
        hostile=sum(case.kind == "hostile" for case in cases),
        correct=sum(case.kind == "correct" for case in cases),
        findings=tuple(findings),
        checked=("outcomes", "lines", *(("leftovers", "fork servers", "memory") if local else ())),
        layers=backend.layers if isinstance(backend, BaseBackend) else {},
        wall_s=time.monotonic() - start,
        growth_bytes=growth,
    )


def check_sandbox(
    config: ExecutorConfig | None = None,
    names: Sequence[str] = (),
    on_case: Callable[[Case], None] = lambda case: None,
) -> SelftestReport:
    """
    Run the suite on a new [`CodeExecutor`], and check that closing it leaves nothing behind.

    `config` defaults to one worker. The other arguments are those of [`run_selftest`].
    """
    config = config or ExecutorConfig(num_workers=1)
    previous_tempdir = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="selftest-", ignore_cleanup_errors=True) as folder:
        scratch_root = Path(folder)
        census = leftovers.Census(scratch_root)
        open_before = leftovers.num_descriptors() if sys.platform == "linux" else 0
        tempfile.tempdir = folder  # the fork servers create their scratch folders here
        try:
            with CodeExecutor(config) as executor:
                at_once = config.num_workers or 1
                report = run_selftest(executor, names, at_once=at_once, scratch_root=scratch_root, on_case=on_case)
        finally:
            tempfile.tempdir = previous_tempdir
        left = census.left_behind(set())
        left += [f"folder {path}" for path in scratch_root.iterdir()]
        if sys.platform == "linux" and (more := leftovers.num_descriptors() - open_before) > 0:
            left.append(f"{more} open descriptors")
    closed = tuple(SelftestFinding("after", "closing", "", one) for one in left)
    return replace(report, findings=report.findings + closed, checked=(*report.checked, "closing"))


def _check_case(case: Case, future: Future[Execution]) -> Iterator[SelftestFinding]:
    expected = "|".join(sorted(case.expected))
    try:
        execution = future.result()
    except SandboxError as error:
        yield SelftestFinding(case.kind, case.name, expected, "SandboxError", f"{error}; {case.note}")
        return
    messages = [test.message for test in execution.tests if test.message]
    detail = f"{messages[0] if messages else ''}; {case.note}"
    if execution.outcome.value not in case.expected:
        yield SelftestFinding(case.kind, case.name, expected, execution.outcome.value, detail)
    elif "worker lost" in messages:
        yield SelftestFinding(case.kind, case.name, expected, "worker lost", detail)
    num_lines = len(line_spans(case.program))
    beyond = [line for line in execution.executed_lines | execution.kept_lines if not 1 <= line <= num_lines]
    if beyond:
        yield SelftestFinding(case.kind, case.name, f"lines 1 to {num_lines}", f"lines {sorted(beyond)[:5]}", detail)
