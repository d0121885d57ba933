"""Problem schema, and loaders for published datasets."""

from stepcoder_trl.data.formats import load_problems
from stepcoder_trl.data.problems import Problem


__all__ = ["Problem", "load_problems"]
