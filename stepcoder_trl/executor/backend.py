"""
What an execution backend offers, and what follows from its one essential method.

[`Backend`] is what callers ask for: the trainer, `evaluate` and the command line take any object of this form.
[`BaseBackend`] supplies everything but `submit`, `close` and the limits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from stepcoder_trl.errors import BadInputError, SandboxError
from stepcoder_trl.types import Execution


Tests = Mapping[str, Any] | str
_Self = TypeVar("_Self", bound="BaseBackend")


@runtime_checkable
class Backend(Protocol):
    """Runs untrusted programs under unit tests, here or elsewhere."""

    @property
    def timeout_s(self) -> float:
        """CPU seconds of one test, unless the tests say otherwise."""

    def submit(self, program: str, tests: Tests) -> Future[Execution]:
        """
        Run a program in the background.

        Returns:
            `Future[Execution]`: Raises [`SandboxError`] if the program could not be executed, which is never a score.
        """

    def run(self, program: str, tests: Tests) -> Execution:
        """Run a program and wait."""

    def run_many(
        self, programs: Sequence[str], tests: Sequence[Tests], on_error: Literal["raise", "return"] = "raise"
    ) -> list[Any]:
        """Run programs side by side; results in order, with `on_error="return"` a `SandboxError` in its slot."""

    def close(self) -> None:
        """Give everything back. Closing twice is fine."""


class BaseBackend(ABC):
    """Synchronous and asyncio faces of a backend, and its context managers, all made of `submit` and `close`."""

    @property
    @abstractmethod
    def timeout_s(self) -> float:
        """CPU seconds of one test, unless the tests say otherwise."""

    @abstractmethod
    def submit(self, program: str, tests: Tests) -> Future[Execution]:
        """Run a program in the background."""

    @abstractmethod
    def close(self) -> None:
        """Give everything back. Closing twice is fine."""

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self: _Self) -> _Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import asyncio

        await asyncio.to_thread(self.close)  # it waits for workers to end

    def run(self, program: str, tests: Tests) -> Execution:
        """Run a program and wait."""
        return self.submit(program, tests).result()

    def run_many(
        self, programs: Sequence[str], tests: Sequence[Tests], on_error: Literal["raise", "return"] = "raise"
    ) -> list[Any]:
        """
        Run programs side by side and return their results in order.

        Args:
            programs (`Sequence[str]`): Source texts.
            tests (`Sequence`): Tests of each program.
            on_error (`str`): `"raise"` the first [`SandboxError`], or `"return"` it in its slot.

        Returns:
            `list[Execution]`: With `on_error="return"`, slots may hold a `SandboxError` instead.
        """
        check_batch(programs, tests, on_error)
        futures: list[Future[Execution]] = []
        results: list[Any] = []
        try:
            futures += (self.submit(program, test) for program, test in zip(programs, tests, strict=True))
            for future in futures:
                try:
                    results.append(future.result())
                except SandboxError as error:
                    if on_error == "raise":
                        raise
                    results.append(error)
        except BaseException:  # Ctrl-C too: what has not started is not worth running
            for future in futures:
                future.cancel()
            raise
        return results

    async def run_async(self, program: str, tests: Tests) -> Execution:
        """
        Run a program from a coroutine: `await executor.run_async(program, tests)`.

        A task that is cancelled takes a program that has not started along; one that runs ends within its limits, and
        its result is dropped.
        """
        import asyncio

        return await asyncio.wrap_future(self.submit(program, tests))

    async def run_many_async(
        self, programs: Sequence[str], tests: Sequence[Tests], on_error: Literal["raise", "return"] = "raise"
    ) -> list[Any]:
        """Run programs side by side from a coroutine; arguments and results as in `run_many`."""
        import asyncio

        check_batch(programs, tests, on_error)
        tasks = [
            asyncio.ensure_future(self.run_async(program, test)) for program, test in zip(programs, tests, strict=True)
        ]
        try:
            return [await _settled(task, on_error) for task in tasks]
        finally:  # of a failure or a cancellation; those that are done do not mind
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _settled(task: Any, on_error: Literal["raise", "return"]) -> Any:
    try:
        return await task
    except SandboxError as error:
        if on_error == "raise":
            raise
        return error


def check_batch(programs: Sequence[str], tests: Sequence[Tests], on_error: str) -> None:
    """
    Refuse a batch that does not fit together.

    Raises:
        BadInputError: If there are not as many tests as programs, or `on_error` is unknown.
    """
    if len(programs) != len(tests):
        raise BadInputError(f"{len(programs)} programs, but {len(tests)} tests. Pass one tests object per program.")
    if on_error not in ("raise", "return"):
        raise BadInputError(f"`on_error` is {on_error!r}, but must be 'raise' or 'return'.")
