"""
StepCoder (Dou et al., 2024, arXiv:2402.01391) for TRL.

Public names are loaded on first use: importing the package imports neither torch nor TRL.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from stepcoder_trl.curriculum import Curriculum, CurriculumConfig, curriculum_starts, find_conditionals
    from stepcoder_trl.data.formats import load_problems
    from stepcoder_trl.data.problems import Problem
    from stepcoder_trl.errors import BadInputError, IsolationError, SandboxError
    from stepcoder_trl.executor import CodeExecutor, ExecutorConfig
    from stepcoder_trl.masking import executed_token_mask
    from stepcoder_trl.metrics import pass_at_k
    from stepcoder_trl.parsing import extract_program
    from stepcoder_trl.rewards import unit_test_reward
    from stepcoder_trl.trainer import StepCoderPPOConfig, StepCoderPPOTrainer
    from stepcoder_trl.trainer.grpo_config import StepCoderGRPOConfig
    from stepcoder_trl.trainer.grpo_trainer import StepCoderGRPOTrainer
    from stepcoder_trl.types import Execution, Outcome

__version__ = "0.1.0"

_HOME = {
    "BadInputError": "errors",
    "CodeExecutor": "executor",
    "Curriculum": "curriculum",
    "CurriculumConfig": "curriculum",
    "Execution": "types",
    "ExecutorConfig": "executor",
    "IsolationError": "errors",
    "Outcome": "types",
    "Problem": "data.problems",
    "SandboxError": "errors",
    "StepCoderGRPOConfig": "trainer.grpo_config",
    "StepCoderGRPOTrainer": "trainer.grpo_trainer",
    "StepCoderPPOConfig": "trainer",
    "StepCoderPPOTrainer": "trainer",
    "curriculum_starts": "curriculum",
    "executed_token_mask": "masking",
    "extract_program": "parsing",
    "find_conditionals": "curriculum",
    "load_problems": "data.formats",
    "pass_at_k": "metrics",
    "unit_test_reward": "rewards",
}

__all__ = [
    "BadInputError",
    "CodeExecutor",
    "Curriculum",
    "CurriculumConfig",
    "Execution",
    "ExecutorConfig",
    "IsolationError",
    "Outcome",
    "Problem",
    "SandboxError",
    "StepCoderGRPOConfig",
    "StepCoderGRPOTrainer",
    "StepCoderPPOConfig",
    "StepCoderPPOTrainer",
    "curriculum_starts",
    "executed_token_mask",
    "extract_program",
    "find_conditionals",
    "load_problems",
    "pass_at_k",
    "unit_test_reward",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
