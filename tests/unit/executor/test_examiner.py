"""Checks whose verdict is taken in a process of its own."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig, Outcome
from stepcoder_trl.executor.examiner import PROCESS_NAME
from stepcoder_trl.executor.jobs import Limits, prepare_job
from stepcoder_trl.executor.selftest import leftovers
from stepcoder_trl.executor.tests_schema import validate_tests


pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(sys.platform != "linux", reason="the examiner belongs to Linux's fork server"),
]

CHECK = "def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(2) == 3, 'no'\n"
RIGHT = "def f(x):\n    return x + 1\n"
LOOP = "def check(candidate):\n    assert candidate(1) == 2\n    while candidate:\n        pass\n"


@pytest.fixture(scope="module")
def executor():
    with CodeExecutor(ExecutorConfig(num_workers=1, timeout_s=1.0)) as executor:
        yield executor


def checks(setup: str, *asserts: str, **fields: object) -> dict[str, object]:
    return {"type": "assert", "setup": setup, "asserts": list(asserts or ("check(f)",)), **fields}


def outcomes(execution):
    return [test.outcome.value for test in execution.tests]


def examiners() -> list[int]:
    names = {pid: Path(f"/proc/{pid}/comm").read_text().strip() for pid in leftovers.descendants()}
    return [pid for pid, name in names.items() if name == PROCESS_NAME]


@pytest.mark.parametrize(
    ("program", "outcome", "message", "line"),
    [
        (RIGHT, "passed", "", None),
        ("def f(x):\n    return 2\n", "failed", "AssertionError: no", None),
        ("def g(x): pass\n", "runtime_error", "NameError: name 'f' is not defined", None),
        ("def f(x):\n    raise ValueError(x)\n", "runtime_error", "ValueError: 1", 2),
        ("def f(x):\n    assert x == 5\n", "runtime_error", "AssertionError", 2),
        ("def f(x):\n    exit()\n", "runtime_error", "the program ended without an answer", None),
        ("1 / 0\n", "runtime_error", "ZeroDivisionError: division by zero", 1),
        ("def f(x):\n    return bytearray(2**40)\n", "memory_exceeded", "MemoryError", 2),
        ("def f(x):\n    while True: pass\n", "timeout", "time limit exceeded", None),
        ("def f(x:\n", "compile_error", "SyntaxError: '(' was never closed", 1),
    ],
)
def test_outcome_message_and_line_are_those_of_the_program(executor, program, outcome, message, line):
    execution = executor.run(program, checks(CHECK))

    (test,) = execution.tests
    assert (test.outcome.value, test.message, test.error_line, test.trusted) == (outcome, message, line, True)


def test_expected_values_do_not_enter_the_programs_process():
    tests = validate_tests(checks(CHECK))
    job = prepare_job(RIGHT, tests, Limits(1.0, None, 2**29))

    assert "candidate(2) == 3" not in str(job.message)
    assert b"candidate(2) == 3" in job.checks
    assert job.without_examiner is not None
    assert "candidate(2) == 3" in str(job.without_examiner().message)


def test_each_test_has_its_own_verdict(executor):
    tests = checks(CHECK, "check(f)", "assert f(2) == 3", "assert all(f(n) < 9 for n in range(9))", "check(f)")

    execution = executor.run(RIGHT, tests)

    assert outcomes(execution) == ["passed", "passed", "failed", "passed"]
    assert execution.trusted
    assert execution.executed_lines == {1, 2}


def test_names_that_tests_leave_to_each_other_keep_them_in_one_process(executor):
    execution = executor.run(RIGHT, checks("", "x = f(1)", "assert x == 2"))

    assert outcomes(execution) == ["passed", "passed"]


def test_arguments_that_no_message_carries_send_the_test_to_the_program(executor):
    setup = "def check(candidate):\n    assert candidate(bytearray([1])) == 1\n"

    execution = executor.run("def f(x):\n    return x.pop()\n", checks(setup))

    assert execution.outcome is Outcome.PASSED
    assert not execution.trusted


def test_a_predicate_of_the_setup_is_not_asked_where_the_program_could_replace_it(executor):
    setup = "def holds(function):\n    return function(1) == 2\n"
    liar = "import sys\ndef f(x):\n    sys.modules['__main__'].holds = lambda function: True\n"

    execution = executor.run(liar, checks(setup, "assert holds(f)"))

    assert execution.outcome is Outcome.FAILED


def test_a_check_that_never_ends_is_a_timeout_with_lines_and_the_next_test_runs(executor):
    setup = LOOP + "def other(candidate):\n    assert candidate(1) == 2\n"

    execution = executor.run(RIGHT, checks(setup, "check(f)", "other(f)", timeout_s=0.5))

    assert outcomes(execution) == ["timeout", "passed"]
    assert execution.executed_lines == {1, 2}
    assert executor.run(RIGHT, checks(CHECK)).outcome is Outcome.PASSED


def test_time_of_the_check_is_not_the_programs(executor):
    setup = "def check(candidate):\n    assert sum(range(5 * 10**6)) and candidate(1) == 2\n"

    execution = executor.run(RIGHT, checks(setup, timeout_s=5.0))

    assert execution.outcome is Outcome.PASSED
    assert execution.tests[0].time_s < 0.05


def test_a_check_that_needs_too_much_memory_is_out_of_it_alone(executor):
    setup = "def check(candidate):\n    assert [candidate(1)] * 2**40\n"

    assert executor.run(RIGHT, checks(setup)).outcome is Outcome.MEMORY_EXCEEDED
    assert executor.run(RIGHT, checks(CHECK)).outcome is Outcome.PASSED


def test_nothing_of_one_check_reaches_the_next(executor):
    setup = (
        "import random\nimport math\nseen = []\n\ndef check(candidate):\n    seen.append(random.random())\n"
        "    assert len(seen) == 1 and candidate(seen[0]) is None\n"
    )
    program = "def f(x):\n    raise ValueError(str(x))\n"

    first, second = (executor.run(program, checks(setup)) for _ in range(2))

    assert first.tests[0].message == second.tests[0].message != ""


def test_first_failure_stops_the_rest():
    with CodeExecutor(ExecutorConfig(num_workers=1, stop_on_first_failure=True)) as executor:
        execution = executor.run("def f(x):\n    return 2\n", checks(CHECK, "check(f)", "check(f)"))

    assert [test.message for test in execution.tests] == ["AssertionError: no", "not run"]


def test_every_test_can_have_a_process_of_its_own():
    program = "calls = []\ndef f(x):\n    calls.append(x)\n    return len(calls)\n"
    setup = "def check(candidate):\n    assert candidate(1) == 1\n"

    with CodeExecutor(ExecutorConfig(num_workers=1, fresh_process_per_test=True)) as executor:
        execution = executor.run(program, checks(setup, "check(f)", "check(f)"))

    assert outcomes(execution) == ["passed", "passed"]


def test_a_killed_examiner_is_replaced():
    others = set(examiners())
    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        assert executor.run(RIGHT, checks(CHECK)).outcome is Outcome.PASSED
        (examiner,) = set(examiners()) - others
        os.kill(examiner, signal.SIGKILL)
        execution = executor.run(RIGHT, checks(CHECK))
        (successor,) = set(examiners()) - others

    assert execution.outcome is Outcome.PASSED
    assert successor != examiner
    assert set(examiners()) <= others


@pytest.mark.parametrize("with_program", ["", "import os\n"], ids=["examiner", "with the program"])
def test_an_assertion_of_a_library_is_a_wrong_answer_if_the_test_asked_it(executor, with_program):
    setup = (
        f"{with_program}import numpy as np\ndef check(candidate):\n    np.testing.assert_allclose(candidate(1), 2)\n"
    )
    asked_by_the_program = "import numpy as np\ndef f(x):\n    np.testing.assert_allclose(1, 2)\n"

    wrong = executor.run("def f(x):\n    return 3\n", checks(setup))
    broken = executor.run(asked_by_the_program, checks(setup))

    assert (wrong.outcome, broken.outcome) == (Outcome.FAILED, Outcome.RUNTIME_ERROR)
    assert wrong.trusted is not bool(with_program)
