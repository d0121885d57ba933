"""mypy checks the attributes of the trainer, although TRL and transformers are only partly typed."""

from __future__ import annotations

from pathlib import Path

import pytest


PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
SUBCLASS = """
from stepcoder_trl.trainer.ppo_trainer import StepCoderPPOTrainer


class Trainer(StepCoderPPOTrainer):
    def update(self) -> None:
        self.{attribute}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attribute", "errors"),
    [
        ("train_on", []),
        ("accelerator", []),
        ("train_onn", ['"Trainer" has no attribute "train_onn"']),
        ("acelerator", ['"Trainer" has no attribute "acelerator"']),
    ],
)
def test_mypy_finds_misspelt_attribute_of_trainer(attribute, errors, tmp_path_factory):
    api = pytest.importorskip("mypy.api", reason="mypy is not installed")
    folder = tmp_path_factory.getbasetemp() / "types"
    folder.mkdir(exist_ok=True)
    module = folder / "subclass.py"
    module.write_text(SUBCLASS.format(attribute=attribute))

    output, _, _ = api.run([f"--config-file={PYPROJECT}", f"--cache-dir={folder / 'cache'}", str(module)])

    lines = [line for line in output.splitlines() if str(module.name) in line]
    assert len(lines) == len(errors), output
    assert all(error in line for error, line in zip(errors, lines, strict=True)), output
