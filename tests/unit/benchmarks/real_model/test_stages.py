"""Stages of real problems: order, samples, continuation, figures."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks.real_model import summary
from benchmarks.real_model.problems import alternate, load_tasks, shuffled
from benchmarks.real_model.samplers import nucleus, transformers_sampler
from benchmarks.real_model.sitting import in_time
from benchmarks.real_model.stages import Measurement, SampleFile, measure_all
from stepcoder_trl import Problem
from stepcoder_trl.evaluation.generation import SamplingConfig
from tests.conftest import SIGN
from tests.unit.benchmarks.real_model.conftest import ASSERTS, Recited, sign_task


def test_order_depends_on_the_names_alone_and_the_sets_take_turns():
    mbpp, apps = [[sign_task(f"{name}/{number}") for number in range(6)] for name in ("MBPP", "APPS")]

    order = shuffled(mbpp)

    assert order == shuffled(reversed(mbpp)) != mbpp
    names = [one.row.task_id for one in alternate([mbpp[:3], apps[:1]])]
    assert names == ["MBPP/0", "APPS/0", "MBPP/1", "MBPP/2"]


def test_problems_that_are_long_or_have_one_stage_are_left_out(tmp_path, tokenizer):
    solutions = {"short": SIGN, "long": SIGN + "# and so on\n" * 40, "straight": "def sign(x):\n    return x\n"}
    rows = [Problem(name, "Write sign.", "", text, ASSERTS).to_row() for name, text in solutions.items()]
    rows.append(Problem("wordy", "Write sign. " * 40, "", SIGN, ASSERTS).to_row())
    (tmp_path / "mbpp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    tasks = load_tasks(tmp_path, ["MBPP"], tokenizer, prompt_tokens=120, solution_tokens=150)

    assert [one.row.task_id for one in tasks] == ["short"]
    assert [stage.stage for stage in tasks[0].stages] == [1, 0]


def test_nucleus_is_exact_even_if_it_is_larger_than_the_likeliest_tokens(monkeypatch):
    monkeypatch.setattr("benchmarks.real_model.samplers.LIKELIEST", 2)
    probabilities = torch.tensor([[0.5, 0.1, 0.3, 0.1], [0.25, 0.26, 0.24, 0.25], [0.97, 0.01, 0.01, 0.01]])

    kept = nucleus(probabilities.log(), torch.tensor([0.7, 0.9, 0.9])) > -torch.inf

    assert kept.tolist() == [[True, False, True, False], [True] * 4, [True, False, False, False]]


def test_samples_of_all_stages_are_judged(tokenizer, one_worker):
    measurement = Measurement(Recited(tokenizer), tokenizer, (), one_worker, samples=2)
    broken = sign_task("broken", SIGN.replace("return 1", "return 2"))

    rows = measurement.measure([sign_task("sign"), broken], number=5)

    assert rows[1] == {"set": "MBPP", "task_id": "broken", "failing": "failed"}
    first, scratch = rows[0]["stages"]
    assert (first["stage"], first["line"], scratch["stage"], scratch["line"]) == (1, 6, 0, 1)
    assert first["outcomes"] == ["passed", "passed"]
    assert scratch["outcomes"] == ["passed", "failed"]
    assert scratch["mean_scores"] == [1.0, -0.3]
    assert scratch["kept"][1] < scratch["tokens"][1] > first["tokens"][1]
    assert scratch["ended"] == [True, True]


def test_sitting_ends_before_an_item_that_would_not_fit():
    now = [0.0]

    def work(seconds):
        for item in in_time([3.0, 5.0, 1.0, 1.0], seconds, clock=lambda: now[0]):
            now[0] += item
            yield item

    assert list(work(13.9)) == [3.0, 5.0, 1.0]  # 9 seconds are gone, and the longest took 5
    assert list(work(12.9)) == [3.0, 5.0]
    assert list(work(0.0)) == [3.0]


def test_measurement_goes_on_where_it_stopped(tmp_path, tokenizer, one_worker):
    tasks = [sign_task(str(number)) for number in range(5)]
    sampler = Recited(tokenizer)
    measurement = Measurement(sampler, tokenizer, (), one_worker, samples=1)
    file = SampleFile(tmp_path / "stages.jsonl", {"samples": 1})

    first = next(measure_all(tasks, file, measurement, 2, seconds=1e9))

    assert [row["task_id"] for row in first] == ["0", "1"]
    again = SampleFile(file.path, {"samples": 1})
    assert again.rows == file.rows == first
    list(measure_all(tasks, again, measurement, 2, seconds=1e9))
    assert [row["task_id"] for row in again.rows] == list("01234")
    assert sampler.seeds == [0, 2, 4]
    with pytest.raises(SystemExit, match="other settings"):
        SampleFile(file.path, {"samples": 2})


def test_scratch_can_be_sampled_alone(tokenizer, one_worker):
    measurement = Measurement(Recited(tokenizer), tokenizer, (), one_worker, samples=8, scratch_only=True)

    (row,) = measurement.measure([sign_task("sign")], number=0)

    assert [stage["stage"] for stage in row["stages"]] == [0]
    assert row["stages"][0]["outcomes"].count("passed") == 4


def test_sampler_of_transformers_returns_tokens(make_policy, tokenizer):
    sampling = SamplingConfig(6, 0.8, 0.9, tokenizer.eos_token_id)
    sample = transformers_sampler(make_policy().eval(), tokenizer, sampling, batch_size=4)
    query = sign_task("sign").query(sign_task("sign").stages[0], tokenizer)

    once, again, other = sample([query] * 2, 1), sample([query] * 2, 1), sample([query] * 2, 2)

    assert once.completion_ids() == again.completion_ids() != other.completion_ids()


# Figures


def stage(*outcomes, tokens=10, kept=10, **changes):
    scores = [None if one is None else 1.0 if one == "passed" else -0.3 for one in outcomes]
    size = len(outcomes)
    row = {"stage": 0, "outcomes": list(outcomes), "mean_scores": scores, "tokens": [tokens] * size}
    return {**row, "kept": [kept] * size, "ended": [True] * size, **changes}


def test_figures_of_a_stage():
    mixed = stage("passed", "failed", None, "runtime_error", tokens=8, kept=6, ended=[True, True, False, True])

    found = {name: figure(mixed) for name, figure in summary.FIGURES.items()}

    assert found == {
        "pass rate": (1 / 3, 1.0),
        "a pass": (1.0, 1.0),
        "all pass": (0.0, 1.0),
        "some pass, not all": (1.0, 1.0),
        "scores differ": (1.0, 1.0),
        "mean scores differ": (1.0, 1.0),
        "tokens that FGO leaves out": (8, 32),
        "cut at the limit": (0.25, 1.0),
        "tokens a completion": (8.0, 1.0),
    }
    assert summary.FIGURES["scores differ"](stage("timeout", "runtime_error")) == (0.0, 1.0)


def test_interval_is_of_the_ratio_of_sums_over_problems():
    assert summary.interval([(1, 2), (3, 10)])["value"] == pytest.approx(4 / 12)
    halves = summary.interval([(float(number % 2), 1.0) for number in range(100)])
    assert halves["value"] == 0.5
    assert halves["low"] == pytest.approx(0.40, abs=0.02)
    assert halves["high"] == pytest.approx(0.60, abs=0.02)


def test_paired_differences_have_no_spread_where_all_problems_agree():
    ratios, others = [(0.7, 1.0), (0.2, 1.0)], [(0.6, 1.0), (0.1, 1.0)]

    found = summary.interval(ratios, others)

    assert found["low"] == pytest.approx(0.1) == found["high"]


def test_tables_tell_places_and_scratch_apart():
    rows = [
        {"set": "MBPP", "task_id": "1", "stages": [stage("passed", "failed"), stage("failed", "failed")]},
        {"set": "MBPP", "task_id": "2", "stages": [stage("passed", "passed")] * 3},
        {"set": "MBPP", "task_id": "3", "failing": "timeout"},
    ]

    found = summary.summarize(rows)["MBPP"]

    assert (found["problems"], found["failing"]) == (2, 1)
    assert found["places"]["first"]["pass rate"]["value"] == 0.75
    assert found["places"]["between"]["pass rate"]["problems"] == 1
    assert found["first - scratch"]["pass rate"]["value"] == 0.25
    assert found["by scratch"]["none"]["some pass, not all"]["value"] == 1.0
    assert found["by scratch"]["some"] == {}
    text = summary.tables({"MBPP": found}, {"samples": 2})
    assert "| pass rate | 75 [50, 100] | 100 [100, 100] | 50 [0, 100] | +25 [+0, +50] |" in text
    assert "first: 3 passed, 1 failed" in text


def test_stages_without_a_judged_sample_do_not_count():
    rows = [{"set": "MBPP", "task_id": "1", "stages": [stage(None, None), stage("passed", None)]}]

    found = summary.summarize(rows)["MBPP"]

    assert found["places"]["first"] == {} == found["first - scratch"]
    assert found["by scratch"]["all"] == {}
    assert found["places"]["scratch"]["pass rate"]["value"] == 1.0
