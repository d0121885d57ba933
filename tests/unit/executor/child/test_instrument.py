"""Test that notes in a program tell the same lines as a tracer."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from stepcoder_trl import Outcome
from tests.unit.traced_programs import PROGRAMS


# In a new interpreter, because pytest may itself be traced.
BOTH = """
import contextlib, io, json, mmap, sys
from stepcoder_trl.executor.child.instrument import NotingTracer
from stepcoder_trl.executor.child.tracer import line_tracer
from stepcoder_trl.masking import executed_lines

def run(tracer, program):
    code = tracer.compile(program)
    tracer.start()
    with contextlib.suppress(Exception, SystemExit), contextlib.redirect_stdout(io.StringIO()):
        exec(code, {"__name__": "__main__", "__file__": tracer.filename})
    lines = tracer.lines()
    tracer.stop()
    return lines

tracer = line_tracer("/nowhere/solution.py")
differences = {}
for name, program in json.load(sys.stdin).items():
    traced = executed_lines(program, run(tracer, program))
    memory = mmap.mmap(-1, len(program) + 2)
    assert run(NotingTracer(tracer.filename, memory), program) is None
    noted = executed_lines(program, [line for line, ran in enumerate(memory[:]) if ran])
    if traced != noted:
        differences[name] = sorted(traced), sorted(noted)
print(json.dumps(differences))
"""


def differences(programs):
    done = subprocess.run(
        [sys.executable, "-c", BOTH], input=json.dumps(programs), capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_notes_tell_the_lines_of_the_tracer():
    assert differences(PROGRAMS) == {}


TOO_DEEP = "x = 1\ntry:\n    x = f(x)\nexcept NameError:\n    x = " + "-" * 80 + "x\n"


def test_program_that_is_nested_deeply_has_notes():
    assert differences({"deep": TOO_DEEP}) == {}


KILLED = {"type": "stdio", "inputs": ["5000\n"], "outputs": ["5000\n"], "timeout_s": 1.0}
ENDLESS = "sum(range(10 ** 12))\n"
IN_HANDLER = (
    "def count(n):\n    return 0 if n == 0 else 1 + count(n - 1)\nn = int(input())\ntry:\n    print(count(n))\n"
    f"except RecursionError:\n    total = sum(1 for _ in range(3))\n    total = {ENDLESS}    print(total)\n"
)
IN_LOOP = (
    "def f():\n    f()\nfor i in range(3):\n    try:\n        f()\n    except RecursionError:\n        x = i\n"
    f"{ENDLESS}y = 1\n"
)
IN_REPR = (
    "class A:\n    def __repr__(self):\n        return repr(self)\ntry:\n    repr(A())\nexcept (KeyError,\n"
    f"        RecursionError) as e:\n    x = {ENDLESS}else:\n    x = 2\n"
)
IN_CACHE = (
    "import functools\n@functools.lru_cache(None)\ndef f(n):\n    return f(n + 1)\ndef g():\n    try:\n"
    f"        f(0)\n    except RecursionError:\n        yield 1\nx = list(g())\n{ENDLESS}y = 1\n"
)
CRASH = "import ctypes\nx = 1\nif x:\n    ctypes.string_at(0)\ny = 1\n"


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("program", "unexecuted"),
    [(IN_HANDLER, {9}), (IN_LOOP, {9}), (IN_REPR, {9, 10}), (IN_CACHE, {12}), (CRASH, {5})],
)
def test_lines_of_a_killed_program_are_known(fast_executor, program, unexecuted):
    execution = fast_executor.run(program, KILLED)

    assert execution.outcome in (Outcome.TIMEOUT, Outcome.RUNTIME_ERROR)
    assert execution.executed_lines == set(range(1, program.count("\n") + 1)) - unexecuted
