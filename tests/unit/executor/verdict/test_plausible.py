"""Test the check of traces that a program's process reports."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from stepcoder_trl import Outcome
from stepcoder_trl.executor.verdict import plausible
from stepcoder_trl.executor.verdict.plausible import believed_lines, is_plausible_trace
from stepcoder_trl.types import TestResult
from tests.unit.traced_programs import PROGRAMS


# In a new interpreter, because pytest may itself be traced.
TRACE = """
import contextlib, io, json, sys
from stepcoder_trl.executor.child.tracer import line_tracer
tracer = line_tracer("/nowhere/solution.py")
traces = {}
for name, program in json.load(sys.stdin).items():
    code = tracer.compile(program)
    tracer.start()
    with contextlib.suppress(Exception, SystemExit), contextlib.redirect_stdout(io.StringIO()):
        exec(code, {"__name__": "__main__", "__file__": tracer.filename})
    traces[name] = tracer.lines()
    tracer.stop()
print(json.dumps(traces))
"""
PASSED, FAILED = (TestResult(outcome) for outcome in (Outcome.PASSED, Outcome.FAILED))


@pytest.fixture(scope="module")
def traces():
    done = subprocess.run(
        [sys.executable, "-c", TRACE], input=json.dumps(PROGRAMS), capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", PROGRAMS)
def test_honest_trace_is_plausible(traces, name):
    assert is_plausible_trace(PROGRAMS[name], traces[name])
    assert believed_lines(PROGRAMS[name], traces[name], [PASSED]) == traces[name]


PROGRAM = """\
import sys
def f(n):
    total = 0
    for i in range(n):
        if i % 2:
            total += i
        elif i > 100:
            total = 0
        else:
            total -= 1
    try:
        total = 1 / total
    except ZeroDivisionError:
        total = 9
    return total
x = f(3)
"""
HONEST = {1, 2, 16, 3, 4, 5, 6, 7, 10, 11, 12, 15}


def test_trace_of_the_example_is_plausible():
    assert is_plausible_trace(PROGRAM, HONEST)
    assert is_plausible_trace(PROGRAM, {1, 2})  # ended early
    assert is_plausible_trace(PROGRAM, HONEST - {15})


@pytest.mark.parametrize(
    "hidden",
    [{1}, {2}, {3}, {4}, {5}, {7}, {11}, {1, 2, 16}, {3, 4}, {3, 4, 5, 7, 10}, {4, 5, 6, 7, 10}],
)
def test_trace_without_a_statement_that_must_have_run_is_not_plausible(hidden):
    assert not is_plausible_trace(PROGRAM, HONEST - hidden)


@pytest.mark.parametrize("claimed", [{8}, {14}])
def test_claims_that_fit_are_believed(claimed):
    assert is_plausible_trace(PROGRAM, HONEST | {13} | claimed)


@pytest.mark.parametrize("claimed", [{3}, {6}, {14}, {15}])
def test_claims_without_those_before_are_not_plausible(claimed):
    assert not is_plausible_trace(PROGRAM, {1} | claimed)


TRY = """\
try:
    x = 1
    y = int("x")
except KeyError:
    x = 2
except ValueError:
    x = 3
else:
    x = 4
finally:
    x = 5
"""


def test_suites_of_a_try_run_after_its_body_began():
    assert is_plausible_trace(TRY, {1, 2, 3, 4, 6, 7, 11})
    assert is_plausible_trace(TRY, {1, 2, 3, 9, 11})
    assert is_plausible_trace("try:\n    pass\nfinally:\n    x = 1\n", {1, 2, 4})


@pytest.mark.parametrize("lines", [{1, 4, 5, 11}, {1, 2, 3, 6, 7, 11}, {1, 9}, {1, 11}, {1, 2, 3, 7}])
def test_suites_of_a_try_without_what_ran_before_are_not_plausible(lines):
    assert not is_plausible_trace(TRY, lines)


@pytest.mark.parametrize(
    "word", ["frame.f_trace_lines = False", "setattr(frame, 'f_trace', None)", "m.set_local_events(1, c, 0)"]
)
def test_program_that_may_switch_off_its_trace_has_no_plausible_one(word):
    assert not is_plausible_trace(f"x = 1\nif x > 1:\n    {word}\n", [1, 2])


@pytest.mark.parametrize(
    ("results", "lines"),
    [
        ([PASSED], None),
        ([FAILED], None),
        ([TestResult(Outcome.TIMEOUT), FAILED], None),
        ([TestResult(Outcome.RUNTIME_ERROR, error_line=2)], None),
        ([TestResult(Outcome.RUNTIME_ERROR)], []),
        ([TestResult(Outcome.TIMEOUT)], []),  # perhaps while it was compiled
    ],
)
def test_empty_trace_of_a_program_that_ran_is_not_believed(results, lines):
    assert believed_lines(PROGRAM, [], results) == lines


FUNCTION = "def g(n):\n    return n\ndef f(n):\n    return g(n)\n"


@pytest.mark.parametrize("lines", [[1, 3], [1, 2, 3]])
@pytest.mark.parametrize("program", [FUNCTION, FUNCTION.replace("f(n):\n", "f(n):\n    'Text.'\n")])
def test_function_that_returned_without_a_line_is_not_believed(lines, program):
    assert believed_lines(program, lines, [FAILED], called="f") is None
    assert believed_lines(program, lines, [TestResult(Outcome.TIMEOUT)], called="f") == lines
    assert believed_lines(program, lines, [FAILED], called="h") == lines


def test_method_that_returned_without_a_line_is_not_believed():
    program = "class Solution:\n    def f(self):\n        return 1\n"

    assert believed_lines(program, [1, 2], [PASSED], called="f") is None
    assert believed_lines(program, [1, 2, 3], [PASSED], called="f") == [1, 2, 3]


@pytest.mark.parametrize(
    "program",
    [
        "def f(n):\n    return n\nf = abs\n",
        "import functools\n@functools.cache\ndef f(n):\n    return n\n",
        "def f(n):\n    return n\nfrom math import sqrt as f\n",
        "def f(n):\n    return n\nglobals()['f'] = abs\n",
        "def f(n):\n    return n\nclass f:\n    pass\n",
        "def f(n):\n    return n\nexec('def f(n): return 1')\n",
        "def f(n):\n    yield n\n",
        "async def f(n):\n    return n\n",
        "def f(n): return n\n",
        "f = lambda n: n\n",
        "def f(n):\n    return n\nfor f in [abs]:\n    pass\n",
        "def d(c): return c\n@d\nclass Solution:\n    def f(self):\n        return 1\n",
        "class Solution:\n    def f(self):\n        return 1\nSolution.f = len\n",
    ],
)
def test_function_that_may_be_another_is_believed(program):
    lines = [
        line for line in range(1, program.count("\n") + 1) if not program.split("\n")[line - 1].startswith("    ")
    ]

    assert believed_lines(program, lines, [PASSED], called="f") == lines


NESTED_FINALLY = "".join(f"{'  ' * n}try: x\n{'  ' * n}finally:\n" for n in range(19)) + "  " * 19 + "x\n"
EXITS = "for x in y:\n" + "  try:\n" + "    if x: break\n" * 300 + "  finally:\n" + "    x = [x, x]\n" * 300
EXPENSIVE = {
    "finally in finally": NESTED_FINALLY,
    "many ways out": EXITS,
    "many functions": "def f(): pass\n" * 2000,
}


@pytest.mark.parametrize("kind", EXPENSIVE)
def test_program_that_compiles_slowly_is_not_compiled_here(monkeypatch, kind):
    """Its own process has a limit of time for that. Only a trace that looks wrong at first would need it."""
    monkeypatch.setattr(plausible, "compile_for_tracing", pytest.fail)
    program = EXPENSIVE[kind]

    assert not is_plausible_trace("first = 1\n" + program, [program.count("\n") + 1])


HIDING = {
    "tracer stopped": "task.tracer._own_tracer.stop()",
    "no lines": "task.tracer.lines = lambda: []",
    "lines removed": "import gc\n[x.clear() for x in gc.get_objects() if type(x) is set and {1, 4} <= x]",
    "frame not traced": "sys._getframe().f_trace_lines = False",
}
SEARCH = (
    "import sys\nt = sys._getframe()\nwhile 'task' not in t.f_locals:\n    t = t.f_back\ntask = t.f_locals['task']\n"
)


@pytest.mark.sandbox
@pytest.mark.parametrize("hiding", HIDING)
def test_program_that_hides_its_lines_loses_its_trace(fast_executor, hiding):
    if hiding == "tracer stopped" and sys.version_info >= (3, 12):
        pytest.skip("sys.monitoring has no tracer object")
    program = f"def f(x):\n    y = x\n    return y\n{SEARCH}{HIDING[hiding]}\n"

    execution = fast_executor.run(program, {"type": "call", "fn_name": "f", "inputs": [[1]], "outputs": [2]})

    assert execution.trace_lost
    assert execution.kept_lines == set(range(1, program.count("\n") + 1))


def test_program_that_took_long_to_compile_is_not_compiled_here(monkeypatch):
    """Its own process has measured that, whatever the reason is."""
    monkeypatch.setattr(plausible, "compile_for_tracing", pytest.fail)
    program = "first = 1\n" + "[0 for _ in ()]\n" * 5

    assert not is_plausible_trace(program, [6], compile_s=0.6)
    assert believed_lines(program, [6], [PASSED], compile_s=0.6) is None
