"""
Which part of StepCoder helps, where, and by how much: tiny models, generated problems, paired seeds.

Nothing here trains or scores by itself: it is `StepCoderPPOTrainer` and `evaluate_pass_at_1` that are measured.
"""
