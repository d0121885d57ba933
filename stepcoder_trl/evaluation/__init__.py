"""
Evaluation: draw samples from scratch, run their programs, compute pass@k.

`evaluate_pass_at_1` is loaded on first use, so that scoring existing samples does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from stepcoder_trl.evaluation.results import EvaluatedSample, Evaluation


if TYPE_CHECKING:
    from stepcoder_trl.evaluation.pass_at_1 import evaluate_pass_at_1

__all__ = ["EvaluatedSample", "Evaluation", "evaluate_pass_at_1"]


def __getattr__(name: str) -> Any:
    if name != "evaluate_pass_at_1":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.pass_at_1").evaluate_pass_at_1
