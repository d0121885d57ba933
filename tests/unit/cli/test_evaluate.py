from __future__ import annotations

import copy
import json
from concurrent.futures import Future

import pytest

from stepcoder_trl.cli.main import main
from stepcoder_trl.errors import SandboxError
from stepcoder_trl.executor.choice import ExecutorChoice
from tests.unit.data.published_rows import EVALPLUS, LIVECODEBENCH


pytestmark = pytest.mark.sandbox

GOOD = "\n    return (x > 0) - (x < 0)\n"
BAD = "\n    return 1\n"


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "--workers", "1", *map(str, arguments)])
    return ended.value.code


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def problem_file(tmp_path, problems):
    return write(tmp_path / "problems.jsonl", [problem.to_row() for problem in problems[:3]])


@pytest.fixture
def sample_file(tmp_path, problems):
    texts = [GOOD, BAD, "\n  syntax error"]
    return write(
        tmp_path / "given.jsonl",
        [{"task_id": one.task_id, "completion": text} for one, text in zip(problems, texts, strict=False)],
    )


def test_given_samples_are_scored(tmp_path, problem_file, sample_file, capsys):
    assert run("--problems", problem_file, "--samples", sample_file, "--out", tmp_path / "out", "--score-only") == 0

    assert [row["outcome"] for row in read(tmp_path / "out" / "results.jsonl")] == [
        "passed",
        "failed",
        "compile_error",
    ]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["pass@1"]["value"] == pytest.approx(1 / 3)
    # 3, 1 and 0 of 3 tests.
    assert summary["test_case_average"] == pytest.approx(4 / 9)
    assert "pass@1" in capsys.readouterr().out
    assert read(tmp_path / "out" / "samples.jsonl")[1]["program"] == "def sign(x):\n" + BAD


def test_limits_are_per_test_and_stated(tmp_path, problems, capsys):
    # Seven tests of 0.3 seconds each take more than five limits of 0.4 seconds.
    tests = {"type": "call", "fn_name": "spin", "inputs": [[0.3]] * 7, "outputs": [None] * 7}
    row = {**problems[0].to_row(), "tests": tests, "starter_code": "", "canonical_solution": ""}
    program = "import time\ndef spin(s):\n    end = time.process_time() + s\n    while time.process_time() < end: pass"
    given = write(tmp_path / "p.jsonl", [row])
    samples = write(tmp_path / "s.jsonl", [{"task_id": row["task_id"], "program": program}])

    flags = ["--problems", given, "--samples", samples, "--timeout-s", 0.4, "--memory-mb", 256]
    assert run(*flags, "--out", tmp_path / "a") == 0
    assert run(*flags, "--program-timeout-s", 1.2, "--out", tmp_path / "b") == 0

    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) for name in "ab"]
    assert [summary["pass@1"]["value"] for summary in summaries] == [1.0, 0.0]
    assert [one["limits"]["program_timeout_s"] for one in summaries] == ["timeout_s per test", 1.2]
    assert "256 MiB" in capsys.readouterr().out


def test_evalplus_has_columns_for_base_and_all_tests(tmp_path, capsys):
    problem_file = write(tmp_path / "p.jsonl", [EVALPLUS])
    sample_file = write(tmp_path / "s.jsonl", [{"task_id": "HumanEval/900", "completion": "    return x + 1\n"}])

    assert run("--problems", problem_file, "--samples", sample_file, "--out", tmp_path / "out") == 0

    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["base"]["pass@1"]["value"], summary["pass@1"]["value"]) == (1.0, 0.0)
    printed = capsys.readouterr().out
    assert "base tests" in printed
    assert "all tests" in printed


def test_figures_of_several_files_stand_side_by_side(tmp_path, capsys):
    files = [write(tmp_path / "plus.jsonl", [EVALPLUS]), write(tmp_path / "lcb.jsonl", [LIVECODEBENCH])]
    programs = {"HumanEval/900": "def inc(x):\n    return x + 1\n", "3000": "def inc(x):\n    return x + 1\n"}
    sample_file = write(tmp_path / "s.jsonl", [{"task_id": name, "program": code} for name, code in programs.items()])

    assert run("--problems", *files, "--samples", sample_file, "--out", tmp_path / "out") == 0

    figures = json.loads((tmp_path / "out" / "summary.json").read_text())["files"]
    assert [figure["pass@1"]["value"] for figure in figures.values()] == [0.0, 1.0]
    assert ["base" in figure for figure in figures.values()] == [True, False]
    printed = " ".join(capsys.readouterr().out.split())
    assert "│ figure ┃ plus.jsonl ┃ lcb.jsonl ┃".replace("│", "┃") in printed
    assert "│ pass@1, base tests │ 1.000 │ │" in printed
    assert "│ pass@1 │ 0.000 │ 1.000 │" in printed


def test_two_files_with_the_same_problem_are_an_error(tmp_path, capsys):
    files = [write(tmp_path / name, [EVALPLUS]) for name in ("a.jsonl", "b.jsonl")]

    assert run("--problems", *files, "--samples", files[0], "--out", tmp_path / "out") == 2

    error = " ".join(capsys.readouterr().err.split())
    assert "b.jsonl:1: `task_id` 'HumanEval/900' (str) is already used by" in error
    assert "a.jsonl:1. Give" in error


def test_problems_of_livecodebench_are_chosen_by_date(tmp_path, capsys):
    days = ("2024-05-01", "2024-09-01")
    rows = [{**LIVECODEBENCH, "question_id": day, "contest_date": f"{day}T00:00:00"} for day in days]
    problem_file = write(tmp_path / "p.jsonl", rows)
    samples = write(tmp_path / "s.jsonl", [{"task_id": days[1], "program": "def inc(x): return x + 1"}])
    flags = ["--problems", problem_file, "--samples", samples, "--out", tmp_path / "out"]

    assert run(*flags, "--dates", "2024-08-01", "2025-01-31") == 0
    assert "1 samples of 1 problems" in capsys.readouterr().out
    assert run(*flags, "--dates", "2025-08-01", "2026-01-31") == 2
    assert "no problem is from these days. It has 2024-05-01 to 2024-09-01" in capsys.readouterr().err


@pytest.mark.parametrize("compared", ["a/results.jsonl", "a/summary.json", "a"])
def test_written_samples_are_scored_again_and_compared(tmp_path, problem_file, sample_file, compared, capsys):
    run("--problems", problem_file, "--samples", sample_file, "--out", tmp_path / "a")
    better = read(tmp_path / "a" / "samples.jsonl")
    for row in better:
        row["program"] = "def sign(x):" + GOOD
    (tmp_path / "b").mkdir()
    write(tmp_path / "b" / "samples.jsonl", better)

    options = ["--export", "evalplus", tmp_path / "e.jsonl", "--compare", tmp_path / compared]
    assert run("--problems", problem_file, "--score-only", "--out", tmp_path / "b", *options) == 0

    comparison = json.loads((tmp_path / "b" / "summary.json").read_text())["comparison"]
    assert (comparison["only_first"], comparison["only_second"], comparison["p_value"]) == (2, 0, 0.5)
    assert "McNemar" in capsys.readouterr().out
    assert read(tmp_path / "e.jsonl")[0]["solution"] == "def sign(x):" + GOOD


def test_each_model_has_a_folder_of_its_own(tmp_path, problem_file, make_policy, tokenizer, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, seed in (("a", 0), ("b", 1)):
        make_policy(seed).save_pretrained(name)
        tokenizer.save_pretrained(name)
        assert run("--problems", problem_file, "--model", name, "--max-new-tokens", 2, "--max-problems", 1) == 0
    assert run("--problems", problem_file, "--model", "a", "--max-new-tokens", 3, "--max-problems", 1) == 2

    first, second = sorted(path.parent.name for path in tmp_path.glob("runs/evaluate/*/summary.json"))
    assert (first[:2], second[:2]) == ("a-", "b-")
    assert "Name another folder with `--out`" in capsys.readouterr().err


def test_model_is_sampled_and_scored(tmp_path, problem_file, make_policy, tokenizer):
    make_policy().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    drawing = ["--num-samples", 2, "--max-new-tokens", 6, "--temperature", 1, "--batch-size", 4]

    for _ in range(2):  # the second run has nothing left to sample
        assert run("--problems", problem_file, "--model", tmp_path / "model", "--out", tmp_path / "out", *drawing) == 0

    samples = read(tmp_path / "out" / "samples.jsonl")
    assert [(row["task_id"], row["sample"]) for row in samples] == [(f"sign/{n}", k) for n in range(3) for k in (0, 1)]
    assert len(read(tmp_path / "out" / "results.jsonl")) == 6
    assert len((tmp_path / "out" / "drawn" / "part-0.jsonl").read_text().splitlines()) == 6


@pytest.mark.parametrize(("positions", "is_warned"), [(60, True), (512, False)])
def test_more_tokens_than_positions_are_one_warning(
    tmp_path, problem_file, make_policy, tokenizer, capsys, positions, is_warned
):
    model = make_policy()
    model.config.max_position_embeddings = positions
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    names = ["--problems", problem_file, "--model", tmp_path / "model", "--out", tmp_path / "out"]

    assert run(*names, "--max-new-tokens", 60, "--num-samples", 2, "--stop-words", "e") == 0

    assert capsys.readouterr().err.count(f"more than the {positions} positions of the model") == is_warned


def test_card_that_cannot_be_written_is_a_warning(tmp_path, problem_file, make_policy, tokenizer, capsys):
    make_policy().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "card.json").write_text("{")
    names = ["--problems", problem_file, "--model", tmp_path / "model", "--out", tmp_path / "out"]

    assert run(*names, "--max-new-tokens", 4, "--max-problems", 1, "--workers", 1) == 0

    assert "not added to the model card" in capsys.readouterr().err
    assert (tmp_path / "out" / "summary.json").exists()


@pytest.fixture
def chat_model(tmp_path, make_policy, tokenizer):
    """Folder of a model whose chat template refuses system messages unless `lenient` is set."""
    make_policy().save_pretrained(tmp_path / "chat")
    changed = copy.deepcopy(tokenizer)
    refusal = "{% if not lenient and messages[0].role == 'system' %}{{ raise_exception('No system role') }}{% endif %}"
    changed.chat_template = refusal + tokenizer.chat_template
    changed.save_pretrained(tmp_path / "chat")
    return tmp_path / "chat"


def test_refusal_of_the_chat_template_is_one_line(tmp_path, problems, chat_model, capsys):
    row = {**problems[0].to_row(), "prompt": [{"role": "system", "content": "Write Python."}]}
    path = write(tmp_path / "chat.jsonl", [row])
    flags = ["--problems", path, "--model", chat_model, "--out", tmp_path / "out", "--max-new-tokens", 2]

    assert run(*flags) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "Problem 'sign/0': The chat template cannot render the messages: No system role." in error
    assert run(*flags, "--chat-template-kwargs", '{"lenient": true}') == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "Neither `--model` nor `--samples` is given"),
        (["--model", "m", "--samples", "s"], "Both `--model` and `--samples` are given"),
        (["--samples", "missing.jsonl"], "missing.jsonl: there is no such file"),
        (["--model", "m", "--export", "word", "f"], "`--export word` is unknown"),
        (["--model", "m", "--num-samples", "0"], "`--num-samples` is 0, but must be at least 1"),
        (["--model", "m", "--temperature", "-1"], "`--temperature` is -1.0, but must be at least 0"),
        (["--model", "m", "--top-p", "95"], "`--top-p` is 95.0, but must be in (0, 1]"),
        (["--model", "/no/such/model"], "The model '/no/such/model' cannot be loaded"),
        (["--model", "m", "--chat-template-kwargs", "no"], "`--chat-template-kwargs` is 'no', but must be a JSON"),
        (["--samples", "s", "--pass-at", "0"], "`--pass-at` is 0, but must be at least 1"),
        (["--model", "m", "--pass-at", "1", "10"], "`--pass-at` is 10, but `--num-samples` is 1"),
    ],
)
def test_errors_are_one_line(tmp_path, problem_file, capsys, flags, message):
    assert run("--problems", problem_file, "--out", tmp_path / "out", *flags) == 2

    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_samples_of_another_file_are_not_overwritten(tmp_path, problem_file, sample_file, capsys):
    given = ["--problems", problem_file, "--out", tmp_path / "out"]
    assert run(*given, "--samples", sample_file) == run(*given, "--samples", sample_file) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    other = [
        {**row, "completion": None, "program": "def sign(x):" + GOOD} for row in read(tmp_path / "out/samples.jsonl")
    ]
    write(tmp_path / "other.jsonl", other)

    status = run(*given, "--samples", tmp_path / "other.jsonl")

    assert status == 2
    assert "samples.jsonl has other samples, which would be overwritten, such as one of" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_comparison_with_invalid_results_is_an_error(tmp_path, problem_file, sample_file, capsys):
    options = ["--samples", sample_file, "--out", tmp_path / "out", "--compare", sample_file]

    assert run("--problems", problem_file, *options) == 2
    assert "given.jsonl:1: field `sample` is missing" in capsys.readouterr().err


def test_problems_without_sample_are_reported(tmp_path, problem_file, problems, capsys):
    path = write(tmp_path / "one.jsonl", [{"task_id": problems[0].task_id, "completion": GOOD}])

    export = ["--export", "bigcode", tmp_path / "bigcode.json"]
    assert run("--problems", problem_file, "--samples", path, "--out", tmp_path / "out", *export) == 0
    assert "2 of 3 problems have no sample and are not counted." in capsys.readouterr().err
    # This harness identifies problems by their position.
    assert [len(programs) for programs in json.loads((tmp_path / "bigcode.json").read_text())] == [1, 0, 0]


def test_pass_at_beyond_sample_count_is_an_error(tmp_path, problem_file, sample_file, capsys):
    options = ["--samples", sample_file, "--out", tmp_path / "out", "--pass-at", 1, 5]

    assert run("--problems", problem_file, *options) == 2
    assert "pass@5 needs 5 samples of a problem, but there are at most 1" in capsys.readouterr().err
    assert not (tmp_path / "out" / "results.jsonl").exists()


class BrokenExecutor:
    """Executor that fails because the disk is full."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, program, tests):
        future: Future = Future()
        future.set_exception(SandboxError("No space left on device."))
        return future


def test_error_without_summary_if_no_sample_could_be_run(tmp_path, problem_file, sample_file, monkeypatch, capsys):
    monkeypatch.setattr(ExecutorChoice, "open", lambda choice: BrokenExecutor())

    assert run("--problems", problem_file, "--samples", sample_file, "--out", tmp_path / "out") == 1

    printed = capsys.readouterr()
    assert "None of the 3 samples could be run: No space left on device." in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert [row["passed"] for row in read(tmp_path / "out" / "results.jsonl")] == [None] * 3
    assert not (tmp_path / "out" / "summary.json").exists()
    assert len(read(tmp_path / "out" / "samples.jsonl")) == 3


def test_only_first_process_scores(tmp_path, problem_file, sample_file, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(ExecutorChoice, "open", lambda choice: BrokenExecutor())

    assert run("--problems", problem_file, "--samples", sample_file, "--out", tmp_path / "out", "--score-only") == 0
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "out").exists()


def test_scoring_first_problems_keeps_other_samples(tmp_path, problem_file, sample_file):
    run("--problems", problem_file, "--samples", sample_file, "--out", tmp_path / "out")

    assert run("--problems", problem_file, "--score-only", "--out", tmp_path / "out", "--max-problems", 1) == 0
    assert len(read(tmp_path / "out" / "results.jsonl")) == 1
    assert len(read(tmp_path / "out" / "samples.jsonl")) == 3


def test_solution_decides_whether_tests_run_with_the_program(tmp_path, capsys):
    # The names of a setup that no assert uses stay out of the program, unless the solution needs them.
    solution = "def g():\n    return helper(2)\n"
    tests = {"type": "assert", "setup": "def helper(x):\n    return x * 10\n", "asserts": ["assert g() == 20"]}
    problem = {"task_id": "a", "prompt": "p", "canonical_solution": solution, "tests": tests}
    write(tmp_path / "problems.jsonl", [problem, {**problem, "task_id": "b", "canonical_solution": ""}])
    programs = {"a": [solution, "def g():\n    return helper(3)\n"], "b": [solution]}
    samples = [{"task_id": name, "completion": text} for name, texts in programs.items() for text in texts]
    write(tmp_path / "samples.jsonl", samples)

    run("--problems", tmp_path / "problems.jsonl", "--samples", tmp_path / "samples.jsonl", "--out", tmp_path / "out")

    outcomes = [row["outcome"] for row in read(tmp_path / "out" / "results.jsonl")]
    assert outcomes == ["passed", "failed", "runtime_error"]
