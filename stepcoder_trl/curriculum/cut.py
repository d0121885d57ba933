"""Finds where a solution may be cut: its conditional statements, its stages and the end of the starter code."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.parsing import header_end_line, line_spans, parse
from stepcoder_trl.types import Conditional, TLineNo


Kinds = Literal["statements", "scope"]

_STATEMENT_KINDS = {
    "If": "if",
    "For": "for",
    "AsyncFor": "async for",
    "While": "while",
    "Try": "try",
    "TryStar": "try",
    "Match": "match",
}
_SCOPE_KINDS = "If For While FunctionDef ClassDef ListComp SetComp DictComp GeneratorExp Lambda Try ExceptHandler"
# Name of the kind by class of the syntax node.
_KINDS = {"statements": _STATEMENT_KINDS, "scope": {name: name for name in _SCOPE_KINDS.split()}}
_DEFINITION = re.compile(r"^[ \t]*(?:async[ \t]+)?(def|class)[ \t]+(\w+)", re.MULTILINE)
_BLANK_LINES = re.compile(r"(?:[ \t\f]*(?:\r\n|\r|\n))*")


@dataclass(frozen=True)
class Stage:
    """Start from which a problem is sampled."""

    stage: int  # 0 is from scratch
    line: TLineNo  # of the solution, at which the model starts
    prefix: str  # lines of the solution before that line


SCRATCH = Stage(stage=0, line=1, prefix="")


def find_conditionals(program: str, kinds: Kinds = "statements") -> list[Conditional]:
    """
    Return the conditional statements of a program, sorted by line.

    If several start on one line, only the outermost is returned.

    Args:
        program (`str`):
            Text of the program. A program that does not parse has no conditional statements.
        kinds (`str`, *optional*, defaults to `"statements"`):
            `"statements"`: `if` (every `elif` is its own), `for`, `async for`, `while`, `try`, `match`. `"scope"`: the
            syntax nodes in the `scope` field of APPS+ (If, For, While, FunctionDef, ClassDef, ListComp, SetComp,
            DictComp, GeneratorExp, Lambda, Try, ExceptHandler), by those names.

    Returns:
        `list[Conditional]`: Kind, first and last line of each. A decorated definition begins at its `def`.

    Raises:
        BadInputError: If `kinds` is neither of the two.

    Paper: StepCoder (arXiv:2402.01391), section 3.2. The paper names no kinds.
    """
    if kinds not in _KINDS:
        raise BadInputError(f'`kinds` is {kinds!r}, but must be "statements" or "scope".')
    tree = parse(program)
    if tree is None:
        return []
    names = _KINDS[kinds]
    nodes = [cast("ast.stmt", node) for node in ast.walk(tree) if type(node).__name__ in names]
    # `ast.walk` yields outer nodes first, and the sort keeps this order for nodes that start at the same character.
    nodes.sort(key=lambda node: (node.lineno, node.col_offset))
    by_line: dict[TLineNo, Conditional] = {}
    for node in nodes:
        found = Conditional(names[type(node).__name__], node.lineno, node.end_lineno or node.lineno)
        by_line.setdefault(node.lineno, found)
    return list(by_line.values())


def curriculum_starts(e: int) -> list[int | None]:
    """
    Return the starts of a solution with `e` conditional statements, in the order of training.

    There are `n = ceil(sqrt(e))` stages with a stride of `ceil(e / n)` conditionals.

    Args:
        e (`int`):
            Number of conditional statements, at least 0.

    Returns:
        `list[int | None]`: For the stages `n - 1` to 0 the index of the conditional at whose line the model starts,
        counted from 0. The last is `None`: from scratch.

    Raises:
        BadInputError: If `e` is negative.

    Paper: StepCoder (arXiv:2402.01391), Algorithm 1.

    Example:

    ```python
    >>> curriculum_starts(10)
    [9, 6, 3, None]
    ```
    """
    if e < 0:
        raise BadInputError(f"`e` is {e}, but a program has 0 conditional statements or more.")
    if e == 0:
        return [None]
    n = math.isqrt(e - 1) + 1
    stride = -(-e // n)
    return [*(stride * stage for stage in range(n - 1, 0, -1)), None]


def curriculum_stages(canonical_solution: str, starter_code: str = "", kinds: Kinds = "statements") -> list[Stage]:
    """
    Return the stages of one problem, from the first of training to scratch.

    Stages that start inside the starter code are left out. The others keep their numbers. The starter code ends where
    its text ends, if the solution begins with it after leading blank lines. Otherwise it ends with the header of the
    `def` or `class` that it names last, if the solution has that. A start on the next line is not inside.
    """
    conditionals = find_conditionals(canonical_solution, kinds)
    indices = curriculum_starts(len(conditionals))
    lines = [conditionals[index].line for index in indices if index is not None]
    numbered = zip(range(len(lines), 0, -1), lines, strict=True)
    return cut_at(numbered, canonical_solution, starter_code)


def find_stage(task_id: str, stages: Sequence[Stage], number: int) -> Stage:
    """Return the stage of a problem with this number, or raise an error that names the problem."""
    for stage in stages:
        if stage.stage == number:
            return stage
    raise BadInputError(f"`{task_id}` has no stage {number}, but only {[stage.stage for stage in stages]}.")


def shown_code(solution: str, starter_code: str, prefix: str) -> str:
    """
    Return the code that a prefix of a solution shows beyond the starter code. It is empty from scratch.

    White space at the end of the prefix and of the starter code in it is left out of both, as in queries.
    """
    given = solution[: _starter_end(solution, starter_code)].rstrip()
    return prefix.rstrip()[len(given) :]


def cut_at(numbered_lines: Iterable[tuple[int, TLineNo]], solution: str, starter_code: str) -> list[Stage]:
    """Return the stages with these numbers and lines, except on line 1 or inside the starter code, and scratch."""
    spans = line_spans(solution)
    bound = _starter_end(solution, starter_code)
    stages = [Stage(number, line, solution[: spans[line - 1][0]]) for number, line in numbered_lines]
    return [*(stage for stage in stages if stage.line > 1 and len(stage.prefix) >= bound), SCRATCH]


def _starter_end(solution: str, starter_code: str) -> int:
    """Return the offset in the solution at which the starter code ends, 0 if there is none or it is not found."""
    starter = starter_code[_blank_lines(starter_code) :]
    if not starter.strip():
        return 0
    begin = _blank_lines(solution)
    for text in (starter, starter.rstrip()):
        if solution.startswith(text, begin):
            return begin + len(text)
    return _header_end(solution, _last_definition(starter))


def _blank_lines(text: str) -> int:
    """Return the length of the blank lines that a text begins with."""
    match = _BLANK_LINES.match(text)
    return match.end() if match else 0


def _last_definition(starter: str) -> tuple[str, ...]:
    """Return the path, such as `("class Solution", "def solve")`, of the definition that begins last."""
    tree = parse(starter) or parse(_with_body(starter))
    if tree is not None:
        definitions = list(_definitions(tree))
        return max(definitions, key=lambda found: found[1].lineno)[0] if definitions else ()
    names = _DEFINITION.findall(starter)
    return (" ".join(names[-1]),) if names else ()


def _with_body(starter: str) -> str:
    """Return the starter code with a body after its last line, a header."""
    text = starter.rstrip()
    last = text[max(text.rfind("\n"), text.rfind("\r")) + 1 :]
    return f"{text}\n{last[: len(last) - len(last.lstrip())]} pass"


def _definitions(tree: ast.Module) -> Iterator[tuple[tuple[str, ...], ast.stmt]]:
    """Yield every `def` and `class` with its path."""
    stack: list[tuple[tuple[str, ...], ast.AST]] = [((), tree)]
    while stack:
        path, node = stack.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            path = (*path, f"{'class' if isinstance(node, ast.ClassDef) else 'def'} {node.name}")
            yield path, node
        stack += [(path, child) for child in ast.iter_child_nodes(node) if not isinstance(child, ast.expr)]


def _header_end(solution: str, path: tuple[str, ...]) -> int:
    """Return the end of the header of a definition with the same path, else the same name. 0 if there is none."""
    tree = parse(solution) if path else None
    if tree is None:
        return 0
    same = [(found != path, node.lineno, node) for found, node in _definitions(tree) if found[-1] == path[-1]]
    if not same:
        return 0
    spans = line_spans(solution)
    node = min(same, key=lambda found: found[:2])[2]
    return spans[header_end_line(node, [solution[start:end] for start, end in spans]) - 1][1]
