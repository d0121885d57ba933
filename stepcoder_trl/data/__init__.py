"""Problems: their schema, and loaders for the formats in which data sets are published."""

from stepcoder_trl.data.formats import load_problems
from stepcoder_trl.data.problems import Problem, validate_tests


__all__ = ["Problem", "load_problems", "validate_tests"]
