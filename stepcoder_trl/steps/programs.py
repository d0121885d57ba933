"""Running the programs of a batch, and counting failures of the sandbox."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from stepcoder_trl.errors import SandboxError
from stepcoder_trl.executor import Backend
from stepcoder_trl.executor.backend import BaseBackend, ConfiguredBackend
from stepcoder_trl.executor.choice import ExecutorChoice
from stepcoder_trl.executor.remote.config import RemoteConfig
from stepcoder_trl.types import Execution


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Feedback:
    """
    Results of running the programs of a batch.

    Attributes:
        executions (`tuple[Execution | None, ...]`): `None` without tests, or if the sandbox failed to run the program.
        infrastructure_errors (`int`): Number of programs that the sandbox failed to run.
        wait_s (`float`): Seconds that training waited for results.
        programs_per_s (`float`): Programs per second from the submission to the last result.
        first_error (`str`): Message of the first infrastructure error, or empty.
        advice (`str`): What to look at after infrastructure errors, or empty.
        dropped_passes (`int`): Number of passes that were dropped because their verdict could have been forged.
    """

    executions: tuple[Execution | None, ...]
    infrastructure_errors: int = 0
    wait_s: float = 0.0
    programs_per_s: float = 0.0
    first_error: str = ""
    advice: str = ""
    dropped_passes: int = 0

    def without_untrusted_passes(self) -> Feedback:
        """Return the feedback without untrusted passes: they are treated as if the sandbox had failed."""
        kept = tuple(None if one is not None and one.is_untrusted_pass else one for one in self.executions)
        return replace(self, executions=kept, dropped_passes=kept.count(None) - self.executions.count(None))


def too_many_failures(errors: int, programs: int, limit: float, message: str) -> SandboxError:
    """Return the error for a batch in which the sandbox failed to run too many programs, one with `message`."""
    return SandboxError(
        f"{errors} of {programs} programs could not be run for a reason that is not theirs, more than "
        f"`max_infrastructure_error_rate` {limit} allows. One of them: {message} No weight was changed by the "
        "samples of this batch: fix the cause, then resume from the newest checkpoint."
    )


class Runs:
    """Programs that are running. A program without tests has no future."""

    def __init__(self, futures: Sequence[Future[Execution] | None]) -> None:
        self.futures = tuple(futures)
        self.submitted_s = self.finished_s = time.perf_counter()
        for future in self.futures:
            if future is not None:
                future.add_done_callback(self._note_finish)

    def _note_finish(self, _: Future[Execution]) -> None:
        self.finished_s = max(self.finished_s, time.perf_counter())


class ProgramRunner:
    """
    Runs the programs of a training run.

    Args:
        executor ([`Backend`] or `None`):
            Executor of the caller, which stays open. `None` makes one when it is needed, and `close` closes it.
        choice ([`ExecutorChoice`], *optional*):
            Kind and settings of an executor that is made here.

    Attributes:
        current ([`Backend`] or `None`): Open executor, if there is one.
        backend (`str` or `None`): Class of the executor that gave the first results.
        layers (`Mapping[str, bool]`): Its isolation layers, if it reports them.
    """

    def __init__(self, executor: Backend | None = None, choice: ExecutorChoice | None = None) -> None:
        self.choice = choice or ExecutorChoice()
        self.backend: str | None = None
        self.layers: Mapping[str, bool] = {}
        self.current = executor
        self._closes = executor is None

    @property
    def executor(self) -> Backend:
        """Return the open executor, or make one."""
        if self.current is None:
            self.current = self.choice.open()
        return self.current

    def probe(self) -> None:
        """Raise a `SandboxError` if an executor that is to be made here would have no host."""
        if self.current is None:
            self.choice.probe()

    @property
    def _advice(self) -> str:
        """Return what to look at when programs could not be run."""
        config = self.executor.config if isinstance(self.executor, ConfiguredBackend) else None
        if isinstance(config, RemoteConfig):
            return f"See whether `stepcoder-trl serve` still runs at {', '.join(config.urls)}."
        return (
            "Check free disk space, memory and the number of processes allowed; `stepcoder-trl selftest` shows "
            "whether the sandbox works."
        )

    def submit(self, programs: Sequence[str], tests: Sequence[Mapping[str, Any] | None]) -> Runs:
        """Start the programs in the background. A program without tests is not run."""
        pairs = zip(programs, tests, strict=True)
        return Runs([None if one is None else self.executor.submit(program, one) for program, one in pairs])

    def collect(self, runs: Runs) -> Feedback:
        """Wait for the results. A program that the sandbox failed to run has no execution, and is counted."""
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
            logger.warning(f"{len(errors)} programs could not be run and are left out: {errors[0]}")
        done = sum(execution is not None for execution in executions)
        if done:
            self._note_backend()
        return Feedback(
            tuple(executions),
            infrastructure_errors=len(errors),
            wait_s=time.perf_counter() - begun_s,
            programs_per_s=done / max(runs.finished_s - runs.submitted_s, 1e-9) if done else 0.0,
            first_error=str(errors[0]) if errors else "",
            advice=self._advice if errors else "",
        )

    def close(self) -> None:
        """Close the executor if it was made here."""
        if self._closes and self.current is not None:
            self.current.close()
            self.current = None

    def _note_backend(self) -> None:
        """Note the executor that gave the first results, for the model card."""
        if self.backend is None:
            self.backend = type(self.executor).__name__
            if isinstance(self.executor, BaseBackend):
                with suppress(SandboxError):  # the service does not answer
                    self.layers = self.executor.layers
