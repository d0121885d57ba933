"""
Training in two processes on the CPU, started by `accelerate launch` with this package's configuration files.

Every mode trains the same small model on the same completions, so all modes must log the same metrics.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from stepcoder_trl.curriculum.measured import MEASUREMENT_FILE, read_measurement
from stepcoder_trl.trainer._trl import renamed_attributes_allowed
from tests.integration.helpers import TIMES
from tests.matrix.worker import MAX_GRAD_NORM, TABLED_UPDATES, UPDATES


TIMEOUT_S = 540  # for runs that take a minute
BFLOAT16 = 2**-6  # four times the distance between 1 and the next number
COMPILE_S = 1200  # for a compilation that takes two minutes

pytestmark = [pytest.mark.sandbox, pytest.mark.slow, pytest.mark.timeout(COMPILE_S + 2 * TIMEOUT_S)]

ROOT = Path(__file__).parents[2]
MODES = ("ddp", "zero2", "zero3", "zero3_offload")
# DeepSpeed compiles its communication on first use.
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
NINJA = shutil.which("ninja", path=PATH)
ENVIRONMENT = {
    **os.environ,
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "PATH": PATH,
    "TORCH_EXTENSIONS_DIR": str(ROOT / ".matrix" / "torch_extensions"),
}
REASON = "DeepSpeed is not installed, or g++ or ninja, with which it compiles, is missing"
SHORTER = {
    "max_steps": 2,
    "logging_steps": 2,
    "eval_strategy": "steps",
    "eval_steps": 1,
    "load_best_model_at_end": True,
}
HAS_DEEPSPEED = bool(importlib.util.find_spec("deepspeed") and shutil.which("g++") and NINJA)


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


class Run:
    """Results of a finished run."""

    def __init__(self, out: Path, number: int, log: str) -> None:
        self.out, self.log = out, log
        self.ranks = [json.loads((out / f"rank-{rank}.json").read_text()) for rank in range(number)]
        self.weights = torch.load(out / "weights.pt", weights_only=True)

    @property
    def history(self):
        """Metrics of each update, without times."""
        history = self.ranks[0]["history"]
        return [{name: value for name, value in entry.items() if name not in TIMES} for entry in history]


def settings_of(folder: Path, mode: str, name: str, lora: bool, **more) -> Path:
    """Write the settings of a run to a file, for one or two processes."""
    number = 1 if mode == "one" else 2
    half = list(range(8))
    args = {"per_device_train_batch_size": 4 // number, **more.pop("args", {})}
    settings = {
        "model": str(folder / "model"),
        "problems": str(folder / "problems.jsonl"),
        "output_dir": str(folder / f"{mode}-{name}"),
        "lora": lora,
        # Both processes have 8 completions: their first mini-batches together are the first mini-batch of one process.
        "order": half if number == 2 else [*half[:4], *range(8, 12), *half[4:], *range(12, 16)],
        "args": {**args, "use_cpu": True} if number == 1 else args,
        **more,
    }
    path = folder / f"{mode}-{name}.json"
    path.write_text(json.dumps(settings))
    return path


@lru_cache
def compile_operators() -> None:
    """Compile DeepSpeed's operators before the runs, as it may take longer than their timeout, or skip."""
    if not HAS_DEEPSPEED:
        pytest.skip(REASON)
    load = "from stepcoder_trl.trainer.processes import load_operator as load; "
    names = "load('ShareMemCommBuilder', 'its processes'); load('CPUAdamBuilder', 'its optimizer')"
    subprocess.run([sys.executable, "-c", load + names], cwd=ROOT, env=ENVIRONMENT, check=True, timeout=COMPILE_S)


def launch(mode: str, *settings: Path, module: str = "tests.matrix.worker") -> list[Run]:
    """Do runs of a worker module one after the other, in one process (mode `one`) or in two."""
    if mode.startswith("zero"):
        compile_operators()
    number = 1 if mode == "one" else 2
    command = [sys.executable, "-m", module]
    if number > 1:
        flags = ["--accelerate_config", mode, "--num_processes", "2", "--main_process_port", free_port()]
        command = [sys.executable, "-m", "tests.matrix.launch", module, *flags]
    done = subprocess.run(
        [*command, *map(str, settings)],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return [Run(path.with_suffix(""), number, done.stdout) for path in settings]


KINDS = {"full": False, "lora": True}
# Options of the runs with LoRA that sample before the first update, and add to the loss.
MORE = {"prefix_imitation": 0.2, "curriculum_start": "measured", "curriculum_start_samples": 2}


def launch_both(folder: Path, mode: str, suffix: str, more: Callable[[bool], dict[str, Any]]) -> dict[bool, Run]:
    """Do a mode's runs, full and LoRA, at once, as starting takes longer than training."""
    settings = [settings_of(folder, mode, name + suffix, lora=lora, **more(lora)) for name, lora in KINDS.items()]
    return dict(zip(KINDS.values(), launch(mode, *settings), strict=True))


@pytest.fixture(scope="module")
def trained(folder):
    """Runs of a mode, full and LoRA."""
    runs = lru_cache(lambda mode: launch_both(folder, mode, "", lambda lora: {"args": MORE if lora else {}}))
    return lambda mode, lora: runs(mode)[lora]


@pytest.fixture(scope="module")
def resumed(folder, trained):
    """The same runs, resumed in new processes from the checkpoint in their middle."""

    @lru_cache
    def runs(mode):
        middle = {lora: str(trained(mode, lora).out / f"checkpoint-{TABLED_UPDATES}") for lora in KINDS.values()}
        return launch_both(
            folder, mode, "-resumed", lambda lora: {"args": MORE if lora else {}, "resume": middle[lora]}
        )

    return lambda mode, lora: runs(mode)[lora]


@pytest.fixture(scope="module")
def in_bfloat16(folder, trained):
    """Runs of a mode in bfloat16, full and LoRA, with the options of `trained`, from the stages that it measured."""

    def args(mode, lora):
        more = {**MORE, "curriculum_start_file": str(trained(mode, True).out / MEASUREMENT_FILE)} if lora else {}
        return {"bf16": True, "save_strategy": "no", **more}

    @lru_cache
    def runs(mode):
        return launch_both(folder, mode, "-bf16", lambda lora: {"args": args(mode, lora)})

    return lambda mode, lora: runs(mode)[lora]


both = pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
every_mode = pytest.mark.parametrize("mode", MODES)


def assert_same(one, other, tolerance):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert value == pytest.approx(other[name], rel=tolerance, abs=tolerance), name


@both
@every_mode
def test_mode_uses_expected_wrapper_and_optimizer(trained, mode, lora):
    ranks = trained(mode, lora).ranks

    expected = ("DistributedDataParallel", "MULTI_CPU") if mode == "ddp" else ("DeepSpeedEngine", "DEEPSPEED")
    assert [(rank["wrapper"], rank["distributed_type"]) for rank in ranks] == [expected] * 2
    assert [rank["num_processes"] for rank in ranks] == [2, 2]
    assert [rank["optimizer"] == "DeepSpeedCPUAdam" for rank in ranks] == [mode == "zero3_offload"] * 2


@both
@every_mode
def test_two_processes_log_same_metrics_as_one(trained, mode, lora):
    one, two = trained("one", lora), trained(mode, lora)

    for step in range(TABLED_UPDATES):
        assert_same(one.history[step], two.history[step], 1e-5)
    assert any(entry["executor/passed"] for entry in one.history)
    assert one.history[0]["grad_norm"] > MAX_GRAD_NORM  # clipped


@both
@pytest.mark.parametrize("mode", ["zero2", "zero3", "zero3_offload"])
def test_deepspeed_logs_same_metrics_as_ddp(trained, mode, lora):
    ddp, zero = trained("ddp", lora), trained(mode, lora)

    for step in range(TABLED_UPDATES):
        assert_same(ddp.history[step], zero.history[step], 1e-5)
    assert zero.ranks[0]["rates"] == ddp.ranks[0]["rates"]
    assert len({tuple(rates) for rates in zero.ranks[0]["rates"]}) == UPDATES


@both
@every_mode
def test_processes_agree_on_curriculum_and_share_cores(trained, mode, lora):
    first, second = trained(mode, lora).ranks

    assert first["curriculum"] == second["curriculum"]
    share = max(1, len(os.sched_getaffinity(0)) // 2)
    assert (first["workers"], second["workers"]) == (share, share)


def assert_loads(run: Run, folder: Path, lora: bool) -> None:
    """Assert that the saved model loads with transformers or PEFT and has the trained weights."""
    policy = AutoModelForCausalLM.from_pretrained(folder / "model" if lora else run.out / "final")
    if lora:
        with renamed_attributes_allowed():
            policy = PeftModel.from_pretrained(policy, run.out / "final", is_trainable=True)
    loaded = {f"policy.{name}": p.detach() for name, p in policy.named_parameters() if p.requires_grad}
    assert loaded.keys() == {name for name in run.weights if name.startswith("policy.")}
    for name, tensor in loaded.items():
        assert torch.equal(tensor, run.weights[name].to(tensor.dtype)), name


@both
@every_mode
def test_saved_model_loads_with_trained_weights(trained, folder, mode, lora):
    assert_loads(trained(mode, lora), folder, lora)


@both
@every_mode
def test_resumed_processes_equal_undisturbed_run(trained, resumed, mode, lora):
    before, after = trained(mode, lora), resumed(mode, lora)

    assert len(after.history) == UPDATES
    for one, other in zip(before.history, after.history, strict=True):
        assert_same(one, other, 1e-6)
    for name, tensor in before.weights.items():
        torch.testing.assert_close(after.weights[name], tensor, rtol=1e-6, atol=1e-6)
    assert before.ranks[0]["curriculum"] == after.ranks[0]["curriculum"]


@both
@pytest.mark.parametrize("mode", ["zero2", "zero3"])
def test_bfloat16_run_is_close_to_float32_run(trained, in_bfloat16, folder, mode, lora):
    exact, rough = trained(mode, lora), in_bfloat16(mode, lora)

    assert {rank["dtype"] for rank in exact.ranks} == {"torch.float32"}
    assert {rank["dtype"] for rank in rough.ranks} == {"torch.bfloat16"}
    for entry in rough.history:
        assert all(map(math.isfinite, entry.values()))
    for step in range(TABLED_UPDATES):
        assert_same(exact.history[step], rough.history[step], BFLOAT16)
    for name, tensor in rough.weights.items():
        assert tensor.isfinite().all(), name
    assert_loads(rough, folder, lora)


@pytest.mark.parametrize("mode", ["ddp", "zero3"])
def test_shorter_completions_in_one_process_do_not_hang_the_other(folder, mode):
    settings = [
        settings_of(folder, mode, f"shorter-{gather}", lora=False, shorter=True, args={**SHORTER, **gathered})
        for gather, gathered in (("gathered", {}), ("spread", {"ds3_gather_for_generation": False}))
    ]

    runs = launch(mode, *settings)

    for run in runs:
        assert [entry["completions/mean_length"] > 2 for entry in run.history] == [True]
        first, second = run.ranks
        # No sample passes, so the first evaluation stays the best, and its weights are loaded.
        assert first["evaluations"] == second["evaluations"] == [0.0, 0.0]
        assert first["best"] == second["best"] == 1
        policy = AutoModelForCausalLM.from_pretrained(run.out / "checkpoint-1")
        for name, tensor in policy.named_parameters():
            assert torch.equal(tensor.detach(), run.weights[f"policy.{name}"]), name


@pytest.fixture
def command(folder, tmp_path):
    """Return a function that runs `stepcoder-trl ppo` on the small model. It returns exit status and output."""

    def run(*more: str, env: Mapping[str, str] = ENVIRONMENT) -> tuple[int, str]:
        words = {
            "problems": folder / "problems.jsonl",
            "model_name_or_path": folder / "model",
            "output_dir": tmp_path / "run",
            "max_steps": 1,
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 2,
            "num_generations": 2,
            "response_length": 8,
            "logging_steps": 1,
            "gradient_checkpointing": "false",
            "save_strategy": "no",
            "report_to": "none",
        }
        flags = [text for name, value in words.items() for text in (f"--{name}", str(value))]
        start = [sys.executable, "-c", "from stepcoder_trl.cli.main import main; main()", "ppo", *flags, *more]
        done = subprocess.run(start, cwd=ROOT, env=env, capture_output=True, text=True, timeout=TIMEOUT_S)
        return done.returncode, done.stdout + done.stderr

    return run


def test_command_starts_processes_and_prints_once(command, folder, tmp_path):
    rows = (folder / "problems.jsonl").read_text().splitlines()
    long = {**json.loads(rows[0]), "task_id": "long", "prompt": "Write sign. " * 100}
    (tmp_path / "problems.jsonl").write_text("\n".join([*rows, json.dumps(long)]) + "\n")
    more = ["--problems", str(tmp_path / "problems.jsonl"), "--max_prompt_length", "150", "--log_completions", "true"]

    status, log = command(
        *more, "--accelerate_config", "ddp", "--num_processes", "2", "--main_process_port", free_port()
    )

    assert status == 0, log
    assert (tmp_path / "run" / "model.safetensors").exists()
    for once in ("update 1 of ", "1 of 9 problems are left out", "Completions of update 1"):
        assert log.count(once) == 1, log


def test_bad_input_in_processes_gives_exit_status_2(command):
    status, log = command("--accelerate_config", "ddp", "--num_processes", "2", "--problems", "missing.jsonl")

    assert status == 2
    assert "stepcoder-trl: " in log
    assert "missing.jsonl" in log


@pytest.mark.skipif(not HAS_DEEPSPEED, reason=REASON)
def test_missing_compiler_error_names_packages_to_install(command, tmp_path):
    tools = tmp_path / "tools"  # has no compiler
    tools.mkdir()
    (tools / "ninja").symlink_to(NINJA)
    missing = {**ENVIRONMENT, "PATH": str(tools), "TORCH_EXTENSIONS_DIR": str(tmp_path / "operators")}

    status, log = command("--accelerate_config", "zero3_offload", "--main_process_port", free_port(), env=missing)

    assert status == 2
    assert "stepcoder-trl: DeepSpeed could not compile `deepspeed_shm_comm`" in log
    assert "`apt install g++`, `pip install ninja`" in log


@pytest.mark.parametrize("mode", ["ddp", "zero3"])
def test_two_processes_measure_the_same_stages_as_one(trained, mode):
    one, two = (trained(name, True).out / MEASUREMENT_FILE for name in ("one", mode))

    assert read_measurement(one) == read_measurement(two) != []
    assert {stage.passed for stage in read_measurement(one)} >= {0, 1}
