"""Test checks that run in the examiner."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig, Outcome
from stepcoder_trl.executor.selftest import leftovers
from stepcoder_trl.executor.verdict.limits import Limits
from stepcoder_trl.executor.verdict.prepare import prepare_job
from stepcoder_trl.executor.verdict.schema import Tests
from stepcoder_trl.executor.wire.system import EXAMINER_NAME
from tests.unit.executor.samples import outcomes


pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(sys.platform != "linux", reason="the examiner belongs to Linux's fork server"),
]

CHECK = "def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(2) == 3, 'no'\n"
RIGHT = "def f(x):\n    return x + 1\n"
LOOP = "def check(candidate):\n    assert candidate(1) == 2\n    while candidate:\n        pass\n"


def checks(setup: str, *asserts: str, **fields: object) -> dict[str, object]:
    return {"type": "assert", "setup": setup, "asserts": list(asserts or ("check(f)",)), **fields}


def examiners() -> list[int]:
    names = {pid: Path(f"/proc/{pid}/comm").read_text().strip() for pid in leftovers.descendants()}
    return [pid for pid, name in names.items() if name == EXAMINER_NAME]


@pytest.mark.parametrize(
    ("program", "outcome", "message", "line"),
    [
        (RIGHT, "passed", "", None),
        (
            "def f(x):\n    return 2\n",
            "failed",
            "AssertionError: no in assert candidate(2) == 3, 'no'",
            None,
        ),
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
def test_program_error_gives_outcome_message_and_line(executor, program, outcome, message, line):
    execution = executor.run(program, checks(CHECK))

    (test,) = execution.tests
    assert (test.outcome.value, test.message, test.error_line, test.trusted) == (outcome, message, line, True)


def test_expected_values_never_enter_program_process():
    tests = Tests.parse(checks(CHECK))
    job = prepare_job(RIGHT, tests, Limits(timeout_s=1.0))

    assert b"candidate(2) == 3" not in job.message
    assert b"candidate(2) == 3" in job.tests.checks


def test_call_with_the_argument_candidates_is_not_examined(executor):
    tests = {"type": "call", "fn_name": "f", "inputs": [["candidates"]], "outputs": [10]}

    assert executor.run("def f(x):\n    return len(x)\n", tests).outcome is Outcome.PASSED


def test_each_test_has_its_own_outcome(executor):
    tests = checks(CHECK, "check(f)", "assert f(2) == 3", "assert all(f(n) < 9 for n in range(9))", "check(f)")

    execution = executor.run(RIGHT, tests)

    assert outcomes(execution) == ["passed", "passed", "failed", "passed"]
    assert execution.trusted
    assert execution.executed_lines == {1, 2}


def test_tests_that_share_names_run_in_one_process(executor):
    execution = executor.run(RIGHT, checks("", "x = f(1)", "assert x == 2"))

    assert outcomes(execution) == ["passed", "passed"]


def test_arguments_that_cannot_be_sent_run_test_with_program(executor):
    setup = "import numpy as np\ndef check(candidate):\n    assert candidate(np.array([1])) == 1\n"

    execution = executor.run("def f(x):\n    return x.sum()\n", checks(setup))

    assert execution.outcome is Outcome.PASSED
    assert not execution.trusted


def test_setup_predicate_runs_outside_program(executor):
    setup = "def holds(function):\n    return function(1) == 2\n"
    liar = "import sys\ndef f(x):\n    sys.modules['__main__'].holds = lambda function: True\n"

    execution = executor.run(liar, checks(setup, "assert holds(f)"))

    assert execution.outcome is Outcome.FAILED


def test_endless_check_times_out_and_next_test_runs(executor):
    setup = LOOP + "def other(candidate):\n    assert candidate(1) == 2\n"

    execution = executor.run(RIGHT, checks(setup, "check(f)", "other(f)", timeout_s=0.5))

    assert outcomes(execution) == ["timeout", "passed"]
    assert execution.executed_lines == {1, 2}
    assert executor.run(RIGHT, checks(CHECK)).outcome is Outcome.PASSED


def test_check_time_does_not_count_for_program(executor):
    setup = "def check(candidate):\n    assert sum(range(5 * 10**6)) and candidate(1) == 2\n"

    execution = executor.run(RIGHT, checks(setup, timeout_s=5.0))

    assert execution.outcome is Outcome.PASSED
    assert execution.tests[0].time_s < 0.05


def test_check_that_exceeds_memory_affects_only_itself(executor):
    setup = "def check(candidate):\n    assert [candidate(1)] * 2**40\n"

    assert executor.run(RIGHT, checks(setup)).outcome is Outcome.MEMORY_EXCEEDED
    assert executor.run(RIGHT, checks(CHECK)).outcome is Outcome.PASSED


def test_checks_do_not_share_state(executor):
    setup = (
        "import random\nimport math\nseen = []\n\ndef check(candidate):\n    seen.append(random.random())\n"
        "    assert len(seen) == 1 and candidate(seen[0]) is None\n"
    )
    program = "def f(x):\n    raise ValueError(str(x))\n"

    first, second = (executor.run(program, checks(setup)) for _ in range(2))

    assert first.tests[0].message == second.tests[0].message != ""


def test_stop_on_first_failure_skips_remaining_tests():
    with CodeExecutor(ExecutorConfig(num_workers=1, stop_on_first_failure=True)) as executor:
        execution = executor.run("def f(x):\n    return 2\n", checks(CHECK, "check(f)", "check(f)"))

    assert [test.message for test in execution.tests] == [
        "AssertionError: no in assert candidate(2) == 3, 'no'",
        "not run",
    ]


def test_fresh_process_per_test():
    program = "calls = []\ndef f(x):\n    calls.append(x)\n    return len(calls)\n"
    setup = "def check(candidate):\n    assert candidate(1) == 1\n"

    with CodeExecutor(ExecutorConfig(num_workers=1, fresh_process_per_test=True)) as executor:
        execution = executor.run(program, checks(setup, "check(f)", "check(f)"))

    assert outcomes(execution) == ["passed", "passed"]


def test_killed_examiner_is_replaced():
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


@pytest.mark.parametrize("with_program", ["", "import os\nhere = os.curdir\n"], ids=["examiner", "with the program"])
def test_library_assertion_called_by_test_is_wrong_answer(executor, with_program):
    setup = (
        f"{with_program}import numpy as np\ndef check(candidate):\n    np.testing.assert_allclose(candidate(1), 2)\n"
    )
    asked_by_the_program = "import numpy as np\ndef f(x):\n    np.testing.assert_allclose(1, 2)\n"

    wrong = executor.run("def f(x):\n    return 3\n", checks(setup))
    broken = executor.run(asked_by_the_program, checks(setup))

    assert (wrong.outcome, broken.outcome) == (Outcome.FAILED, Outcome.RUNTIME_ERROR)
    assert wrong.trusted is not bool(with_program)


# Definitions, and an expression for the result. No class here has a custom `__eq__`: it has no effect, see below.
ANSWERS = [
    ("from collections import namedtuple\nP = namedtuple('P', 'x y')\n", "P(1, 2)"),
    ("from collections import namedtuple\nP = namedtuple('P', 'x y')\n", "[P(1, 2)]"),
    ("class O:\n    def __str__(self):\n        return 'ab'\n    __repr__ = __str__\n", "O()"),
    ("class O:\n    def __getitem__(self, n):\n        return [1, 2][n]\n", "O()"),
    ("class O:\n    def __init__(self):\n        self.n = [1, 2]\n    def __len__(self):\n        return 2\n", "O()"),
    ("class N(int):\n    pass\n", "N(3)"),
    ("class S(str):\n    pass\n", "S('ab')"),
    ("class L(list):\n    pass\n", "L([1, 2])"),
    ("from enum import IntEnum\nclass E(IntEnum):\n    A = 3\n", "E.A"),
    ("from enum import Enum\nclass E(Enum):\n    A = 3\n", "E.A"),
    ("", "{1: 0, 2: 0}.keys()"),
    ("", "{0: 1, 3: 2}.values()"),
    ("", "{1: 2}.items()"),
    ("", "(x for x in (1, 2))"),
    ("", "map(int, '12')"),
    ("from collections import Counter\n", "Counter({1: 2})"),
    ("from collections import defaultdict\n", "defaultdict(list, {1: 2})"),
    ("from collections import OrderedDict\n", "OrderedDict([(1, 2)])"),
    ("from collections import deque\n", "deque([1, 2])"),
    ("from fractions import Fraction\n", "Fraction(1, 2)"),
    ("from fractions import Fraction\n", "Fraction(3)"),
    ("from decimal import Decimal\n", "Decimal('0.5')"),
    ("from datetime import date\n", "date(2020, 1, 2)"),
    ("", "bytearray(b'ab')"),
    ("from array import array\n", "array('i', [1, 2])"),
    ("", "..."),
    ("", "1 // 0"),
]
QUESTIONS = [
    *("{} == 3", "{} == 0.5", "{} == 'ab'", "{} == [1, 2]", "{} == (1, 2)", "{} == {{1: 2}}", "{} == {{1, 2}}"),
    *("{} != [1, 2]", "{} == [(1, 2)]", "{} == b'ab'", "{} == {}", "{}", "not {}", "{} is not None", "{} > 0"),
    *("str({}) == 'ab'", "list({}) == [1, 2]", "len({}) == 2", "isinstance({}, tuple)", "isinstance({}, dict)"),
    *("type({}) == list", "{}[0] == 1", "abs({} - 0.5) < 1e-6", "sum({}) == 3", "1 in {}", "dict({}) == {{1: 2}}"),
    *("[*{}] == [1, 2]", "float({}) == 0.5", "{} * 2 == 6", "{} in (3, 'ab', [1, 2])", "{} + [3] == [1, 2, 3]"),
]


CHECKS = "".join(
    f"def check_{number}(candidate):\n    assert {text.format(*['candidate(0)'] * 2)}\n"
    for number, text in enumerate(QUESTIONS)
)
CALLS = [f"check_{number}(f)" for number in range(len(QUESTIONS))]


def plain_outcome(namespace: dict[str, object], call: str) -> str:
    """Run the check and the program in one namespace, as plain Python does."""
    try:
        exec(call, namespace)
    except AssertionError:
        return "failed"
    except Exception:
        return "runtime_error"
    return "passed"


@pytest.mark.parametrize(("definitions", "expression"), ANSWERS, ids=lambda text: text[-20:].strip())
def test_outcome_equals_plain_python_for_any_type(executor, definitions, expression):
    program = f"{definitions}def f(n):\n    return {expression}\n"
    namespace: dict[str, object] = {"__name__": "__main__"}
    exec(program + CHECKS, namespace)

    execution = executor.run(program, checks(CHECKS, *CALLS))

    expected = {question: plain_outcome(namespace, call) for question, call in zip(QUESTIONS, CALLS, strict=True)}
    assert dict(zip(QUESTIONS, outcomes(execution), strict=True)) == expected
    assert execution.trusted


def test_custom_eq_cannot_pass_a_check(executor):
    program = "class O(list):\n    def __eq__(self, other):\n        return True\ndef f(n):\n    return O([n])\n"

    execution = executor.run(program, checks(CHECK))

    assert (execution.outcome, execution.trusted) == (Outcome.FAILED, True)


def test_argument_passed_twice_is_one_object(executor):
    setup = (
        "def check(candidate):\n    row = [0]\n    table = [row, row]\n    assert candidate(table, row) == [5, 5]\n"
        "    assert table == [[0, 5], [0, 5]] and table[0] is not None\n    table[0].append(1)\n"
        "    assert row == table[1] == [0, 5, 1]\n"
    )
    program = "def f(table, row):\n    row.append(5)\n    return [row[-1] for row in table]\n"

    execution = executor.run(program, checks(setup))

    assert (execution.outcome, execution.trusted) == (Outcome.PASSED, True)


@pytest.mark.parametrize(
    ("make", "change"),
    [
        ("deque([1])", "x.appendleft(0)"),
        ("bytearray([1])", "x.insert(0, 0)"),
        ("{1: [2]}", "x[1].append(3)"),
        ("{1}", "x.add(0)"),
    ],
)
def test_changed_arguments_are_changed_in_check(executor, make, change):
    setup = (
        f"from collections import deque\ndef check(candidate):\n    x = {make}\n    candidate(x)\n"
        f"    y = {make}\n    assert x != y\n    {change.replace('x', 'y')}\n    assert x == y\n"
    )

    execution = executor.run(f"def f(x):\n    {change}\n", checks(setup))

    assert (execution.outcome, execution.trusted) == (Outcome.PASSED, True)


def test_examiner_that_ends_by_itself_gives_no_second_try():
    """A program may bring it there by its answers. Another run would be a second guess."""
    pytest.importorskip("numpy")
    setup = (
        "import numpy\nfrom numpy.lib.stride_tricks import as_strided\n\ndef check(candidate):\n"
        "    assert candidate(1) == 2\n    as_strided(numpy.zeros(1), (10**9,), (2**20,)).sum()\n"
    )
    tests = {"type": "assert", "setup": setup, "asserts": ["check(f)", "check(f)"]}
    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        executor.run("def f(x):\n    return x\n", {"type": "assert", "setup": "", "asserts": ["assert f(1) == 1"]})
        before = leftovers.children_of_ours()
        execution = executor.run("def f(x):\n    return x + 1\n", tests)

        assert leftovers.children_of_ours() == before

    assert [test.message for test in execution.tests] == ["the program sent garbage"] * 2
    assert execution.outcome is Outcome.RUNTIME_ERROR
