"""
Interface of execution backends.

Trainers accept any [`Backend`]. [`BaseBackend`] implements it for a class that has `submit`, `close` and `timeout_s`.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from types import TracebackType
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from stepcoder_trl.errors import BadInputError, SandboxError
from stepcoder_trl.executor.verdict.limits import Limits
from stepcoder_trl.types import Execution


# A backend that loses a program runs this one. If it passes, the backend works, and the lost program is at fault.
HARMLESS_PROGRAM = "print(input())\n"
HARMLESS_TESTS: dict[str, Any] = {"type": "stdio", "inputs": ["ok"], "outputs": ["ok"]}

# Tests in one of the forms of `validate_tests`: an object, its JSON text, or `Tests`, which are a read-only mapping.
TestsLike = Mapping[str, Any] | str
_Self = TypeVar("_Self", bound="BaseBackend")


@runtime_checkable
class Backend(Protocol):
    """Object that runs untrusted programs under unit tests."""

    @property
    @abstractmethod
    def timeout_s(self) -> float:
        """Return the default CPU seconds of one test."""

    @abstractmethod
    def submit(self, program: str, tests: TestsLike) -> Future[Execution]:
        """
        Run a program in the background.

        Args:
            program (`str`):
                Source text. A text that is not Python is run too, and gets `compile_error`.
            tests (`Mapping` or `str`):
                Tests, as an object or as JSON text. To run many programs of one problem, pass [`Tests`]: they are
                checked and prepared only once.

        Returns:
            `Future[Execution]`: Raises [`SandboxError`] if the program could not be executed.

        Raises:
            BadInputError: If the tests are invalid.
            SandboxError: If the backend is closed.
        """

    @abstractmethod
    def run(self, program: str, tests: TestsLike) -> Execution:
        """
        Run a program, and wait for its result.

        Raises:
            BadInputError: If the tests are invalid.
            SandboxError: If the program could not be executed.
        """

    @abstractmethod
    def run_many(
        self, programs: Sequence[str], tests: Sequence[TestsLike], on_error: Literal["raise", "return"] = "raise"
    ) -> list[Any]:
        """Run programs in parallel. Return their results in order, or a `SandboxError` with `on_error="return"`."""

    @abstractmethod
    def close(self) -> None:
        """Release all resources. Closing twice is allowed."""


class BaseBackend(Backend):
    """Base class that implements `run`, `run_many` and the context manager from `submit` and `close`."""

    @property
    def layers(self) -> dict[str, bool]:
        """Return the isolation layers by name, `True` where active. Empty if the backend does not report them."""
        return {}

    @property
    def stops_on_first_failure(self) -> bool:
        """Return whether tests after the first failure are not run."""
        return False

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, program: str, tests: TestsLike) -> Execution:
        """Run a program, and wait for its result, see [`Backend`]."""
        return _result(self.submit(program, tests))

    def run_many(
        self,
        programs: Sequence[str],
        tests: Sequence[TestsLike],
        on_error: Literal["raise", "return"] = "raise",
        batch_timeout_s: float | None = None,
    ) -> list[Any]:
        """
        Run programs in parallel, and return their results in order.

        Args:
            programs (`Sequence[str]`): Source texts.
            tests (`Sequence`): Tests of each program.
            on_error (`str`): `"raise"` the first [`SandboxError`], or `"return"` it in place of the result.
            batch_timeout_s (`float`, *optional*):
                Wall seconds for the whole batch. A program without a result by then gets a `SandboxError`. By default
                only the limits of the programs apply.

        Returns:
            `list[Execution]`: With `on_error="return"`, an entry may be a `SandboxError` instead.

        Raises:
            BadInputError: If tests are invalid, or their number is not the number of programs.
            SandboxError: If a program could not be executed and `on_error` is `"raise"`.
        """
        if isinstance(tests, (str, Mapping)):
            raise BadInputError("`tests` is one object. Pass one per program, as `[tests] * len(programs)`.")
        if isinstance(programs, str):
            raise BadInputError("`programs` is one text. Pass a list of programs, or call `run`.")
        if len(programs) != len(tests):
            raise BadInputError(
                f"{len(programs)} programs, but {len(tests)} tests. Pass one tests object per program."
            )
        if on_error not in ("raise", "return"):
            raise BadInputError(f"`on_error` is {on_error!r}, but must be 'raise' or 'return'.")
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
        except BaseException:  # after Ctrl-C nobody waits for the programs that have not started
            for future in futures:
                future.cancel()
            raise
        return results


class ConfiguredBackend(BaseBackend):
    """Base class of the executors of this package. Each is made from its settings, `config`."""

    config: Limits

    def __reduce__(self) -> tuple[type[ConfiguredBackend], tuple[Limits]]:
        """Pickle the settings alone: a spawned process creates its own executor from them."""
        return type(self), (self.config,)

    @property
    def stops_on_first_failure(self) -> bool:
        """Return whether tests after the first failure are not run."""
        return self.config.stop_on_first_failure

    @property
    def timeout_s(self) -> float:
        """Return the default CPU seconds of one test."""
        return self.config.timeout_s


def _result(future: Future[Execution], end: float | None = None) -> Execution:
    """Return the result of a program, or raise a `SandboxError`. `end` is in seconds of the monotonic clock."""
    try:
        return future.result(None if end is None else max(0.0, end - time.monotonic()))
    except FutureTimeoutError:
        future.cancel()
        raise SandboxError(
            "A program had not ended when the time of its batch was over (`batch_timeout_s`)."
        ) from None
    except CancelledError:
        raise SandboxError("This executor was closed before the program had started.") from None
