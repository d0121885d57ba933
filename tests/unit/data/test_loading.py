"""Sources of problems, rows that are left out, dates, LiveCodeBench's pickles, forms of tests."""

from __future__ import annotations

import base64
import json
import os
import pickle
import zlib
from pathlib import Path

import pytest

from stepcoder_trl.data.formats import load_problems, read_raw_rows
from stepcoder_trl.data.formats.trainers import verl_row
from stepcoder_trl.data.problems import Problem
from stepcoder_trl.errors import BadInputError
from tests.unit.data.published_rows import (
    BIGCODEBENCH,
    CLASSEVAL,
    CODECONTESTS,
    CODECONTESTS_O,
    CODECONTESTS_PLUS,
    CODEFORCES,
    DEEPCODER_LCB,
    DEEPCODER_PRIME,
    EVERY_FORMAT,
    HUMANEVAL,
    KODCODE,
    LIVECODEBENCH,
    MBPP,
    OURS,
    RSTAR,
    VERIFICATION_INFO,
    VERL,
)


def test_several_files_of_different_formats_are_loaded_in_order(write_rows):
    paths = [write_rows(MBPP, name="a.jsonl"), write_rows(OURS, name="b.jsonl"), write_rows(HUMANEVAL, name="c.jsonl")]

    assert [problem.task_id for problem in load_problems(paths)] == ["MBPP/3", "a", "HumanEval/0"]
    assert [raw.number for raw in read_raw_rows(paths)] == [1, 2, 3]


def test_task_id_of_two_files_names_both(write_rows):
    paths = [write_rows(OURS, name="a.jsonl"), write_rows(OURS, name="b.jsonl")]

    with pytest.raises(BadInputError, match=r"b\.jsonl:1: `task_id` 'a' \(str\) is already used by .*a\.jsonl:1"):
        load_problems(paths)


def test_no_source_is_refused():
    with pytest.raises(BadInputError, match="Name at least one"):
        load_problems([])


def test_folder_of_parquet_files_is_loaded(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    (tmp_path / "data").mkdir()
    for number, task_id in enumerate((7, 8)):
        table = arrow.Table.from_pylist([{**MBPP, "task_id": task_id}])
        parquet.write_table(table, tmp_path / "data" / f"train-0000{number}-of-00002.parquet")
    (tmp_path / "README.md").write_text("A dataset.")

    assert [problem.task_id for problem in load_problems(tmp_path)] == ["MBPP/7", "MBPP/8"]


class FakeDatasets:
    """Stand-in for the library `datasets`."""

    class DatasetDict(dict):
        pass

    def __init__(self, **splits: list[dict]) -> None:
        self.splits = splits

    def load_dataset(self, name: str, split: str | None) -> object:
        if name != "owner/problems":
            raise FileNotFoundError(f"Dataset '{name}' doesn't exist on the Hub\nmore")
        return self.DatasetDict(self.splits) if split is None else self.splits[split]


@pytest.mark.parametrize("name", ["owner/problems", "owner/problems:test"])
def test_dataset_on_the_hub_is_loaded(monkeypatch, name):
    monkeypatch.setitem(__import__("sys").modules, "datasets", FakeDatasets(test=[MBPP]))

    assert [problem.task_id for problem in load_problems(name)] == ["MBPP/3"]


def test_split_must_be_named_if_there_are_several(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", FakeDatasets(test=[MBPP], train=[MBPP]))

    with pytest.raises(BadInputError, match=r"the splits test, train. Name one: `owner/problems:test`"):
        load_problems("owner/problems")


@pytest.mark.parametrize("name", ["owner/misspelt", "data/missing.jsonl"])
def test_missing_source_gives_one_line(monkeypatch, name):
    monkeypatch.setitem(__import__("sys").modules, "datasets", FakeDatasets())

    with pytest.raises(BadInputError, match=f"{name}: there is no such file") as error:
        load_problems(name)
    assert "\n" not in str(error.value)


# Rows that are left out


@pytest.mark.parametrize(
    ("row", "change", "reason"),
    [
        (BIGCODEBENCH, {"task_id": "b", "libs": ["pandas", "json"]}, r"needs pandas \(1\)"),
        (CODEFORCES, {"id": "b", "interaction_format": "Ask."}, r"is interactive \(1\)"),
        (CODEFORCES, {"language": "cpp"}, r"is for another language \(1\)"),
        (CLASSEVAL, {"task_id": "b", "test": "from PIL import Image\n"}, r"needs PIL \(1\)"),
        (CODECONTESTS_PLUS, {"id": "b", "checker": "int main() {}"}, r"has a checker in C\+\+ \(1\)"),
        (CODECONTESTS_O, {"name": "b", "checker": "int main() {}"}, r"has a checker in C\+\+ \(1\)"),
        (
            RSTAR,
            {
                "question_id": "b",
                "func_name": "f",
                "starter_code": "def f(x):",
                "inputs": ["[1, 2]"],
                "outputs": ["3"],
            },
            r"has calls in a form that is not known \(1\)",
        ),
        (VERL, {"reward_model": {"ground_truth": "42"}}, r"that is not tests of code \(1\)"),
        (VERL, {"ability": "math"}, r"is about mathematics \(1\)"),
        (KODCODE, {"question_id": "b", "test": "def test_a(x):\n    pass\n"}, r"tests that cannot be run \(1\)"),
        (VERIFICATION_INFO, {"problem_id": "b", "verification_info": "{'x': 1}"}, r"has no `test_cases`"),
        (CODECONTESTS, {"name": "b", "input_file": "a.in"}, r"uses the file a.in \(1\)"),
        (VERIFICATION_INFO, {"problem_id": "b", "verification_info": {"language": "rust"}}, r"'rust' \(str\) \(1\)"),
    ],
)
def test_rows_that_cannot_be_used_are_left_out_and_counted(write_rows, row, change, reason):
    with pytest.warns(UserWarning, match=f"1 of 2 rows are left out: .*{reason}"):
        problems = load_problems(write_rows(row, {**row, **change}))

    assert len(problems) == 1


@pytest.mark.sandbox
@pytest.mark.parametrize("ending", ["", "sys.exit(0)"])
def test_checkers_of_codeforces_judge(untraced, write_rows, ending):
    checker = (
        "import sys\ninput, expected, output = (open(path).read() for path in sys.argv[1:])\n"
        f"print(1 if sorted(output.split()) == sorted(expected.split()) else 0)\n{ending}\n"
    )
    tests = [{"input": "3", "output": "1 2 3"}, {"input": "2", "output": "1 2"}]
    row = {**CODEFORCES, "generated_checker": checker, "examples": [], "official_tests": tests}

    (problem,) = load_problems(write_rows(row))
    programs = ["print(*range(int(input()), 0, -1))", "print(*range(int(input())))", "print(int('x'))"]

    found = [untraced.run(program, problem.tests) for program in programs]

    assert [str(execution.outcome) for execution in found] == ["passed", "failed", "runtime_error"]
    assert [test.output for test in found[0].tests] == [None, None]
    assert found[1].tests[0].message == "the checker rejects the output"


def test_generated_tests_of_codeforces_that_are_joined_to_the_row_are_read(write_rows):
    (problem,) = load_problems(write_rows({**CODEFORCES, "generated_tests": [{"input": "5", "output": "10"}]}))

    assert problem.tests["inputs"] == ["1", "3\n", "5"]


def test_checker_that_is_not_python_is_refused(write_rows):
    with pytest.raises(BadInputError, match="`generated_checker` is '#include"):
        load_problems(write_rows({**CODEFORCES, "generated_checker": "#include <x>\nint main() {}"}))


# rStar-Coder

METHOD = "class Solution:\n    def f(self, xs: List[int], y: int = 1) -> int:\n        "


@pytest.mark.parametrize(
    ("starter_code", "text", "arguments"),
    [
        (METHOD, '{"y": 2, "xs": [1]}', [[1], 2]),
        (METHOD, "[[1], 2]", [[1], 2]),
        (METHOD, "xs = [1], y = 2", [[1], 2]),
        (METHOD, "y = 2\nxs = [1]", [[1], 2]),
        ("def f(x):", '{"x": "a"}', ["a"]),
        ("def f(\n    x,\n):\n", "x = None", [None]),
        ("def f(x):", "7", [7]),
        ("def f(x: str):", "121", ["121"]),
        ("def f(x: str) -> int:", '"121"', ["121"]),
        ("def f(x: str):", "a == 1", ["a == 1"]),
        ("def f(x: str, y):", 'x = "a", y = 2', ["a", 2]),
    ],
)
def test_calls_of_rstar_are_text(write_rows, starter_code, text, arguments):
    row = {**RSTAR, "func_name": "f", "starter_code": starter_code, "inputs": [text], "outputs": ["[3]"]}

    (problem,) = load_problems(write_rows(row))

    assert problem.tests["type"] == "call"
    assert (problem.tests["inputs"], problem.tests["outputs"]) == ([arguments], [[3]])


@pytest.mark.parametrize("text", ["[1]", "[1, 2, 3]", '{"x": 1}', "xs = [1]", "xs = [1], z = 2", "a b"])
def test_calls_of_rstar_that_are_not_clear_are_left_out(write_rows, text):
    starter_code = "def f(x):" if text == "[1]" else METHOD
    row = {**RSTAR, "func_name": "f", "starter_code": starter_code, "inputs": [text], "outputs": ["3"]}

    with pytest.raises(BadInputError, match="calls in a form that is not known"):
        load_problems(write_rows(row))


@pytest.mark.parametrize(
    ("starter_code", "text"),
    [
        *[("def f(x):", text) for text in ("foo(1", "a == 1", "x = foo(1)", "x = y")],
        *[("def f(x: str):", text) for text in ('["a"]', "x = 121", "x = foo(1)", '{"x": 1}')],
        ("def f(x: str, y):", "[121, 2]"),
    ],
)
def test_arguments_of_rstar_that_do_not_fit_are_left_out(write_rows, starter_code, text):
    row = {**RSTAR, "func_name": "f", "starter_code": starter_code, "inputs": [text], "outputs": ["3"]}

    with pytest.raises(BadInputError, match="calls in a form that is not known"):
        load_problems(write_rows(row))


@pytest.mark.parametrize(("returns", "output"), [("str", "121"), ("int", 121)])
def test_outputs_of_rstar_are_those_of_the_annotation(write_rows, returns, output):
    starter_code = f"def f(x: int) -> {returns}:"
    row = {**RSTAR, "func_name": "f", "starter_code": starter_code, "inputs": ["1"], "outputs": ["121"]}

    (problem,) = load_problems(write_rows(row))

    assert problem.tests["outputs"] == [output]


def test_asserts_of_rstar_are_asserts(write_rows):
    row = {**RSTAR, "func_name": "f", "inputs": ["assert f(1) == 2"], "outputs": ["None"]}

    (problem,) = load_problems(write_rows(row))

    assert problem.tests["asserts"] == ["assert f(1) == 2"]


# LiveCodeBench


@pytest.mark.parametrize(
    ("since", "until", "found"),
    [
        (None, None, ["1", "2", "3"]),
        ("2024-05-31", None, ["2", "3"]),
        (None, "2024-05-31", ["1", "2"]),
        ("2024-01-01", "2024-05-30", ["1"]),
    ],
)
def test_window_of_dates(write_rows, since, until, found):
    days = ("2024-05-01", "2024-05-31", "2024-06-01")
    rows = [
        {**LIVECODEBENCH, "question_id": str(n), "contest_date": f"{day}T23:00:00"} for n, day in enumerate(days, 1)
    ]

    problems = load_problems(write_rows(*rows), since=since, until=until)

    assert [problem.task_id for problem in problems] == found


@pytest.mark.parametrize(
    ("row", "since", "part"),
    [
        (LIVECODEBENCH, "2025-01-01", "It has 2024-05-31 to 2024-05-31"),
        (LIVECODEBENCH, "May", "`since` is 'May'"),
        (MBPP, "2024-01-01", "the format `mbpp` gives no dates"),
    ],
)
def test_window_without_problems_gives_one_line(write_rows, row, since, part):
    with pytest.raises(BadInputError, match=part):
        load_problems(write_rows(row), since=since)


class _Mark:
    def __reduce__(self):
        return Path.touch, (Path("touched"),)


@pytest.mark.parametrize("value", [_Mark(), [1], b"[]", Path("x")])
def test_pickle_that_is_not_text_is_refused_and_runs_no_code(tmp_path, monkeypatch, write_rows, value):
    monkeypatch.chdir(tmp_path)
    text = base64.b64encode(zlib.compress(pickle.dumps(value))).decode()

    with pytest.raises(BadInputError, match=r"`private_test_cases` cannot be decoded: .* must be text"):
        load_problems(write_rows({**LIVECODEBENCH, "private_test_cases": text}))

    assert not Path("touched").exists()


@pytest.mark.parametrize("broken", [b"NN\x85R.", b"N}b.", b"\x80", b"0."])
def test_broken_pickle_is_one_line(write_rows, broken):
    text = base64.b64encode(zlib.compress(broken)).decode()

    with pytest.raises(BadInputError, match=r"`private_test_cases` cannot be decoded"):
        load_problems(write_rows({**LIVECODEBENCH, "private_test_cases": text}))


def test_private_tests_may_be_json(write_rows):
    tests = json.dumps([{"input": "8", "output": "9", "testtype": "functional"}])

    (problem,) = load_problems(write_rows({**LIVECODEBENCH, "private_test_cases": tests}))

    assert (problem.tests["inputs"], problem.tests["outputs"]) == ([[1], [8]], [2, 9])


# Forms of tests


@pytest.mark.parametrize("row", [DEEPCODER_LCB, DEEPCODER_PRIME], ids=["lcb", "primeintellect"])
def test_deepcoder_has_tests_in_several_forms(write_rows, row):
    (problem,) = load_problems(write_rows(row))

    assert (problem.tests["type"], problem.tests["fn_name"]) == ("call", "inc")
    assert (problem.tests["inputs"], problem.tests["outputs"]) == ([[1], [1]], [2, 2])


@pytest.mark.parametrize(
    ("truth", "kind", "count"),
    [
        ({"inputs": ["1\n"], "outputs": ["2\n"]}, "stdio", 1),
        ({"functional": "def check(f):\n    assert f(1) == 2\n\ncheck(inc)\nassert inc(2) == 3\n"}, "assert", 2),
        ({"functional": "x = inc(1)\nassert x == 2\nx = 3\n"}, "assert", 1),
        ({"pytest": "from solution import inc\ndef test_a():\n    assert inc(1) == 2\n"}, "assert", 1),
        ({"assert_case": ["assert inc(1) == 2", "assert inc(2) == 3"]}, "assert", 2),
        ([{"input": "1\n", "output": "2\n"}], "stdio", 1),
        (["assert inc(1) == 2"], "assert", 1),
    ],
)
def test_forms_of_ground_truth(write_rows, truth, kind, count):
    (problem,) = load_problems(
        write_rows({**VERL, "reward_model": {"style": "rule", "ground_truth": json.dumps(truth)}})
    )

    assert problem.tests["type"] == kind
    assert len(problem.tests["asserts" if kind == "assert" else "inputs"]) == count


@pytest.mark.parametrize("name", [name for name in EVERY_FORMAT if name != "apps_plus"])
def test_problem_of_any_format_survives_the_schema_of_verl(write_rows, name):
    (problem,) = load_problems(write_rows(EVERY_FORMAT[name].row))

    (again,) = load_problems(write_rows(verl_row(problem, 0), name="verl.jsonl"))

    assert again.task_id == problem.task_id
    assert again.canonical_solution.strip() == problem.canonical_solution.strip()
    for field in ("type", "inputs", "outputs"):
        assert again.tests.get(field) == problem.tests.get(field)
    if name not in ("kodcode", "bigcodebench", "classeval"):  # tests of several statements come back as one
        assert len(again.tests.get("asserts", ())) == len(problem.tests.get("asserts", ()))


@pytest.mark.parametrize("statement", ["42", "'text'", "x = 1", "pass"])
def test_test_that_cannot_fail_is_refused(write_rows, statement):
    truth = json.dumps(["assert inc(1) == 2", statement])

    with pytest.raises(BadInputError, match="which can never fail"):
        load_problems(write_rows({**VERL, "reward_model": {"ground_truth": truth}}))


def test_function_that_reads_standard_input_has_no_form_in_verl():
    tests = {"type": "stdio", "inputs": ["1"], "outputs": ["1"], "fn_name": "main"}

    with pytest.raises(BadInputError, match=r"verl has no tests of this kind \(`stdio`\)"):
        verl_row(Problem(task_id="a", prompt="p", tests=tests), 0)


def test_net_that_is_missing_ends_the_search_at_once(monkeypatch):
    import socket

    def unknown(*_):
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setitem(__import__("sys").modules, "datasets", FakeDatasets(test=[MBPP]))

    load_problems("owner/problems")

    assert os.environ["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize("source", [[OURS], OURS, 7])
def test_rows_in_place_of_files_get_one_line(source):
    with pytest.raises(BadInputError, match=r"must be the path of a file .*Problem.from_row"):
        load_problems(source)


def test_rows_that_cannot_be_used_take_no_id_from_others(tmp_path):
    path = tmp_path / "apps.jsonl"
    tests = json.dumps({"inputs": ["1\n"], "outputs": ["1\n"]})
    rows = [{"problem_id": n, "question": f"Do {n}.", "solutions": "[]", "input_output": tests} for n in range(4)]
    rows[2]["input_output"] = ""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    raw = read_raw_rows(path)

    assert [row.task_id for row in raw] == ["apps/0", "apps/1", "apps/2", "apps/3"]
    assert [row.error is None for row in raw] == [True, True, False, True]
    assert [row.repeated_id for row in raw] == [None] * 4
