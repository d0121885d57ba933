"""Evaluation: draw samples from scratch, run their programs, compute pass@k."""

from stepcoder_trl.evaluation.pass_at_1 import evaluate_pass_at_1
from stepcoder_trl.evaluation.results import EvaluatedSample, Evaluation


__all__ = ["EvaluatedSample", "Evaluation", "evaluate_pass_at_1"]
