"""Right and wrong programs, made from the canonical solution of a problem."""

from __future__ import annotations

import random


SWAPS = (("<", ">"), ("+", "-"), ("1", "2"), ("True", "False"), ("==", "!="), ("0", "1"))


def mutants(body: str, draw: random.Random, changed: str = "\n    return None\n") -> list[str]:
    """
    Return the right body, and bodies with a changed token, a deleted line, a cut end, or an exception.

    `changed` is appended where no token can be changed.
    """
    lines = body.splitlines(keepends=True)
    cut = draw.randrange(len(lines))
    swapped = next((body.replace(old, new, 1) for old, new in SWAPS if old in body), body + changed)
    return [body, swapped, "".join(lines[:cut] + lines[cut + 1 :]), "".join(lines[:cut]), "    raise ValueError\n"]
