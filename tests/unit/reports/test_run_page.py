"""Test the page of a run: its sections, its charts, its size, and its record."""

import json
import re
from dataclasses import replace

import pytest

from stepcoder_trl.curriculum.measured import MEASUREMENT_FILE, MeasurementFile, StageRate
from stepcoder_trl.reports import run_page as module
from stepcoder_trl.reports.rollouts import FailingTest, choose_rollouts, failing_test, read_rollout, rollout_row
from stepcoder_trl.reports.run_facts import PassRate, read_facts, write_facts
from stepcoder_trl.reports.run_files import add_pass_rates, write_card, write_page
from stepcoder_trl.reports.run_page import run_page
from stepcoder_trl.reports.run_record import RunRecord, RunRecorder, UpdateRecord, group_results, read_record
from stepcoder_trl.reports.svg import Chart, area_chart, line_chart, ticks
from stepcoder_trl.types import Execution, Outcome, TestResult
from tests.unit.reports.test_html import Page, view
from tests.unit.reports.test_model_card import FACTS


RECORD = RunRecord(
    updates=[UpdateRecord(1, {2: 3, 0: 1}, {"all": 1, "some": 2, "none": 1}), UpdateRecord(20, {0: 4}, {"some": 4})],
    rollouts=[(1, view(task_id="first")), (20, view(task_id="last", outcome="failed"))],
)
HOSTILE = "</style></script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&"


def test_page_has_all_sections_with_links():
    page = Page(run_page(FACTS, RECORD))

    ids = [one["id"] for tag, one in page.attributes if tag == "section"]
    assert ids == ["summary", "learning-curves", "stages", "outcomes", "groups", "rollouts"]
    assert [one["href"] for tag, one in page.attributes if tag == "a"] == [f"#{name}" for name in ids]


def test_page_shows_summary():
    page = run_page(replace(FACTS, rewards=[("unit_test_reward", 1.0), ("brevity", 0.25)]), RECORD)

    facts = ["StepCoder PPO", "someone/tiny-coder", "48 (someone/problems)", "20 of 40", "1,280", "brevity x 0.25"]
    for fact in (*facts, "held-out problems", "0.5000", "learning_rate", "5e-07", "CodeExecutor", "torch 2.6.0"):
        assert fact in page


def test_private_settings_are_not_shown():
    page = run_page(replace(FACTS, defaults={**FACTS.defaults, "output_dir": "", "hub_token": None}), RECORD)

    assert "somebody" not in page
    assert "hf_secret" not in page


def test_every_chart_has_labels_of_both_axes():
    page = run_page(FACTS, RECORD)

    charts = page.split("<figure>")[1:]
    assert len(charts) >= 8
    assert all(">update</text>" in chart and "rotate(-90)" in chart for chart in charts)
    for unit in ("share of programs", "share of tokens", "mean per completion", "nats per completion", "problems"):
        assert f">{unit}</text>" in page


def test_rollouts_stand_newest_first_with_their_update():
    page = Page(run_page(FACTS, RECORD))

    shown = [(one["data-update"], one["data-task"]) for _, one in page.attributes if one.get("class") == "rollout"]
    assert shown == [("20", "last"), ("1", "first")]


def test_page_without_log_and_record_says_so():
    page = run_page(replace(FACTS, history=[], pass_rates=[], method="sft"), RunRecord())

    assert "Nothing was logged." in page
    assert "were not evaluated" in page
    assert "<script" not in page
    assert 'id="rollouts"' not in page


def test_page_shows_measured_stages_of_a_run_that_measured(tmp_path):
    identity = {"model": "m"}
    rates = [StageRate("a", 1, 3, 4), StageRate("a", 0, 1, 4), StageRate("b", 1, 0, 4), StageRate("b", 0, 0, 4)]
    MeasurementFile(tmp_path / MEASUREMENT_FILE, identity).write(rates)
    measured = replace(FACTS, settings={**FACTS.settings, "curriculum_start": "measured"})

    page = write_page(measured, tmp_path).read_text()
    other = write_page(FACTS, tmp_path).read_text()

    assert "2 problems, 16 samples" in page
    rows = [re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", row) for row in page.split("<tr>")]
    assert ["1", "2", "0.375", "1", "0", "1", "0", "2"] in rows
    assert ["scratch", "2", "0.125", "1", "1", "0", "0", "0"] in rows
    assert "16 samples" not in other


def test_text_of_strangers_is_escaped():
    test = FailingTest(1, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    rollout = view(task_id=HOSTILE, prompt=HOSTILE, prefix=HOSTILE, outcome=HOSTILE, solution=HOSTILE)
    facts = replace(
        FACTS,
        **dict.fromkeys(("model_name", "base_model", "training_data"), HOSTILE),
        settings={"fgo": HOSTILE},
        defaults={"fgo": "lines"},
        rewards=[(HOSTILE, 1.0)],
        pass_rates=[PassRate(HOSTILE, 1, 0.5, HOSTILE)],
        history=[{"step": 1, f"eval_{HOSTILE}_pass@1": 0.5}],
    )

    page = Page(run_page(facts, RunRecord(rollouts=[(1, replace(rollout, failing_test=test))])))

    assert page.tags.count("script") == page.tags.count("style") == 1
    assert not {"img", "b"} & set(page.tags)
    names = {name for _, attributes in page.attributes for name in attributes}
    assert not {"src", "style", "onerror"} & names
    assert all(one["href"].startswith("#") for tag, one in page.attributes if tag == "a")


def test_large_record_is_sampled_and_the_page_says_so(monkeypatch):
    monkeypatch.setattr(module, "MOST_CHARACTERS", 100_000)
    rollouts = [(update, view(prompt="x" * 3000)) for update in range(1, 300)]

    page = run_page(FACTS, RunRecord(rollouts=rollouts))

    shown = [one["data-update"] for _, one in Page(page).attributes if one.get("class") == "rollout"]
    assert 10 < len(shown) < 40
    assert (shown[0], shown[-1]) == ("299", "1")
    assert f"{len(shown)} of 299 recorded completions" in page
    assert len(page) < 130_000


def test_stages_keep_their_colours():
    page = run_page(FACTS, RunRecord([UpdateRecord(1, {1: 3, 9: 1}, {"none": 1})]))

    stages = page.split('<section id="stages">')[1].split("</section>")[0]
    assert re.findall(r'<polygon points="[^"]*" class="(f\d)"/>', stages) == ["f1", "f6"]
    assert "stage 6 and more" in stages


# Charts


def test_line_chart_draws_points_in_order():
    chart = line_chart(Chart("t", "u", {"a": [(0, 0.0), (10, 1.0)]}, is_share=True))

    assert 'points="56.0,174.0 368.0,16.0"' in chart
    assert ">100%</text>" in chart
    assert ">10</text>" in chart


def test_area_chart_stacks_parts():
    chart = area_chart(Chart("t", "u", {"a": [(0, 1.0), (1, 0.0)], "b": [(0, 0.0), (1, 1.0)]}, is_share=True))

    assert 'points="56.0,16.0 368.0,174.0 368.0,174.0 56.0,174.0" class="f0"' in chart
    assert chart.count("<polygon") == 2


@pytest.mark.parametrize("points", [[], [(1, float("nan"))]])
def test_chart_without_points_is_empty(points):
    assert line_chart(Chart("t", "u", {"a": points})) == ""
    assert area_chart(Chart("t", "u", {"a": []})) == ""


@pytest.mark.parametrize("values", [[0.0], [5.0, 5.0], [-1e9, 1e9], [1e-9, 2e-9]])
def test_chart_of_any_scale_stays_inside(values):
    chart = line_chart(Chart("t", "u", {"a": list(enumerate(values))}))

    points = [pair.split(",") for pair in chart.split('points="')[1].split('"')[0].split()]
    assert all(0 <= float(x) <= 380 and 0 <= float(y) <= 210 for x, y in points)


def test_ticks_are_round():
    assert ticks(0, 1, 4) == [0.0, 0.5, 1.0]
    assert ticks(1, 40, 5, whole=True) == [10, 20, 30, 40]
    assert ticks(1, 2, 5, whole=True) == [1, 2]


# Record


def test_recorder_keeps_first_last_and_evenly_spaced_updates(tmp_path):
    recorder = RunRecorder(tmp_path)
    recorder.begin(0, 1000)

    due = [update for update in range(1, 1001) if recorder.is_due(update)]

    assert due[0] == 1
    assert due[-1] == 1000
    assert len(due) == 41


def test_resumed_run_repeats_no_update(tmp_path):
    recorder = RunRecorder(tmp_path)
    recorder.begin(0, 4)
    for update in (1, 2, 3):
        recorder.add(update, [view()], [0])

    recorder.begin(2, 4)
    recorder.add(3, [view(task_id="again")], [0])

    record = read_record(tmp_path)
    assert [one.update for one in record.updates] == [1, 2, 3]
    assert [one.task_id for _, one in record.rollouts] == ["task/1", "task/1", "again"]


def test_new_run_forgets_the_record_of_another(tmp_path):
    recorder = RunRecorder(tmp_path)
    recorder.begin(0, 4)
    recorder.add(1, [view()], [0])

    RunRecorder(tmp_path).begin(0, 4)

    assert read_record(tmp_path) == RunRecord([], [])


def test_damaged_rows_are_left_out(tmp_path):
    recorder = RunRecorder(tmp_path)
    recorder.begin(0, 4)
    recorder.add(1, [view()], [0, 2])
    for name in ("updates.jsonl", "rollouts.jsonl"):
        with open(tmp_path / "record" / name, "a") as stream:
            stream.write('{"update": 2}\n[1]\n{"update": 3, "tok')

    record = read_record(tmp_path)

    assert record.updates == [UpdateRecord(1, {0: 1, 2: 1}, {"all": 1, "some": 0, "none": 0})]
    assert [update for update, _ in record.rollouts] == [1]


def test_rollout_survives_its_row():
    rollout = view(
        program_span=(0, 5), executed_lines=(1, 3), failing_test=FailingTest(1, "failed", "m"), tokens=("\ud800",) * 8
    )

    assert read_rollout(json.loads(json.dumps(rollout_row(3, rollout)))) == rollout


def test_one_rollout_of_each_outcome_is_chosen():
    outcomes = ["failed"] * 10 + ["passed"] + ["failed"] * 10 + [None]
    rollouts = [view(task_id=str(number), outcome=outcome) for number, outcome in enumerate(outcomes)]

    chosen = choose_rollouts(rollouts, 5)

    assert [one.task_id for one in chosen] == ["0", "1", "10", "20", "21"]
    assert choose_rollouts(rollouts[:2], 5) == rollouts[:2]


def test_groups_are_counted_by_result():
    outcomes = {"a": "passed failed", "b": "passed failed", "c": "passed", "d": "failed", "e": ""}
    views = [
        view(task_id=task, outcome=one) for task, several in outcomes.items() for one in several.split() or [None]
    ]

    assert group_results(views) == {"all": 1, "some": 2, "none": 1}


@pytest.mark.parametrize(
    ("tests", "given", "expected"),
    [
        (
            {"inputs": ["1", "2" * 2000], "outputs": ["a", "b"]},
            "2" * 1000 + "... (2000 characters)",
            "b",
        ),
        ({"type": "call", "inputs": [[1], [2]], "outputs": [3, [4]]}, "[2]", "[4]"),
        ({"type": "assert", "asserts": ["assert f(1)", "assert f(2) == 3"]}, "assert f(2) == 3", ""),
        ({"type": "unittest", "code": "def test(): pass"}, "", ""),
        (None, "", ""),
    ],
)
def test_first_failing_test_is_found(tests, given, expected):
    results = (TestResult(Outcome.PASSED), TestResult(Outcome.FAILED, message="no"), TestResult(Outcome.TIMEOUT))
    execution = Execution(Outcome.TIMEOUT, results, frozenset(), frozenset(), 0.0, True)

    assert failing_test(execution, tests) == FailingTest(2, "failed", "no", given, expected)
    assert failing_test(None, tests) is None
    assert failing_test(replace(execution, tests=results[:1]), tests) is None


# Files


def test_facts_survive_their_file(tmp_path):
    write_facts(replace(FACTS, rewards=[("f", 0.5)]), tmp_path)

    facts = read_facts(tmp_path)

    assert facts.pass_rates == FACTS.pass_rates
    assert facts.rewards == [("f", 0.5)]
    assert facts.query == FACTS.query
    assert "output_dir" not in facts.settings
    assert read_facts(tmp_path / "elsewhere") is None


def test_later_evaluation_reaches_card_and_page(tmp_path):
    write_card(replace(FACTS, pass_rates=[]), tmp_path)
    write_page(FACTS, tmp_path)

    assert add_pass_rates(tmp_path, [PassRate("humaneval.jsonl", 1, 0.123, "greedy")])
    assert add_pass_rates(tmp_path, [PassRate("humaneval.jsonl", 1, 0.456, "greedy")])

    for name in ("README.md", "report.html"):
        text = (tmp_path / name).read_text()
        assert "0.4560" in text
        assert "0.1230" not in text
        assert "greedy" in text
    assert not add_pass_rates(tmp_path / "elsewhere", [])


def test_edited_card_is_kept(tmp_path):
    write_card(FACTS, tmp_path)
    (tmp_path / "README.md").write_text("my own words")

    assert not add_pass_rates(tmp_path, [PassRate("p.jsonl", 1, 0.5, "greedy")])

    assert (tmp_path / "README.md").read_text() == "my own words"
    assert read_facts(tmp_path).pass_rates[-1].data == "p.jsonl"
