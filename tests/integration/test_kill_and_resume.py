"""Runs that are killed at any moment and resumed end with the weights of an undisturbed run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from stepcoder_trl.trainer.checkpoints import checkpoints
from tests.integration.kill_host import UPDATES


pytestmark = [pytest.mark.sandbox, pytest.mark.slow]

ROOT = Path(__file__).parents[2]


class Host:
    """Process of kill_host.py, which starts runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = open(folder / "host.log", "w")  # noqa: SIM115 - open as long as the process
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.kill_host"],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )

    def run(self, out: Path, **order) -> int:
        """Start a run. Return its exit status, or minus the signal's number if it was killed. Stores its CPU time."""
        self.process.stdin.write(json.dumps({"folder": str(self.folder), "out": str(out), **order}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        self.cpu_s = float(answer["cpu_s"])
        return int(answer["status"])

    def close(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()
        self.log.close()


@pytest.fixture(scope="module")
def host(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("killed")
    tokenizer.save_pretrained(folder)
    host = Host(folder)
    yield host
    host.close()


@pytest.fixture(scope="module")
def undisturbed(host):
    """Final state, weights and moments of an undisturbed run."""
    assert host.run(host.folder / "undisturbed") == 0, (host.folder / "host.log").read_text()[-4000:]
    end = json.loads((host.folder / "undisturbed.json").read_text())
    assert end["step"] == UPDATES
    return {**end, "cpu_s": host.cpu_s, "weights": torch.load(host.folder / "undisturbed.pt", weights_only=True)}


def finish(host, out, undisturbed):
    """Resume a killed run to its end, and compare it with the undisturbed run."""
    assert host.run(out) == 0, (host.folder / "host.log").read_text()[-4000:]
    end, weights = json.loads(Path(f"{out}.json").read_text()), torch.load(f"{out}.pt", weights_only=True)
    assert end["step"] == UPDATES
    assert end["curriculum"] == undisturbed["curriculum"]
    for name, tensor in undisturbed["weights"].items():
        assert torch.equal(weights[name], tensor), name
    assert [path.name for path in checkpoints(out)] == [f"checkpoint-{UPDATES - 1}", f"checkpoint-{UPDATES}"]
    assert not [path.name for path in out.iterdir() if path.name.startswith("tmp-")]


def moments_of(undisturbed, *parts):
    """Return the numbers of the moments whose names contain one of `parts`."""
    return [number for number, name in enumerate(undisturbed["moments"]) if any(part in name for part in parts)]


def test_recorded_moments_include_every_kind_of_write(undisturbed):
    kinds = {name.split()[0] for name in undisturbed["moments"]}

    assert kinds >= {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "optimizer_step", "update_curriculum"}


@pytest.mark.parametrize(
    "parts",
    [
        ("generate_rollout", "optimizer_step", "update_curriculum"),
        ("open ", "os.mkdir"),
        ("os.rename",),
        ("os.remove", "os.rmdir"),
    ],
    ids=["updates", "writing", "renaming", "deleting"],
)
def test_run_killed_several_times_resumes(host, undisturbed, parts):
    out = host.folder / f"killed-{parts[0].strip()}"
    where = moments_of(undisturbed, *parts)
    # Late, in the middle and early. In a resumed run the same number is another moment.
    for kill_at in (where[-1], where[len(where) // 2], where[0]):
        host.run(out, kill_at=kill_at)
        assert all((path / "training_state" / "state.json").exists() for path in checkpoints(out))

    finish(host, out, undisturbed)


def test_run_killed_during_first_checkpoint_resumes(host, undisturbed):
    out = host.folder / "killed-first"
    first = moments_of(undisturbed, "os.rename .curriculum.json")[0]  # inside the temporary folder

    assert host.run(out, kill_at=first) == -signal.SIGKILL

    assert [path.name for path in out.glob("*checkpoint-*")] == ["tmp-checkpoint-1"]
    finish(host, out, undisturbed)


def test_run_killed_at_random_times_resumes(host, undisturbed):
    out, generator = host.folder / "killed-random", random.Random(0)

    for _ in range(3):
        host.run(out, kill_after_s=generator.uniform(0.2, 1.0) * undisturbed["cpu_s"])

    finish(host, out, undisturbed)
