"""
Defects of upstream's PPOTrainer, and tests that our trainer does not have them.

The numbers are those of docs/coming_from_trl.md. Where it is cheap, a test shows that the installed
TRL has the defect. Defects that other tests of the trainer cover have no test here. D1, D2,
D3 and D18 need several processes: see tests/matrix.
"""
