from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from types import ModuleType, SimpleNamespace

import datasets
import pytest
import torch
import transformers

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.trainer import processes


@pytest.fixture
def without_gpu(monkeypatch):
    monkeypatch.setattr(processes, "has_gpu", lambda: False)


def test_settings_of_a_single_process_do_not_change(without_gpu, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)

    assert processes.launch_settings(False, None, []) == {"use_cpu": False, "ddp_backend": None}


def test_several_processes_without_a_gpu_use_the_cpu(without_gpu, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")

    assert processes.launch_settings(False, None, []) == {"use_cpu": True, "ddp_backend": None}


class Operator:
    """Fake builder of an operator of DeepSpeed."""

    def __init__(self, error=None, fits=True):
        self.name, self.error, self.fits, self.loaded = "cpu_adam", error, fits, 0

    def is_compatible(self, verbose):
        return self.fits

    def load(self, verbose):
        self.loaded += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def operators(monkeypatch):
    """Fake operators of DeepSpeed by name, none at first."""
    found = {}
    module = ModuleType("deepspeed.accelerator")
    module.get_accelerator = lambda: SimpleNamespace(create_op_builder=found.get)
    monkeypatch.setitem(sys.modules, "deepspeed", ModuleType("deepspeed"))
    monkeypatch.setitem(sys.modules, "deepspeed.accelerator", module)
    return found


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            RuntimeError("Unable to load: ninja is missing."),
            "its optimizer: Unable to load: ninja is missing. Install",
        ),
        (
            RuntimeError("Error building 'x': [1/2] c++ -c x.cpp\n/bin/sh: 1: c++: not found\nstopped"),
            "c++: not found.",
        ),
        (OSError(), "its optimizer: OSError."),
    ],
)
def test_error_of_operator_names_missing_packages(operators, error, reason):
    operators["CPUAdamBuilder"] = Operator(error)

    with pytest.raises(BadInputError) as raised:
        processes.load_operator("CPUAdamBuilder", "its optimizer")

    assert str(raised.value).startswith("DeepSpeed could not compile `cpu_adam`, its optimizer: ")
    assert reason in str(raised.value)
    assert "`apt install g++`, `pip install ninja`" in str(raised.value)


def test_incompatible_optional_operator_is_not_compiled(operators):
    operators["ShareMemCommBuilder"] = Operator(RuntimeError("no"), fits=False)

    processes.load_operator("ShareMemCommBuilder", "its communication", optional=True)
    processes.load_operator("Unknown", "its communication", optional=True)

    assert operators["ShareMemCommBuilder"].loaded == 0


def test_compilation_and_a_lock_that_was_left_are_announced_once(operators, monkeypatch, tmp_path, caplog):
    operators["CPUAdamBuilder"] = Operator()
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    folder = tmp_path / "cpu_adam"

    def said(rank="0"):
        caplog.clear()
        monkeypatch.setenv("LOCAL_RANK", rank)
        processes.load_operator("CPUAdamBuilder", "its optimizer")
        return [record.getMessage() for record in caplog.records if record.name == processes.logger.name]

    assert said() == ["DeepSpeed compiles `cpu_adam`. That takes minutes, once per machine."]
    assert said(rank="1") == []
    folder.mkdir()
    (folder / "cpu_adam.so").touch()
    (folder / "lock").touch()
    assert said() == []
    os.utime(folder / "lock", (0, 0))
    assert said() == [
        f"DeepSpeed waits for {folder / 'lock'}. If no other run compiles now, delete it: one was killed."
    ]


def test_missing_deepspeed_error_names_install_command(monkeypatch):
    for name in ("deepspeed", "deepspeed.accelerator"):
        monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(BadInputError, match=r"pip install stepcoder-trl\[deepspeed\]"):
        processes.load_operator("CPUAdamBuilder", "its optimizer")


def test_deepspeed_without_a_gpu_uses_gloo(without_gpu, monkeypatch, operators):
    operators["ShareMemCommBuilder"] = Operator()
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("WORLD_SIZE", "2")

    assert processes.launch_settings(False, None, []) == {"use_cpu": False, "ddp_backend": "gloo"}
    assert operators["ShareMemCommBuilder"].loaded == 1


def test_use_cpu_with_deepspeed_is_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")

    with pytest.raises(BadInputError, match="turns DeepSpeed off"):
        processes.launch_settings(True, None, [])


def test_fsdp_is_refused(monkeypatch):
    with pytest.raises(BadInputError, match="FSDP is not supported"):
        processes.launch_settings(False, None, "full_shard")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(BadInputError, match="FSDP is not supported"):
        processes.launch_settings(False, None, [])


def test_fewer_processes_than_started_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    single = SimpleNamespace(num_processes=1, state=SimpleNamespace(deepspeed_plugin=None))

    with pytest.raises(RuntimeError, match="2 processes were started, but accelerate sees 1"):
        processes.check_processes(single)


def test_inactive_deepspeed_is_refused(monkeypatch):
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


def test_difference_between_processes_is_an_error(monkeypatch):
    monkeypatch.setattr(processes, "gather_object", lambda mine: ["a", "a", *mine])

    processes.check_identical("The curriculum", "a", 3)
    with pytest.raises(RuntimeError, match=r"The curriculum of the processes \[2\] differs"):
        processes.check_identical("The curriculum", "b", 3)


@pytest.mark.parametrize(("device", "loaded"), [("none", 0), ("cpu", 1)])
def test_offloaded_optimizer_is_compiled(operators, device, loaded):
    operators["CPUAdamBuilder"] = Operator()

    configured_accelerator({"zero_optimization": {"stage": 3, "offload_optimizer": {"device": device}}})

    assert operators["CPUAdamBuilder"].loaded == loaded


def configured_accelerator(config):
    """Return an accelerator whose DeepSpeed has the settings of the trainer."""
    state = SimpleNamespace(deepspeed_plugin=SimpleNamespace(deepspeed_config=config))
    accelerator = SimpleNamespace(state=state, num_processes=2, gradient_accumulation_steps=1)
    processes.configure_deepspeed(accelerator, 4, 3, 0.5)
    return accelerator


def test_deepspeed_gets_the_settings_of_the_trainer(caplog):
    config = {"gradient_clipping": 9.0, "train_batch_size": "auto", "zero_optimization": {"stage": 3}}

    with caplog.at_level(logging.WARNING):
        accelerator = configured_accelerator(config)

    assert config["train_batch_size"] == 24
    assert config["gradient_accumulation_steps"] == accelerator.gradient_accumulation_steps == 3
    assert config["gradient_clipping"] == 0.5
    assert config["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] is True
    assert "`gradient_clipping` is 9.0" in caplog.text


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16), ("no", torch.float32)]
)
def test_unsharded_parameters_get_the_precision_of_training(precision, dtype):
    model = torch.nn.Linear(2, 2)
    model.bias.ds_id = 0  # sharded
    model.counts = torch.nn.Parameter(torch.ones(2, dtype=torch.uint8), requires_grad=False)

    processes.cast_unsharded(model, precision)

    assert (model.weight.dtype, model.bias.dtype, model.counts.dtype) == (dtype, torch.float32, torch.uint8)


def test_precision_for_accelerate_is_restored(monkeypatch):
    variable = "ACCELERATE_MIXED_PRECISION"
    for before in (None, "fp16"):
        monkeypatch.delenv(variable, raising=False)
        if before:
            monkeypatch.setenv(variable, before)
        with processes.precision_for_accelerate(processes.mixed_precision(True, False)):
            assert os.environ[variable] == "bf16"
        with processes.precision_for_accelerate(processes.mixed_precision(None, False)):
            assert os.environ.get(variable) == before
        assert os.environ.get(variable) == before


def test_copy_of_an_unsharded_parameter():
    parameter = torch.nn.Parameter(torch.ones(2), requires_grad=False)

    copy = processes.gathered_copy(parameter)

    assert not processes.is_sharded([parameter])
    assert torch.equal(copy, parameter)
    assert copy.data_ptr() != parameter.data_ptr()
    assert copy.requires_grad is False


def test_libraries_are_quiet_outside_a_terminal(monkeypatch):
    monkeypatch.setattr(transformers.utils.logging, "_tqdm_active", True)
    monkeypatch.setattr("sys.stderr", io.StringIO())

    processes.quiet_libraries()
    warnings.warn("`torch.distributed.all_gather_into_tensor` is deprecated.", FutureWarning, stacklevel=1)

    assert not transformers.utils.logging.is_progress_bar_enabled()
    assert datasets.are_progress_bars_disabled()
    datasets.enable_progress_bars()
