"""Test that programs find the interpreter that `python program.py` gives them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig, Outcome


pytestmark = pytest.mark.sandbox

DEPTH = """
import sys
def depth():
    deepest = 0
    def deeper(n):
        nonlocal deepest
        deepest = n
        deeper(n + 1)
    try:
        deeper(1)
    except RecursionError:
        pass
    return deepest
"""


@pytest.mark.parametrize(
    ("program", "inputs", "outputs"),
    [
        ("import sys\nprint(list(sys.stdin))", ["a\r\nb\r\n", "c\rd"], ["['a\\r\\n', 'b\\r\\n']", "['c\\rd']"]),
        ("print(repr(input()), repr(input()))", ["a\r\nb\r\n"], ["'a\\r' 'b\\r'"]),
        ("import sys\nprint(len(sys.stdin.read()))", ["\r\r\n\n\r"], ["5"]),
        (
            "import sys\nprint([sys.stdin.readline() for _ in range(3)])",
            ["\r1\n\r\n2"],
            ["['\\r1\\n', '\\r\\n', '2']"],
        ),
    ],
)
def test_line_ends_of_standard_input_are_kept(fast_executor, program, inputs, outputs):
    execution = fast_executor.run(program, {"type": "stdio", "inputs": inputs, "outputs": outputs})

    assert execution.outcome is Outcome.PASSED


@pytest.mark.parametrize(
    "program",
    [
        "import os, signal, time\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(1)\n"
        "except KeyboardInterrupt:\n    print('caught')",
        "import signal\ntry:\n    signal.raise_signal(signal.SIGINT)\nexcept KeyboardInterrupt:\n    print('caught')",
        "import _thread\ntry:\n    _thread.interrupt_main()\n    while True: pass\nexcept KeyboardInterrupt:\n"
        "    print('caught')",
        "import signal\nif signal.getsignal(signal.SIGINT) is signal.default_int_handler:\n    print('caught')",
    ],
)
def test_interrupt_raises_keyboard_interrupt(fast_executor, program):
    tests = {"type": "stdio", "inputs": ["", ""], "outputs": ["caught", "caught"]}

    assert fast_executor.run(program, tests).outcome is Outcome.PASSED


@pytest.mark.parametrize(
    ("program", "tests"),
    [
        ("print(10 ** 9999)", {"type": "stdio", "inputs": [""], "outputs": ["1" + "0" * 9999]}),
        ("print(int(input()) % 7)", {"type": "stdio", "inputs": ["1" * 6000], "outputs": ["0"]}),
        ("def f(n): return len(str(10**n))", {"type": "call", "fn_name": "f", "inputs": [[5000]], "outputs": [5001]}),
        ("def f(n):\n    return f'{3 ** n}'[0]", {"type": "assert", "asserts": ["assert f(20_000) == '2'"]}),
    ],
)
def test_integers_of_any_length_are_converted(fast_executor, program, tests):
    assert fast_executor.run(program, tests).outcome is Outcome.PASSED


@pytest.mark.parametrize("limit", ["", "sys.setrecursionlimit(1200)\n"])
def test_program_has_depth_of_recursion_of_a_script(limit):
    program = DEPTH + limit + "print(depth(), sys.getrecursionlimit())"
    plain = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        execution = executor.run(program, {"type": "stdio", "inputs": ["", ""], "outputs": [plain, plain]})

    assert execution.outcome is Outcome.PASSED


@pytest.mark.parametrize(
    ("program", "tests"),
    [
        (
            "def f(n):\n    return n and 1 + f(n - 1)\nprint(f(990))",
            {"type": "stdio", "inputs": [""], "outputs": ["990"]},
        ),
        ("def f(n): return n and 1 + f(n - 1)", {"type": "call", "fn_name": "f", "inputs": [[990]], "outputs": [990]}),
        ("def f(n): return n and 1 + f(n - 1)", {"type": "assert", "asserts": ["assert f(990) == 990"]}),
        (
            "def f(n): return n and 1 + f(n - 1)",
            {"type": "assert", "asserts": ["def check(c):\n    assert c(990) == 990\ncheck(f)"]},
        ),
    ],
)
def test_recursion_just_below_the_limit_passes(fast_executor, program, tests):
    assert fast_executor.run(program, tests).outcome is Outcome.PASSED


@pytest.mark.parametrize("limit", ["1000", "3000", "2**31 - 1"])
def test_recursion_limit_is_the_one_that_was_set(fast_executor, limit):
    program = f"import sys\nsys.setrecursionlimit({limit})\nprint(sys.getrecursionlimit())"
    tests = {"type": "stdio", "inputs": ["", ""], "outputs": [str(eval(limit))] * 2}

    assert fast_executor.run(program, tests).outcome is Outcome.PASSED


@pytest.mark.parametrize("wrong", ["0", "-1", "'1'", "2**31", "2**40"])
def test_wrong_recursion_limit_is_an_error(fast_executor, wrong):
    program = (
        f"import sys\ntry:\n    sys.setrecursionlimit({wrong})\nexcept (ValueError, TypeError, OverflowError):\n"
        "    print(1)"
    )

    assert fast_executor.run(program, {"type": "stdio", "inputs": [""], "outputs": ["1"]}).outcome is Outcome.PASSED


def test_lines_after_a_recursion_error_are_those_of_the_program_alone(fast_executor):
    tests = {"type": "stdio", "inputs": ["", ""], "outputs": ["1", "1"]}
    program = (
        "def f(n):\n    return f(n + 1)\ntry:\n    f(0)\nexcept RecursionError:\n    print(1)\n"
        + "if 2 < 1:\n    pass\n" * 400
    )

    execution = fast_executor.run(program, tests)

    assert execution.outcome is Outcome.PASSED
    assert execution.executed_lines == {*range(1, 7), *range(7, 807, 2)}
