"""Run the corpus through a backend and report failures."""

from __future__ import annotations

import contextlib
import difflib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from stepcoder_trl.errors import BadInputError, SandboxError
from stepcoder_trl.executor.backend import HARMLESS_PROGRAM, HARMLESS_TESTS, Backend, BaseBackend
from stepcoder_trl.executor.local.config import ExecutorConfig
from stepcoder_trl.executor.local.executor import CodeExecutor
from stepcoder_trl.executor.selftest import leftovers
from stepcoder_trl.executor.selftest.bait import bait
from stepcoder_trl.executor.selftest.checks import (
    SelftestFinding,
    check_alone,
    check_companions,
    check_future,
    check_one,
    submit,
)
from stepcoder_trl.executor.selftest.corpus import Case, load
from stepcoder_trl.types import Outcome


MAX_GROWTH_BYTES = 64 * 2**20


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
    known = [case.name for case in cases]
    unknown = sorted(set(names).difference(known))
    if unknown:
        close = difflib.get_close_matches(unknown[0], known, n=1)
        files = "Use the names of the files in stepcoder_trl/executor/selftest/programs, without `.txt`."
        fix = f"Did you mean `{close[0]}`?" if close else files
        raise BadInputError(f"The corpus has no program {', '.join(map(repr, unknown))}. {fix}")
    return [case for case in cases if case.name in names]


def _batches(cases: Sequence[Case], size: int) -> Iterator[Sequence[Case]]:
    """Yield the cases in batches that run in parallel. A case that needs a worker of its own is a batch of its own."""
    together = [case for case in cases if not case.requirements.needs_own_worker]
    yield from (together[first : first + size] for first in range(0, len(together), size))
    yield from ([case] for case in cases if case.requirements.needs_own_worker)


def _check_batch(batch: Sequence[Case], backend: Backend, scratch_root: Path | None) -> list[SelftestFinding]:
    """Run cases in parallel. Return what is wrong. A backend of somebody else gets no settings and no measures."""
    if isinstance(backend, CodeExecutor) and batch[0].requirements.needs_own_worker:
        return check_alone(batch[0], backend, scratch_root)
    findings = [found for case in batch for found in check_companions(case.requirements.first, backend)]
    futures = [(case, submit(backend, case)) for case in batch if not case.requirements.config]
    findings += [found for case, future in futures for found in check_future(case, future)]
    return findings + [found for case in batch for found in check_companions(case.requirements.then, backend)]


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

    The suite checks outcomes, messages and lines. For a [`CodeExecutor`] it also checks that no process, file,
    shared memory or IPC object is left, that every fork server is alive, and that the memory of this process does not
    grow. Programs that need a worker of their own run on a new executor with the same settings.

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
    before = leftovers.settled_bytes() if local else 0
    findings: list[SelftestFinding] = []
    for batch in _batches(cases, at_once):
        servers = leftovers.children_of_ours() if local else set[int]()
        findings += _check_batch(batch, backend, scratch_root)
        for case in batch:
            on_case(case)
        if local:
            batch_names = ", ".join(case.name for case in batch)
            findings += (SelftestFinding("after", batch_names, "", left) for left in census.left_behind(servers))
    harmless = Case("after", "harmless program", HARMLESS_PROGRAM, HARMLESS_TESTS, frozenset({"passed"}), "")
    findings += check_one(harmless, backend)
    growth = None
    if local:
        growth = leftovers.settled_bytes() - before
        if growth > MAX_GROWTH_BYTES:
            findings.append(SelftestFinding("after", "all", "", f"this process grew by {growth / 2**20:.0f} MiB"))
    return SelftestReport(
        hostile=sum(case.kind == "hostile" for case in cases),
        correct=sum(case.kind == "correct" for case in cases),
        findings=tuple(findings),
        checked=("outcomes", "messages", "lines", *(("leftovers", "fork servers", "memory") if local else ())),
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
    with contextlib.ExitStack() as stack:
        untouched = stack.enter_context(bait()) if sys.platform == "linux" else None
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="selftest-", ignore_cleanup_errors=True))
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
        left += untouched.touched() if untouched is not None else ()
        if sys.platform == "linux" and (more := leftovers.num_descriptors() - open_before) > 0:
            left.append(f"{more} open descriptors")
    closed = tuple(SelftestFinding("after", "closing", "", one) for one in left)
    return replace(report, findings=report.findings + closed, checked=(*report.checked, "closing"))
