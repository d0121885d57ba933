from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import TrainerState
from transformers.training_args import OptimizerNames
from trl import GRPOTrainer, SFTTrainer

from stepcoder_trl import StepCoderGRPOTrainer
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.trainer import checkpoints
from stepcoder_trl.trainer.sft_trainer import StepCoderSFTTrainer


def nothing():
    pass


def test_directory_is_renamed_when_it_is_complete(tmp_path):
    path = tmp_path / "checkpoint-2"

    with checkpoints.new_directory(path, True, nothing) as directory:
        (directory / "file").write_text("x")
        assert not path.exists()

    assert (path / "file").read_text() == "x"
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint-2"]


def test_an_interrupted_directory_is_no_checkpoint_and_is_replaced(tmp_path):
    path = tmp_path / "checkpoint-2"
    interrupted = checkpoints.new_directory(path, True, nothing)
    (interrupted.__enter__() / "half").write_text("x")
    assert checkpoints.checkpoints(tmp_path) == []

    with checkpoints.new_directory(path, True, nothing) as directory:
        (directory / "complete").write_text("x")

    assert [entry.name for entry in path.iterdir()] == ["complete"]


def test_only_main_process_makes_and_renames_the_directory(tmp_path):
    with checkpoints.new_directory(tmp_path / "checkpoint-1", False, nothing):
        pass

    assert list(tmp_path.iterdir()) == []


def make(root: Path, *steps: int) -> None:
    for step in steps:
        (root / f"checkpoint-{step}" / checkpoints.TRAINING_STATE).mkdir(parents=True)
        (root / f"checkpoint-{step}" / checkpoints.STATE_FILE).touch()


def test_checkpoint_that_was_not_written_to_its_end_is_passed_over(tmp_path, caplog):
    make(tmp_path, 1, 2)
    (tmp_path / "checkpoint-2" / checkpoints.STATE_FILE).unlink()

    assert checkpoints.newest_checkpoint(str(tmp_path)).name == "checkpoint-1"
    assert "checkpoint-2 was not written to its end. The run goes on from checkpoint-1." in caplog.text
    (tmp_path / "checkpoint-1" / checkpoints.STATE_FILE).unlink()
    with pytest.raises(BadInputError, match=r"checkpoint-2 was not written to its end, .* by `overwrite_output_dir"):
        checkpoints.newest_checkpoint(str(tmp_path))


def test_checkpoints_are_sorted_by_their_number(tmp_path):
    make(tmp_path, 10, 9, 100)
    (tmp_path / "checkpoint-final").mkdir()
    (tmp_path / "tmp-checkpoint-200").mkdir()

    assert [path.name for path in checkpoints.checkpoints(tmp_path)] == [
        "checkpoint-9",
        "checkpoint-10",
        "checkpoint-100",
    ]
    assert checkpoints.find_checkpoint(True, str(tmp_path)).name == "checkpoint-100"


@pytest.mark.parametrize(
    ("limit", "keep", "left"),
    [
        (None, None, [1, 2, 3]),
        (0, None, [1, 2, 3]),
        (-1, None, [1, 2, 3]),
        (2, None, [2, 3]),
        (1, "checkpoint-1", [1, 3]),
        (2, "checkpoint-1", [1, 3]),
        (5, None, [1, 2, 3]),
    ],
)
def test_oldest_checkpoints_beyond_the_limit_are_deleted(tmp_path, limit, keep, left):
    make(tmp_path, 1, 2, 3)

    checkpoints.remove_old(str(tmp_path), limit, tmp_path / "checkpoint-3", keep and str(tmp_path / keep))

    assert [path.name for path in checkpoints.checkpoints(tmp_path)] == [f"checkpoint-{step}" for step in left]


def test_newest_checkpoint_is_kept_even_if_others_have_higher_numbers(tmp_path):
    make(tmp_path, 1, 20, 30)

    checkpoints.remove_old(str(tmp_path), 1, tmp_path / "checkpoint-1")

    assert [path.name for path in checkpoints.checkpoints(tmp_path)] == ["checkpoint-1"]


def test_incomplete_checkpoints_are_deleted(tmp_path):
    make(tmp_path, 1)
    (tmp_path / "tmp-checkpoint-2").mkdir()
    (tmp_path / "tmp-old-checkpoint-1" / "half").mkdir(parents=True)
    (tmp_path / "tmp-of-the-user").mkdir()

    checkpoints.tidy_output(str(tmp_path))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-1", "tmp-of-the-user"]


SETTINGS = {
    "dataset": "abc",
    "num_rows": 8,
    "batch_size": 16,
    "num_generations": 4,
    "num_processes": 2,
    "deepspeed": 0,
    "seed": 1,
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 8}, "`batch_size` 16"),
        ({"num_generations": 2}, "`num_generations` 4"),
        ({"dataset": "abd", "num_rows": 9}, "8 then, 9 now"),
        ({"deepspeed": 3}, "2 processes without DeepSpeed"),
    ],
)
def test_another_run_is_refused(changes, message):
    checkpoints.check_same_run(SETTINGS, SETTINGS)

    with pytest.raises(BadInputError, match=message):
        checkpoints.check_same_run(SETTINGS, {**SETTINGS, **changes})


def test_sharded_state_needs_as_many_processes():
    sharded = {**SETTINGS, "deepspeed": 3}

    with pytest.raises(BadInputError, match="2 processes with DeepSpeed ZeRO-3, and cannot be read by 1 process"):
        checkpoints.check_same_run(sharded, {**sharded, "num_processes": 1})


@pytest.mark.parametrize(("changes", "message"), [({"seed": 2}, "order"), ({"num_processes": 1}, "drawn otherwise")])
def test_other_seed_or_number_of_processes_gives_a_warning(caplog, changes, message):
    checkpoints.check_same_run(SETTINGS, {**SETTINGS, **changes})

    assert message in caplog.text


def test_missing_checkpoint_is_an_error(tmp_path):
    with pytest.raises(BadInputError, match="No checkpoint in"):
        checkpoints.find_checkpoint(True, str(tmp_path))


def test_a_checkpoint_without_training_state_is_refused(tmp_path):
    (tmp_path / "checkpoint-1").mkdir()

    with pytest.raises(BadInputError, match="save_only_model"):
        checkpoints.find_checkpoint(tmp_path / "checkpoint-1", "elsewhere")


def test_random_state_is_restored_from_a_file_without_unpickling(tmp_path):
    torch.save(checkpoints.random_state(), tmp_path / "state.pt")
    expected = (random.random(), np.random.rand(), np.random.randn(), torch.rand(1).item())

    checkpoints.set_random_state(torch.load(tmp_path / "state.pt", weights_only=True))

    assert (random.random(), np.random.rand(), np.random.randn(), torch.rand(1).item()) == expected


FULL = "[enforce fail at inline_container.cc:672] . unexpected pos 170176 vs 170064"


@pytest.mark.parametrize("error", [RuntimeError(FULL), OSError(28, "No space left on device")], ids=["torch", "OS"])
def test_full_disk_is_one_sentence_and_leaves_no_half_checkpoint(tmp_path, error):
    def save():
        with checkpoints.new_directory(tmp_path / "checkpoint-1", True, nothing) as directory:
            (directory / "file").write_text("x")
            raise error

    with pytest.raises(BadInputError, match="tmp-checkpoint-1 cannot be written: the disk is full"):
        save()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("own", "parent"), [(StepCoderSFTTrainer, SFTTrainer), (StepCoderGRPOTrainer, GRPOTrainer)], ids=["sft", "grpo"]
)
def test_half_checkpoint_of_upstream_is_deleted_if_the_disk_is_full(tmp_path, monkeypatch, own, parent):
    def save(self, *args):
        (tmp_path / "checkpoint-3").mkdir()
        raise RuntimeError(FULL)

    monkeypatch.setattr(parent, "_save_checkpoint", save)
    trainer = object.__new__(own)
    trainer.args, trainer.state = SimpleNamespace(output_dir=tmp_path), TrainerState(global_step=3)
    trainer.is_world_process_zero = lambda: True

    with pytest.raises(BadInputError, match="checkpoint-3 cannot be written: the disk is full"):
        trainer._save_checkpoint(None, None)

    assert list(tmp_path.iterdir()) == []


def trainer_of(optim="adamw_torch", batch=4, **shapes):
    parameters = [(name, torch.nn.Parameter(torch.zeros(shape))) for name, shape in shapes.items()]
    model = SimpleNamespace(named_parameters=lambda: parameters)
    batches = {"train_batch_size": batch, "gradient_accumulation_steps": 2, "world_size": 1}
    return SimpleNamespace(model=model, args=SimpleNamespace(optim=OptimizerNames(optim), **batches))


def test_checkpoint_fits_what_it_was_saved_from(tmp_path):
    checkpoints.check_trained(tmp_path, trainer_of(a=2))  # of an older release
    checkpoints.save_trained(tmp_path, trainer_of(a=2))
    with pytest.raises(BadInputError, match="holds no optimizer"):
        checkpoints.check_trained(tmp_path, trainer_of(a=2))
    (tmp_path / "optimizer.pt").touch()

    checkpoints.check_trained(tmp_path, trainer_of(a=2))
    checkpoints.check_trained(tmp_path, trainer_of("adamw_torch_fused", a=2))


@pytest.mark.parametrize(
    ("now", "message"),
    [
        (trainer_of(a=3), "1 trained parameters .* another shape, such as `a`"),
        (trainer_of(a=2, b=2), "only there or only here, .* such as `b`"),
        (trainer_of(), "such as `a`. Resume with the model and the adapter"),
        (trainer_of(batch=1, a=2), "An update takes 2 rows, but 8 where"),
        (trainer_of("sgd", a=2), "`optim` is 'sgd', but .* was saved with 'adamw_torch'"),
    ],
)
def test_checkpoint_of_other_parameters_or_optimizer_is_refused(tmp_path, now, message):
    checkpoints.save_trained(tmp_path, trainer_of(a=2))
    (tmp_path / "optimizer.pt").touch()

    with pytest.raises(BadInputError, match=message):
        checkpoints.check_trained(tmp_path, now)


def test_ppo_checkpoint_of_another_shape_is_refused(tmp_path):
    (tmp_path / checkpoints.TRAINING_STATE).mkdir()
    torch.save({"weight": torch.zeros(3, 2), "bias": torch.zeros(3)}, tmp_path / "training_state" / "parameters.pt")
    accelerator = SimpleNamespace(unwrap_model=lambda model: model, state=SimpleNamespace(deepspeed_plugin=None))

    with pytest.raises(BadInputError, match=r"2 trained parameters .* another shape, such as `bias`\. Resume with"):
        checkpoints.load_models(tmp_path, SimpleNamespace(model=torch.nn.Linear(2, 4), accelerator=accelerator))
