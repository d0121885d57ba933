"""Runs the corpus through a backend and says what went wrong."""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from stepcoder_trl.errors import BadInputError, SandboxError
from stepcoder_trl.executor.backend import BaseBackend
from stepcoder_trl.executor.pool import CodeExecutor, ExecutorConfig
from stepcoder_trl.executor.selftest import leftovers
from stepcoder_trl.executor.selftest.corpus import Case, load
from stepcoder_trl.parsing import line_spans
from stepcoder_trl.types import Execution, Outcome


CANARY = "def double(n):\n    return n * 2\n"
CANARY_TESTS: dict[str, Any] = {"type": "call", "fn_name": "double", "inputs": [[21]], "outputs": [42]}
MAX_GROWTH_BYTES = 64 * 2**20  # outputs of 16 MiB pass through, and the allocator keeps some of it


class _Submits(Protocol):
    """What the suite needs of a backend."""

    def submit(self, program: str, tests: dict[str, Any]) -> Future[Execution]: ...


@dataclass(frozen=True)
class Finding:
    """
    One thing that went wrong.

    Attributes:
        kind (`str`): `"hostile"`, `"correct"`, or `"after"` for what was found beside or after the programs.
        name (`str`): Program, or programs that ran side by side.
        expected (`str`): Outcomes that are right, separated by `|`; empty for what was left behind.
        found (`str`): Outcome, or what was found.
        detail (`str`): Message of the first test that did not pass, and the corpus's own note.
    """

    kind: str
    name: str
    expected: str
    found: str
    detail: str = ""


@dataclass(frozen=True)
class SelftestReport:
    """
    Result of the suite.

    Attributes:
        hostile (`int`): Hostile programs that were run.
        correct (`int`): Correct programs that were run.
        findings (`tuple[Finding, ...]`): What went wrong; empty if nothing did.
        checked (`tuple[str, ...]`): What was looked at.
        layers (`dict[str, bool]`): Layers of isolation, where the backend tells.
        wall_s (`float`): Wall seconds.
        growth_bytes (`int` or `None`): By how much this process's memory grew; `None` if it was not looked at.
    """

    hostile: int
    correct: int
    findings: tuple[Finding, ...]
    checked: tuple[str, ...]
    layers: dict[str, bool]
    wall_s: float
    growth_bytes: int | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing went wrong."""
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """Report as a JSON object."""
        return {"ok": self.ok, **asdict(self)}


def choose(names: Sequence[str] = ()) -> list[Case]:
    """
    Programs of the corpus.

    Args:
        names (`Sequence[str]`): Names of programs; all of them if there is none.

    Raises:
        BadInputError: If there is no program of a name.
    """
    cases = [*load("hostile"), *load("correct")]
    if not names:
        return cases
    unknown = set(names) - {case.name for case in cases}
    if unknown:
        raise BadInputError(
            f"The corpus has no program {', '.join(map(repr, sorted(unknown)))}. Names are those of the files in "
            f"stepcoder_trl/executor/selftest/programs, without `.txt`."
        )
    return [case for case in cases if case.name in names]


def run_selftest(
    backend: _Submits,
    names: Sequence[str] = (),
    *,
    at_once: int = 1,
    scratch_root: Path | None = None,
    on_case: Callable[[Case], None] = lambda case: None,
) -> SelftestReport:
    """
    Run hostile and correct programs through a backend.

    Checked are outcomes and lines. For a [`CodeExecutor`] also: no process, file, shared memory or IPC object stays
    behind, every fork server is alive afterwards, and the memory of this process stays flat.

    Args:
        backend: Has `submit(program, tests)`, which returns a future of an [`Execution`].
        names (`Sequence[str]`): Programs to run; all of them if there is none.
        at_once (`int`): Programs that run side by side. What they leave is looked for when all of them have ended.
        scratch_root (`Path`, *optional*): Folder in which this backend, and nobody else, makes its scratch folders.
        on_case (`Callable`): Called with each program that has ended.

    Returns:
        `SelftestReport`: What went wrong.

    Raises:
        BadInputError: If there is no program of a name.
        SandboxError: If the backend cannot run even a harmless program.
    """
    cases = choose(names)
    local = isinstance(backend, CodeExecutor) and sys.platform == "linux"
    start = time.monotonic()
    census = leftovers.Census(scratch_root)
    _require_working(backend)
    before = leftovers.resident_bytes() if local else 0
    findings: list[Finding] = []
    for first in range(0, len(cases), at_once):
        window = cases[first : first + at_once]
        servers = leftovers.children_of_ours() if local else set[int]()
        futures = [backend.submit(case.program, case.tests) for case in window]
        for case, future in zip(window, futures, strict=True):
            findings += _judge(case, future)
            on_case(case)
        if local:
            names_of_window = ", ".join(case.name for case in window)
            findings += (Finding("after", names_of_window, "", left) for left in census.left_behind(servers))
    findings += _canary(backend)
    growth = None
    if local:
        gc.collect()
        growth = leftovers.resident_bytes() - before
        if growth > MAX_GROWTH_BYTES:
            findings.append(Finding("after", "all", "", f"this process grew by {growth / 2**20:.0f} MiB"))
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
    Run the suite on a [`CodeExecutor`] of its own, and look at what is left when that is closed, too.

    Args:
        config (`ExecutorConfig`, *optional*): Settings; one program at a time per worker.
        names (`Sequence[str]`): Programs to run; all of them if there is none.
        on_case (`Callable`): Called with each program that has ended.

    Returns:
        `SelftestReport`: What went wrong.
    """
    config = config or ExecutorConfig(num_workers=1)
    elsewhere = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="selftest-", ignore_cleanup_errors=True) as folder:
        scratch_root = Path(folder)
        census = leftovers.Census(scratch_root)
        open_before = leftovers.num_descriptors() if sys.platform == "linux" else 0
        tempfile.tempdir = folder  # the executor's servers make their folders there
        try:
            with CodeExecutor(config) as executor:
                at_once = config.num_workers or 1
                report = run_selftest(executor, names, at_once=at_once, scratch_root=scratch_root, on_case=on_case)
        finally:
            tempfile.tempdir = elsewhere
        left = census.left_behind(set())
        left += [f"folder {path}" for path in scratch_root.iterdir()]
        if sys.platform == "linux" and (more := leftovers.num_descriptors() - open_before) > 0:
            left.append(f"{more} open descriptors")
    closed = tuple(Finding("after", "closing", "", one) for one in left)
    return replace(report, findings=report.findings + closed, checked=(*report.checked, "closing"))


def _judge(case: Case, future: Future[Execution]) -> Iterator[Finding]:
    expected = "|".join(sorted(case.expected))
    try:
        execution = future.result()
    except SandboxError as error:
        yield Finding(case.kind, case.name, expected, "SandboxError", f"{error}; {case.note}")
        return
    messages = [test.message for test in execution.tests if test.message]
    detail = f"{messages[0] if messages else ''}; {case.note}"
    if execution.outcome.value not in case.expected:
        yield Finding(case.kind, case.name, expected, execution.outcome.value, detail)
    elif "worker lost" in messages:
        yield Finding(case.kind, case.name, expected, "worker lost", detail)
    num_lines = len(line_spans(case.program))
    beyond = [line for line in execution.executed_lines | execution.kept_lines if not 1 <= line <= num_lines]
    if beyond:
        yield Finding(case.kind, case.name, f"lines 1 to {num_lines}", f"lines {sorted(beyond)[:5]}", detail)


def _canary(backend: _Submits) -> list[Finding]:
    """Nothing if a harmless program passes."""
    case = Case("after", "harmless program", CANARY, CANARY_TESTS, frozenset({"passed"}), "")
    return list(_judge(case, backend.submit(case.program, case.tests)))


def _require_working(backend: _Submits) -> None:
    outcome = backend.submit(CANARY, CANARY_TESTS).result().outcome
    if outcome is not Outcome.PASSED:
        raise SandboxError(f"A harmless program that is right gets the outcome {outcome}: nothing else can be tested.")
