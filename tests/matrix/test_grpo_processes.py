"""GRPO in two processes on the CPU: the same groups, curriculum and losses as in one, and an exact continuation."""

from __future__ import annotations

import json
from functools import lru_cache

import pytest
import torch

from tests.matrix.grpo_worker import TABLED_ROUNDS, UPDATES
from tests.matrix.test_processes import COMPILE_S, MORE, TIMEOUT_S, assert_same, launch, settings_of


pytestmark = [pytest.mark.sandbox, pytest.mark.slow, pytest.mark.timeout(COMPILE_S + 2 * TIMEOUT_S)]

WORKER = "tests.matrix.grpo_worker"
SPLIT = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 1}  # a group of four lies on both processes
RUNS = {"grpo": (False, {}), "grpo-lora": (True, MORE)}
MODES = ("ddp", "zero3")
# Metrics that do not depend on how the completions of an update are split into micro-batches.
SAME = ("loss", "grad_norm", "reward", "reward_std", "completions/", "executor/", "curriculum/", "groups/", "fgo/")


def runs_of(folder, mode, suffix="", **more):
    settings = [
        settings_of(folder, mode, name + suffix, lora, args=dict(args), **{key: of(name) for key, of in more.items()})
        for name, (lora, args) in RUNS.items()
    ]
    return dict(zip(RUNS, launch(mode, *settings, module=WORKER), strict=True))


@pytest.fixture(scope="module")
def trained(folder):
    return lru_cache(lambda mode: runs_of(folder, mode))


@pytest.fixture(scope="module")
def resumed(folder, trained):
    @lru_cache
    def runs(mode):
        checkpoint = {name: str(trained(mode)[name].out / f"checkpoint-{TABLED_ROUNDS}") for name in RUNS}
        return runs_of(folder, mode, "-resumed", resume=lambda name: checkpoint[name])

    return runs


def compared(entry):
    """Return the metrics to compare, without times, and without the one that is a mean over micro-batches."""
    others = ("wait_s", "programs_per_s", "prefix_log_prob")
    return {key: value for key, value in entry.items() if key.startswith(SAME) and not key.endswith(others)}


every_mode = pytest.mark.parametrize("mode", MODES)
every_run = pytest.mark.parametrize("name", RUNS)


@every_run
@every_mode
def test_two_processes_log_same_metrics_as_one(trained, mode, name):
    one, two = trained("one")[name], trained(mode)[name]

    expected = {"ddp": "DistributedDataParallel", "zero3": "DeepSpeedEngine"}[mode]
    assert [(rank["wrapper"], rank["num_processes"]) for rank in two.ranks] == [(expected, 2)] * 2
    for step in range(TABLED_ROUNDS):
        assert_same(compared(one.history[step]), compared(two.history[step]), 1e-5)
        assert two.ranks[0]["results"][step] == one.ranks[0]["results"][step]
    assert any(entry["executor/passed"] for entry in one.history)
    assert any(entry["fgo/kept_share"] < 1 for entry in one.history)


@every_mode
def test_processes_agree_on_groups_and_curriculum(trained, mode):
    for run in trained(mode).values():
        first, second = run.ranks
        assert len(first["results"]) == UPDATES
        assert first["results"] == second["results"]
        assert first["curriculum"] == second["curriculum"]


@every_run
@every_mode
def test_resumed_run_equals_uninterrupted_run(trained, resumed, mode, name):
    whole, parts = trained(mode)[name], resumed(mode)[name]

    assert parts.ranks[0]["results"] == whole.ranks[0]["results"][TABLED_ROUNDS:]
    assert parts.ranks[0]["curriculum"] == whole.ranks[0]["curriculum"]
    for step in range(TABLED_ROUNDS, UPDATES):
        assert_same(compared(whole.history[step]), compared(parts.history[step]), 1e-6)
    for key, weight in whole.weights.items():
        torch.testing.assert_close(parts.weights[key], weight, rtol=1e-6, atol=1e-6)


@every_mode
def test_final_folder_has_curriculum_and_state(trained, mode):
    for run in trained(mode).values():
        state = json.loads((run.out / "final" / "stepcoder_state.json").read_text())
        assert (state["rounds"], state["num_processes"]) == (UPDATES, 2)
        assert (run.out / "final" / "curriculum.json").is_file()


def test_group_on_both_processes_has_one_query(folder):
    settings = settings_of(folder, "ddp", "grpo-split", lora=False, args=SPLIT)

    (run,) = launch("ddp", settings, module=WORKER)

    first, second = (rank["queries"] for rank in run.ranks)
    assert len(first) == UPDATES
    for one, other in zip(first, second, strict=True):
        assert len({*one, *other}) == 1
    assert run.ranks[0]["curriculum"] == run.ranks[1]["curriculum"]
