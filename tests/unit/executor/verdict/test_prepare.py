"""Test what is prepared for the programs of one row."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig, Outcome
from stepcoder_trl.executor.verdict import prepare
from stepcoder_trl.executor.verdict.judge import Untrusted, judge_test
from stepcoder_trl.executor.verdict.limits import Limits
from stepcoder_trl.executor.verdict.prepare import Job, prepare_job
from stepcoder_trl.executor.verdict.schema import Tests
from stepcoder_trl.executor.wire.jobs import expanded, text_of, unpack


LIMITS = Limits(timeout_s=1.0)
CALL: dict[str, Any] = {"type": "call", "fn_name": "f", "inputs": [[1]], "outputs": [271828]}
STDIO: dict[str, Any] = {"type": "stdio", "inputs": ["1"], "outputs": ["271828"]}
ASSERT: dict[str, Any] = {"type": "assert", "setup": "", "asserts": ["assert f(1) == 271828"]}


def _unpacked(job: Job) -> tuple[Any, list[bytes]]:
    return unpack(io.BytesIO(job.message))


@pytest.mark.parametrize("program", ["print(1)", "", "x = '\ud800'", 'y = "\u00e4\n"'])
def test_message_holds_program_and_tests(program: str) -> None:
    header, (text, around, *tests) = _unpacked(prepare_job(program, Tests.parse(CALL), LIMITS))

    assert text_of(text) == program
    assert expanded(around)["fn_name"] == "f"
    assert list(map(json.loads, tests)) == [[1]]
    assert header["type"] == "call"


@pytest.mark.parametrize("tests", [CALL, STDIO, ASSERT], ids=["call", "stdio", "assert"])
def test_message_has_no_expected_value(tests: dict[str, Any]) -> None:
    job = prepare_job("", Tests.parse(tests), LIMITS)

    assert b"271828" not in job.message


def test_tests_are_prepared_once_for_all_programs() -> None:
    tests = Tests.parse(CALL)

    jobs = [prepare_job(f"x = {number}", tests, LIMITS) for number in range(3)]

    assert {id(job.tests) for job in jobs} == {id(jobs[0].tests)}
    assert len({job.message for job in jobs}) == 3


def test_tests_are_prepared_for_each_setting() -> None:
    tests = Tests.parse(CALL)

    short = prepare_job("", tests, LIMITS)
    long = prepare_job("", tests, replace(LIMITS, timeout_s=2.0))

    assert _unpacked(short)[0]["timeout_s"] == 1.0
    assert _unpacked(long)[0]["timeout_s"] == 2.0


CHECK = "def check(candidate):\n    assert candidate(7) == 271828\n"
TABLE = "TABLE = {7: 271828}\n"
REFERENCE = "def reference(n):\n    return 271828\n"
HELPER = "def twice(f, n):\n    return 2 * f(n) if n != 271828 else 0\n"
NODE = "root = Node(1)\nroot.left = Node(2)\n"


@pytest.mark.parametrize(
    ("setup", "asserts", "trusted", "is_hidden"),
    [
        # The setup stays outside: nothing that runs with the program needs it.
        (CHECK, ["assert solve(0) == 0", "check(solve)"], True, True),
        (TABLE, ["assert solve(0) == 0", "assert solve(7) == TABLE[7]"], True, True),
        (REFERENCE, ["assert solve(0) == 0", "assert solve(5) == reference(5)"], True, True),
        (CHECK + TABLE, ["assert solve(0) == 0", "assert solve(TABLE[7]) != 0"], True, True),
        ("'271828'\n" + CHECK, ["assert solve(0) == 0"], True, True),
        (HELPER, ["assert twice(solve, 3) == 6", "assert solve(0) == 0"], True, True),
        (CHECK, ["assert solve(0) == Point(0)", "check(solve)"], None, True),
        # It is needed with the program, and no test is trusted.
        (CHECK + "poly = solve\n", ["check(poly)", "assert solve(0) == 0"], False, False),
        (CHECK + "import torch\n", ["check(solve)", "assert solve(0) == 0"], False, False),
        (TABLE, ["assert solve(Point(TABLE)) == 3", "assert solve(7) == TABLE[7]"], False, False),
        (TABLE, ["x = 1", "assert solve(x) == TABLE[7]", "assert solve(0) == 0"], False, False),
        (HELPER + "import torch\n", ["assert twice(solve, 3) == 6", "assert solve(0) == 0"], False, False),
        (TABLE + "for n in TABLE: solve.n = n\n", ["assert solve(0) == 0"], False, False),
        # It builds arguments, which the program sees anyway.
        (NODE, ["assert height(root) == 2", "assert height(root) != 3"], True, True),
        (NODE, ["assert height(root) == 2", "assert height(root.left) == 1"], False, True),
        (TABLE, ["assert solve(Point(TABLE)) == 3", "assert solve(0) == 0"], True, False),
        (NODE + CHECK + "import torch\n", ["assert height(root) == 2", "check(solve)"], False, False),
        (NODE + TABLE, ["assert height(root) == 2"], False, False),
        (NODE + "other = Node(271828)\n", ["assert height(root) == 2"], False, False),
        ("import torch\ncases = [(7, 271828)]\n", ["assert solve(cases[0][0]) == 9"], False, False),
        ("import torch\nt = {'given': 7, 'wanted': 271828}\n", ["assert solve(t.get('given')) == 9"], False, False),
        ("import torch\nt = [7, 271828]\n", ["assert solve(min(t)) == 9"], False, False),
        ("import torch\nt = [7, 271828]\n", ["assert solve([n for n in t if n < 9]) == 9"], False, False),
        ("import torch\nt = [7, 271828]\ngiven = t[0]\n", ["assert solve(given) == 9"], False, False),
        ("import torch\nt = [7, 271828]\ngiven = min(t)\n", ["assert solve(given) == 9"], False, False),
        ("import torch\nt = [7, 271828]\ngiven, *rest = t\n", ["assert solve(given) == 9"], False, False),
        (
            "import torch\nfrom types import SimpleNamespace\nt = SimpleNamespace(given=7, wanted=271828)\n",
            ["assert solve(t.given) == 9"],
            *(False, False),
        ),
        ("import torch\nt = [271828] * 2\ns = sorted(t)\n", ["assert sorted(solve(s, list(t))) == [9]"], False, False),
        ("import torch\nt = [7, 8]\n", ["assert solve(0, key=t.get) == 9"], False, True),
        ("'271828'\nimport torch\nt = [7]  # 271828\n", ["assert solve(t) == 9"], True, True),
        ("import torch\ngiven = 7 if torch else 271828\n", ["assert solve(given) == 9"], False, False),
        ("import torch\ngiven = min(7, 271828)\n", ["assert solve(given) == 9"], False, False),
        ("import torch\nx, y = float('inf'), [0] * 3\n", ["assert solve(x, y) == 9"], False, True),
        ("import torch\nx = float('inf')\ny = [0, x]\n", ["assert solve(y) == 9"], True, True),
        ("import torch\ngiven, wanted = 7, 271828\n", ["assert solve(given) == 9"], False, False),
        ("import torch\nitems = [271828]\n", ["assert solve(*items, items) == 9"], False, False),
        (NODE, ["assert height(root) == Point(2)", "assert height(root) == 2"], False, True),
        # Imports and the like are harmless.
        ("import math\n", ["assert solve(math.pi) == 3", "assert solve(0) == 0"], True, True),
        ("try:\n    import numpy\nexcept ImportError:\n    pass\n", ["assert solve(0) == 0"], True, True),
        ("import sys\nsys.setrecursionlimit(10**6)\n" + CHECK, ["assert solve(0) == 0"], True, True),
    ],
)
def test_setup_with_expected_values_runs_with_the_program_only_where_no_test_is_trusted(
    setup: str, asserts: list[str], trusted: bool | None, is_hidden: bool
) -> None:
    job = prepare_job("", Tests.parse({"type": "assert", "setup": setup, "asserts": asserts}), LIMITS)

    marks = {not isinstance(judge, Untrusted) for judge in job.tests.judges}
    assert marks == ({True, False} if trusted is None else {trusted})
    assert (b"271828" not in job.message) is is_hidden


@pytest.mark.parametrize(
    ("statement", "is_examined"),
    [
        ('assert solve(7).startswith("a")', True),
        ("assert not solve(7).strip().isdigit()", True),
        ("assert solve(7).find('ab') != -1", True),
        ("assert solve().isdigit()", True),
        ("assert Solution().solve(7).isdisjoint({5})", True),
        ("assert list(solve(7)).count(5) == 1", True),
        ("assert solve(3).isdigit() == True", True),
        ("assert solve(3).isdigit() is True", True),
        ("assert solve(3).isdigit() != False", True),
        ("assert solve(3).isdigit() in [True]", True),
        ("assert solve(3).isdigit() > 0", True),
        ("assert not solve(3).isdigit() == False", True),
        ("assert bool(solve(3).isdigit()) == True", True),
        ("assert solve(3).pop() is True", True),
        ("assert Solution().index(7) == 3", False),
        ("assert Stack(3).pop()", False),
        ("assert solve(7).strip() == 'ab'", False),
        ("assert solve(7)[0]", False),
    ],
)
def test_methods_of_answers_are_judged_in_the_examiner(statement: str, is_examined: bool) -> None:
    tests = Tests.parse({"type": "assert", "setup": "", "asserts": [statement]})

    job = prepare_job("", tests, LIMITS)
    without_examiner = prepare_job("", tests, LIMITS, examine=False)

    assert bool(job.tests.checks) is is_examined
    assert not any(isinstance(judge, Untrusted) for judge in job.tests.judges)
    assert any(isinstance(judge, Untrusted) for judge in without_examiner.tests.judges) is is_examined


def test_imports_of_a_setup_run_with_the_program() -> None:
    setup = CHECK + "import sys\nsys.setrecursionlimit(5000)\nfrom math import *\n"
    job = prepare_job("", Tests.parse({"type": "assert", "setup": setup, "asserts": ["assert f(pi) == 3"]}), LIMITS)

    assert expanded(_unpacked(job)[1][1])["setup"] == "import sys\nsys.setrecursionlimit(5000)\nfrom math import *"


@pytest.mark.parametrize("tests", [CALL, STDIO, {**ASSERT, "setup": CHECK}], ids=["call", "stdio", "assert"])
def test_marked_row_is_untrusted(tests: dict[str, Any]) -> None:
    job = prepare_job("", Tests.parse({**tests, "trusted": False}), LIMITS)

    assert all(isinstance(judge, Untrusted) for judge in job.tests.judges)
    if tests["type"] == "assert":
        _, around, *parts = _unpacked(job)[1]
        assert list(map(json.loads, parts)) == [{"code": "assert f(1) == 271828"}]
        assert expanded(around)["setup"] == CHECK


@pytest.mark.parametrize(
    ("tests", "report", "outcome"),
    [
        ({**STDIO, "outputs": ["1.0"]}, {"output": "1.04"}, "passed"),
        ({**STDIO, "outputs": ["1.0"]}, {"output": "1.4"}, "failed"),
        ({**CALL, "outputs": [1.0]}, {"value": 1.04}, "passed"),
        ({**CALL, "outputs": [1.0]}, {"value": 1.4}, "failed"),
        ({**CALL, "outputs": [1]}, {"value": 1.04}, "failed"),
    ],
)
def test_tolerance_of_a_row_comes_before_that_of_the_executor(
    tests: dict[str, Any], report: dict[str, Any], outcome: str
) -> None:
    row = Tests.parse({**tests, "float_tolerance": 0.1})
    job = prepare_job("", row, replace(LIMITS, float_tolerance=1e-9))

    assert judge_test(job.tests.judges[0], {**report, "cpu_s": 0.0}).outcome.value == outcome


@pytest.mark.parametrize(("tolerance", "outcome"), [(0.1, "passed"), (0.01, "failed"), (None, "failed")])
@pytest.mark.parametrize(
    ("tests", "report"),
    [({**STDIO, "outputs": ["1.0"]}, {"output": "1.04"}), ({**CALL, "outputs": [1.0]}, {"value": 1.04})],
    ids=["stdio", "call"],
)
def test_tolerance_of_the_executor_holds_for_rows_without_one(
    tests: dict[str, Any], report: dict[str, Any], tolerance: float | None, outcome: str
) -> None:
    job = prepare_job("", Tests.parse(tests), replace(LIMITS, float_tolerance=tolerance))

    assert judge_test(job.tests.judges[0], {**report, "cpu_s": 0.0}).outcome.value == outcome


@pytest.mark.sandbox
def test_executor_prepares_parsed_tests_once(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = []
    original = prepare._prepare_tests
    monkeypatch.setattr(prepare, "_prepare_tests", lambda *given: (prepared.append(1), original(*given))[1])
    tests = Tests.parse({**CALL, "outputs": [2]})

    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        results = executor.run_many(["def f(x): return x + 1", "def f(x): return x"], [tests, tests])

    assert [result.outcome for result in results] == [Outcome.PASSED, Outcome.FAILED]
    assert len(prepared) == 1


@pytest.mark.parametrize(
    ("setup", "statement"),
    [
        ("import numpy as np", "assert np.allclose(f(1), [2]) == True"),
        ("import numpy as np", "assert np.allclose(f(1), [2]) is True"),
        ("from numpy import linalg", "assert linalg.norm(np.array(f(1)) - [2]) < 1e-6"),
        ("import operator", "assert operator.eq(f(1), g(2)) == True"),
        ("", "assert all(x == 2 for x in f(1)) == True"),
        ("", "assert isinstance(f(1), str) == True"),
        ("", "assert np.allclose(f(1), [2]) == True"),
    ],
)
def test_helper_of_a_test_gets_answer_and_expected_value_outside_of_the_program(setup, statement):
    tests = Tests.parse({"type": "assert", "setup": setup, "asserts": [statement]})

    job = prepare_job("", tests, Limits())

    assert job.tests.header["examined"] == [0] or isinstance(job.tests.judges[0], Untrusted)


@pytest.mark.parametrize(
    ("setup", "statement"),
    [
        ("import numpy as np", "assert f(np.array([1, 2])) == 3"),
        ("import asyncio", "assert asyncio.run(f(1)) == 3"),
        ("", "assert sorted(set(f(1))) == [3]"),
        ("", "assert repr(f(1)[0]) == '3'"),
        ("", "assert round(f(1), 2) == 3.14"),
        ("", "assert Solution().solve(Node([1, 2]), 3) == 4"),
        ("", "assert f(10**9 + 7, [0] * 3, {1: [-2.5]}, float('inf')) == 3"),
        ("", "assert sorted(f(*[1, 2], x=(3, None)), reverse=True) == [3.5]"),
        ("", "assert RESULT == 3"),
        ("", "assert f([-float('inf'), 2], -float('inf')) == 3"),
        ("import math", "assert f(-math.inf) == 3"),
        ("", "assert f(max, [1, 2]) == 2"),
        ("", "assert f(len, 'ab') == 2"),
        ("", "assert sum(10, 15) == 6"),
        ("", "assert max([1, 2], key=len) == 6"),
        ("", "assert f([1]).tolist() == [True, False]"),
        ("", "assert Dog(1).barks()"),
        ("", "assert Dog.barks(1) == True"),
    ],
)
def test_expression_that_shows_arguments_alone_runs_with_the_program(setup, statement):
    tests = Tests.parse({"type": "assert", "setup": setup, "asserts": [statement]})

    job = prepare_job("", tests, Limits())

    assert job.tests.header["examined"] == []
    assert not isinstance(job.tests.judges[0], Untrusted)


@pytest.mark.parametrize(
    ("preamble", "statement"),
    [
        ("def same(x): return x == 9", "assert same(f(3)) == True"),
        ("table = {9: 4}", "assert table.get(f(3)) == 4"),
        ("def sum(x): return x == 9", "assert sum(f(3)) == True"),
        ("from operator import truth as same\ndef same(x): return x == 9", "assert same(f(3)) == True"),
        ("", 'assert eval("f(3) == 9")'),
        ("", 'assert eval("f(3) == 9") == True'),
        ("", "assert exec('f(3)') is None"),
        ("", "assert compile('f(3)', '', 'eval') != 9"),
        ("", "assert g(f(3).array([9])) == True"),
        ("", "assert g(made.array([9])) == True"),
        ("", "assert callable(f(3)) == True"),
        ("", "assert chr(f('a')) == 'a'"),
        ("import json", "assert json.loads(f({'a': 1})) == {'a': 1}"),
        ("import json", "assert json.loads(f({'a': 1}))['a'] == 1"),
        ("import zlib", "assert zlib.decompress(f(b'aa')) == b'aa'"),
        ("import calendar", "assert calendar.isleap(f(2021)) == True"),
        ("import __main__", "assert __main__.is_right(f(3)) == True"),
        ("from __main__ import is_right", "assert is_right(f(3)) is True"),
        ("", "assert Box('12').text.isdigit()"),
        ("", "assert Box('12').text.isdigit() == True"),
        ("", "assert CODE.isdigit()"),
        ("", "assert code.isdigit() > 0"),
        ("", "assert TABLE['a'].istitle()"),
        ("", "assert Table()['a'].istitle() is True"),
        ("", "assert hasattr(Dog(), 'bark') == True"),
        ("", "assert isinstance(Dog(), tuple) is True"),
        ("", "assert callable(Dog())"),
        ("", "assert len([Dog(), Dog()], 7) == 2"),
        ("", "assert f([1]).all()"),
        ("", "assert f([1]).any() == True"),
        ("", "assert not f([1]).is_nan()"),
        ("", "assert f([1])[0].parts.is_leap_year"),
        ("", "assert all(f([1]).flags) is not False"),
        ("", "assert RESULT.all()"),
    ],
)
def test_what_the_program_can_replace_to_pass_is_not_trusted_beside_it(preamble, statement):
    tests = Tests.parse({"type": "assert", "setup": "", "asserts": [statement], "preamble": preamble})

    job = prepare_job("", tests, Limits())

    assert job.tests.header["examined"] == [0] or isinstance(job.tests.judges[0], Untrusted)


@pytest.mark.parametrize(
    ("setup", "trusted"),
    [
        ("kept = []\ndef keep(x):\n    kept.append(x)\n    return True\n", False),
        ("def keep(x, kept=[]):\n    kept.append(x)\n    return kept == [x]\n", False),
        ("def keep(x):\n    global kept\n    kept = x\n    return True\n", False),
        ("import functools\n@functools.cache\ndef keep(x):\n    return True\n", False),
        ("LIMIT = (5, -1)\ndef keep(x, n=3):\n    return len(x) > n\n", True),
    ],
)
def test_setup_that_may_keep_results_for_another_function_leaves_no_test_trusted(setup, trusted):
    asserts = ["assert keep(str(moved(1)))", "assert keep(str(other(2)))"]

    job = prepare_job("", Tests.parse({"type": "assert", "setup": setup, "asserts": asserts}), LIMITS)

    assert [not isinstance(judge, Untrusted) for judge in job.tests.judges] == [trusted, trusted]


@pytest.mark.parametrize(
    ("preamble", "setup", "statement", "trusted"),
    [
        ("EXPECTED = [1, 2, 3]", "", "assert f(3) == EXPECTED", False),
        ("EXPECTED: list = [1, 2, 3]", "", "assert EXPECTED[0] == f(3)", False),
        ("EXPECTED = [1, 2, 3]", "def check(c):\n    assert c(3) == EXPECTED", "check(f)", False),
        ("EXPECTED = [1, 2, 3]", "WANTED = EXPECTED", "assert f(3) == WANTED", False),
        ("EXPECTED = [1, 2, 3]", "", "for n in EXPECTED:\n    assert f(n) == n", False),
        ("def right(n): return [1, 2, 3]", "", "assert f(3) == right(3)", False),
        ("def right(x): return x == [1, 2, 3]", "", "assert right(f(3))", False),
        ("import math\ninf = float('inf')", "", "assert f(3) == inf", True),
        ("n = 3", "def check(c):\n    for n in range(3):\n        assert c(n) == n", "check(f)", True),
        ("import math", "", "assert f(math.floor(3.5)) == math.floor(3.9)", True),
        ("GRID = [[1, 2]]", "", "assert f(GRID) == [1, 2, 3]", True),
        ("GRID = [[1, 2]]\nclass ListNode: pass", "", "assert f(3) == [1, 2, 3]", True),
    ],
)
def test_test_that_judges_by_what_the_preamble_defines_is_not_trusted(preamble, setup, statement, trusted):
    tests = {"type": "assert", "setup": setup, "asserts": [statement], "preamble": preamble}

    job = prepare_job("", Tests.parse(tests), LIMITS)

    assert isinstance(job.tests.judges[0], Untrusted) is not trusted


@pytest.mark.parametrize(
    ("preamble", "expression"),
    [
        # Parts of what the source of an argument says.
        ("", "f({'given': 1, 'wanted': 271828}['given'])"),
        ("", "f(1 if True else 271828)"),
        ("", "f(1 or 271828)"),
        ("", "f(1 == 271828)"),
        ("", "f([n for n in [1, 271828] if n < 5])"),
        ("", "f(len([271828]))"),
        ("", "f(min(1, 271828))"),
        ("", "f(271828 * 0, [271828] * 0)"),
        ("", "f((wanted := 271828, 1)[1])"),
        ("", "f(f'{[1, 271828][0]}')"),
        ("", "f({'a': 271828, 'a': 1})"),
        ("", "f(*[1, 271828][:1])"),
        ("", "f('a271828'.rstrip('0123456789'))"),
        ("def first(pair):\n    return pair[0]", "f(first((1, 271828)))"),
        # Functions that get an answer and something else.
        ("def same(a, b):\n    return a == b", "same(f(1), 271828)"),
        ("", "same(f(1), 271828)"),
        ("", "Checker.same(f(1), 271828)"),
        ("", "Checker(f(1), 271828).same"),
        ("", "f(1).equals(271828)"),
        ("", "f(1).frame.equals(271828)"),
        ("", "f(1)(271828)"),
        ("", "RESULT.equals(271828)"),
        ("", "result.equals(271828)"),
        ("", "np.allclose(RESULT, 271828)"),
        ("", "dict(f(1), wanted=271828)"),
        ("", "sorted(f(1), key=[271828, 7].index)"),
        ("", "f(1)[[271828, 7].index(7)]"),
        ("", "holds(f(1))"),
        ("", "f(lambda n: n == 271828)"),
    ],
)
@pytest.mark.parametrize("end", ["", " == True", " is not None"])
def test_no_trusted_test_shows_more_than_arguments(preamble, expression, end):
    tests = {"type": "assert", "setup": "", "asserts": [f"assert {expression}{end}"], "preamble": preamble}

    job = prepare_job("", Tests.parse(tests), LIMITS)

    assert isinstance(job.tests.judges[0], Untrusted) or b"271828" not in job.message


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("setup", "statement"),
    [
        ("", "assert f(range(10)) == 4.5"),
        ("", "assert 4.5 == f([n for n in range(10)])"),
        ("import statistics", "assert statistics.mean(f(range(10), times=2)) == 4.5"),
        ("GIVEN = list(range(10))", "assert f(GIVEN) == 9 / 2"),
        ("GIVEN = [1, 8]", "assert not f(GIVEN) == 4.6"),
    ],
)
def test_floats_have_their_tolerance_in_the_examiner(setup, statement):
    tests = {"type": "assert", "setup": setup, "asserts": [statement]}
    program = "def f(xs, times=0):\n    mean = sum(xs) / len(xs) + {}\n    return [mean] * times if times else mean\n"

    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        right, wrong = executor.run_many([program.format(1e-9), program.format(0.1)], [tests, tests])

    assert (right.outcome, right.trusted) == (Outcome.PASSED, True)
    assert (wrong.outcome, wrong.trusted) == (Outcome.FAILED, True)


@pytest.mark.parametrize("megabytes", [1, 9, 15, 17])
def test_limit_of_the_output_does_not_tell_how_long_the_expected_one_is(megabytes: int) -> None:
    tests = Tests.parse({**STDIO, "outputs": ["x" * (megabytes * 2**20 + 77)]})

    header, _ = _unpacked(prepare_job("pass", tests, LIMITS))

    limit = header["max_output_bytes"] // 2**20
    assert limit == {1: 16, 9: 32, 15: 32, 17: 64}[megabytes]
