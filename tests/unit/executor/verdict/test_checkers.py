"""Test which checkers may run what a program printed."""

from __future__ import annotations

import pytest

from stepcoder_trl.data.formats.benchmarks import _CHECKER
from stepcoder_trl.executor.verdict.checkers import runs_texts
from stepcoder_trl.executor.verdict.judge import Untrusted
from stepcoder_trl.executor.verdict.limits import Limits
from stepcoder_trl.executor.verdict.prepare import prepare_job
from stepcoder_trl.executor.verdict.schema import Tests


def checker(line: str) -> str:
    return f"def check(input, expected, output):\n    {line}\n"


@pytest.mark.parametrize(
    "source",
    [
        checker("return eval(output) == eval(expected)"),
        checker("space = {}; exec(output, space); return space['x'] == expected"),
        checker("run = eval; return run(output) == expected"),
        checker("return map(eval, output.split()) == expected"),
        checker("from sympy import simplify; return simplify(output) == simplify(expected)"),
        checker("return getattr(print.__self__, 'ev' + 'al')(output) == 48"),
        checker("import pickle; return pickle.loads(output.encode()) == expected"),
        checker("from importlib import import_module; return import_module(output)"),
        checker("import os; return os.popen(output).read() == expected"),
        checker("import numexpr; return numexpr.eval(output) == expected"),
        "CODE = 'x = 1'\n" + checker("CODE = output; exec(CODE)"),
        "CODE = 'x = 1'\ndef check(input, expected, CODE):\n    exec(CODE)\n",
        "CODE = 'print(eval(input()))'\n" + checker("exec(compile(CODE, 'f', 'exec'))"),
        _CHECKER.format(checker="import sys\nprint(int(eval(open(sys.argv[3]).read()) == 1))"),
    ],
)
def test_checker_that_may_run_an_output_is_recognised(source):
    assert runs_texts(source)


@pytest.mark.parametrize(
    "source",
    [
        checker("return sorted(output.split()) == sorted(expected.split())"),
        checker("import ast; return ast.literal_eval(output) == ast.literal_eval(expected)"),
        checker("import re; return re.compile(r'[a-z]+').fullmatch(output) is not None"),
        checker("import json, sys, math; return json.loads(output) == json.loads(expected)"),
        "HINT = 'never eval an output'\n" + checker("return output == expected"),
        "CODE = 'x = 1'\n" + checker("exec(compile(CODE, 'f', 'exec')); return output == expected"),
        _CHECKER.format(checker="import sys\nprint(int(open(sys.argv[3]).read() == '1'))"),
    ],
)
def test_other_checkers_are_trusted(source):
    assert not runs_texts(source)


@pytest.mark.parametrize(("line", "is_trusted"), [("return eval(output) == 1", False), ("return output == '1'", True)])
def test_tests_of_a_checker_that_may_run_an_output_are_untrusted(line, is_trusted):
    tests = Tests.parse({"type": "checker", "inputs": ["1"], "outputs": ["1"], "checker": checker(line)})

    (judge,) = prepare_job("", tests, Limits()).tests.judges

    assert isinstance(judge, Untrusted) is not is_trusted
