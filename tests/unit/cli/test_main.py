"""Test the command line: formats, one-line errors, atomic files."""

from __future__ import annotations

import errno
import io
import json
import re
import subprocess
import sys

import pytest

from stepcoder_trl.cli.main import VERBS, main, report


DOUBLE = {"type": "stdio", "inputs": ["3"], "outputs": ["6"]}


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.sandbox
def test_execute_keeps_order(tmp_path):
    programs = write(
        tmp_path / "programs.jsonl",
        {"id": "right", "program": "n = int(input())\nif n < 0:\n    n = 0\nprint(2 * n)\n", "tests": DOUBLE},
        {"id": 2, "program": "def f(:", "tests": json.dumps(DOUBLE)},
        {"id": "odd", "program": "print('\ud800\u2028')", "tests": DOUBLE},
    )
    out = tmp_path / "results.jsonl"

    status = run("execute", programs, "--out", out, "--workers", 1)

    first, second, third = read(out)
    assert status == 0
    assert [row["id"] for row in (first, second, third)] == ["right", 2, "odd"]
    assert first.keys() == {
        *("id", "outcome", "score", "passed", "total", "tests", "executed_lines", "kept_lines", "time_s"),
    }
    assert (first["outcome"], first["score"], first["passed"], first["total"]) == ("passed", 1.0, 1, 1)
    assert first["executed_lines"] == first["kept_lines"] == [1, 2, 4]
    assert first["tests"][0].keys() == {"outcome", "time_s", "message", "trusted"}
    assert (second["outcome"], second["score"], second["executed_lines"], second["kept_lines"]) == (
        "compile_error",
        -1.0,
        [],
        [1],
    )
    assert third["outcome"] == "compile_error"
    assert out.read_bytes().isascii()


def messages(tmp_path, program, tests, *flags):
    """Outcome and message of each test of one program."""
    programs = write(tmp_path / "programs.jsonl", {"id": 1, "program": program, "tests": tests})
    assert run("execute", programs, "--out", tmp_path / "results.jsonl", "--workers", 1, *flags) == 0
    (row,) = read(tmp_path / "results.jsonl")
    return [(test["outcome"], test["message"]) for test in row["tests"]]


@pytest.mark.sandbox
def test_execute_flags_reach_executor(tmp_path):
    counted = {"type": "call", "fn_name": "f", "inputs": [[], []], "outputs": [1, 1]}
    program = "seen = []\ndef f():\n    seen.append(1)\n    return len(seen)\n"
    twice = {"type": "stdio", "inputs": ["", ""], "outputs": ["0.5", "0.5"]}

    assert [outcome for outcome, _ in messages(tmp_path, program, counted)] == ["passed", "failed"]
    fresh = messages(tmp_path, program, counted, "--fresh-process-per-test")
    assert [outcome for outcome, _ in fresh] == ["passed", "passed"]
    assert messages(tmp_path, "print(0.500001)", twice)[1][1].startswith("wrong standard output")
    assert messages(tmp_path, "print(0.500001)", twice, "--stop-on-first-failure")[1][1] == "not run"
    assert messages(tmp_path, "print(0.500001)", twice, "--float-tolerance", "1e-4") == [("passed", "")] * 2
    limited = messages(tmp_path, "while True: pass", twice, "--timeout-s", "0.5", "--program-timeout-s", "0.5")
    assert limited == [("timeout", "time limit exceeded"), ("timeout", "not run")]


@pytest.mark.sandbox
def test_execute_runs_solutions_of_problems(tmp_path, capsys):
    problems = write(
        tmp_path / "p.jsonl",
        {"task_id": "a", "prompt": "Double.", "canonical_solution": "print(2 * int(input()))", "tests": DOUBLE},
        {"task_id": "[b]", "prompt": "Double.", "canonical_solution": "print(5)", "tests": DOUBLE},
    )

    status = run("execute", problems, "--workers", 1)

    printed = capsys.readouterr()
    assert status == 0
    rows = [json.loads(line) for line in printed.out.splitlines()]
    assert [(row["id"], row["outcome"]) for row in rows] == [("a", "passed"), ("[b]", "failed")]
    assert rows[1]["tests"][0]["message"] == "wrong standard output: '5', but expected '6'"
    assert printed.err.splitlines() == [
        "2 programs: 1 passed, 1 failed; mean score +0.350",
        "  [b]  failed, 0 of 1 tests  wrong standard output: '5', but expected '6'",
    ]


@pytest.mark.sandbox
def test_execute_runs_tests_with_a_solution_that_needs_it(tmp_path):
    program = "def g():\n    return helper(2)\n"
    tests = {"type": "assert", "setup": "def helper(x):\n    return x * 10\n", "asserts": ["assert g() == 20"]}
    rows = [{"id": name, name: program, "tests": tests} for name in ("canonical_solution", "program")]

    run("execute", write(tmp_path / "rows.jsonl", *rows), "--out", tmp_path / "out.jsonl", "--workers", 1)

    assert [row["outcome"] for row in read(tmp_path / "out.jsonl")] == ["passed", "runtime_error"]


@pytest.mark.sandbox
def test_execute_reads_and_writes_standard_streams(monkeypatch, capsys):
    row = json.dumps({"id": 1, "program": "print(2 * int(input()))", "tests": DOUBLE})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(row.encode())))

    status = run("execute", "-", "--out", "-", "--workers", 1)

    assert status == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "passed"


@pytest.mark.sandbox
def test_row_that_cannot_be_executed_is_reported_in_output(tmp_path, monkeypatch):
    monkeypatch.setattr("stepcoder_trl.executor.local.server_process._bootstrap", lambda *_: "raise SystemExit")
    programs = write(tmp_path / "p.jsonl", {"id": 1, "program": "", "tests": DOUBLE})
    out = tmp_path / "r.jsonl"

    status = run("execute", programs, "--out", out, "--workers", 1)

    (row,) = read(out)
    assert status == 1
    assert (row["outcome"], row["score"]) == (None, None)
    assert "could not be executed" in row["error"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "holds no rows"),
        ("{", "p.jsonl:1: invalid JSON at column 2"),
        ("[]", "holds no rows"),
        ("[3]", "p.jsonl, row 1: the row is 3 \\(int\\), but must be an object"),
        ('{"program": "", "tests": {}}', "p.jsonl:1: field `id` is missing"),
        ('{"id": 1, "tests": {}}', "p.jsonl:1: field `program` is missing|field `tests`|type"),
        (
            '{"id": 1, "program": 5, "tests": {"type": "stdio", "inputs": [""], "outputs": [""]}}',
            "field `program` is 5",
        ),
        ('{"id": 1, "program": "", "tests": {"type": "stdio", "inputs": [], "outputs": []}}', "p.jsonl:1"),
        ('{"id": 1, "program": "", "tests": "{"}', "p.jsonl:1: `tests` is not valid JSON"),
    ],
)
def test_bad_input_is_one_line_and_writes_no_file(tmp_path, capsys, text, complaint):
    programs = tmp_path / "p.jsonl"
    programs.write_text(text)
    out = tmp_path / "r.jsonl"

    status = run("execute", programs, "--out", out)

    message = capsys.readouterr().err
    assert status == 2
    assert message.count("\n") == 1
    assert re.search(complaint, message)
    assert not out.exists()


@pytest.mark.sandbox
def test_rows_may_share_an_id(tmp_path):
    rows = [{"id": 1, "program": f"print({n})", "tests": DOUBLE} for n in (5, 6)]

    status = run("execute", write(tmp_path / "p.jsonl", *rows), "--out", tmp_path / "r.jsonl", "--workers", 1)

    assert status == 0
    assert [row["outcome"] for row in read(tmp_path / "r.jsonl")] == ["failed", "passed"]


@pytest.mark.sandbox
def test_long_limits_and_long_integers_are_accepted(tmp_path):
    tests = '{"type": "call", "fn_name": "f", "inputs": [[6000]], "outputs": [1' + "0" * 6000 + '], "timeout_s": 1e8}'
    programs = tmp_path / "p.jsonl"
    programs.write_text('{"id": 1, "program": "def f(n): return 10**n", "tests": ' + tests + "}")

    status = run("execute", programs, "--out", tmp_path / "r.jsonl", "--workers", 1)

    assert status == 0
    assert read(tmp_path / "r.jsonl")[0]["outcome"] == "passed"


@pytest.mark.parametrize("arguments", [("execute",), ("nothing",), ("execute", "missing.jsonl", "--out", "-"), ()])
def test_wrong_arguments_exit_with_status_2(capsys, arguments):
    status = run(*arguments)

    assert status == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_curriculum_lists_stages_down_to_scratch(tmp_path):
    beginning = "def f(x):\n    if x:\n        return 1\n    for i in x:\n"
    solution = beginning + "        if i:\n            pass\n    while x:\n        pass\n"
    solutions = write(
        tmp_path / "s.jsonl", {"id": "a", "canonical_solution": solution}, {"id": "b", "canonical_solution": ""}
    )
    out = tmp_path / "stages.jsonl"

    status = run("curriculum", solutions, "--out", out)

    first, second = read(out)
    assert status == 0
    assert first["conditionals"] == [
        {"kind": "if", "line": 2},
        {"kind": "for", "line": 4},
        {"kind": "if", "line": 5},
        {"kind": "while", "line": 7},
    ]
    assert [(stage["stage"], stage["line"]) for stage in first["stages"]] == [(1, 5), (0, 1)]
    assert first["stages"][0]["prefix"] == beginning
    assert second == {"id": "b", "conditionals": [], "stages": [{"stage": 0, "line": 1, "prefix": ""}]}


@pytest.mark.sandbox
def test_env_prints_versions_and_layers(capsys):
    status = run("env")

    assert status == 0
    text = capsys.readouterr().out
    lines = dict(line.split(": ", 1) for line in text.splitlines())
    assert lines.keys() >= {"platform", "memory", "trl", "deepspeed", "vllm", "bitsandbytes", "active sandbox layers"}
    assert "GPUs" in lines or "GPU 0" in lines


def test_help_is_read_without_torch():
    """A fresh interpreter prints the help of every verb and has not imported torch."""
    program = (
        "import contextlib, sys\n"
        "from stepcoder_trl.cli.main import VERBS, main, report\n"
        "for verb in VERBS:\n"
        "    with contextlib.suppress(SystemExit):\n"
        "        main([verb, '--help'])\n"
        "sys.exit('torch' in sys.modules)\n"
    )

    assert subprocess.run([sys.executable, "-c", program], stdout=subprocess.DEVNULL, check=False).returncode == 0


@pytest.mark.parametrize("verb", VERBS)
def test_help_fits_on_a_screen(verb, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    status = run(verb, "--help")

    lines = capsys.readouterr().out.splitlines()
    assert status == 0
    assert len(lines) <= 50
    assert max(map(len, lines)) <= 80 or verb not in ("grpo", "ppo", "sft")
    if verb != "env":  # has no options
        assert any(line.startswith("  stepcoder-trl") or "| stepcoder-trl" in line for line in lines)


@pytest.mark.parametrize("verb", ["grpo", "ppo", "sft"])
def test_short_help_names_existing_options(verb, capsys):
    pytest.importorskip("trl", reason="the options come from TRL's dataclasses")
    run(verb, "--help")
    short = capsys.readouterr().out
    run(verb, "--help-all")
    options = set(re.findall(r"--\w+", capsys.readouterr().out))

    named = set(re.findall(r"--[\w-]+", short)) - {"--config", "--help-all"}
    assert len(named) > 10
    if verb != "sft":
        assert named >= {"--score_tests", "--prefix_imitation", "--curriculum_start", "--executor", "--executor_urls"}
    assert named <= options


def test_solutions_without_a_syntax_tree_are_named(tmp_path):
    rows = [{"id": name, "canonical_solution": text} for name, text in (("a", "if x"), ("b", "x = 1"))]

    with pytest.warns(UserWarning, match=r"1 of 2 solutions do not compile \(a\)\. Their only stage is from scratch"):
        assert run("curriculum", write(tmp_path / "s.jsonl", *rows), "--out", tmp_path / "stages.jsonl") == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("execute p.jsonl", "`execute` was interrupted."),
        ("refine p.jsonl --out o", "`refine` was interrupted. Run the same command again to go on."),
    ],
)
def test_interrupted_verb_says_so(words, said, monkeypatch, capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    verb, *_ = words.split()
    monkeypatch.setattr(f"stepcoder_trl.cli.{verb}.run", interrupted)

    assert run(*words.split()) == 130
    assert capsys.readouterr().err == f"stepcoder-trl: {said}\n"


def test_full_disk_is_one_line(monkeypatch, capsys):
    class Full(io.StringIO):
        def flush(self):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sys.stdout", Full())

    assert report(lambda: 0) == 2
    assert capsys.readouterr().err == (
        "stepcoder-trl: the output cannot be written: No space left on device. Free some space.\n"
    )


def test_table_is_printed_where_the_locale_lacks_a_character(tmp_path, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", stream)

    assert run("curriculum", write(tmp_path / "s.jsonl", {"id": "a", "canonical_solution": ""}), "--out", "-") == 0
    print("ü", flush=True)

    assert stream.buffer.getvalue().endswith(b"\\xfc\n")
