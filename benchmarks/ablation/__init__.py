"""
Measures which part of StepCoder helps, where, and by how much, on tiny models, generated problems and paired seeds.

All training and scoring is done by `StepCoderPPOTrainer` and `evaluate_pass_at_1`.
"""
