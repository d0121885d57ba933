from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.trainer import checkpoint


def nothing():
    pass


def test_a_directory_has_its_name_only_when_it_is_complete(tmp_path):
    path = tmp_path / "checkpoint-2"

    with checkpoint.new_directory(path, True, nothing) as directory:
        (directory / "file").write_text("x")
        assert not path.exists()

    assert (path / "file").read_text() == "x"
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint-2"]


def test_an_interrupted_directory_is_no_checkpoint_and_is_replaced(tmp_path):
    path = tmp_path / "checkpoint-2"
    interrupted = checkpoint.new_directory(path, True, nothing)
    (interrupted.__enter__() / "half").write_text("x")
    assert checkpoint.checkpoints(tmp_path) == []

    with checkpoint.new_directory(path, True, nothing) as directory:
        (directory / "whole").write_text("x")

    assert [entry.name for entry in path.iterdir()] == ["whole"]


def test_other_processes_neither_make_nor_rename(tmp_path):
    with checkpoint.new_directory(tmp_path / "checkpoint-1", False, nothing):
        pass

    assert list(tmp_path.iterdir()) == []


def make(root: Path, *steps: int) -> None:
    for step in steps:
        (root / f"checkpoint-{step}" / checkpoint.TRAINING_STATE).mkdir(parents=True)


def test_checkpoints_are_sorted_by_their_number(tmp_path):
    make(tmp_path, 10, 9, 100)
    (tmp_path / "checkpoint-final").mkdir()
    (tmp_path / "tmp-checkpoint-200").mkdir()

    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == [
        "checkpoint-9",
        "checkpoint-10",
        "checkpoint-100",
    ]
    assert checkpoint.find_checkpoint(True, str(tmp_path)).name == "checkpoint-100"


@pytest.mark.parametrize(
    ("limit", "keep", "left"),
    [
        (None, None, [1, 2, 3]),
        (0, None, [1, 2, 3]),
        (2, None, [2, 3]),
        (1, "checkpoint-1", [1, 3]),
        (5, None, [1, 2, 3]),
    ],
)
def test_the_oldest_beyond_the_limit_go(tmp_path, limit, keep, left):
    make(tmp_path, 1, 2, 3)

    checkpoint.remove_old(str(tmp_path), limit, keep and str(tmp_path / keep))

    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == [f"checkpoint-{step}" for step in left]


def test_nothing_to_resume_from_is_said(tmp_path):
    with pytest.raises(BadInputError, match="No checkpoint in"):
        checkpoint.find_checkpoint(True, str(tmp_path))


def test_a_checkpoint_without_training_state_is_refused(tmp_path):
    (tmp_path / "checkpoint-1").mkdir()

    with pytest.raises(BadInputError, match="save_only_model"):
        checkpoint.find_checkpoint(tmp_path / "checkpoint-1", "elsewhere")


def test_random_state_comes_back_from_a_file_without_unpickling(tmp_path):
    torch.save(checkpoint.random_state(), tmp_path / "state.pt")
    expected = (random.random(), np.random.rand(), np.random.randn(), torch.rand(1).item())

    checkpoint.set_random_state(torch.load(tmp_path / "state.pt", weights_only=True))

    assert (random.random(), np.random.rand(), np.random.randn(), torch.rand(1).item()) == expected
