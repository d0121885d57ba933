"""Test programs that try to see what a test expects, or to move it into their process."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from stepcoder_trl import CodeExecutor, Outcome
from tests.unit.executor.samples import outcomes


pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(sys.platform != "linux", reason="the examiner belongs to Linux's fork server"),
]

CHECK = "def check(candidate):\n    assert candidate(7) == 7919\n    assert candidate(8) == 'c2a'\n"


def row(setup: str, *asserts: str, **fields: Any) -> dict[str, Any]:
    return {"type": "assert", "setup": setup, "asserts": list(asserts), **fields}


CONSTANTS = "known = [v for v in check.__code__.co_consts if v]\n    return known[known.index(n) + 1]"
EXPECTED = "EXPECTED = {7: 7919}\n"
REFERENCE = "def reference(n):\n    return n * n + 1\n"
CASE = "class Case:\n    expected = {7: 7919}\n"


@pytest.mark.parametrize(
    ("thief", "setup", "asserts"),
    [
        (CONSTANTS, CHECK, ["assert solve(0) == 0", "check(solve)"]),
        ("return EXPECTED[n]", EXPECTED, ["assert solve(0) == 0", "assert solve(7) == EXPECTED[7]"]),
        ("return reference(n)", REFERENCE, ["assert solve(0) == 0", "assert solve(7) == reference(7)"]),
        ("return globals()['EXPECTED'][n]", EXPECTED + CHECK, ["check(solve)", "assert solve(EXPECTED and 0) == 0"]),
        ("return Case().expected[n]", CASE, ["assert solve(0) == 0", "assert solve(7) == 7919"]),
    ],
    ids=["constants", "table", "reference", "globals", "class"],
)
def test_setup_does_not_answer_for_the_program(
    executor: CodeExecutor, thief: str, setup: str, asserts: list[str]
) -> None:
    execution = executor.run(f"def solve(n):\n    if n == 0:\n        return 0\n    {thief}\n", row(setup, *asserts))

    assert execution.outcome in (Outcome.FAILED, Outcome.RUNTIME_ERROR)
    assert execution.trusted


def test_setup_that_is_needed_with_the_program_makes_the_row_untrusted(executor: CodeExecutor) -> None:
    setup = "class Box:\n    def __init__(self, n):\n        self.n = n\nEXPECTED = {7: 7919}\n"
    tests = row(setup, "assert solve(Box(7)) == EXPECTED[7]", "assert solve(Box(7)) == 7919")

    execution = executor.run("def solve(box):\n    return EXPECTED[box.n]\n", tests)

    assert execution.outcome is Outcome.PASSED
    assert [test.trusted for test in execution.tests] == [False, False]
    failing = executor.run("def solve(box):\n    raise ValueError\n", tests)
    assert [test.trusted for test in failing.tests] == [False, False]


FALLING_BACK = """
import sys

class Values(list):
    __slots__ = ()

class Odd:
    pass

def solve(values):
    caller = sys._getframe(1).f_code
    if caller.co_name == "check":
        return [value for value in caller.co_consts if type(value) is int and value > 1000][0]
    {}
    return 0
"""


@pytest.mark.parametrize(
    ("trick", "again"),
    [
        ("values[0] = Values([1])", "copy.deepcopy(values)"),
        ("values[0] = Odd()", "[values[0], len]"),
        ("values.append(values)", "values"),
        ("values[:] = [Odd] * 9", "[str, *values]"),
        ("values[0] = 'x' * 2**23", "[value + 'y' for value in (values[0], values[0], values[0]) if value]"),
    ],
    ids=["derived", "function", "cycle", "class", "size"],
)
def test_no_argument_moves_a_check_into_the_program(executor: CodeExecutor, trick: str, again: str) -> None:
    setup = (
        "import copy\ndef check(candidate):\n    values = [[1], [2]]\n    candidate(values)\n"
        f"    again = {again}\n    assert candidate(again) == 7919\n"
    )

    execution = executor.run(FALLING_BACK.format(trick), row(setup, "check(solve)"))

    assert execution.outcome in (Outcome.FAILED, Outcome.RUNTIME_ERROR)
    assert execution.trusted


CHANGING = """
import json, os, struct, sys

def local(name):
    frame = sys._getframe()
    while name not in frame.f_locals:
        frame = frame.f_back
    return frame.f_locals[name]

def solve(*given):
    channel, question = local("channel"), local("question")
    answer = {"to": question["id"], "value": 0, "changed": CHANGED}
    payload = json.dumps(answer).encode()
    os.write(channel._write_fd, struct.pack("<I", len(payload)) + payload)
    os._exit(0)
"""


@pytest.mark.parametrize(
    ("table", "call", "changed"),
    [
        ("[1, 7919]", "candidate(table())", [[[0]], {"d": []}]),
        ("{1: 7919}", "candidate(table())", [[{"d": []}], {"d": []}]),
        ("[[1], 7919]", "candidate(table()[0])", [[[0]], {"d": []}]),
        ("[1, 7919]", "candidate(n=table())", [[], {"d": [{"t": ["n", [0]]}]}]),
    ],
)
def test_objects_of_a_check_change_only_if_it_asked(
    executor: CodeExecutor, table: str, call: str, changed: Any
) -> None:
    setup = (
        f"TABLE = {table}\ndef table():\n    return TABLE\ndef check(candidate):\n    {call}\n"
        f"    assert TABLE == {table}, 'the table was changed'\n    assert candidate(5) == 3\n"
    )

    execution = executor.run(CHANGING.replace("CHANGED", repr(changed)), row(setup, "check(solve)"))

    assert execution.outcome in (Outcome.FAILED, Outcome.RUNTIME_ERROR)
    assert "was changed" not in execution.tests[0].message


EQUAL = "    def __eq__(self, other):\n        return True\n"
UNEQUAL = "    def __ne__(self, other):\n        return False\n"
ANSWERS = {
    "equal to all": f"class A:\n{EQUAL}",
    "derived from int": f"class A(int):\n{EQUAL}    __hash__ = int.__hash__\n",
    "derived from str": f"class A(str):\n{EQUAL}    __hash__ = str.__hash__\n",
    "metaclass": f"class M(type):\n{EQUAL}class A(metaclass=M):\n    __eq__ = M.__eq__\n",
    "never unequal": f"class A(float):\n{EQUAL}{UNEQUAL}",
}
TESTS = {
    "setup": row("def check(candidate):\n    assert candidate(7) == 7919\n", "check(solve)"),
    "statement": row("", "def check(candidate):\n    assert candidate(7) == 7919\n\ncheck(solve)"),
    "several statements": row("", *["def check(c):\n    assert c(7) == 7919\ncheck(solve)"] * 2),
    "not equal": row("def check(candidate):\n    assert not candidate(7) != 7919\n", "check(solve)"),
    "in a list": row("def check(candidate):\n    assert [candidate(7)] == [7919]\n", "check(solve)"),
    "member": row("def check(candidate):\n    assert candidate(7) in (7919, 7920)\n", "check(solve)"),
    "split": row("", "assert solve(7) == 7919"),
    "call": {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [7919]},
}


@pytest.mark.parametrize("tests", TESTS.values(), ids=TESTS.keys())
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_no_answer_equals_by_its_own_methods(executor: CodeExecutor, answer: str, tests: dict[str, Any]) -> None:
    execution = executor.run(f"{answer}def solve(n):\n    return A()\n", tests)

    assert (execution.outcome, execution.trusted) == (Outcome.FAILED, True)


@pytest.mark.parametrize(
    ("definitions", "expression", "expected"),
    [
        ("class A(int):\n    __eq__ = None\n    __hash__ = int.__hash__\n", "A(7919)", "7919"),
        ("from enum import IntEnum\nclass A(IntEnum):\n    B = 7919\n", "A.B", "7919"),
        ("from enum import Enum\nclass A(str, Enum):\n    B = 'x'\n", "A.B", "'x'"),
        ("from collections import namedtuple\nA = namedtuple('A', 'x y')\n", "A(1, 2)", "(1, 2)"),
        ("from collections import Counter\nclass A(Counter):\n    pass\n", "A('aab')", "{'a': 2, 'b': 1}"),
        ("from decimal import Decimal\n", "Decimal('2.0')", "2"),
        ("from fractions import Fraction\n", "[Fraction(4, 2)]", "[2]"),
        ("import numpy\n", "numpy.float64(0.5)", "0.5"),
        ("import numpy\n", "numpy.arange(3)", "[0, 1, 2]"),
        ("", "{1: 2, 3: 4}.keys()", "{1, 3}"),
        ("", "{1: 2, 3: 4}.values()", "[2, 4]"),
        ("", "10 ** 5000", "10 ** 5000"),
    ],
)
def test_answers_of_derived_classes_are_read_as_their_base(
    executor: CodeExecutor, definitions: str, expression: str, expected: str
) -> None:
    program = f"{definitions}def solve(n):\n    return {expression}\n"

    execution = executor.run(program, row("", f"assert solve(7) == {expected}"))

    assert (execution.outcome, execution.trusted) == (Outcome.PASSED, True)


@pytest.mark.skipif(sys.version_info < (3, 10, 7), reason="no limit of digits")
def test_check_may_write_integers_of_any_length(executor: CodeExecutor) -> None:
    setup = (
        "def check(candidate):\n    assert str(candidate(7)) == '1' + '0' * 5000\n    assert candidate(8) < 10**6000\n"
    )

    execution = executor.run("def solve(n):\n    return 10**5000\n", row(setup, "check(solve)"))

    assert (execution.outcome, execution.trusted) == (Outcome.PASSED, True)


def test_marked_row_runs_with_the_program(executor: CodeExecutor) -> None:
    tests = row(CHECK + "import numpy\n", "check(solve)", "assert solve(7) == 7919", trusted=False)

    execution = executor.run("def solve(n):\n    return {7: 7919, 8: 'c2a'}[n]\n", tests)
    wrong = executor.run("def solve(n):\n    return {7: 7919, 8: 1}[n]\n", tests)

    assert (execution.outcome, execution.trusted) == (Outcome.PASSED, False)
    assert outcomes(wrong) == ["failed", "passed"]
    assert [test.trusted for test in wrong.tests] == [False, False]


@pytest.mark.parametrize("word", ["candidates", "code", "expression", "value"])
def test_call_arguments_may_be_any_text(executor: CodeExecutor, word: str) -> None:
    tests = {"type": "call", "fn_name": "f", "inputs": [[word]], "outputs": [len(word)]}

    assert executor.run("def f(word):\n    return len(word)\n", tests).outcome is Outcome.PASSED


@pytest.mark.parametrize(
    "text", ["\x1b]0;owned\x07\x1b[2Jpassed\nline two\r\u202e", "\u2028\u2029\x85", "\x00\x7f\u200b", "a\tb" * 5000]
)
def test_messages_of_exceptions_are_one_line(executor: CodeExecutor, text: str) -> None:
    program = f"def solve(n):\n    raise ValueError({text!r})\n"
    called = {"type": "call", "fn_name": "solve", "inputs": [[7]], "outputs": [1]}

    for tests in (called, row(CHECK, "check(solve)"), row("", "assert solve(7) == 1"), row("", "x = solve(7)", "x")):
        message = executor.run(program, tests).tests[0].message
        assert message.startswith("ValueError")
        assert len(message) <= 300
        assert message.isprintable()
