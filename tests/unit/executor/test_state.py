"""State that a program leaves in the interpreter: noticed where it is, and not where there is none."""

from __future__ import annotations

import calendar
import collections
import contextlib
import io
import json
import math
import sys
from types import ModuleType

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig, Outcome
from stepcoder_trl.executor.state import ModuleStates, names_in


STATES = ModuleStates()


def watch(program: str):
    return STATES.watch(names_in(compile(program, "program", "exec")))


@pytest.mark.parametrize(
    "program",
    [
        "print(int(input()) + 1)",
        "import sys, math, collections, heapq\nsys.stdin.readline()\nmath.sqrt(collections.Counter('a')['a'])",
        "class Node:\n    def __init__(self):\n        self.left = None\nNode().left = Node()",
        "from json import decoder\nimport json.encoder\njson.loads('[1]')",
        "import sys\nsys.stdin = sys.stdout = sys.stderr = None",
    ],
)
def test_ordinary_programs_leave_no_state(program, monkeypatch):
    watched = watch(program)
    monkeypatch.setattr(sys, "stdin", io.StringIO("1\n"))
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        exec(compile(program, "program", "exec"), {})

    assert not watched.has_changed()


@pytest.mark.parametrize("program", ["import ctypes", "import asyncio as a", "def f():\n    exec('x = 1')"])
def test_state_that_cannot_be_seen_is_assumed(program):
    assert watch(program).has_changed()


def test_changed_attributes_are_noticed(monkeypatch):
    watched = watch("import math, collections, json")
    monkeypatch.setattr(math, "sqrt", math.cbrt if hasattr(math, "cbrt") else math.exp)
    assert watched.has_changed()
    monkeypatch.undo()
    assert not watched.has_changed()
    monkeypatch.setattr(math, "more", 1, raising=False)
    assert watched.has_changed()
    monkeypatch.undo()
    monkeypatch.setattr(collections.Counter, "update", None)
    assert watched.has_changed()
    monkeypatch.undo()
    monkeypatch.setattr(json, "sub", ModuleType("sub"), raising=False)
    assert not watched.has_changed()


def test_changed_content_is_noticed(monkeypatch):
    watched = watch("import calendar")
    monkeypatch.setitem(calendar.mdays, 2, 30)

    assert watched.has_changed()


def test_exchanged_and_new_modules_are_noticed(monkeypatch):
    watched = watch("import json")
    monkeypatch.setitem(sys.modules, "json", ModuleType("json"))
    assert watched.has_changed()
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "_of_the_library", ModuleType("_of_the_library"))
    assert not watched.has_changed()
    monkeypatch.setitem(sys.modules, "new", ModuleType("new"))
    assert watched.has_changed()


def test_only_what_a_program_names_is_looked_at(monkeypatch):
    watched = watch("import json")
    monkeypatch.setattr(math, "sqrt", math.exp)

    assert not watched.has_changed()


@pytest.mark.sandbox
@pytest.mark.skipif(sys.platform != "linux", reason="the fork server is made for Linux")
@pytest.mark.parametrize("library", ["random", "numpy.random"])
def test_numbers_drawn_without_a_seed_are_the_same_everywhere(library):
    pytest.importorskip(library.partition(".")[0])
    program = f"import os, {library}\ninput()\nprint([{library}.randint(0, 9) for _ in range(9)])"
    probe = {"type": "stdio", "inputs": ["", ""], "outputs": ["", ""]}
    seen = []
    for _ in range(2):
        with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
            execution = executor.run(f"{program}\nimport json\n", probe)
            assert execution.outcome is Outcome.FAILED
            digits = []
            for position in range(9):  # which digit stands where, asked ten programs at a time
                asking = program.replace("print([", "print(([").rstrip(")") + f")[{position}])"
                tests = [{"type": "stdio", "inputs": ["", ""], "outputs": [str(d), str(d)]} for d in range(10)]
                outcomes = [e.outcome for e in executor.run_many([asking] * 10, tests)]
                digits.append(outcomes.index(Outcome.PASSED))
            seen.append(digits)

    assert seen[0] == seen[1]
