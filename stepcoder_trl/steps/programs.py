"""Programs: handing them to the executor, waiting for the results, and counting failures of the sandbox."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from stepcoder_trl.errors import SandboxError
from stepcoder_trl.executor import Backend, CodeExecutor, ExecutorConfig
from stepcoder_trl.executor.backend import BaseBackend
from stepcoder_trl.types import Execution


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Feedback:
    """
    Results of running the programs of a batch.

    Attributes:
        executions (`tuple[Execution | None, ...]`): `None` without tests, or when the sandbox failed to run it.
        infrastructure_errors (`int`): Programs that the sandbox failed to run.
        wait_s (`float`): Seconds that training waited for results.
        programs_per_s (`float`): Programs per second from the submission to the last result.
        first_error (`str`): Message of the first of the infrastructure errors, empty without any.
        dropped_passes (`int`): Passes that were left out because their verdict could have been forged.
    """

    executions: tuple[Execution | None, ...]
    infrastructure_errors: int = 0
    wait_s: float = 0.0
    programs_per_s: float = 0.0
    first_error: str = ""
    dropped_passes: int = 0

    def without_untrusted_passes(self) -> Feedback:
        """The same feedback, with untrusted passes left out like programs that the sandbox failed to run."""
        kept = tuple(None if one is not None and one.is_untrusted_pass else one for one in self.executions)
        return replace(self, executions=kept, dropped_passes=kept.count(None) - self.executions.count(None))


def too_many_failures(errors: int, programs: int, limit: float, message: str) -> SandboxError:
    """
    Error to raise where the sandbox failed to run too many programs.

    Args:
        errors (`int`):
            Programs that the sandbox failed to run.
        programs (`int`):
            All programs.
        limit (`float`):
            Share of failures allowed, in [0, 1].
        message (`str`):
            Message of one of the failures.

    Returns:
        [`SandboxError`]
    """
    return SandboxError(
        f"{errors} of {programs} programs could not be run for a reason that is not theirs, more than "
        f"`max_infrastructure_error_rate` {limit} allows. One of them: {message} Check free disk space, memory and "
        "the number of processes allowed; `stepcoder-trl selftest` shows whether the sandbox works. No weight was "
        "changed by the samples of this batch: fix the cause, then resume from the newest checkpoint."
    )


class Runs:
    """
    Programs that are being run.

    Args:
        futures (`Sequence[Future | None]`):
            One per program, `None` for one without tests.
    """

    def __init__(self, futures: Sequence[Future[Execution] | None]) -> None:
        self.futures = tuple(futures)
        self._submitted_s = self._finished_s = time.perf_counter()
        for future in self.futures:
            if future is not None:
                future.add_done_callback(self._note_finish)

    def _note_finish(self, _: Future[Execution]) -> None:
        self._finished_s = max(self._finished_s, time.perf_counter())

    @property
    def duration_s(self) -> float:
        """Seconds from the submission to the last result so far."""
        return self._finished_s - self._submitted_s

    def cancel(self) -> None:
        """Cancel programs that have not begun."""
        for future in self.futures:
            if future is not None:
                future.cancel()


class ProgramRunner:
    """
    Runs the programs of a training run.

    Args:
        executor ([`Backend`] or `None`):
            Executor of the caller's, which stays open. `None` makes one when it is needed, and `close` closes it.
        config ([`ExecutorConfig`], *optional*):
            Settings of an executor made here.

    Attributes:
        backend (`str` or `None`): Class of the executor that gave the first results.
        layers (`Mapping[str, bool]`): Its layers of isolation, where it tells.
    """

    def __init__(self, executor: Backend | None = None, config: ExecutorConfig | None = None) -> None:
        self.config = config or ExecutorConfig()
        self.backend: str | None = None
        self.layers: Mapping[str, bool] = {}
        self._given = executor
        self._own: CodeExecutor | None = None

    @property
    def current(self) -> Backend | None:
        """Executor given or made, `None` if none is open."""
        return self._given if self._given is not None else self._own

    @property
    def executor(self) -> Backend:
        """Executor given, or one made here."""
        if self._given is not None:
            return self._given
        if self._own is None:
            self._own = CodeExecutor(self.config)
        return self._own

    def submit(self, programs: Sequence[str], tests: Sequence[Mapping[str, Any] | None]) -> Runs:
        """
        Start the programs and return at once.

        Args:
            programs (`Sequence[str]`):
                Programs.
            tests (`Sequence[Mapping | None]`):
                Tests of each. One without tests is not run.

        Returns:
            [`Runs`]
        """
        return Runs(
            [
                None if one is None else self.executor.submit(program, one)
                for program, one in zip(programs, tests, strict=True)
            ]
        )

    def collect(self, runs: Runs) -> Feedback:
        """
        Wait for the results.

        Args:
            runs ([`Runs`]):
                Programs that were submitted.

        Returns:
            [`Feedback`]: A program that the sandbox failed to run has no execution, and is counted.
        """
        begun_s = time.perf_counter()
        executions: list[Execution | None] = []
        errors: list[SandboxError] = []
        for future in runs.futures:
            try:
                executions.append(None if future is None else future.result())
            except SandboxError as error:
                executions.append(None)
                errors.append(error)
        if errors:
            logger.warning(f"{len(errors)} programs could not be run and are left out of training: {errors[0]}")
        done = sum(execution is not None for execution in executions)
        if done:
            self._note_backend()
        return Feedback(
            tuple(executions),
            infrastructure_errors=len(errors),
            wait_s=time.perf_counter() - begun_s,
            programs_per_s=done / max(runs.duration_s, 1e-9) if done else 0.0,
            first_error=str(errors[0]) if errors else "",
        )

    def close(self) -> None:
        """Close an executor that was made here."""
        if self._own is not None:
            self._own.close()
            self._own = None

    def _note_backend(self) -> None:
        if self.backend is None:
            self.backend = type(self.executor).__name__
            if isinstance(self.executor, BaseBackend):
                with suppress(SandboxError):  # the service does not answer now; a later call may tell
                    self.layers = self.executor.layers
