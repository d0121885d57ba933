"""
Curriculum of Code Completion Subtasks (CCCS): where a solution may be cut, and how far each problem has come.

Paper: StepCoder (arXiv:2402.01391), section 3.2 and Algorithm 1.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import os
import random
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.parsing import first_line, header_end_line, line_spans, parse
from stepcoder_trl.types import Conditional, TLineNo
from stepcoder_trl.units import executable_units


Kinds = Literal["statements", "scope"]
Mode = Literal["paper", "mix", "adaptive", "off"]

_STATEMENT_KINDS = {
    "If": "if",
    "For": "for",
    "AsyncFor": "async for",
    "While": "while",
    "Try": "try",
    "TryStar": "try",
    "Match": "match",
}
_SCOPE_KINDS = {
    name: name
    for name in (
        "If",
        "For",
        "While",
        "FunctionDef",
        "ClassDef",
        "ListComp",
        "SetComp",
        "DictComp",
        "GeneratorExp",
        "Lambda",
        "Try",
        "ExceptHandler",
    )
}
_KINDS: dict[str, dict[str, str]] = {"statements": _STATEMENT_KINDS, "scope": _SCOPE_KINDS}
_DEFINITION = re.compile(r"^[ \t]*(?:async[ \t]+)?(def|class)[ \t]+(\w+)", re.MULTILINE)
_BLANK_LINES = re.compile(r"(?:[ \t\f]*(?:\r\n|\r|\n))*")
_STATE_VERSION = 1

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


# Cutting a solution


def find_conditionals(program: str, kinds: Kinds = "statements") -> list[Conditional]:
    """
    Conditional statements of a program, sorted by line; of several on one line the outermost counts.

    Args:
        program (`str`):
            Text of the program. One that does not parse has none.
        kinds (`str`, *optional*, defaults to `"statements"`):
            `"statements"`: `if` (every `elif` is its own), `for`, `async for`, `while`, `try`, `match`. `"scope"`: the
            syntax nodes in the `scope` field of APPS+ (If, For, While, FunctionDef, ClassDef, ListComp, SetComp,
            DictComp, GeneratorExp, Lambda, Try, ExceptHandler), by those names.

    Returns:
        `list[Conditional]`: Their kinds, first lines and last lines. A decorated definition begins at its `def`.

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
    # Breadth first and a stable sort: the outermost of those that start at one character stays in front.
    nodes.sort(key=lambda node: (node.lineno, node.col_offset))
    by_line: dict[TLineNo, Conditional] = {}
    for node in nodes:
        found = Conditional(names[type(node).__name__], node.lineno, node.end_lineno or node.lineno)
        by_line.setdefault(node.lineno, found)
    return list(by_line.values())


def curriculum_starts(e: int) -> list[int | None]:
    """
    Starts of a solution with `e` conditional statements, in the order of training.

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


@dataclass(frozen=True)
class Stage:
    """
    Start from which a problem is sampled.

    Attributes:
        stage (`int`): Number of the stage; 0 is from scratch.
        line (`int`): Line of the solution at which the model starts, counted from 1.
        prefix (`str`): Text of the solution before that line, whole lines; empty from scratch.
    """

    stage: int
    line: TLineNo
    prefix: str


def curriculum_stages(canonical_solution: str, starter_code: str = "", kinds: Kinds = "statements") -> list[Stage]:
    """
    Stages of one problem, from the first of training to scratch.

    Stages that start inside the starter code are left out; the others keep their numbers. The starter code reaches to
    its end where the solution begins with it, leading blank lines aside; else to the end of the header of the `def` or
    `class` that it names last, where the solution has that. A start on the very next line is not inside.

    Args:
        canonical_solution (`str`):
            Complete program.
        starter_code (`str`, *optional*):
            What the answer begins with.
        kinds (`str`, *optional*, defaults to `"statements"`):
            As in [`find_conditionals`].

    Returns:
        `list[Stage]`: At least the stage from scratch.
    """
    conditionals = find_conditionals(canonical_solution, kinds)
    indices = curriculum_starts(len(conditionals))
    lines = [conditionals[index].line for index in indices if index is not None]
    starts = zip(range(len(lines), 0, -1), lines, strict=True)
    return [start.cut(canonical_solution) for start in _outside(starts, canonical_solution, starter_code)]


@dataclass(frozen=True)
class _Start:
    """A stage without its text."""

    stage: int
    line: TLineNo
    offset: int

    def cut(self, solution: str) -> Stage:
        return Stage(self.stage, self.line, solution[: self.offset])


_SCRATCH = _Start(stage=0, line=1, offset=0)


def _outside(stages: Iterable[tuple[int, TLineNo]], solution: str, starter_code: str) -> list[_Start]:
    """Starts of those (stage, line) that are neither on line 1 nor inside the starter code, then scratch."""
    spans = line_spans(solution)
    bound = _starter_end(solution, starter_code)
    starts = (_Start(stage, line, spans[line - 1][0]) for stage, line in stages)
    return [*(start for start in starts if start.line > 1 and start.offset >= bound), _SCRATCH]


def _starter_end(solution: str, starter_code: str) -> int:
    """Offset in the solution at which the starter code ends, 0 if there is none or it cannot be told."""
    starter = starter_code[_blank_lines(starter_code) :]
    if not starter.strip():
        return 0
    begin = _blank_lines(solution)
    for text in (starter, starter.rstrip()):
        if solution.startswith(text, begin):
            return begin + len(text)
    return _header_end(solution, _last_definition(starter))


def _blank_lines(text: str) -> int:
    """Length of the blank lines that a text begins with."""
    match = _BLANK_LINES.match(text)
    return match.end() if match else 0


def _last_definition(starter: str) -> tuple[str, ...]:
    """Path, such as `("class Solution", "def solve")`, of the definition that begins last."""
    tree = parse(starter) or parse(_with_body(starter))
    if tree is not None:
        definitions = list(_definitions(tree))
        return max(definitions, key=lambda found: found[1].lineno)[0] if definitions else ()
    names = _DEFINITION.findall(starter)
    return (" ".join(names[-1]),) if names else ()


def _with_body(starter: str) -> str:
    """Starter code that ends in a header, with a body."""
    text = starter.rstrip()
    last = text[max(text.rfind("\n"), text.rfind("\r")) + 1 :]
    return f"{text}\n{last[: len(last) - len(last.lstrip())]} pass"


def _definitions(tree: ast.Module) -> Iterator[tuple[tuple[str, ...], _Definition]]:
    """Every `def` and `class` with its path."""
    stack: list[tuple[tuple[str, ...], ast.AST]] = [((), tree)]
    while stack:
        path, node = stack.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            path = (*path, f"{'class' if isinstance(node, ast.ClassDef) else 'def'} {node.name}")
            yield path, node
        stack += [(path, child) for child in ast.iter_child_nodes(node) if not isinstance(child, ast.expr)]


def _header_end(solution: str, path: tuple[str, ...]) -> int:
    """End of the last line of a definition's header; the same path counts before the same name elsewhere."""
    tree = parse(solution) if path else None
    if tree is None:
        return 0
    same = [(found != path, node.lineno, node) for found, node in _definitions(tree) if found[-1] == path[-1]]
    if not same:
        return 0
    spans = line_spans(solution)
    node = min(same, key=lambda found: found[:2])[2]
    return spans[header_end_line(node, [solution[start:end] for start, end in spans]) - 1][1]


def _statement_starts(solution: str, starter_code: str) -> list[_Start]:
    """Every line before a statement, outside the starter code, numbered from scratch upward; the last comes first."""
    tree = parse(solution)
    nodes = ast.walk(tree) if tree is not None else ()
    # Of statements on one line only the first can be cut off: another may begin on the last line of a string.
    cuttable = {unit.first_line for unit in executable_units(solution) or ()}
    lines = sorted(cuttable & {first_line(node) for node in nodes if isinstance(node, ast.stmt)})
    outside = _outside([(0, line) for line in lines], solution, starter_code)[:-1]
    numbered = [_Start(stage, start.line, start.offset) for stage, start in enumerate(outside, 1)]
    return [*reversed(numbered), _SCRATCH]


# Moving through the stages


@dataclass(frozen=True)
class CurriculumConfig:
    """
    How problems move from completing a solution to writing it from scratch.

    Attributes:
        mode (`str`, *optional*, defaults to `"paper"`):
            `paper`: every problem moves through its own stages. `mix`: as `paper`, but with `mix_probability` a
            problem is drawn from scratch. `adaptive`: every problem has an interval of the revealed share of its
            solution, narrowed by success (AdaBack, arXiv:2506.18110). `off`: always from scratch.
        kinds (`str`, *optional*, defaults to `"statements"`):
            What counts as a conditional statement, as in [`find_conditionals`]. The paper names no kinds.
        pass_rate (`float`, *optional*, defaults to `0.5`):
            Fraction of passing samples above which a problem moves on, in [0, 1]; at 1 none ever does. The paper gives
            no value.
        momentum (`float`, *optional*, defaults to `0.3`):
            Weight of the newest group in the moving average of the pass rate, in (0, 1]. The paper gives no value.
        rate_of (`str`, *optional*, defaults to `"problem"`):
            Whose pass rate decides, for `paper` and `mix`: each `problem`'s own, as in the paper, or that of all
            problems at the same `stage`, which then move on together. The latter needs no number of visits to every
            problem, and a smaller `momentum`: it sees every group.
        mix_probability (`float`, *optional*, defaults to `0.1`):
            Probability of drawing a problem from scratch, in [0, 1]; for `mix`.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the draws.
    """

    mode: Mode = "paper"
    kinds: Kinds = "statements"
    pass_rate: float = 0.5
    momentum: float = 0.3
    rate_of: Literal["problem", "stage"] = "problem"
    mix_probability: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        _check_choice("mode", self.mode, get_args(Mode))
        _check_choice("kinds", self.kinds, get_args(Kinds))
        _check_choice("rate_of", self.rate_of, ("problem", "stage"))
        _check_fraction("pass_rate", self.pass_rate, 0 <= self.pass_rate <= 1, "[0, 1]")
        _check_fraction("momentum", self.momentum, 0 < self.momentum <= 1, "(0, 1]")
        _check_fraction("mix_probability", self.mix_probability, 0 <= self.mix_probability <= 1, "[0, 1]")


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise BadInputError(f"`{name}` is {value!r}, but must be one of {', '.join(allowed)}.")


def _check_fraction(name: str, value: float, valid: bool, allowed: str) -> None:
    if not valid:
        raise BadInputError(f"`{name}` is {value}, but must be in {allowed}. It is a fraction: write 0.5 for 50%.")


@dataclass
class _Progress:
    """State of one problem. `low` and `high` bound the revealed share, for `adaptive`."""

    stage: int
    pass_rate: float = 0.0
    low: float = 0.0
    high: float = 1.0


class Curriculum:
    """
    Where each problem stands, and where it is drawn from next.

    `paper` and `mix`: a problem starts at its highest stage; the share of a group's samples that pass enters a moving
    average, `rate <- (1 - momentum) * rate + momentum * share`; when that exceeds `pass_rate` the problem moves to its
    next lower stage and the average starts again at 0. Only groups drawn at the current stage count. At scratch the
    average just goes on. With `rate_of="stage"` all problems at a stage have one average, and move on together.

    `adaptive`: a share is drawn uniformly from the problem's interval, [0, 1] at first, and the solution is cut before
    a statement, as late as reveals no more than that share. A group whose share exceeds `pass_rate` makes the revealed
    share the upper end of the interval, any other group the lower end. The other end moves half of its way back to 0,
    or to 1, so that no problem is caught where it once was. Every group counts.

    Equal calls give equal states: processes that apply the same updates in the same order stay identical.

    Args:
        config ([`CurriculumConfig`]):
            Mode and thresholds.
        problems (`Mapping[str, tuple[str, str]]`):
            `(canonical_solution, starter_code)` of each problem by its `task_id`. A problem with an empty solution has
            no stage but scratch.
    """

    def __init__(self, config: CurriculumConfig, problems: Mapping[str, tuple[str, str]]) -> None:
        self.config = config
        self._solutions = {task_id: solution for task_id, (solution, _) in problems.items()}
        self._starts = {task_id: self._starts_of(*texts) for task_id, texts in problems.items()}
        self._progress = {task_id: _Progress(stage=starts[0].stage) for task_id, starts in self._starts.items()}
        self._stage_rates: dict[int, float] = {}
        self._advanced = 0

    def _starts_of(self, solution: str, starter_code: str) -> list[_Start]:
        if self.config.mode == "off":
            return [_SCRATCH]
        if self.config.mode == "adaptive":
            return _statement_starts(solution, starter_code)
        stages = curriculum_stages(solution, starter_code, self.config.kinds)
        return [_Start(stage.stage, stage.line, len(stage.prefix)) for stage in stages]

    def stages(self, task_id: str) -> list[Stage]:
        """All starts of a problem, from the first of training to scratch."""
        return [start.cut(self._solutions[task_id]) for start in self._starts[task_id]]

    def stage(self, task_id: str) -> int:
        """Number of the stage that a problem has reached; for `adaptive` that at the middle of its interval."""
        return self._current(task_id).stage

    def pass_rate(self, task_id: str) -> float:
        """Moving average of the share of passing samples of a problem."""
        return self._progress[task_id].pass_rate

    def draw(self, task_id: str, step: int) -> Stage:
        """
        Start of a problem at a step.

        Depends on the state, the seed, the problem and the step, not on the process or on other draws.
        """
        return self._draw(task_id, random.Random(f"{self.config.seed}|{step}|{task_id}")).cut(self._solutions[task_id])

    def _draw(self, task_id: str, rng: random.Random) -> _Start:
        if self.config.mode == "adaptive":
            progress = self._progress[task_id]
            return self._start_at(task_id, rng.uniform(progress.low, progress.high))
        if self.config.mode == "mix" and rng.random() < self.config.mix_probability:
            return _SCRATCH
        return self._current(task_id)

    def _current(self, task_id: str) -> _Start:
        progress = self._progress[task_id]
        if self.config.mode == "adaptive":
            return self._start_at(task_id, (progress.low + progress.high) / 2)
        return next(start for start in self._starts[task_id] if start.stage == progress.stage)

    def _start_at(self, task_id: str, share: float) -> _Start:
        """Last start that reveals no more than a share of the solution's characters."""
        revealed = share * len(self._solutions[task_id])
        return next(start for start in self._starts[task_id] if start.offset <= revealed)

    def _revealed(self, task_id: str, start: _Start) -> float:
        return start.offset / max(1, len(self._solutions[task_id]))

    def update(self, task_id: str, stage: int | Stage, share: float | None) -> None:
        """
        Take in how a group of samples of one problem did.

        Args:
            task_id (`str`):
                Problem.
            stage (`int` or [`Stage`]):
                Stage at which the group was drawn. Ignored unless it is the problem's current one; `adaptive` takes
                any.
            share (`float` or `None`):
                Fraction of the scored samples that passed, in [0, 1]; `None` if none was scored: ignored.

        Raises:
            BadInputError: If the share is not a fraction.
        """
        if share is None:
            return
        _check_fraction("share", share, 0 <= share <= 1, "[0, 1]")
        number = stage.stage if isinstance(stage, Stage) else stage
        if self.config.mode == "adaptive":
            self._narrow(task_id, number, share)
        elif number == self.stage(task_id):
            self._average(task_id, share)
            if self.config.rate_of == "stage":
                self._average_stage(number, share)
            elif self._progress[task_id].pass_rate > self.config.pass_rate:
                self._advance(task_id)

    def _average(self, task_id: str, share: float) -> None:
        progress = self._progress[task_id]
        progress.pass_rate += self.config.momentum * (share - progress.pass_rate)

    def _average_stage(self, stage: int, share: float) -> None:
        """Take in a share for all problems at a stage; they move on together."""
        rate = self._stage_rates.get(stage, 0.0)
        self._stage_rates[stage] = rate + self.config.momentum * (share - rate)
        if stage > 0 and self._stage_rates[stage] > self.config.pass_rate:
            self._stage_rates[stage] = 0.0
            for task_id, progress in self._progress.items():
                if progress.stage == stage:
                    self._advance(task_id)

    def _advance(self, task_id: str) -> None:
        progress = self._progress[task_id]
        if progress.stage == 0:
            return
        progress.stage = next(start.stage for start in self._starts[task_id] if start.stage < progress.stage)
        progress.pass_rate = 0.0
        self._advanced += 1

    def _narrow(self, task_id: str, stage: int, share: float) -> None:
        progress = self._progress[task_id]
        start = next((start for start in self._starts[task_id] if start.stage == stage), None)
        if start is None:
            return
        self._average(task_id, share)
        revealed = self._revealed(task_id, start)
        if share > self.config.pass_rate:
            self._advanced += revealed < progress.high
            progress.high, progress.low = revealed, min(progress.low / 2, revealed)
        else:
            progress.low, progress.high = revealed, max((1 + progress.high) / 2, revealed)

    def summary(self) -> dict[str, float]:
        """
        State of all problems in five numbers.

        Returns:
            `dict[str, float]`:
                - `curriculum/scratch_share`: share of the problems whose current start is scratch.
                - `curriculum/mean_stage`: mean number of the current stage; 0 is scratch.
                - `curriculum/pass_rate`: mean over problems of the moving average of passing samples.
                - `curriculum/revealed_share`: mean share of the solution's characters in the current prefix.
                - `curriculum/advanced`: moves toward scratch since the beginning, over all problems (`adaptive`:
                  groups that lowered the upper end of an interval).

            Means over no problems are 0.
        """
        current = {task_id: self._current(task_id) for task_id in self._starts}
        count = max(1, len(current))
        return {
            "curriculum/scratch_share": sum(start.stage == 0 for start in current.values()) / count,
            "curriculum/mean_stage": sum(start.stage for start in current.values()) / count,
            "curriculum/pass_rate": sum(progress.pass_rate for progress in self._progress.values()) / count,
            "curriculum/revealed_share": sum(self._revealed(*item) for item in current.items()) / count,
            "curriculum/advanced": float(self._advanced),
        }

    def state_dict(self) -> dict[str, Any]:
        """State as values that JSON can hold."""
        return {
            "version": _STATE_VERSION,
            "mode": self.config.mode,
            "kinds": self.config.kinds,
            "advanced": self._advanced,
            "stage_rates": {str(stage): rate for stage, rate in self._stage_rates.items()},
            "problems": {task_id: asdict(progress) for task_id, progress in self._progress.items()},
        }

    def digest(self) -> str:
        """Digest of the state: equal where every problem is at the same stage with the same pass rate."""
        return hashlib.sha256(json.dumps(self.state_dict()).encode()).hexdigest()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """
        Take over a state. Nothing changes if it does not fit.

        Raises:
            BadInputError: If the state is of another version, mode or kinds, of other problems, or names a stage that
                a problem does not have.
        """
        for name, mine in (("version", _STATE_VERSION), ("mode", self.config.mode), ("kinds", self.config.kinds)):
            if state.get(name) != mine:
                raise BadInputError(f"Curriculum state: `{name}` is {state.get(name)!r}, but must be {mine!r}.")
        try:
            advanced = int(state["advanced"])
            progress = {task_id: _Progress(**values) for task_id, values in state["problems"].items()}
            # States that were written before there were rates of stages have none.
            stage_rates = {int(stage): float(rate) for stage, rate in state.get("stage_rates", {}).items()}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BadInputError(f"Curriculum state: damaged ({error!r}). Use one that `save` wrote.") from error
        self._check_problems(progress)
        self._advanced, self._progress = advanced, {key: progress[key] for key in self._starts}
        self._stage_rates = stage_rates

    def _check_problems(self, progress: Mapping[str, _Progress]) -> None:
        other = sorted(progress.keys() ^ self._starts.keys())
        if other:
            raise BadInputError(
                f"Curriculum state: {len(other)} problems are only in the state or only in the data, such as "
                f"`{other[0]}`. Resume with the data that the state was saved with."
            )
        for task_id, starts in self._starts.items():
            stages = [start.stage for start in starts]
            if progress[task_id].stage not in stages:
                raise BadInputError(
                    f"Curriculum state: `{task_id}` is at stage {progress[task_id].stage}, but has only {stages}. "
                    "Resume with the solutions that the state was saved with."
                )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state as JSON: to a temporary name first, so that no reader ever meets half a file."""
        temporary = Path(f"{os.fspath(path)}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(self.state_dict()), encoding="utf-8")
        os.replace(temporary, path)

    def load(self, path: str | os.PathLike[str]) -> None:
        """
        Take over the state of a file that `save` wrote.

        Raises:
            BadInputError: If the file is not JSON or its state does not fit; names the file.
        """
        try:
            state = json.loads(Path(path).read_text(encoding="utf-8"))
            self.load_state_dict(state)
        except (ValueError, AttributeError) as error:
            raise BadInputError(f"{os.fspath(path)}: {error}") from error
