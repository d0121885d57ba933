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
        (folder / "trainer_state.json").touch()


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

    with pytest.raises(BadInputError, match=r"up to checkpoint-2\. Go on with it by `resume_from_checkpoint=True`"):
        identity.begin(checkpoints(tmp_path), overwrite=False, is_main=True)
    identity.begin(checkpoints(tmp_path), overwrite=True, is_main=True)

    assert [path.name for path in tmp_path.iterdir()] == ["stepcoder_run.json"]
    assert read_run_file(tmp_path).run_id == identity.run_id != "old"


RESULTS = (
    *("metrics.jsonl", "report.html", "record/updates.jsonl", "record/rollouts.jsonl"),
    *("completions/completions_00001.parquet", "card.json"),
)


def put(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def tree(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


def begin(root, *, overwrite=False, identity=None):
    identity = identity or RunIdentity(str(root), CHAT)
    identity.begin(checkpoints(root), overwrite=overwrite, is_main=True)
    return identity


@pytest.mark.parametrize("overwrite", [False, True])
def test_folder_without_a_run_keeps_its_files(tmp_path, overwrite):
    own = ("record/thesis.txt", "completions/mine.txt", *RESULTS)
    put(tmp_path, *own)

    begin(tmp_path, overwrite=overwrite)

    assert tree(tmp_path) == sorted([*own, "stepcoder_run.json"])


@pytest.mark.parametrize("name", [name for name in RESULTS if name != "card.json"])
def test_run_without_checkpoints_is_refused_or_deleted(tmp_path, name):
    begin(tmp_path)
    put(tmp_path, name, "card.json", "record/thesis.txt", "completions/mine.txt", "model.safetensors")

    with pytest.raises(BadInputError, match=rf"another run without checkpoints, with {name}\. Delete it by `overw"):
        begin(tmp_path)
    assert (tmp_path / name).exists()
    begin(tmp_path, overwrite=True)

    kept = ["completions/mine.txt", "model.safetensors", "record/thesis.txt", "stepcoder_run.json"]
    assert tree(tmp_path) == kept


def test_run_that_wrote_no_results_is_begun_anew(tmp_path):
    first = begin(tmp_path)
    put(tmp_path, "card.json")  # it is written before the first update

    assert begin(tmp_path).run_id == read_run_file(tmp_path).run_id != first.run_id


def test_trainer_that_trains_again_replaces_its_run(tmp_path):
    identity = begin(tmp_path)
    put(tmp_path, *RESULTS, "record/thesis.txt")

    begin(tmp_path, identity=identity)

    assert tree(tmp_path) == ["record/thesis.txt", "stepcoder_run.json"]
    make(tmp_path, checkpoint_1=identity.run_id)
    with pytest.raises(BadInputError, match="up to checkpoint-1"):
        begin(tmp_path, identity=identity)


def test_links_are_removed_and_what_they_lead_to_stays(tmp_path):
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    put(elsewhere, "updates.jsonl", "weights", "metrics.jsonl")
    begin(run)
    (run / "record").symlink_to(elsewhere)
    (run / "checkpoint-1").symlink_to(elsewhere)
    (run / "metrics.jsonl").symlink_to(elsewhere / "metrics.jsonl")

    begin(run, overwrite=True)

    assert tree(run) == ["stepcoder_run.json"]
    assert tree(elsewhere) == ["metrics.jsonl", "updates.jsonl", "weights"]


def test_run_is_not_resumed_into_the_folder_of_another_without_checkpoints(tmp_path):
    make(tmp_path / "a", checkpoint_2="first")
    begin(tmp_path / "b")
    put(tmp_path / "b", "metrics.jsonl")

    with pytest.raises(BadInputError, match="another run without checkpoints"):
        RunIdentity(str(tmp_path / "b"), CHAT).resume(tmp_path / "a" / "checkpoint-2", [], is_main=True)


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
