"""Programs and feedback."""

from __future__ import annotations

import logging
from concurrent.futures import Future
from dataclasses import replace

import pytest

from stepcoder_trl.errors import SandboxError
from stepcoder_trl.executor import CodeExecutor, ExecutorConfig, RemoteExecutor
from stepcoder_trl.executor.choice import ExecutorChoice
from stepcoder_trl.executor.remote.config import RemoteConfig
from stepcoder_trl.steps.programs import Feedback, ProgramRunner, too_many_failures
from stepcoder_trl.types import Outcome
from tests.unit.steps.samples import make_execution


STDIO = {"type": "stdio", "inputs": [""], "outputs": ["2"]}


class Answers:
    """Executor that returns these results in turn. The future of an error raises it."""

    timeout_s = 1.0

    def __init__(self, *answers):
        self.answers, self.closed = list(answers), False

    def submit(self, program, tests):
        future, answer = Future(), self.answers.pop(0)
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
        return future

    def close(self):
        self.closed = True


def test_results_come_in_order_and_programs_without_tests_are_not_run():
    passed, failed = make_execution(Outcome.PASSED), make_execution(Outcome.FAILED)
    runner = ProgramRunner(Answers(passed, failed))

    feedback = runner.collect(runner.submit(["a", "b", "c"], [{}, None, {}]))

    assert feedback.executions == (passed, None, failed)
    assert feedback.infrastructure_errors == 0
    assert feedback.programs_per_s > 0
    assert runner.backend == "Answers"


def test_failures_of_the_sandbox_are_counted_and_named(caplog):
    passed = make_execution(Outcome.PASSED)
    runner = ProgramRunner(Answers(SandboxError("disk full"), passed))

    with caplog.at_level(logging.WARNING, logger="stepcoder_trl"):
        feedback = runner.collect(runner.submit(["a", "b"], [{}, {}]))

    assert feedback.executions == (None, passed)
    assert (feedback.infrastructure_errors, feedback.first_error) == (1, "disk full")
    assert "1 programs could not be run" in caplog.text


def test_only_an_executor_made_here_is_closed():
    given = Answers()
    runner, own = ProgramRunner(given), ProgramRunner(choice=ExecutorChoice(ExecutorConfig(num_workers=1)))

    runner.close()
    assert own.current is None
    made = own.executor
    own.close()

    assert not given.closed
    assert isinstance(made, CodeExecutor)
    assert own.current is None


def test_error_says_how_many_programs_failed():
    error = too_many_failures(3, 8, 0.1, "disk full.")

    for part in ("3 of 8", "`max_infrastructure_error_rate` 0.1", "disk full.", "resume"):
        assert part in str(error)


def test_advice_is_about_the_machine_that_failed():
    with RemoteExecutor(RemoteConfig("http://127.0.0.1:9", max_attempts=1, backoff_s=0.01)) as remote:
        runner = ProgramRunner(remote)
        feedback = runner.collect(runner.submit(["print(2)"], [STDIO]))
    local = ProgramRunner(Answers(SandboxError("disk full")))
    here = local.collect(local.submit([""], [STDIO]))

    assert feedback.advice == "See whether `stepcoder-trl serve` still runs at http://127.0.0.1:9."
    assert "stepcoder-trl selftest" in here.advice


def test_runner_asks_for_hosts_before_it_makes_an_executor():
    runner = ProgramRunner(choice=ExecutorChoice(urls=("http://127.0.0.1:9",)))

    with pytest.raises(SandboxError, match=r"No sandbox can be used at http://127.0.0.1:9 .*stepcoder-trl serve"):
        runner.probe()
    ProgramRunner(Answers()).probe()


def test_untrusted_passes_are_left_out_and_counted():
    passed, failed = make_execution(), replace(make_execution(), outcome=Outcome.FAILED, trusted=False)
    forged = replace(make_execution(), outcome=Outcome.PASSED, trusted=False)

    feedback = Feedback((passed, forged, None, failed)).without_untrusted_passes()

    assert feedback == Feedback((passed, None, None, failed), dropped_passes=1)
