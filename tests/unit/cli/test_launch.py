"""Test how `stepcoder-trl ppo` launches processes. tests/matrix/test_processes.py really launches them."""

from __future__ import annotations

import json
import signal

import pytest
from torch.distributed.elastic.multiprocessing.api import SignalException

from stepcoder_trl.cli import launch, ppo
from stepcoder_trl.cli import main as entry_point
from stepcoder_trl.cli.launch import CONFIG_NAMES, LaunchArguments, accelerate_arguments, find_config, read_config
from stepcoder_trl.cli.main import main
from stepcoder_trl.errors import BadInputError


def flags(launch, num_gpus=0):
    words = accelerate_arguments(launch, num_gpus)
    return dict(zip(words[::2], words[1::2], strict=True))


@pytest.mark.parametrize("name", CONFIG_NAMES)
def test_shipped_configurations_load_in_accelerate(name):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(find_config(name)))

    deepspeed = {"zero2": 2, "zero3": 3, "zero3_offload": 3}
    assert config.deepspeed_config.get("zero_stage") == deepspeed.get(name)
    assert config.use_cpu is False  # `use_cpu` silently disables DeepSpeed


def test_default_is_one_process_per_gpu(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("num_processes: 3\n")

    assert flags(LaunchArguments("zero3"), num_gpus=8)["--num_processes"] == "8"
    assert flags(LaunchArguments("zero3", num_machines=2), num_gpus=8)["--num_processes"] == "16"
    assert flags(LaunchArguments("zero3"))["--num_processes"] == "1"
    assert flags(LaunchArguments("single"), num_gpus=8)["--num_processes"] == "1"
    assert flags(LaunchArguments(str(own)), num_gpus=8)["--num_processes"] == "3"
    assert flags(LaunchArguments(str(own), num_processes=2), num_gpus=8)["--num_processes"] == "2"


def test_machine_flags_are_passed_to_accelerate():
    given = LaunchArguments("zero3", 16, 2, 1, "10.0.0.1", 29500)

    words = flags(given)

    assert words["--machine_rank"] == "1"
    assert (words["--main_process_ip"], words["--main_process_port"]) == ("10.0.0.1", "29500")


@pytest.mark.parametrize(
    ("name", "message"),
    [("zero4", "one of single, ddp"), ("fsdp", "FSDP is not supported"), ("fsdp2", "Use `zero2` or `zero3`")],
)
def test_unknown_configuration_name_raises(name, message):
    with pytest.raises(BadInputError, match=message):
        find_config(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("distributed_type: FSDP\n", "FSDP is not supported"),
        ("fsdp_config: {fsdp_version: 2}\n", "FSDP is not supported"),
        ("- a\n", "is not a mapping"),
        ("a: [\n", "cannot be read as YAML"),
    ],
)
def test_invalid_configuration_file_raises(tmp_path, text, message):
    path = tmp_path / "own.yaml"
    path.write_text(text)

    with pytest.raises(BadInputError, match=message):
        read_config(path)


def test_processes_must_be_a_multiple_of_machines():
    with pytest.raises(BadInputError, match="a multiple of the 2 machines"):
        flags(LaunchArguments("ddp", num_processes=3, num_machines=2))


@pytest.fixture
def launched(monkeypatch):
    """Record the calls of `ppo` instead of training."""
    calls = []
    monkeypatch.setattr(launch, "launch_module", lambda *arguments: calls.append(arguments) or 0)
    monkeypatch.setattr(ppo, "train", lambda arguments: calls.append(arguments) or 0)
    return calls


def test_command_is_launched_with_same_arguments(launched, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("accelerate_config: zero3\nproblems: p.jsonl\nmax_steps: 4\n")
    words = ["--config", str(config), "--num_processes", "2", "--learning_rate", "1e-5"]

    assert ppo.main(words) == 0

    module, passed, how = launched[0]
    assert (module, passed) == ("stepcoder_trl.cli.ppo", words)
    assert (how.accelerate_config, how.num_processes) == ("zero3", 2)


def test_without_configuration_training_runs_in_process(launched):
    assert ppo.main(["--problems", "p.jsonl", "--num_processes", "1"]) == 0

    assert launched == [["--problems", "p.jsonl", "--num_processes", "1"]]


def test_several_processes_need_configuration(launched):
    with pytest.raises(BadInputError, match="`num_processes` is given without `accelerate_config`"):
        ppo.main(["--problems", "p.jsonl", "--num_processes", "2"])

    assert launched == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--top_p", "5"], "`top_p` is 5.0, but must be in (0, 1]"),
        (["--num_mini_batches", "2", "--gradient_accumulation_steps", "3"], "`num_mini_batches` is 2, but must"),
        ([], "The model '/no/such/model' cannot be loaded"),
        (["--fsdp", "full_shard"], "FSDP is not supported"),
        (["--accelerate_config", "fsdp"], "FSDP is not supported"),
        (["--accelerate_config", "zero4"], "one of single, ddp, zero2, zero3, zero3_offload"),
    ],
)
def test_user_error_is_one_line(tmp_path, problems, capsys, flags, message):
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(problem.to_row()) + "\n" for problem in problems))
    given = ["ppo", "--problems", str(path), "--model_name_or_path", "/no/such/model", "--report_to", "none"]

    with pytest.raises(SystemExit) as ended:
        main([*given, "--output_dir", str(tmp_path / "run"), *flags])

    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert message in error
    assert error.count("\n") == 1


def test_process_that_a_signal_ended_is_named(capsys):
    assert [launch.exit_status(0, code) for code in (2, 0, 130)] == [2, 1, 130]
    assert capsys.readouterr().err == ""
    assert launch.exit_status(3, -9) == 137
    assert "process 3 was ended by SIGKILL" in capsys.readouterr().err


@pytest.mark.parametrize(("local_rank", "waits"), [(None, []), ("0", []), ("1", [10])])
def test_error_is_said_by_the_first_process(monkeypatch, capsys, local_rank, waits):
    if local_rank is None:
        monkeypatch.delenv("LOCAL_RANK", raising=False)
    else:
        monkeypatch.setenv("LOCAL_RANK", local_rank)
    slept = []
    monkeypatch.setattr(entry_point.time, "sleep", slept.append)

    def fail():
        raise BadInputError("wrong")

    assert entry_point.report(fail) == 2
    assert capsys.readouterr().err == "stepcoder-trl: wrong\n"
    assert slept == waits


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_to_the_launcher_is_its_exit_status(monkeypatch, number, status):
    def stopped(parsed):
        raise SignalException("Process 7 got a signal", number)

    monkeypatch.setattr("accelerate.commands.launch.launch_command", stopped)

    assert launch.launch_module("module", [], LaunchArguments(accelerate_config="ddp", num_processes=2)) == status
