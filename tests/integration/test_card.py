"""Model cards of checkpoints, of saved models and of uploads to the Hub."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from transformers import Trainer

from stepcoder_trl import StepCoderGRPOConfig, StepCoderPPOConfig
from stepcoder_trl.data.prompts import style_prompts
from stepcoder_trl.reports.plots import can_plot
from stepcoder_trl.reports.run_facts import changed_settings
from stepcoder_trl.rewards import unit_test_reward
from stepcoder_trl.trainer.cards import defaults_of, settings_of
from tests.conftest import SMALL_RUN
from tests.integration.helpers import RIGHT, WRONG, lora
from tests.unit.reports.test_model_card import FACTS


pytestmark = pytest.mark.sandbox


@pytest.fixture
def make(make_trainer, script, problems, monkeypatch):
    """Return a function that makes a trainer that evaluates and saves, without the network."""
    monkeypatch.setattr("socket.socket.connect", lambda *args: pytest.fail("asked the network"))

    def make(keywords=None, **changes):
        script(RIGHT, WRONG)
        changes = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 1, **changes}
        return make_trainer(keywords={"eval_dataset": problems[:2], **(keywords or {})}, **changes)

    return make


def card_in(folder):
    return ModelCard.load(Path(folder) / "README.md")


def test_card_of_checkpoint_has_its_evaluation_results(make, problems):
    trainer = make(
        training_data_name="someone/problems", training_data_license="MIT", eval_data_name="held-out", seed=7
    )

    trainer.train()

    root = Path(trainer.args.output_dir)
    first, second = card_in(root / "checkpoint-1"), card_in(root / "checkpoint-2")
    assert first.data.eval_results is None  # these weights were not evaluated
    (result,) = second.data.eval_results
    assert (result.dataset_name, result.metric_type) == ("held-out", "pass@1")
    assert result.metric_value == trainer.state.log_history[-1]["eval_pass@1"]
    facts = ["someone/problems", "Licence of the data: MIT", "update 2 of 2", "seed 7", "`CodeExecutor`", "2402.01391"]
    for text in facts:
        assert text in second.text
    layers = [name for name, there in trainer.executor.layers.items() if there]
    assert all(name in second.text for name in layers)
    assert str(root) not in second.content
    assert (root / "checkpoint-2" / "learning_curve.png").exists() == can_plot()


def test_every_setting_is_in_the_card(make):
    trainer = make(max_steps=1)

    trainer.train()
    trainer.save_model()

    text = card_in(trainer.args.output_dir).text
    settings = json.loads(text.split("```json\n")[1].split("\n```")[0])
    assert settings["curriculum_pass_rate"] == 0.5
    assert settings["learning_rate"] == 1e-3
    assert "| `learning_rate` | 0.001 | 5e-07 |" in text
    assert "output_dir" not in settings


def test_our_cards_replace_those_of_peft(make):
    trainer = make({"peft_config": lora()}, max_steps=1)

    trainer.train()
    trainer.save_model()

    card, critic = card_in(trainer.args.output_dir), card_in(Path(trainer.args.output_dir) / "value_model")
    assert card.data.library_name == critic.data.library_name == "peft"
    assert "StepCoder" in card.text
    assert "Critic of run" in critic.text
    assert "More Information Needed" not in card.content + critic.content


def test_card_shows_reward_functions_with_weights(make):
    def brevity(completions, **columns):
        return [-len(text) / 100 for text in completions]

    trainer = make({"reward_funcs": [unit_test_reward, brevity], "reward_weights": [1.0, 0.25]}, max_steps=1)

    trainer.create_model_card()

    text = card_in(trainer.args.output_dir).text
    assert "`unit_test_reward`, weight 1: each program is run" in text
    assert "`brevity`, weight 0.25" in text


@pytest.mark.parametrize("config", [StepCoderPPOConfig, StepCoderGRPOConfig])
def test_default_settings_are_not_shown(config, tmp_path):
    args = config(output_dir=str(tmp_path), use_cpu=True)
    facts = replace(FACTS, settings=settings_of(args), defaults=defaults_of(args))

    assert changed_settings(facts) == [("use_cpu", True, False)]


def test_settings_that_nobody_set_are_not_shown(make_args):
    args = make_args(stop_token="eos", max_steps=7)
    facts = replace(FACTS, settings=settings_of(args), defaults=defaults_of(args))

    changed = {name: value for name, value, _ in changed_settings(facts)}

    assert changed.keys() <= {*SMALL_RUN, "max_steps", "overwrite_output_dir", "save_strategy"}
    assert changed["max_steps"] == 7


@pytest.mark.parametrize("style", ["plain", "chat"])
def test_example_of_the_card_runs_on_the_query_of_training(make, problems, style, monkeypatch, capsys):
    rows = style_prompts(problems, style, make().processing_class)
    trainer = make(dataset=rows, max_steps=1, response_length=8)
    trainer.create_model_card()
    trainer.save_model()
    folder = Path(trainer.args.output_dir)
    code = card_in(folder).text.split("```python\n")[1].split("print(starter_code")[0]
    end = card_in(folder).text.split("print(starter_code")[1].split("\n")[0]
    monkeypatch.chdir(folder.parent)
    names = {}

    exec(f"{code}print(starter_code{end}", names)

    prompt = names["requirement"] if style == "plain" else [{"role": "user", "content": names["requirement"]}]
    query = trainer.build_query(replace(trainer.rows[0], prompt=prompt), names["starter_code"])
    assert names["inputs"]["input_ids"][0].tolist() == list(query.token_ids)
    assert capsys.readouterr().out.startswith("def add(a, b):")


def test_card_of_best_model_has_its_own_results(make):
    trainer = make(
        max_steps=3, eval_steps=1, save_strategy="best", load_best_model_at_end=True, greater_is_better=True
    )
    trainer.train()
    assert trainer.state.best_global_step == 1  # all results are equal, so the first stays the best

    trainer.save_model()

    card = card_in(trainer.args.output_dir)
    assert "update 1 of 3" in card.text
    assert card.data.eval_results[0].metric_value == trainer.state.best_metric


def test_push_to_hub_uploads_the_card(make, monkeypatch):
    sent = {}

    class Api:
        def __init__(self, token): ...

        def upload_folder(self, folder_path, **kwargs):
            sent.update(kwargs, card=card_in(folder_path))

    trainer = make(max_steps=1)
    trainer.train()
    trainer.hub_model_id = trainer.args.hub_model_id = "someone/model"
    monkeypatch.setattr("stepcoder_trl.trainer.hub.HfApi", Api)
    monkeypatch.setattr(Trainer, "_finish_current_push", lambda self: None)

    trainer.push_to_hub(tags="mine", dataset_name="someone/problems")

    assert sent["repo_id"] == "someone/model"
    assert "mine" in sent["card"].data.tags
    assert sent["card"].data.datasets == ["someone/problems"]


def test_create_model_card_writes_to_the_output_directory(make):
    trainer = make()

    trainer.create_model_card(model_name="mine")

    text = card_in(trainer.args.output_dir).text
    assert "# mine" in text
    assert "not evaluated" in text
