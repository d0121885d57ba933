"""What follows from `submit`: the faces that all backends share, and the asyncio one of the local executor."""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import Future

import pytest

from stepcoder_trl.errors import BadInputError, SandboxError
from stepcoder_trl.executor import Backend, BaseBackend, CodeExecutor, ExecutorConfig
from stepcoder_trl.types import Execution, Outcome


DOUBLE = "def f(x):\n    return 2 * x\n"
TESTS = {"type": "call", "fn_name": "f", "inputs": [[2]], "outputs": [4]}
linux = pytest.mark.skipif(sys.platform != "linux", reason="the fork server is made for Linux")


class Recorded(BaseBackend):
    """Backend whose futures are settled by the test."""

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


def run_many(backend, *arguments):
    return backend.run_many(*arguments)


def run_many_async(backend, *arguments):
    return asyncio.run(backend.run_many_async(*arguments))


many = pytest.mark.parametrize("many", [run_many, run_many_async])


def test_it_is_a_backend(backend):
    assert isinstance(backend, Backend)
    assert not isinstance(object(), Backend)


@many
def test_results_keep_the_order(backend, many):
    results = many(backend, ["failed", "passed", "timeout"], [TESTS] * 3)

    assert [result.outcome.value for result in results] == ["failed", "passed", "timeout"]


@many
def test_failures_of_ours_are_returned_in_their_slot_or_raised(backend, many):
    returned = many(backend, ["passed", "broken"], [TESTS] * 2, "return")

    assert isinstance(returned[1], SandboxError)
    with pytest.raises(SandboxError, match="out of order"):
        many(backend, ["broken", "waits"], [TESTS] * 2)
    assert backend.futures[-1].cancelled()


@many
@pytest.mark.parametrize(("programs", "on_error"), [(["passed", "passed"], "raise"), (["passed"], "ignore")])
def test_batches_that_do_not_fit_are_refused(backend, many, programs, on_error):
    with pytest.raises(BadInputError):
        many(backend, programs, [TESTS], on_error)


def test_cancelling_a_task_cancels_its_program(backend):
    async def cancel_one():
        task = asyncio.create_task(backend.run_async("waits", TESTS))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel_one())

    assert backend.futures[0].cancelled()


def test_cancelling_a_batch_cancels_all_its_programs(backend):
    async def cancel_all():
        task = asyncio.create_task(backend.run_many_async(["waits"] * 3, [TESTS] * 3))
        while len(backend.futures) < 3:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel_all())

    assert all(future.cancelled() for future in backend.futures)


def test_both_context_managers_close(backend):
    async def enter():
        async with backend as inside:
            assert inside is backend

    with backend as inside:
        assert inside is backend
    asyncio.run(enter())

    assert backend.closed == 2


@linux
@pytest.mark.sandbox
def test_local_executor_answers_coroutines(executor):
    async def gather():
        return await asyncio.gather(executor.run_async(DOUBLE, TESTS), executor.run_async("def f(x): 1/0", TESTS))

    outcomes = [execution.outcome for execution in asyncio.run(gather())]

    assert outcomes == [Outcome.PASSED, Outcome.RUNTIME_ERROR]


@linux
@pytest.mark.sandbox
def test_programs_cancelled_before_they_start_are_not_run():
    async def cancel_the_rest(executor):
        tasks = [asyncio.create_task(executor.run_async(DOUBLE, TESTS)) for _ in range(50)]
        first = await tasks[0]
        for task in tasks[1:]:
            task.cancel()
        rest = await asyncio.gather(*tasks[1:], return_exceptions=True)
        return first, rest, await executor.run_async(DOUBLE, TESTS)

    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        first, rest, after = asyncio.run(cancel_the_rest(executor))

    assert first.outcome is after.outcome is Outcome.PASSED
    assert all(isinstance(result, asyncio.CancelledError) or result.outcome is Outcome.PASSED for result in rest)
    assert any(isinstance(result, asyncio.CancelledError) for result in rest)
