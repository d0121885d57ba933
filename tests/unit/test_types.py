"""mypy checks the attributes of the trainer, although TRL and transformers are only partly typed."""

from __future__ import annotations

from pathlib import Path

import pytest


PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
NAMES = ("train_on", "accelerator", "args.untrusted_passes", "args.kl_coef", "args.warmup_steps")
MISSPELT = ("train_onn", "acelerator", "args.untrusted_passess")
SUBCLASS = """
from stepcoder_trl.trainer.ppo_trainer import StepCoderPPOTrainer


class Trainer(StepCoderPPOTrainer):
    def update(self) -> None:
"""


@pytest.mark.slow
def test_mypy_finds_misspelt_attributes_of_trainer(tmp_path):
    api = pytest.importorskip("mypy.api", reason="mypy is not installed")
    module = tmp_path / "subclass.py"
    module.write_text(SUBCLASS + "".join(f"        self.{name}\n" for name in (*NAMES, *MISSPELT)))

    output, _, _ = api.run([f"--config-file={PYPROJECT}", f"--cache-dir={tmp_path / 'cache'}", str(module)])

    errors = [line.partition(" error: ")[2] for line in output.splitlines() if module.name in line]
    assert [error.partition(";")[0].partition("  [")[0] for error in errors] == [
        '"Trainer" has no attribute "train_onn"',
        '"Trainer" has no attribute "acelerator"',
        '"StepCoderPPOConfig" has no attribute "untrusted_passess"',
    ], output
