"""Problems for tests of the curriculum."""

from __future__ import annotations

from stepcoder_trl.curriculum import Curriculum, CurriculumConfig


# Ten conditionals: stages 3, 2, 1 start at conditionals 9, 6, 3.
TEN = "def f(x):\n" + "".join(f"    if x > {n}:\n        x -= {n}\n" for n in range(10))
PROBLEMS = {"ten": (TEN, "def f(x):"), "none": ("x = 1\n", ""), "empty": ("", "")}


def curriculum(**changes) -> Curriculum:
    """Return the curriculum of these problems."""
    return Curriculum(CurriculumConfig(**changes), PROBLEMS)
