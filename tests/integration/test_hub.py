"""Uploads to a fake Hub, which is a folder on the disk."""

from __future__ import annotations

import logging
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from datasets import Dataset
from huggingface_hub import HfApi, ModelCard
from huggingface_hub.utils import filter_repo_objects
from trl import SFTConfig

from stepcoder_trl import StepCoderGRPOConfig, StepCoderGRPOTrainer
from stepcoder_trl.trainer.sft_trainer import StepCoderSFTTrainer
from tests.integration.helpers import RIGHT, WRONG


pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.filterwarnings("ignore:.*(gradient|activation)_checkpointing:FutureWarning"),  # TRL's own
]
PRIVATE = {"record", "report.html", "metrics.jsonl"}  # in the folder of a run


class Hub:
    """Fake Hub that keeps uploaded files in a folder, and its commits. Uploads wait until `open` is set."""

    def __init__(self, root):
        self.root = root
        self.commits = []
        self.error = None
        self.open = threading.Event()
        self.open.set()
        self._uploader = ThreadPoolExecutor(max_workers=1)

    def create_repo(self, repo_id, **kwargs):
        return SimpleNamespace(repo_id=f"someone/{repo_id}")

    def upload_folder(self, *, folder_path, commit_message, run_as_future=False, **kwargs):
        job = self._uploader.submit(self._upload, Path(folder_path), commit_message, **kwargs)
        return job if run_as_future else job.result()

    def _upload(self, source, message, repo_id, path_in_repo=None, ignore_patterns=None, **kwargs):
        assert self.open.wait(60)
        if self.error is not None:
            raise self.error
        assert repo_id == "someone/run"
        files = [str(path.relative_to(source)) for path in sorted(source.rglob("*")) if path.is_file()]
        for name in filter_repo_objects(files, ignore_patterns=ignore_patterns):
            target = self.root / (path_in_repo or "") / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target)
        self.commits.append((message, path_in_repo))

    def card(self):
        return ModelCard.load(self.root / "README.md").text


@pytest.fixture
def hub(monkeypatch, tmp_path):
    hub = Hub(tmp_path / "hub")
    monkeypatch.setattr(HfApi, "create_repo", lambda self, *args, **kwargs: hub.create_repo(*args, **kwargs))
    monkeypatch.setattr(HfApi, "upload_folder", lambda self, **kwargs: hub.upload_folder(**kwargs))
    monkeypatch.setattr("socket.socket.connect", lambda *args: pytest.fail("asked the network"))
    yield hub
    hub.open.set()


@pytest.fixture
def make(make_trainer, script):
    def make(**changes):
        script(RIGHT, WRONG)
        settings = {"push_to_hub": True, "save_strategy": "steps", "save_steps": 1, "max_steps": 2}
        return make_trainer(**{**settings, **changes})

    return make


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_checkpoints_and_final_model_are_pushed(make, hub):
    trainer = make(hub_always_push=True)

    trainer.train()

    assert hub.commits == [(f"Training in progress, update {number}", None) for number in (1, 2)]
    assert names(hub.root) >= {"model.safetensors", "value_model", "curriculum.json", "tokenizer.json", "README.md"}
    assert "training_state" not in names(hub.root)
    assert "update 2 of 2" in hub.card()

    trainer.save_model()

    assert hub.commits[2:] == [("Model save", None)]
    assert not {"training_state", "checkpoint-1", "checkpoint-2"} & names(hub.root)
    folder = names(Path(trainer.args.output_dir))
    assert folder >= PRIVATE
    assert not names(hub.root) & {*PRIVATE, "trainer_state.json"}


def test_record_of_a_run_is_pushed_where_it_is_asked_for(make, hub):
    trainer = make(hub_record=True, hub_strategy="end")
    trainer.train()

    trainer.push_to_hub()

    assert names(hub.root) >= {*PRIVATE, "model.safetensors"}
    assert (hub.root / "record" / "rollouts.jsonl").is_file()


def test_grpo_and_fine_tuning_push_no_training_data(hub, problems, tokenizer, make_policy, tmp_path):
    options = {"push_to_hub": True, "use_cpu": True, "report_to": "none", "max_steps": 2, "save_steps": 1}
    options |= {"hub_always_push": True, "save_total_limit": 1, "per_device_train_batch_size": 2, "bf16": False}

    def score(completions, **columns):
        return [float(len(completion)) for completion in completions]

    args = StepCoderGRPOConfig(
        str(tmp_path / "run"), num_generations=2, max_completion_length=4, log_completions=True, **options
    )
    StepCoderGRPOTrainer(make_policy(), [score], args, problems[:2], processing_class=tokenizer).train()
    grpo = names(hub.root)
    shutil.rmtree(hub.root)
    rows = Dataset.from_list([{"text": RIGHT}] * 4)
    tuned = StepCoderSFTTrainer(
        make_policy(),
        SFTConfig(str(tmp_path / "sft" / "run"), **options),
        train_dataset=rows,
        processing_class=tokenizer,
    )
    tuned.train()
    tuned.save_model()

    assert (tmp_path / "run" / "record" / "rollouts.jsonl").is_file()
    assert [message for message, _ in hub.commits] == [
        *(f"Training in progress, update {number}" for number in (1, 2) * 2),
        "Model save",
    ]
    for pushed in (grpo, names(hub.root)):
        assert {"model.safetensors", "README.md", "tokenizer.json"} <= pushed
        assert not pushed & {*PRIVATE, "optimizer.pt", "trainer_state.json", "checkpoint-2"}


@pytest.mark.parametrize(
    ("strategy", "places"),
    [
        ("end", []),
        ("checkpoint", [None, "last-checkpoint", None, "last-checkpoint"]),
        ("all_checkpoints", [None, "checkpoint-1", None, "checkpoint-2"]),
    ],
)
def test_hub_strategy_decides_which_folders_are_pushed(make, hub, strategy, places):
    make(hub_strategy=strategy, hub_always_push=True).train()

    assert [place for _, place in hub.commits] == places


def test_run_resumes_from_pushed_checkpoint(make, hub):
    make(hub_strategy="checkpoint").train()
    again = make(max_steps=3, push_to_hub=False)

    again.train(resume_from_checkpoint=hub.root / "last-checkpoint")

    assert [entry["step"] for entry in again.state.log_history] == [1, 2, 3]


@pytest.mark.parametrize("always", [False, True])
def test_checkpoint_is_kept_while_it_is_uploaded(make, hub, always):
    trainer = make(max_steps=3, save_total_limit=1, hub_always_push=always)
    hub.open.clear()
    seen = []

    def look(*args):
        if trainer.state.global_step == 3:
            seen.extend(sorted(path.name for path in Path(trainer.args.output_dir).glob("checkpoint-*")))
            hub.open.set()

    trainer.callback_handler.on_save = lambda args, state, control: look() or control

    trainer.train()

    assert seen == (["checkpoint-1", "checkpoint-2", "checkpoint-3"] if always else ["checkpoint-1", "checkpoint-3"])
    sent = [message.split()[-1] for message, _ in hub.commits]
    assert sent == (["1", "2", "3"] if always else ["1"])


def test_failed_upload_gives_warning_and_training_continues(make, hub, caplog):
    hub.error = OSError("no route to the Hub")

    with caplog.at_level(logging.WARNING, logger="stepcoder_trl"):
        trainer = make(hub_always_push=True)
        trainer.train()

    assert trainer.state.global_step == 2
    assert "checkpoint-2 could not be sent to the Hub: no route to the Hub" in caplog.text


def test_nothing_is_pushed_by_default(make, hub):
    make(push_to_hub=False).train()

    assert hub.commits == []
