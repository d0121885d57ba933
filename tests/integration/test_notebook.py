"""Run the notebook of the examples with a short training, and compare what its cells print with its outputs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from tests.notebook import code_cells, printed, read, shown


NOTEBOOK = Path(__file__).parents[2] / "examples" / "stepcoder.ipynb"
SHORT = {"SFT_STEPS = 300": "SFT_STEPS = 8", "UPDATES = 30": "UPDATES = 2", "logging_steps=10": "logging_steps=1"}
TRAINING = 7  # the first of the cells whose numbers depend on the length of training
pytestmark = [pytest.mark.sandbox, pytest.mark.slow]


def last_line(text):
    """Return the last line without its numbers."""
    return re.sub(r" *\d+(\.\d+)?", "", text.splitlines()[-1])


@pytest.mark.filterwarnings("ignore:.*(gradient|activation)_checkpointing:FutureWarning")  # TRL's own settings
def test_notebook_prints_its_outputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    notebook = read(NOTEBOOK)
    expected = [shown(cell) for cell in code_cells(notebook)]

    try:
        found = list(printed(notebook, SHORT))
    finally:
        torch.set_num_threads(threads)

    assert len(found) == 10
    assert found[:TRAINING] == expected[:TRAINING]
    assert [last_line(text) for text in found[TRAINING:]] == [last_line(text) for text in expected[TRAINING:]]
    assert (tmp_path / "runs" / "notebook" / "metrics.jsonl").exists()
