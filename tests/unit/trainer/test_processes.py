from __future__ import annotations

import logging
import os
from types import SimpleNamespace

import pytest
import torch

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.trainer import processes


@pytest.fixture
def without_gpu(monkeypatch):
    monkeypatch.setattr(processes, "has_gpu", lambda: False)


def test_one_process_is_left_alone(without_gpu, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)

    assert processes.launch_settings(False, None, []) == {"use_cpu": False, "ddp_backend": None}


def test_several_processes_without_a_gpu_know_of_each_other(without_gpu, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")

    assert processes.launch_settings(False, None, []) == {"use_cpu": True, "ddp_backend": None}


def test_deepspeed_without_a_gpu_talks_through_gloo(without_gpu, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("WORLD_SIZE", "2")

    assert processes.launch_settings(False, None, []) == {"use_cpu": False, "ddp_backend": "gloo"}


def test_deepspeed_is_not_turned_off_without_a_word(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")

    with pytest.raises(BadInputError, match="turns DeepSpeed off"):
        processes.launch_settings(True, None, [])


def test_fsdp_is_refused_however_it_is_asked_for(monkeypatch):
    with pytest.raises(BadInputError, match="FSDP is not supported"):
        processes.launch_settings(False, None, "full_shard")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(BadInputError, match="FSDP is not supported"):
        processes.launch_settings(False, None, [])


def test_processes_that_do_not_know_of_each_other_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    alone = SimpleNamespace(num_processes=1, state=SimpleNamespace(deepspeed_plugin=None))

    with pytest.raises(RuntimeError, match="2 processes were started, but accelerate sees 1"):
        processes.check_processes(alone)


def test_deepspeed_that_is_not_on_is_refused(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    plain = SimpleNamespace(num_processes=1, state=SimpleNamespace(deepspeed_plugin=None))

    with pytest.raises(RuntimeError, match="DeepSpeed was asked for"):
        processes.check_processes(plain)


def test_cores_are_shared_between_the_processes_of_a_machine(monkeypatch):
    cores = len(os.sched_getaffinity(0))

    assert processes.num_cores_per_process() == cores
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(10 * cores))
    assert processes.num_cores_per_process() == 1


def test_what_differs_between_processes_is_named(monkeypatch):
    monkeypatch.setattr(processes, "gather_object", lambda mine: ["a", "a", *mine])

    processes.check_identical("The curriculum", "a", 3)
    with pytest.raises(RuntimeError, match=r"The curriculum of the processes \[2\] differs"):
        processes.check_identical("The curriculum", "b", 3)


def test_deepspeed_is_told_the_trainers_settings(caplog):
    config = {"gradient_clipping": 9.0, "train_batch_size": "auto", "zero_optimization": {"stage": 3}}
    plugin = SimpleNamespace(deepspeed_config=config)
    accelerator = SimpleNamespace(
        state=SimpleNamespace(deepspeed_plugin=plugin), num_processes=2, gradient_accumulation_steps=1
    )

    with caplog.at_level(logging.WARNING):
        processes.configure_deepspeed(accelerator, 4, 3, 0.5)

    assert config["train_batch_size"] == 24
    assert config["gradient_accumulation_steps"] == accelerator.gradient_accumulation_steps == 3
    assert config["gradient_clipping"] == 0.5
    assert config["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] is True
    assert "`gradient_clipping` is 9.0" in caplog.text


def test_without_sharding_parameters_are_whole_as_they_are():
    parameter = torch.nn.Parameter(torch.ones(2), requires_grad=False)

    copy = processes.whole_copy(parameter)

    assert not processes.is_sharded([parameter])
    assert torch.equal(copy, parameter)
    assert copy.data_ptr() != parameter.data_ptr()
    assert copy.requires_grad is False
