"""Refinement of rows with planted defects by a real executor: decisions and files."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import Future

import pytest

from stepcoder_trl import CodeExecutor, SandboxError, load_problems
from stepcoder_trl.cli.main import main
from stepcoder_trl.data import refine_run


pytestmark = pytest.mark.sandbox

SQUARE = "n = int(input())\nprint(n * n)\n"
ALSO_SQUARE = "print(int(input()) ** 2)\n"
IO = {"inputs": ["3\n", "4\n"], "outputs": ["9\n", "16\n"]}
MANY = " If there are several answers, print any of them."


def row(name, solutions=(SQUARE,), io=IO, question="", difficulty="interview"):
    return {
        "problem_id": name,
        "question": question or f"Task {name}: square the number.",
        "solutions": json.dumps(list(solutions)),
        "input_output": json.dumps(io),
        "difficulty": difficulty,
        "url": "",
        "starter_code": "",
    }


def wrong(outputs):
    return {**IO, "outputs": outputs}


# Sound and defective rows, with the rule that decides each.
PLANTED = [
    *((row(f"sound{number}", [SQUARE, ALSO_SQUARE]), "keep") for number in range(4)),
    (row("constant", ["print(7)"], {"inputs": [""], "outputs": ["7\n"]}), "keep"),
    (row("coded", ["print(7)"], wrong(["7\n", "7\n"])), "hard_coded"),
    (row("one test", ["print(9)"], {"inputs": ["3\n"], "outputs": ["9\n"]}), "hard_coded"),
    (row("or not", ["print(9)", SQUARE], {"inputs": ["3\n"], "outputs": ["9\n"]}), "keep"),
    (row("call", ["def f(n):\n    return n * n"], {"fn_name": "f", "inputs": [[3]], "outputs": [9]}), "keep"),
    (row("words", [SQUARE, ALSO_SQUARE], question="Square it." + MANY), "keep"),
    (row("empty", []), "no_solution"),
    (row("blank", ["  "]), "no_solution"),
    (row("no_input", io={"inputs": [], "outputs": []}), "no_tests"),
    (row("no_output", io={"inputs": ["3\n"], "outputs": []}), "no_tests"),
    (row("nothing", io={}), "no_tests"),
    ({**row("json"), "input_output": "{"}, "malformed"),
    ({**row("question"), "question": 3}, "malformed"),
    (row("python2", ["print 3"]), "does_not_compile"),
    (row("syntax", ["n = (", "return 1"]), "does_not_compile"),
    (row("library", ["import gmpy3000\n" + SQUARE]), "missing_library"),
    (row("clock", ["import time\ntime.clock()\n" + SQUARE]), "api_misuse"),
    (row("gcd", ["from fractions import gcd\n" + SQUARE]), "api_misuse"),
    (row("random", ["import random\nprint(random.random())"]), "nondeterministic"),
    (row("hash", ["print(list({str(n) for n in range(99)}))"]), "nondeterministic"),
    (row("crash", ["print(int(input()) // 0)"]), "runtime_error"),
    (row("slow", ["while True:\n    pass"]), "too_slow"),
    (row("memory", ["x = [0] * 10**9"]), "too_much_memory"),
    (row("answer", ["print(int(input()) + 1)"]), "wrong_output"),
    (row("order", ["a = int(input())\nprint(a, 1)"], wrong(["1 3\n", "1 4\n"])), "order"),
    (row("several", [SQUARE, "print(-int(input()) ** 2)"], question="Give a root." + MANY), "several_answers"),
    (row("another", ["print(-int(input()) ** 2)"], question="Give the other root." + MANY), "several_answers"),
    (row("loud", ["print('YES' if input() else 0)"], wrong(["Yes\n", "YES\n"])), "letter_case"),
    (row("disagree", [SQUARE, "print(-int(input()))"], wrong(["1\n", "2\n"])), "solutions_disagree"),
    (row("halves", ["print(input() and 9)", "print(input() and 16)"]), "solutions_disagree"),
    (row("spaces", [SQUARE], wrong(["9\n", "1 6\n"])), "wrong_output"),
    (row("white", ["print(input().strip(), 1)"], wrong(["3  1\n", "4\n1\n"])), "white_space"),
    (row("float", ["print(int(input()) / 3)"], wrong(["1.00\n", "1.3333333\n"])), "float_format"),
    (row("floats", ["print(int(input()) / 2)"], wrong(["1.50\n", "2\n"])), "float_format"),
    (row("corrected", [SQUARE, ALSO_SQUARE], wrong(["9\n", "17\n"])), "corrected_output"),
    (row("sound0 ", [SQUARE], question="task   SOUND0; square the number!"), "duplicate"),
]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("apps") / "apps.jsonl"
    path.write_text("".join(json.dumps(planted) + "\n" for planted, _ in PLANTED))
    return path


def refine(source, folder, *options):
    with pytest.raises(SystemExit) as ended:
        main(["refine", str(source), "--out", str(folder), "--timeout-s", "1", "--workers", "1", *options])
    assert ended.value.code == 0


def log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def refined(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("refined")
    refine(source, folder)
    return folder


def test_every_planted_defect_is_decided_by_its_rule(refined, capsys):
    deciding: dict[int, str] = {}
    for entry in log(refined):
        if entry["action"] != "note":
            deciding.setdefault(entry["row"], entry["rule"])
    wanted = {number: rule for number, (_, rule) in enumerate(PLANTED, 1)}
    found = Counter((wanted[number], deciding[number]) for number in wanted)

    with capsys.disabled():
        for rule in sorted(set(wanted.values())):
            right = found[rule, rule]
            planted = sum(count for (one, _), count in found.items() if one == rule)
            said = sum(count for (_, one), count in found.items() if one == rule)
            print(f"\n{rule:20} precision {right}/{said} recall {right}/{planted}", end="")
    assert {pair: count for pair, count in found.items() if pair[0] != pair[1]} == {}


def test_log_has_one_line_per_row_and_rule(refined):
    entries = log(refined)

    assert len({(entry["row"], entry["rule"]) for entry in entries}) == len(entries)
    (floats,) = (entry for entry in entries if entry["task_id"] == "apps/floats" and entry["action"] == "repair")
    assert floats["detail"] == "test 0, 1 of 1 solutions; test 1, 1 of 1 solutions"


def test_kept_solutions_pass_their_tests(refined, executor):
    problems = load_problems(refined / "problems.jsonl")

    assert problems == load_problems(refined / "problems.parquet")
    for problem in problems:
        assert executor.run(problem.canonical_solution, problem.tests).outcome == "passed"


def test_summary_card_and_plots_are_readable(refined):
    from huggingface_hub import DatasetCard

    summary = json.loads((refined / "summary.json").read_text())
    assert summary["rows"] == len(PLANTED)
    assert summary["kept"] == sum(entry["action"] == "keep" for entry in log(refined))
    assert summary["rules"]["drop/too_slow"] == 1
    card = DatasetCard((refined / "README.md").read_text())
    assert card.data.size_categories == ["n<1K"]
    assert (refined / "plots.png").read_bytes().startswith(b"\x89PNG")


FILES = ("problems.jsonl", "problems.parquet", "log.jsonl", "summary.json", "README.md", "plots.png")


def test_interrupted_and_resumed_refinement_gives_same_files(source, refined, tmp_path, monkeypatch):
    folder = tmp_path / "again"
    folder.mkdir()
    done = (refined / "rows.jsonl").read_bytes()
    (folder / "rows.jsonl").write_bytes(done[: len(done) // 2])  # ends in the middle of a row

    refine(source, folder, "--workers", "2")

    for name in FILES:
        assert (folder / name).read_bytes() == (refined / name).read_bytes(), name


def test_results_of_another_input_are_not_overwritten(tmp_path, capsys):
    for name, task_id in (("one", "a"), ("other", "b")):
        tests = {"type": "stdio", "inputs": [""], "outputs": ["2"]}
        found = {"task_id": task_id, "prompt": "Print 2.", "canonical_solution": "print(2)", "tests": tests}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(found) + "\n")
    refine(tmp_path / "one.jsonl", tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    with pytest.raises(SystemExit) as ended:
        main(["refine", str(tmp_path / "other.jsonl"), "--out", str(tmp_path / "out")])

    assert ended.value.code == 2
    assert "rows.jsonl has the rows of another input, such as 'a', whose results" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_benchmark_rows_are_dropped_and_tests_extended(source, tmp_path):
    long = "n = int(input())\na = n\nb = a\nc = b\nprint(n * c)\n"
    path = tmp_path / "two.jsonl"
    rows = [row("a", [SQUARE, ALSO_SQUARE]), row("b", [long])]
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    benchmark = tmp_path / "benchmark.jsonl"
    benchmark.write_text(json.dumps(row("c", [long])) + "\n")

    refine(path, tmp_path / "out", "--benchmark", str(benchmark), "--extend-to", "5")

    (problem,) = load_problems(tmp_path / "out" / "problems.jsonl")
    assert len(problem.tests["inputs"]) == 5
    assert [str(int(text) ** 2) for text in problem.tests["inputs"]] == [o.strip() for o in problem.tests["outputs"]]
    assert [(entry["row"], entry["rule"]) for entry in log(tmp_path / "out")] == [
        (1, "extended_tests"),
        (1, "keep"),
        (2, "contaminated"),
    ]


CHAT = {
    "task_id": "a",
    "prompt": [{"role": "user", "content": "Square."}],
    "canonical_solution": "print(int(input()) ** 2)\n",
    "tests": {"type": "stdio", "inputs": ["3"], "outputs": ["9"]},
}


def test_chat_prompts_and_own_columns_are_refined(tmp_path):
    row = {**CHAT, "topic": "squares", "weights": [1, 2]}
    (tmp_path / "chat.jsonl").write_text(json.dumps(row) + "\n")

    with pytest.raises(SystemExit) as ended:
        main(["refine", str(tmp_path / "chat.jsonl"), "--out", str(tmp_path / "out"), "--runs", "1", "--workers", "1"])

    assert ended.value.code == 0
    for name in ("problems.jsonl", "problems.parquet"):
        (problem,) = load_problems(tmp_path / "out" / name)
        assert problem.prompt == CHAT["prompt"]
        assert problem.columns["topic"] == "squares"
        assert problem.columns["weights"] in ([1, 2], "[1, 2]", "[1,2]")  # a column of parquet has one type


def test_chat_prompts_beside_text_are_refused_before_refinement(tmp_path, capsys):
    rows = [CHAT, {**CHAT, "task_id": "b", "prompt": "Square."}]
    (tmp_path / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    with pytest.raises(SystemExit) as ended:
        main(["refine", str(tmp_path / "chat.jsonl"), "--out", str(tmp_path / "out")])

    assert ended.value.code == 2
    assert "b: its prompt is text, unlike those before" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_rows_that_could_not_run_are_logged_and_retried(source, refined, tmp_path, monkeypatch, capsys):
    submit = CodeExecutor.submit

    def unlucky(self, program, tests):
        if "int(input()) ** 2" not in program:
            return submit(self, program, tests)
        future = Future()
        future.set_exception(SandboxError("disk full"))
        return future

    with monkeypatch.context() as patch:
        patch.setattr(CodeExecutor, "submit", unlucky)
        with pytest.raises(SystemExit) as ended:
            main(["refine", str(source), "--out", str(tmp_path), "--timeout-s", "1", "--workers", "1"])
    assert ended.value.code == 1
    assert "rows could not be run" in capsys.readouterr().err
    assert {"row": 1, "task_id": "apps/sound0", "rule": "not_run", "action": "drop", "detail": "disk full"} in log(
        tmp_path
    )

    refine(source, tmp_path)

    assert log(tmp_path) == log(refined)


def test_results_of_other_rules_are_not_reused(tmp_path, monkeypatch):
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps(row("sound")) + "\n")
    refine(path, tmp_path / "out")
    monkeypatch.setattr(refine_run, "_rules_digest", lambda: "another release")

    refine(path, tmp_path / "out")

    first, second = (json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines())
    assert first["key"] != second["key"]
