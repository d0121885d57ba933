"""Training against two served hosts: the same numbers as in this process, and the example."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import httpx2
import pytest

import stepcoder_trl
from tests.integration.grpo.helpers import SMALL
from tests.integration.same_numbers import assert_same_numbers, grpo, ppo, two_updates
from tests.integration.test_examples import ROOT, documented_run, printed_by
from tests.unit.executor.serve.conftest import Served


pytestmark = pytest.mark.filterwarnings("ignore:.*(gradient|activation)_checkpointing:FutureWarning")


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[str]]:
    services = [Served("--workers", "1") for _ in range(2)]
    yield [service.url for service in services]
    for service in services:
        service.stop()


def programs_of(hosts: list[str]) -> float:
    """Return the number of programs that hosts have run."""
    lines = [line for host in hosts for line in httpx2.get(f"{host}/metrics").text.splitlines()]
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("stepcoder_programs_total"))


@pytest.mark.parametrize("make", [ppo, grpo])
def test_training_against_served_hosts_gives_the_same_numbers(hosts, make, tokenizer, make_policy, problems, tmp_path):
    trainers = []
    for place, chosen in (("local", {}), ("remote", {"executor_urls": hosts})):
        options = two_updates(tmp_path / place, executor=place, **chosen)
        trainers.append(make(tokenizer, make_policy(), problems, options))
        trainers[-1].train()

    assert_same_numbers(*trainers)


def test_example_trains_with_the_programs_on_served_hosts(
    hosts, tokenizer, make_policy, tmp_path, monkeypatch, capsys
):
    make_policy().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    short = partial(stepcoder_trl.StepCoderGRPOConfig, **{**SMALL, "max_steps": 1, "save_strategy": "no"})
    monkeypatch.setattr(stepcoder_trl, "StepCoderGRPOConfig", short)
    command, last_lines = documented_run("trl_grpo_remote.py")
    places = {"MODEL": str(tmp_path / "model"), "PROBLEMS": str(ROOT / "examples/data/problems.jsonl")}
    places |= {"OUT": str(tmp_path / "out"), "http://sandbox-1:8080": hosts[0], "http://sandbox-2:8080": hosts[1]}

    before = programs_of(hosts)
    lines = printed_by(command, places, monkeypatch, capsys)

    assert lines[-1:] == last_lines
    assert (tmp_path / "out" / "model.safetensors").exists()
    assert programs_of(hosts) >= before + 8  # those of the update; the solutions were run before it
