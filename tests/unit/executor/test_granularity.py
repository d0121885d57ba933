"""Executed spans by expressions: what they say, that they outlive every child, and that nothing else changes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig, Outcome
from stepcoder_trl.errors import BadInputError
from tests.probe_oracle import FILES, compare, problems_of, verdict


pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(sys.platform != "linux", reason="the fork server is made for Linux"),
]

CALL = {"type": "call", "fn_name": "f", "inputs": [[1]], "outputs": [1]}
SHARE = 120  # one in so many canonical solutions is compared; with STEPCODER_PROBES_ALL=1 every one


@pytest.fixture(scope="module")
def executor():
    with CodeExecutor(ExecutorConfig(num_workers=1, granularity="expressions")) as executor:
        yield executor


@pytest.fixture(scope="module")
def by_lines():
    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        yield executor


def kept(program, execution):
    return [program[start:end] for start, end in execution.kept_spans]


def test_only_what_was_evaluated_is_executed(executor):
    program = "def f(n):\n    return n if n < 5 or n > 9 else [g(n) for g in ()]\n"

    execution = executor.run(program, CALL)

    assert execution.outcome is Outcome.PASSED
    assert execution.executed_lines == execution.kept_lines == {1, 2}
    assert execution.executed_spans == execution.kept_spans
    assert kept(program, execution) == ["def f(n):\n    return n if n < 5 or ", " else ", "\n"]


def test_tests_add_up(executor):
    program = "def f(n):\n    return n if n < 5 else 5\n"
    tests = {**CALL, "inputs": [[1], [8]], "outputs": [1, 5]}

    execution = executor.run(program, tests)

    assert execution.kept_spans == ((0, len(program)),)


def test_by_lines_spans_are_those_of_the_lines(by_lines):
    program = "def f(n):\n    if n > 3:\n        return 0\n    return n if n else 2\n"

    execution = by_lines.run(program, CALL)

    assert kept(program, execution) == ["def f(n):\n    if n > 3:\n", "    return n if n else 2\n"]


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        ("import os; os._exit(0)", Outcome.RUNTIME_ERROR),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", Outcome.RUNTIME_ERROR),
        ("import sys; sys.exit()", Outcome.RUNTIME_ERROR),
        ("1 / 0", Outcome.RUNTIME_ERROR),
        ("x = None\n    while True: x = 0", Outcome.TIMEOUT),
        ("import signal; signal.pthread_sigmask(0, range(1, 65))\n    while True: x = 0", Outcome.TIMEOUT),
        ("raise MemoryError", Outcome.MEMORY_EXCEEDED),
    ],
)
def test_what_ran_before_the_end_is_known_however_it_comes(executor, end, outcome):
    program = f"def f(n):\n    a = n or 77\n    b = n and 88\n    {end}\n    return 1\n"

    execution = executor.run(program, {**CALL, "timeout_s": 0.3})

    assert execution.outcome is outcome
    text = "".join(kept(program, execution))
    assert "88" in text
    assert "77" not in text
    assert "return" not in text


@pytest.mark.parametrize("program", ["def f(n): return n if\n", "x = '\0'", "x = ("])
def test_programs_that_do_not_compile_are_kept_whole(executor, program):
    execution = executor.run(program, CALL)

    assert execution.outcome is Outcome.COMPILE_ERROR
    assert execution.executed_spans == ()
    assert kept(program, execution) == [program]


def test_programs_too_deep_for_probes_are_told_by_lines(executor, by_lines):
    program = "def f(n):\n    x = 1 or 2\n    return " + "-" * 2_000 + "n\n"

    execution = executor.run(program, CALL)

    assert execution.outcome is Outcome.PASSED
    assert execution.kept_spans == by_lines.run(program, CALL).kept_spans == ((0, len(program)),)


FIND = """
import sys
tables = [o for o in sys._getframe().f_code.co_consts if type(o).__name__ == '_ProbeTable']
memories = [t._memory for t in tables]
"""


@pytest.mark.parametrize(
    "tampering",
    [
        "for t in tables: dict.update(t, dict.fromkeys(range(500), None))",
        "for t in tables: dict.update(t, dict.fromkeys(range(500), 1))",
        "for t in tables: t['x'] = None",
        "for m in memories: m[:] = bytes(len(m))",
        "for m in memories: m[:] = bytes([1]) * len(m)",
        "for m in memories: m[:2] = bytes([255, 255])",
        "for m in memories: m.close()",
        "type(tables[0]).__missing__ = lambda self, key: None",
        "type(tables[0]).__getitem__ = lambda self, key: None",
        "for t in tables: t._memory = bytearray(20000)",
    ],
)
def test_tampering_loses_the_trace_and_keeps_everything(executor, tampering):
    program = (
        f"x = 0 or 1\ny = x or 5\n{FIND}\n"
        f"def f(n):\n    assert tables and memories\n    {tampering}\n    return n or 3\n"
    )

    execution = executor.run(program, CALL)

    assert execution.kept_spans == ((0, len(program)),)
    assert execution.kept_lines == set(range(1, program.count("\n") + 1))
    assert executor.run("def f(n): return n", CALL).outcome is Outcome.PASSED


def test_unknown_granularity_is_refused():
    with pytest.raises(BadInputError, match="granularity"):
        ExecutorConfig(granularity="words")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="positions of instructions came with Python 3.11")
@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", FILES)
def test_canonical_solutions_enter_the_regions_that_bytecode_says(name):
    if not os.environ.get("STEPCODER_DATA"):
        pytest.skip("STEPCODER_DATA does not name the folder of the public data sets")
    every = 1 if os.environ.get("STEPCODER_PROBES_ALL") else SHARE
    comparisons = list(compare(problems_of(Path(os.environ["STEPCODER_DATA"]) / name, every), timeout_s=2.0))

    assert comparisons
    assert [one for one in comparisons if one.differing or not one.same_verdict] == []
    assert any(one.witnessed for one in comparisons)


@pytest.mark.parametrize(
    "program",
    [
        "def f(n):\n    return n and 1\n",
        "def f(n):\n    return [1 / 0 for x in [n] if x and 1]\n",
        "def f(n): return f(n + 1) or 2\n",
        "import sys\ndef f(n):\n    sys.settrace(None)\n    return n or 2\n",
        "def f(n):\n    assert n > 1 > 0, 'n' if n else 'm'\n",
        "from os import *\ndef f(n): return _exit(n or 2)\n",
    ],
)
def test_verdict_and_lines_do_not_depend_on_granularity(executor, by_lines, program):
    assert verdict(executor.run(program, CALL)) == verdict(by_lines.run(program, CALL))
