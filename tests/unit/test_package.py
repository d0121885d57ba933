"""What the package exports, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import stepcoder_trl


def test_public_names_are_these():
    assert stepcoder_trl.__all__ == sorted(stepcoder_trl.__all__)
    assert set(stepcoder_trl.__all__) == {
        *(
            "StepCoderPPOTrainer",
            "StepCoderPPOConfig",
            "CodeExecutor",
            "ExecutorConfig",
            "Execution",
            "Outcome",
            "Problem",
        ),
        *("SandboxError", "find_conditionals", "curriculum_starts", "Curriculum", "CurriculumConfig"),
        *("executed_token_mask", "extract_program", "unit_test_reward", "pass_at_k", "load_problems"),
    }
    for name in stepcoder_trl.__all__:
        assert getattr(stepcoder_trl, name) is not None


@pytest.mark.parametrize(
    "module",
    [
        "",
        ".parsing",
        ".curriculum",
        ".masking",
        ".metrics",
        ".executor",
        ".rewards",
        ".data.formats",
        ".cli.main",
        ".cli.execute",
    ],
)
def test_lower_layers_do_not_import_torch(module):
    code = (
        f"import sys, stepcoder_trl{module}; print([m for m in ('torch', 'transformers', 'trl') if m in sys.modules])"
    )

    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "[]"
