"""Generation from scratch and what its programs are worth."""

from stepcoder_trl.evaluation.generate import EvaluatedSample, Evaluation, evaluate_pass_at_1


__all__ = ["EvaluatedSample", "Evaluation", "evaluate_pass_at_1"]
