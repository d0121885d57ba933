"""
Curriculum of Code Completion Subtasks (CCCS): the model first completes a solution's last lines, later all of it.

    cut.py        conditional statements of a solution, and the stages at which it may be cut
    config.py     options
    paper.py      modes `paper` and `mix`: each problem moves through its own stages
    measured.py   start at the stage where samples tell most, and the file of such a measurement
    adaptive.py   mode `adaptive`: each problem has an interval of the share of its solution that is revealed
    state.py      Curriculum: draws, updates, saves and loads

Paper: StepCoder (arXiv:2402.01391), section 3.2 and Algorithm 1.
"""

from stepcoder_trl.curriculum.config import CurriculumConfig
from stepcoder_trl.curriculum.cut import Stage, curriculum_stages, curriculum_starts, find_conditionals
from stepcoder_trl.curriculum.state import Curriculum


__all__ = ["Curriculum", "CurriculumConfig", "Stage", "curriculum_stages", "curriculum_starts", "find_conditionals"]
