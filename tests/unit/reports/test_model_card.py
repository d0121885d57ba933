"""
Test the model card against a snapshot, and its metadata.

`python -m tests.unit.reports.test_model_card` rewrites the snapshot. Review it before you commit it.
"""

from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from stepcoder_trl.reports.model_card import curve_points, model_card
from stepcoder_trl.reports.run_facts import PassRate, RunFacts, measured_pass_rates


SNAPSHOT = Path(__file__).parent / "snapshots" / "model_card.md"
HISTORY = [
    {"step": 10, "objective/scores": -0.62, "executor/passed": 0.125, "objective/kl": 0.01, "fgo/kept_share": 0.93},
    {"step": 10, "eval_pass@1": 0.2, "eval_pass@4": 0.4, "eval_runtime": 3.0},
    {"step": 20, "objective/scores": 0.1, "executor/passed": 0.5, "curriculum/scratch_share": 0.25},
    {"step": 20, "eval_pass@1": 0.25, "eval_pass@4": 0.5, "eval_runtime": 3.0},
]
FACTS = RunFacts(
    model_name="someone/tiny-stepcoder",
    base_model="someone/tiny-coder",
    adapter=False,
    training_data="someone/problems",
    training_data_license="MIT",
    num_problems=48,
    update=20,
    num_updates=40,
    episodes=1280,
    num_processes=2,
    pass_rates=[PassRate("held-out problems", 1, 0.25), PassRate("held-out problems", 4, 0.5)],
    history=HISTORY,
    settings={
        "seed": 3,
        "curriculum": "paper",
        "fgo": "lines",
        "eval_num_generations": 4,
        "eval_temperature": 0.2,
        "eval_top_p": 0.95,
        "eval_response_length": None,
        "response_length": 256,
        "learning_rate": 1e-4,
        "output_dir": "/home/somebody/run",
        "hub_token": "hf_secret",
    },
    defaults={"learning_rate": 5e-7, "seed": 42, "curriculum": "paper", "response_length": 1024},
    versions={"python": "3.11.0", "stepcoder-trl": "0.1.0", "torch": "2.6.0"},
    backend="CodeExecutor",
    layers={"seccomp": True, "landlock": False},
    curve=True,
)


def test_card_equals_snapshot():
    assert model_card(FACTS) == SNAPSHOT.read_text(encoding="utf-8")


def test_metadata_can_be_loaded(monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *args: pytest.fail("asked the network"))

    data = ModelCard(model_card(FACTS)).data

    assert data.base_model == "someone/tiny-coder"
    assert data.datasets == ["someone/problems"]
    assert data.library_name == "transformers"
    assert data.pipeline_tag == "text-generation"
    assert {"trl", "stepcoder"} <= set(data.tags)
    found = [(one.dataset_name, one.metric_type, one.metric_value) for one in data.eval_results]
    assert found == [("held-out problems", "pass@1", 0.25), ("held-out problems", "pass@4", 0.5)]


def test_local_names_are_left_out_of_metadata():
    card = ModelCard(model_card(replace(FACTS, base_model="local", training_data="my problems.jsonl")))

    assert card.data.base_model is None
    assert card.data.datasets is None
    assert "`local`" in card.text
    assert "`my problems.jsonl`" in card.text


def test_card_without_results_says_so():
    card = ModelCard(model_card(replace(FACTS, pass_rates=[], history=[], backend=None, layers={}, curve=False)))

    assert card.data.eval_results is None
    assert "not evaluated" in card.text
    assert "Nothing was logged." in card.text
    assert "No program was run" in card.text


def test_adapter_card_loads_with_peft():
    card = ModelCard(model_card(replace(FACTS, adapter=True)))

    assert card.data.library_name == "peft"
    assert "AutoPeftModelForCausalLM" in card.text


def test_card_leaves_out_local_paths_and_tokens():
    text = model_card(FACTS)

    assert "somebody" not in text
    assert "hf_secret" not in text


def test_hostile_names_break_neither_metadata_nor_tables():
    name = 'x"\n---\nlicense: evil\n| a |'

    card = ModelCard(model_card(replace(FACTS, model_name=name, pass_rates=[PassRate(name, 1, 0.5)])))

    assert card.data.license is None
    assert card.data.eval_results[0].metric_value == 0.5
    assert "\n| a |" not in card.text


def test_pass_rates_come_from_the_given_update():
    rates = measured_pass_rates([*HISTORY, {"step": 20, "eval_hard_pass@1": 0.1}], 20, "easy")

    assert rates == [PassRate("easy", 1, 0.25), PassRate("easy", 4, 0.5), PassRate("hard", 1, 0.1)]
    assert measured_pass_rates(HISTORY, 30, None) == []


def test_curves_have_one_point_per_logged_update():
    points = curve_points(HISTORY)

    assert points["score"] == [(10, -0.62), (20, 0.1)]
    assert points["pass@1"] == [(10, 0.2), (20, 0.25)]
    assert points["from scratch"] == [(20, 0.25)]
    assert "runtime" not in points


if __name__ == "__main__":
    SNAPSHOT.write_text(model_card(FACTS), encoding="utf-8")
