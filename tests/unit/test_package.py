"""Public names of the package, modules that it imports, and the length of its files."""

from __future__ import annotations

import subprocess
import sys

import pytest

import stepcoder_trl
from tests.processes import ON_LINUX


def test_public_names():
    assert stepcoder_trl.__all__ == sorted(stepcoder_trl.__all__)
    assert set(stepcoder_trl.__all__) == {
        *("StepCoderGRPOTrainer", "StepCoderGRPOConfig"),
        *("StepCoderPPOTrainer", "StepCoderPPOConfig", "CodeExecutor", "ExecutorConfig", "Execution", "Outcome"),
        *("Problem", "BadInputError", "SandboxError", "IsolationError", "find_conditionals", "curriculum_starts"),
        *("Curriculum", "CurriculumConfig"),
        *("executed_token_mask", "extract_program", "unit_test_reward", "pass_at_k", "load_problems"),
    }
    for name in stepcoder_trl.__all__:
        assert getattr(stepcoder_trl, name) is not None


LOWER_LAYERS = (
    *("", ".parsing", ".curriculum", ".masking", ".metrics", ".executor", ".code_match", ".rewards"),
    *(".reports.html", ".data.formats", ".cli.main", ".cli.execute"),
)


def printed_by(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("module", LOWER_LAYERS)
def test_lower_layers_do_not_import_torch(module):
    found = "[name for name in ('torch', 'transformers', 'trl') if name in sys.modules]"

    assert printed_by(f"import sys, stepcoder_trl{module}; print({found})") == "[]"


BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocked())
"""
THIRD_PARTY = ("accelerate", "coverage", "datasets", "numpy", "peft", "rich", "torch", "transformers", "trl")
HEAVY = ("asyncio", "difflib", "email", "http", "multiprocessing", "sqlite3", "ssl", "unittest", "xml")


def test_executor_imports_no_heavy_and_no_third_party_modules():
    code = BLOCK.format(blocked=THIRD_PARTY) + (
        f"from stepcoder_trl import CodeExecutor; print([name for name in {HEAVY!r} if name in sys.modules])"
    )

    assert printed_by(code) == "[]"


@pytest.mark.sandbox
@ON_LINUX
def test_executor_works_without_torch_and_trl():
    code = BLOCK.format(blocked=tuple(name for name in THIRD_PARTY if name != "coverage")) + (
        "from stepcoder_trl import CodeExecutor\n"
        "with CodeExecutor() as executor:\n"
        "    print(executor.run('print(7)', {'type': 'stdio', 'inputs': [''], 'outputs': ['7']}).outcome)\n"
    )

    assert printed_by(code) == "passed"
