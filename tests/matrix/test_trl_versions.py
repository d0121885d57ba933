"""
The trainers on the lowest supported TRL, the last one with a PPOTrainer, and the newest; GRPO on more releases.

`make test-matrix` compares the numbers of a few runs and runs the trainer's tests on the newest release. `make
test-versions` runs them on the lowest one too. Each release comes first on `PYTHONPATH`, so that only TRL changes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch


ROOT = Path(__file__).parents[2]
LOWEST, LAST_WITH_TRAINER, NEWEST = "1.0.0", "1.12.0", "1.16.0"
RELEASES = (LOWEST, LAST_WITH_TRAINER, NEWEST)
GRPO_RELEASES = (LOWEST, "1.6.0", "1.13.0", NEWEST)  # where methods that the GRPO trainer overrides changed
# `make test` runs these with the release of constraints.txt, LAST_WITH_TRAINER.
TRAINER_TESTS = (
    "tests/integration/test_updates.py",
    "tests/integration/test_rewards.py",
    "tests/integration/test_solutions.py",
    "tests/integration/test_model_kinds.py",
    "tests/integration/test_refused_runs.py",
    "tests/integration/test_events.py",
    "tests/integration/test_saving.py",
    "tests/integration/test_metrics.py",
    "tests/integration/test_equivalence.py",
    "tests/integration/test_vllm_sampler.py",
    "tests/integration/upstream_defects",
    "tests/unit/trainer",
)
SECONDS = 1800  # slow machines run several of these beside other work

pytestmark = pytest.mark.timeout(SECONDS)


def installed(release: str) -> Path:
    """Return a folder with only this release of TRL. It is downloaded once."""
    folder = ROOT / ".matrix" / f"trl-{release}"
    if not folder.exists():
        folder.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as new:
            pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
            subprocess.run([*pip, "install", "--no-deps", "--target", f"{new}/trl", f"trl=={release}"], check=True)
            shutil.move(f"{new}/trl", folder)
    return folder


def python(release: str, *arguments: str) -> None:
    """Run Python with a release of TRL. Show its output if it fails."""
    before = [path for path in [os.environ.get("PYTHONPATH")] if path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed(release)), *before])}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]


@pytest.mark.parametrize("release", [pytest.param(LOWEST, marks=pytest.mark.long), NEWEST])
def test_trainer_tests_pass(release):
    python(release, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TRAINER_TESTS)


@pytest.mark.parametrize(
    "release",
    [release if release == NEWEST else pytest.param(release, marks=pytest.mark.long) for release in GRPO_RELEASES],
)
def test_grpo_tests_pass(release):
    python(release, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/integration/grpo")


def test_two_processes_train_with_our_parent_class():
    # Our parent class prepares the frozen models for DeepSpeed in another way than upstream's.
    chosen = "test_mode_uses_expected_wrapper_and_optimizer and (ddp or zero3) and not offload"
    python(NEWEST, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/matrix/test_processes.py", "-k", chosen)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Results of the fixed runs with each release."""
    folders = {}
    for release in RELEASES:
        folders[release] = tmp_path_factory.mktemp(f"trl-{release}")
        python(release, "-m", "tests.matrix.fixed_run", str(folders[release]))
    return {
        release: {
            **json.loads((folder / "history.json").read_text(encoding="utf-8")),
            "weights": {path.stem: torch.load(path, weights_only=True) for path in folder.glob("*.pt")},
        }
        for release, folder in folders.items()
    }


def test_installed_trl_uses_expected_parent(outcomes):
    parents = {release: outcome["parent"].split(".")[0] for release, outcome in outcomes.items()}

    assert {release: outcome["trl"] for release, outcome in outcomes.items()} == {one: one for one in RELEASES}
    assert parents == {LOWEST: "trl", LAST_WITH_TRAINER: "trl", NEWEST: "stepcoder_trl"}


@pytest.mark.parametrize("release", [LOWEST, NEWEST])
@pytest.mark.parametrize("run", ["plain", "stepcoder", "lora"])
def test_releases_give_same_numbers(outcomes, run, release):
    expected, found = outcomes[LAST_WITH_TRAINER], outcomes[release]

    assert len(expected["runs"][run]) == 3
    for theirs, ours in zip(expected["runs"][run], found["runs"][run], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-6)
    assert found["weights"][run].keys() == expected["weights"][run].keys()
    for name, weight in expected["weights"][run].items():
        torch.testing.assert_close(found["weights"][run][name], weight, rtol=1e-6, atol=1e-6, msg=name)
