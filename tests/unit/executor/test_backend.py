"""Test the methods that `BaseBackend` implements, and waiting for a program in a coroutine."""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import Future

import pytest

from stepcoder_trl.errors import BadInputError, SandboxError
from stepcoder_trl.executor import (
    Backend,
    BaseBackend,
    CodeExecutor,
    ExecutorConfig,
    RayExecutor,
    RemoteConfig,
    RemoteExecutor,
)
from stepcoder_trl.types import Execution, Outcome


DOUBLE = "def f(x):\n    return 2 * x\n"
TESTS = {"type": "call", "fn_name": "f", "inputs": [[2]], "outputs": [4]}
linux = pytest.mark.skipif(sys.platform != "linux", reason="the fork server is made for Linux")


class Recorded(BaseBackend):
    """Backend that settles each future at once: the program is its outcome, `broken` or `waits`."""

    timeout_s = 1.0

    def __init__(self) -> None:
        self.futures: list[Future[Execution]] = []
        self.closed = 0

    def submit(self, program, tests):
        self.futures.append(Future())
        if program == "broken":
            self.futures[-1].set_exception(SandboxError("out of order"))
        elif program != "waits":
            self.futures[-1].set_result(Execution(Outcome(program), (), frozenset(), frozenset(), 0.0, True))
        return self.futures[-1]

    def close(self):
        self.closed += 1


@pytest.fixture
def backend():
    return Recorded()


def test_subclass_is_a_backend(backend):
    assert isinstance(backend, Backend)
    assert not isinstance(object(), Backend)


def test_local_executor_is_a_backend():
    with CodeExecutor() as executor:
        assert isinstance(executor, Backend)


def test_remote_executor_is_a_backend():
    with RemoteExecutor("http://127.0.0.1:9") as executor:
        assert isinstance(executor, Backend)


def test_results_are_in_order(backend):
    results = backend.run_many(["failed", "passed", "timeout"], [TESTS] * 3)

    assert [result.outcome.value for result in results] == ["failed", "passed", "timeout"]


def test_sandbox_error_is_returned_or_raised(backend):
    returned = backend.run_many(["passed", "broken"], [TESTS] * 2, "return")

    assert isinstance(returned[1], SandboxError)
    with pytest.raises(SandboxError, match="out of order"):
        backend.run_many(["broken", "waits"], [TESTS] * 2)
    assert backend.futures[-1].cancelled()


@pytest.mark.parametrize(
    ("programs", "tests", "on_error", "message"),
    [
        (["passed"] * 2, [TESTS], "raise", "2 programs, but 1 tests"),
        (["passed"] * 2, TESTS, "raise", "`tests` is one object. Pass one per program"),
        ("passed", [TESTS], "raise", "`programs` is one text. Pass a list"),
        (["passed"], [TESTS], "ignore", "`on_error` is 'ignore'"),
    ],
)
def test_invalid_batch_is_refused(backend, programs, tests, on_error, message):
    with pytest.raises(BadInputError, match=message):
        backend.run_many(programs, tests, on_error)


def test_context_manager_closes(backend):
    with backend as inside:
        assert inside is backend

    assert backend.closed == 1


def test_cancelling_a_task_cancels_its_program(backend):
    async def cancel_one():
        future = asyncio.wrap_future(backend.submit("waits", TESTS))
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future

    asyncio.run(cancel_one())

    assert backend.futures[0].cancelled()


@linux
@pytest.mark.sandbox
def test_coroutine_waits_for_local_executor(executor):
    async def wait():
        return await asyncio.wrap_future(executor.submit(DOUBLE, TESTS))

    execution = asyncio.run(wait())

    assert execution.outcome is Outcome.PASSED


@linux
@pytest.mark.sandbox
def test_cancelled_programs_are_not_run():
    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        first, *rest = [executor.submit(DOUBLE, TESTS) for _ in range(50)]
        first.result()
        for future in rest:
            future.cancel()
        after = executor.run(DOUBLE, TESTS)

    assert first.result().outcome is after.outcome is Outcome.PASSED
    assert any(future.cancelled() for future in rest)
    assert all(future.cancelled() or future.result().outcome is Outcome.PASSED for future in rest)


@pytest.mark.parametrize("stops", [True, False])
def test_every_executor_says_what_its_settings_say(stops):
    config = ExecutorConfig(timeout_s=7.0, stop_on_first_failure=stops)
    remote = RemoteConfig("http://127.0.0.1:9", timeout_s=7.0, stop_on_first_failure=stops)

    for executor in (CodeExecutor(config), RayExecutor(config, cluster=object()), RemoteExecutor(remote)):
        with executor:
            assert (executor.timeout_s, executor.stops_on_first_failure) == (7.0, stops)
