"""Generation from scratch and what its programs are worth."""

from stepcoder_trl.evaluation.pass_at_1 import evaluate_pass_at_1
from stepcoder_trl.evaluation.results import EvaluatedSample, Evaluation


__all__ = ["EvaluatedSample", "Evaluation", "evaluate_pass_at_1"]
