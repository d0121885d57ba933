"""Test the detection of interpreter state that a program changes."""

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
from stepcoder_trl.executor.child.state import ModuleStates, names_in


def watch(program: str):
    return ModuleStates().watch(names_in(compile(program, "program", "exec")))


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
def test_ordinary_program_changes_no_state(program, monkeypatch):
    watched = watch(program)
    monkeypatch.setattr(sys, "stdin", io.StringIO("1\n"))
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        exec(compile(program, "program", "exec"), {})

    assert not watched.has_changed()


@pytest.mark.parametrize("program", ["import ctypes", "import asyncio as a", "def f():\n    exec('x = 1')"])
def test_hidden_state_counts_as_changed(program):
    assert watch(program).has_changed()


def test_changed_attribute_is_detected(monkeypatch):
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


def test_changed_container_is_detected(monkeypatch):
    watched = watch("import calendar")
    monkeypatch.setattr(calendar, "mdays", calendar.mdays)  # the same list
    assert not watched.has_changed()
    calendar.mdays.append(32)
    try:
        assert watched.has_changed()
    finally:
        calendar.mdays.pop()


def test_replaced_and_new_modules_are_detected(monkeypatch):
    watched = watch("import json")
    monkeypatch.setitem(sys.modules, "json", ModuleType("json"))
    assert watched.has_changed()
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "_of_the_library", ModuleType("_of_the_library"))
    assert not watched.has_changed()
    monkeypatch.setitem(sys.modules, "new", ModuleType("new"))
    assert watched.has_changed()


def test_only_named_modules_are_compared(monkeypatch):
    watched = watch("import json")
    monkeypatch.setattr(math, "sqrt", math.exp)

    assert not watched.has_changed()


@pytest.mark.sandbox
@pytest.mark.skipif(sys.platform != "linux", reason="the fork server is made for Linux")
@pytest.mark.parametrize("library", ["random", "numpy.random"])
def test_random_numbers_without_seed_are_reproducible(library):
    pytest.importorskip(library.partition(".")[0])
    seen = []
    for _ in range(2):
        with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
            digits = []
            for position in range(4):  # outputs are not returned, so test each digit
                program = f"import {library}\ninput()\nprint([{library}.randint(0, 9) for _ in range(9)][{position}])"
                tests = [{"type": "stdio", "inputs": ["\n"] * 2, "outputs": [str(d)] * 2} for d in range(10)]
                digits.append([execution.outcome for execution in executor.run_many([program] * 10, tests)])
            seen.append(digits)

    assert all(digit.count(Outcome.PASSED) == 1 for digit in seen[0])
    assert seen[0] == seen[1]


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("program", "printed"),
    [
        (
            "import threading\ndef f():\n    print(threading.current_thread().name)\n"
            "t = threading.Thread(target=f)\nt.start()\nt.join()\n",
            "Thread-1 (f)",
        ),
        (
            "import threading\nfrom concurrent.futures import ThreadPoolExecutor\n"
            "with ThreadPoolExecutor() as pool:\n"
            "    print(pool.submit(lambda: threading.current_thread().name).result())\n",
            "ThreadPoolExecutor-0_0",
        ),
    ],
    ids=["thread", "pool"],
)
def test_names_of_threads_begin_anew_in_each_test(executor, program, printed):
    execution = executor.run(program, {"type": "stdio", "inputs": [""] * 3, "outputs": [printed] * 3})

    assert execution.outcome is Outcome.PASSED


@pytest.mark.sandbox
@pytest.mark.parametrize(
    "program",
    [
        "import json\nprint(hasattr(json.JSONEncoder, 'patched'))\njson.JSONEncoder.patched = 1\n",
        "from collections.abc import Hashable\nprint(issubclass(list, Hashable))\nHashable.register(list)\n",
    ],
    ids=["re-exported class", "abstract class"],
)
def test_changed_classes_are_not_those_of_the_next_test(executor, program):
    execution = executor.run(program, {"type": "stdio", "inputs": [""] * 2, "outputs": ["False"] * 2})

    assert execution.outcome is Outcome.PASSED
