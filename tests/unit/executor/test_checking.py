"""Outputs that a checker judges."""

from __future__ import annotations

import json
from concurrent.futures import Future

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig
from stepcoder_trl.errors import BadInputError, SandboxError
from stepcoder_trl.executor.checking import submit_checked
from stepcoder_trl.executor.verdict.limits import Limits
from stepcoder_trl.executor.verdict.schema import Tests, validate_tests
from stepcoder_trl.types import Execution, Outcome, TestResult


CHECKER = (
    "def check(input, expected, output):\n"
    "    a, b = map(int, output.split())\n"
    "    return a + b == int(input) and len(expected) > 0\n"
)
TESTS = {"type": "checker", "inputs": ["5", "7"], "outputs": ["2 3", "3 4"], "checker": CHECKER}


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("program", "outcome", "message"),
    [
        ("n = int(input())\nprint(1, n - 1)\n", "passed", ""),
        ("n = int(input())\nprint(n - 1, 1)\n", "passed", ""),
        ("print(2, 3)\n", "failed", "the checker rejects the output"),
        ("print('a')\n", "failed", "the checker fails: ValueError: invalid literal"),
        ("print(1 // 0)\n", "runtime_error", "ZeroDivisionError"),
        ("print(\n", "compile_error", "SyntaxError"),
        (
            "import sys\nsys.stdout.buffer.write(b'\\xff 1')\n",
            "failed",
            "the checker fails: ValueError: invalid literal",
        ),
    ],
)
def test_outcome_is_that_of_the_checker(executor, program, outcome, message):
    execution = executor.run(program, TESTS)

    assert execution.outcome == outcome
    assert execution.tests[-1].message.startswith(message)
    assert execution.trusted
    assert all(test.output is None for test in execution.tests)


@pytest.mark.sandbox
def test_lines_are_those_of_the_program(executor):
    execution = executor.run("n = int(input())\nif n > 100:\n    n = 0\nprint(1, n - 1)\n", TESTS)

    assert execution.executed_lines == frozenset({1, 2, 4})
    assert not execution.trace_lost


@pytest.mark.sandbox
def test_program_cannot_see_the_checker(executor):
    program = "import gc\nfound = [x for x in gc.get_objects() if isinstance(x, str) and 'check' in x]\nprint(2, 3)\n"
    program += "import os\nprint(*[os.listdir('.')])\n"

    assert executor.run(program, TESTS).outcome == "failed"


@pytest.mark.sandbox
def test_checker_may_take_too_long(executor):
    tests = {**TESTS, "checker": "def check(*texts):\n    while True:\n        pass\n", "timeout_s": 0.3}

    execution = executor.run("print(1)\n", tests)

    assert execution.outcome == "failed"
    assert execution.tests[0].message == "the checker fails: time limit exceeded"


@pytest.mark.sandbox
def test_checker_has_the_limit_of_a_test_for_each_output(executor):
    # A budget of all calls together would be used up before the last.
    checker = "import time\ndef check(*texts):\n    end = time.process_time() + 0.05\n"
    checker += "    while time.process_time() < end:\n        pass\n    return True\n"
    tests = {**TESTS, "inputs": ["1"] * 12, "outputs": ["1"] * 12, "checker": checker, "timeout_s": 0.1}

    execution = executor.run("print(1)\n", tests)

    assert [test.message for test in execution.tests] == [""] * 12


@pytest.fixture(scope="module")
def stopping():
    config = ExecutorConfig(num_workers=1, timeout_s=0.5, program_timeout_s=1.0, stop_on_first_failure=True)
    with CodeExecutor(config) as executor:
        yield executor


THREE = {**TESTS, "inputs": ["5", "7", "9"], "outputs": ["2 3", "3 4", "4 5"]}


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("on_second_test", "outcome", "messages"),
    [
        ("print(1, n - 1)", "passed", ["", "", ""]),
        ("print(1, n)", "failed", ["", "the checker rejects the output", "not run"]),
        ("print(n[0])", "runtime_error", ["", "TypeError: 'int' object is not subscriptable", "not run"]),
    ],
)
def test_test_after_a_rejected_output_is_not_run(stopping, on_second_test, outcome, messages):
    program = "n = int(input())\nif n == 9:\n    m = n\n"
    program += f"if n == 7:\n    {on_second_test}\nelse:\n    print(1, n - 1)\n"

    execution = stopping.run(program, THREE)

    assert (execution.outcome, [test.message for test in execution.tests]) == (outcome, messages)
    assert [test.outcome for test in execution.tests] == ["passed", outcome, outcome]
    assert (3 in execution.executed_lines) == (outcome == "passed")


@pytest.mark.sandbox
def test_tests_that_are_checked_one_by_one_share_the_time_of_the_program(stopping):
    program = "import time\nn = int(input())\nend = time.process_time() + 0.4\n"
    program += "while time.process_time() < end:\n    pass\nprint(1, n - 1)\n"
    tests = {**TESTS, "inputs": ["5"] * 5, "outputs": ["2 3"] * 5}

    execution = stopping.run(program, tests)

    assert [test.outcome for test in execution.tests] == ["passed", "passed", "timeout", "timeout", "timeout"]
    assert execution.tests[-1].message == "not run"


@pytest.mark.sandbox
def test_output_that_leaves_no_room_for_the_checker_is_wrong(executor):
    tests = {"type": "checker", "inputs": ["1"], "outputs": ["1"], "checker": "def check(*texts):\n    return True\n"}

    fits, exceeds = executor.run_many(["print('a' * 2**20)\n", "print('a' * (2**24 - 2))\n"], [tests] * 2)

    assert fits.outcome == "passed"
    assert (exceeds.outcome, exceeds.tests[0].message) == ("failed", "too much output for the checker")


def test_tests_that_are_too_large_for_a_checker_are_refused():
    with pytest.raises(BadInputError, match=r"`tests.inputs\[1\]` and `tests.outputs\[1\]` are too large") as error:
        validate_tests({**TESTS, "inputs": ["5", "7" * 18_000_000]}, "rows.jsonl:1")

    assert len(str(error.value)) < 200


@pytest.mark.sandbox
def test_closed_executor_settles_all_programs():
    executor = CodeExecutor(ExecutorConfig(num_workers=1))
    futures = [executor.submit("print(2, 3)\n", TESTS) for _ in range(4)]
    executor.close()

    assert all(future.cancelled() or isinstance(future.exception(), (SandboxError, type(None))) for future in futures)
    with pytest.raises(SandboxError):
        executor.submit("print(2, 3)\n", TESTS)


@pytest.mark.parametrize("checker", ["x = 1\n", "def check(:\n", 3, None])
def test_checker_must_define_check(checker):
    with pytest.raises(BadInputError, match=r"`tests\.checker`"):
        validate_tests({**TESTS, "checker": checker})


def test_large_outputs_are_sent_one_after_the_other():
    """Each character may become six on the way, for all tests together that would be gigabytes of this process."""
    sent: list[int] = []

    def submit(program: str, tests: Tests, limits: Limits) -> Future[Execution]:
        future: Future[Execution] = Future()
        is_checker = tests["type"] == "call"
        count = len(tests["inputs"])
        outputs = [None if is_checker else "\x01" * 3_000_000] * count
        results = tuple(TestResult(Outcome.PASSED, output=output) for output in outputs)
        if is_checker:
            sent.append(sum(len(json.dumps(arguments)) for arguments in tests["inputs"]))
        future.set_result(Execution(Outcome.PASSED, results, frozenset(), frozenset(), 0.0, True))
        return future

    tests = Tests.parse({**TESTS, "inputs": ["5"] * 4, "outputs": ["2 3"] * 4})
    execution = submit_checked(submit, "", tests, ExecutorConfig()).result()

    assert execution.outcome is Outcome.PASSED
    assert len(sent) == 4
    assert max(sent) < 40_000_000


def test_output_that_is_too_long_as_json_is_not_sent():
    def submit(program: str, tests: Tests, limits: Limits) -> Future[Execution]:
        assert tests["type"] == "checker"
        future: Future[Execution] = Future()
        results = tuple(TestResult(Outcome.PASSED, output="\x01" * 8_000_000) for _ in tests["inputs"])
        future.set_result(Execution(Outcome.PASSED, results, frozenset(), frozenset(), 0.0, True))
        return future

    execution = submit_checked(submit, "", Tests.parse(TESTS), ExecutorConfig()).result()

    assert {test.message for test in execution.tests} == {"too much output for the checker"}
