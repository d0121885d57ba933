"""
Test model cards against snapshots, and their metadata.

`python -m tests.unit.reports.test_model_card` rewrites the snapshots. Review them before you commit them.
"""

from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results
from huggingface_hub.utils import validate_repo_id

from stepcoder_trl.reports.model_card import critic_card, curve_points, model_card
from stepcoder_trl.reports.run_facts import (
    PassRate,
    QueryForm,
    RunFacts,
    changed_settings,
    measured_pass_rates,
    public_settings,
)


SNAPSHOTS = Path(__file__).parent / "snapshots"
SAMPLING = "4 samples per problem, temperature 0.2, top-p 0.95, at most 256 tokens"
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
    pass_rates=[PassRate("held-out problems", k, value, SAMPLING) for k, value in ((1, 0.25), (4, 0.5))],
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
    rewards=[("unit_test_reward", 1.0)],
    backend="CodeExecutor",
    layers={"seccomp": True, "landlock": False},
    curve=True,
)
CHAT = QueryForm("<|user|>\n", "\n<|assistant|>\n```python\n", special_tokens=False)
SFT_HISTORY = [{"step": 10, "loss": 1.5, "mean_token_accuracy": 0.6}, {"step": 20, "loss": 1.0}]
CARDS = {
    "model_card.md": lambda: model_card(FACTS),
    "grpo_card.md": lambda: model_card(
        replace(FACTS, method="grpo", adapter=True, query=CHAT, rewards=[("unit_test_reward", 1.0), ("brevity", 0.25)])
    ),
    "sft_card.md": lambda: model_card(
        replace(FACTS, method="sft", rewards=(), pass_rates=[], episodes=0, backend=None, history=SFT_HISTORY)
    ),
    "critic_card.md": lambda: critic_card(FACTS),
}


def test_metrics_that_were_not_measured_are_no_points():
    unmeasured = {"step": 30, "eval_pass@1": None, "objective/scores": None, "objective/kl": "unknown"}

    assert curve_points([*HISTORY, unmeasured]) == curve_points(HISTORY)
    assert model_card(replace(FACTS, history=[*HISTORY, unmeasured])) == model_card(FACTS)


def test_addresses_of_servers_are_private():
    private = {"vllm_server_base_url": "http://10.0.0.7:8000", "vllm_server_host": "10.0.0.7"}

    assert public_settings(replace(FACTS, settings={**FACTS.settings, **private})) == public_settings(FACTS)


@pytest.mark.parametrize("name", CARDS)
def test_card_equals_snapshot(name):
    assert CARDS[name]() == (SNAPSHOTS / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CARDS)
def test_metadata_follow_the_schema_of_the_hub(name, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *args: pytest.fail("asked the network"))

    data = ModelCard(CARDS[name]()).data

    for repository in (data.base_model, *(data.datasets or ())):
        validate_repo_id(repository)
    assert data.library_name in {"transformers", "peft"}
    assert data.pipeline_tag in {"text-generation", None}
    assert all(isinstance(tag, str) for tag in data.tags)
    assert all(isinstance(one.metric_value, float) for one in data.eval_results or ())
    if data.eval_results:
        index = eval_results_to_model_index("n", data.eval_results)
        assert model_index_to_eval_results(index) == ("n", data.eval_results)


@pytest.mark.parametrize("name", CARDS)
def test_card_has_no_blanks_of_a_template(name):
    card = CARDS[name]()

    for blank in ("More Information Needed", "_TOKEN>", "[None]", "time machine", "None,"):
        assert blank not in card


def test_card_names_reward_functions_and_weights():
    card = CARDS["grpo_card.md"]()

    assert "`unit_test_reward`, weight 1: each program is run" in card
    assert "`brevity`, weight 0.25: a function of the script" in card


def test_card_shows_only_settings_that_somebody_set():
    defaults = {"debug": "", "stop_token": "eos", "top_p": 0.9, "seed": 42, "training_data_name": None}
    settings = {"debug": [], "stop_token": "eos", "top_p": 0.9, "seed": 3, "training_data_name": "mine.jsonl"}
    facts = replace(FACTS, settings=settings, defaults=defaults)

    assert changed_settings(facts) == [("seed", 3, 42)]


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
    assert measured_pass_rates([{"step": 20, "eval_pass@1": None}], 20, None) == []


def test_curves_have_one_point_per_logged_update():
    points = curve_points(HISTORY)

    assert points["score"] == [(10, -0.62), (20, 0.1)]
    assert points["pass@1"] == [(10, 0.2), (20, 0.25)]
    assert points["from scratch"] == [(20, 0.25)]
    assert "runtime" not in points


if __name__ == "__main__":
    for file, card in CARDS.items():
        (SNAPSHOTS / file).write_text(card(), encoding="utf-8")
