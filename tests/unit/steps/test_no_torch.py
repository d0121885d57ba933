"""Steps that need no torch."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module", ["rows", "queries", "starts", "programs", "scores", "masks", "solutions", "measurement", "prefixes"]
)
def test_module_loads_without_torch(module):
    code = f"import sys, stepcoder_trl.steps.{module}; print('torch' in sys.modules, 'transformers' in sys.modules)"

    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert answer.stdout.split() == ["False", "False"]
