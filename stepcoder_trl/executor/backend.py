"""
What an execution backend offers, and what follows from its one essential method.

[`Backend`] is what callers ask for: the trainer, `evaluate` and the command line take any object of this form.
[`BaseBackend`] supplies everything but `submit`, `close` and the limits.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from types import TracebackType
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from stepcoder_trl.errors import BadInputError, SandboxError
from stepcoder_trl.types import Execution


# A sandbox that loses a program runs this one: if it passes, the sandbox works and the program is at fault.
HARMLESS_PROGRAM = "print(input())\n"
HARMLESS_TESTS: dict[str, Any] = {"type": "stdio", "inputs": ["ok"], "outputs": ["ok"]}

# Tests in one of the forms of `validate_tests`: an object, its JSON text, or parsed `Tests`, which are a mapping.
TestsLike = Mapping[str, Any] | str
_Self = TypeVar("_Self", bound="BaseBackend")


@runtime_checkable
class Backend(Protocol):
    """Runs untrusted programs under unit tests, here or elsewhere."""

    @property
    def timeout_s(self) -> float:
        """CPU seconds of one test, unless the tests say otherwise."""

    def submit(self, program: str, tests: TestsLike) -> Future[Execution]:
        """
        Run a program in the background.

        Returns:
            `Future[Execution]`: Raises [`SandboxError`] if the program could not be executed, which is never a score.
        """

    def run(self, program: str, tests: TestsLike) -> Execution:
        """Run a program and wait."""

    def run_many(
        self, programs: Sequence[str], tests: Sequence[TestsLike], on_error: Literal["raise", "return"] = "raise"
    ) -> list[Any]:
        """Run programs side by side; results in order, with `on_error="return"` a `SandboxError` in its slot."""

    def close(self) -> None:
        """Give everything back. Closing twice is fine."""


class BaseBackend(ABC):
    """Makes `run`, `run_many` and the context manager of a backend from its `submit` and `close`."""

    @property
    @abstractmethod
    def timeout_s(self) -> float:
        """CPU seconds of one test, unless the tests say otherwise."""

    @abstractmethod
    def submit(self, program: str, tests: TestsLike) -> Future[Execution]:
        """Run a program in the background."""

    @abstractmethod
    def close(self) -> None:
        """Give everything back. Closing twice is fine."""

    @property
    def layers(self) -> dict[str, bool]:
        """Layers of isolation by name and whether each is in force; empty if the backend does not tell."""
        return {}

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, program: str, tests: TestsLike) -> Execution:
        """Run a program and wait."""
        return _result(self.submit(program, tests))

    def run_many(
        self,
        programs: Sequence[str],
        tests: Sequence[TestsLike],
        on_error: Literal["raise", "return"] = "raise",
        batch_timeout_s: float | None = None,
    ) -> list[Any]:
        """
        Run programs side by side and return their results in order.

        Args:
            programs (`Sequence[str]`): Source texts.
            tests (`Sequence`): Tests of each program.
            on_error (`str`): `"raise"` the first [`SandboxError`], or `"return"` it in its slot.
            batch_timeout_s (`float`, *optional*):
                Wall seconds for the whole batch. Programs without a result by then are not scored: a `SandboxError`.
                Without it the batch is bounded by the limits of its programs.

        Returns:
            `list[Execution]`: With `on_error="return"`, slots may hold a `SandboxError` instead.
        """
        _check_batch(programs, tests, on_error)
        end = None if batch_timeout_s is None else time.monotonic() + batch_timeout_s
        futures: list[Future[Execution]] = []
        results: list[Any] = []
        try:
            futures += (self.submit(program, test) for program, test in zip(programs, tests, strict=True))
            for future in futures:
                try:
                    results.append(_result(future, end))
                except SandboxError as error:
                    if on_error == "raise":
                        raise
                    results.append(error)
        except BaseException:  # Ctrl-C too: what has not started is not worth running
            for future in futures:
                future.cancel()
            raise
        return results


def _result(future: Future[Execution], end: float | None = None) -> Execution:
    """Result of a program, or a `SandboxError` that says why there is none. `end` is in monotonic seconds."""
    try:
        return future.result(None if end is None else max(0.0, end - time.monotonic()))
    except FutureTimeoutError:
        future.cancel()
        raise SandboxError(
            "A program had not ended when the time of its batch was over (`batch_timeout_s`)."
        ) from None
    except CancelledError:
        raise SandboxError("This executor was closed before the program had started.") from None


def _check_batch(programs: Sequence[str], tests: Sequence[TestsLike], on_error: str) -> None:
    """Refuse a batch with another number of tests than programs, or with an unknown `on_error`."""
    if len(programs) != len(tests):
        raise BadInputError(f"{len(programs)} programs, but {len(tests)} tests. Pass one tests object per program.")
    if on_error not in ("raise", "return"):
        raise BadInputError(f"`on_error` is {on_error!r}, but must be 'raise' or 'return'.")
