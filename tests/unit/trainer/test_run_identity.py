"""Runs in one folder are never mixed."""

from __future__ import annotations

import pytest

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.steps.prompt_settings import PromptSettings, RunFile, read_run_file, write_run_file
from stepcoder_trl.trainer.checkpoints import checkpoints, newest_checkpoint
from stepcoder_trl.trainer.run_identity import RunIdentity


CHAT = PromptSettings("chat", {"enable_thinking": False}, (2, 3))


def make(root, **runs):
    """Make checkpoints, each with the id of its run."""
    for name, run_id in runs.items():
        folder = root / name.replace("_", "-")
        folder.mkdir(parents=True)
        write_run_file(folder, RunFile(run_id, CHAT))


def test_file_is_read_as_it_was_written(tmp_path):
    assert read_run_file(tmp_path) is None
    write_run_file(tmp_path, RunFile("a", CHAT))

    assert read_run_file(tmp_path) == RunFile("a", CHAT)


@pytest.mark.parametrize("text", ["{", "[]", '{"run_id": "a"}'])
def test_file_of_another_kind_is_one_line(tmp_path, text):
    (tmp_path / "stepcoder_run.json").write_text(text)

    with pytest.raises(BadInputError, match=r"stepcoder_run\.json: cannot be read"):
        read_run_file(tmp_path)


def test_new_run_refuses_checkpoints_of_another_or_deletes_them(tmp_path):
    make(tmp_path, checkpoint_1="old", checkpoint_2="old")
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    identity = RunIdentity(str(tmp_path), CHAT)

    with pytest.raises(BadInputError, match=r"up to checkpoint-2\. Go on with it by `--resume_from_checkpoint true`"):
        identity.begin(checkpoints(tmp_path), overwrite=False, is_main=True)
    identity.begin(checkpoints(tmp_path), overwrite=True, is_main=True)

    assert [path.name for path in tmp_path.iterdir()] == ["stepcoder_run.json"]
    assert read_run_file(tmp_path).run_id == identity.run_id != "old"


def test_newest_checkpoint_is_one_of_the_folders_run(tmp_path):
    make(tmp_path, checkpoint_2="new", checkpoint_4="old", checkpoint_6="old")

    with pytest.raises(BadInputError, match="holds checkpoints of several runs: checkpoint-2, checkpoint-4"):
        newest_checkpoint(str(tmp_path))
    write_run_file(tmp_path, RunFile("new", CHAT))
    assert newest_checkpoint(str(tmp_path)).name == "checkpoint-2"


def test_resumed_run_keeps_its_id(tmp_path):
    make(tmp_path / "a", checkpoint_2="first")
    identity = RunIdentity(str(tmp_path / "b"), CHAT)

    identity.resume(tmp_path / "a" / "checkpoint-2", [], is_main=True)

    assert read_run_file(tmp_path / "b") == RunFile("first", CHAT)


def test_resumed_run_refuses_a_folder_of_another(tmp_path):
    make(tmp_path / "a", checkpoint_2="first")
    make(tmp_path / "b", checkpoint_9="second")
    identity = RunIdentity(str(tmp_path / "b"), CHAT)

    with pytest.raises(BadInputError, match="holds checkpoints of another run, up to checkpoint-9"):
        identity.resume(tmp_path / "a" / "checkpoint-2", checkpoints(tmp_path / "b"), is_main=True)


@pytest.mark.parametrize(
    ("now", "message"),
    [
        (PromptSettings("plain", {"enable_thinking": False}, (2, 3)), "`prompt_style` 'chat', now it is 'plain'"),
        (PromptSettings("chat", None, (2, 3)), "`chat_template_kwargs` .* now it is None"),
        (PromptSettings("chat", {"enable_thinking": False}, (2,)), r"`stop_token_ids` \(2, 3\), now it is \(2,\)"),
    ],
)
def test_other_prompts_are_named(tmp_path, now, message):
    make(tmp_path, checkpoint_2="first")

    with pytest.raises(BadInputError, match=message):
        RunIdentity(str(tmp_path), now).resume(tmp_path / "checkpoint-2", [], is_main=True)
