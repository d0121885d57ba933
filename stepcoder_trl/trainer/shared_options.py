"""
Options that the trainers share, and what every option is made of.

An option is described in one place, its field: by its help, its range, the source of its default, and its choices,
which stand in its type as a `Literal`. Checks and the tables of the documentation are made from that.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from stepcoder_trl.curriculum import CurriculumConfig
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.executor import ExecutorConfig
from stepcoder_trl.masking import MaskRule


class Help(str):
    """
    Help text that also carries the source of the default and the range.

    The parser of transformers hands a field's metadata on to argparse, which takes no entries but its own.

    Attributes:
        source (`str`): Origin of the default.
        range (`str` or `None`): Interval of the allowed values.
    """

    source: str
    range: str | None

    def __new__(cls, text: str, source: str, range: str | None = None) -> Help:
        help_text = super().__new__(cls, text)
        help_text.source, help_text.range = source, range
        return help_text


def option(default: Any, text: str, *, source: str, range: str | None = None) -> Any:
    """
    Field of a configuration.

    Args:
        default:
            Default.
        text (`str`):
            Help.
        source (`str`):
            Origin of the default.
        range (`str`, *optional*):
            Interval of the allowed values, such as `"(0, 1]"` or `"[1, inf)"`.

    Returns:
        `dataclasses.Field`
    """
    return field(default=default, metadata={"help": Help(text, source, range)})


@dataclass
class SharedOptions:
    """Options of curriculum, loss mask and executor. Each field describes itself."""

    curriculum: Literal["paper", "mix", "adaptive", "off"] = option(
        "paper",
        'Curriculum of Code Completion Subtasks: `"paper"`, `"mix"`, `"adaptive"` or `"off"`.',
        source="paper, 3.2; others ours",
    )
    curriculum_kinds: Literal["statements", "scope"] = option(
        "statements",
        'What counts as a conditional statement: `"statements"` (if, for, while, try, match) or `"scope"` (the '
        "APPS+ field). The paper names no kinds.",
        source="paper names no kinds",
    )
    curriculum_pass_rate: float = option(
        0.5,
        "Pass rate above which a problem moves to its next stage, in [0, 1]. The paper gives no value.",
        range="[0, 1]",
        source="paper's rho, no value given",
    )
    curriculum_momentum: float = option(
        0.3,
        "Weight of the newest group in the moving pass rate, in (0, 1]. The paper gives no value.",
        range="(0, 1]",
        source="paper's moving average, no value given",
    )
    curriculum_rate_of: Literal["problem", "stage"] = option(
        "problem",
        'Pass rate that decides in `"paper"` and `"mix"`: each `"problem"`\'s own, or that of all problems at the '
        'same `"stage"`, which then move on together. Give the latter a smaller `curriculum_momentum`.',
        source="paper: the problem's; other ours",
    )
    curriculum_pass_score: float | None = option(
        None,
        "Score above which a completion counts as passing where a problem has no tests. `None` leaves such "
        "problems at their stage.",
        source="ours",
    )
    curriculum_mix_probability: float = option(
        0.1,
        'Probability that `"mix"` draws a problem from scratch, in [0, 1].',
        range="[0, 1]",
        source="ours",
    )
    fgo: Literal["lines", "off", "random"] = option(
        "lines",
        'Fine-Grained Optimization: `"lines"` keeps tokens of executed lines in the policy loss, `"off"` keeps all '
        'tokens, `"random"` keeps as many tokens at random, as a control.',
        source="paper, 3.2; control ours",
    )
    fgo_outside_program: bool = option(
        True,
        "Whether EOS, the closing fence and text outside the program stay in the policy loss.",
        source="paper silent",
    )
    compile_error_mask: Literal["all", "up_to_error_line"] = option(
        "all",
        'Lines kept of a program that does not compile: `"all"` or those `"up_to_error_line"`.',
        source="paper silent; a literal mask leaves no gradient",
    )
    executor_workers: int | None = option(
        None,
        "Worker processes that run programs. `None` means this process's share of the cores.",
        range="[1, inf)",
        source="ours",
    )
    test_timeout_s: float = option(
        3.0,
        "CPU seconds that a test may take. A problem's own limit beats it.",
        range="(0, inf)",
        source="paper's descendants",
    )
    untrusted_passes: Literal["accept", "drop"] = option(
        "accept",
        'What is done with a pass whose verdict a hostile program could have forged: `"accept"` scores it, '
        '`"drop"` leaves the completion out of the losses.',
        source="ours",
    )
    max_infrastructure_error_rate: float = option(
        0.1,
        "Largest share of a batch's programs, in [0, 1], that the sandbox may fail to run. Beyond it training "
        "writes a checkpoint and stops.",
        range="[0, 1]",
        source="ours",
    )

    def curriculum_config(self, seed: int) -> CurriculumConfig:
        """Settings of the curriculum."""
        return CurriculumConfig(
            mode=self.curriculum,
            kinds=self.curriculum_kinds,
            pass_rate=self.curriculum_pass_rate,
            momentum=self.curriculum_momentum,
            rate_of=self.curriculum_rate_of,
            mix_probability=self.curriculum_mix_probability,
            seed=seed,
        )

    def mask_rule(self, seed: int) -> MaskRule:
        """Rule of the tokens in the policy loss."""
        return MaskRule(self.fgo, self.fgo_outside_program, self.compile_error_mask, seed)

    def executor_config(self, num_workers: int) -> ExecutorConfig:
        """Settings of an executor that a trainer makes, with `num_workers` unless `executor_workers` is given."""
        return ExecutorConfig(num_workers=self.executor_workers or num_workers, timeout_s=self.test_timeout_s)


# Checks


_RANGE = re.compile(r"([\[(])(\S+), (\S+)([\])])")


def refuse(name: str, value: Any, allowed: str, fix: str) -> BadInputError:
    """Error for an option with a wrong value."""
    return BadInputError(f"`{name}` is {value!r}, but must be {allowed}. {fix}")


def check_options(args: Any, ranges: Mapping[str, str] | None = None) -> None:
    """
    Check all options that have a range or choices.

    Args:
        args (dataclass):
            Configuration.
        ranges (`Mapping[str, str]`, *optional*):
            Ranges of inherited fields, whose metadata have none.

    Raises:
        BadInputError: If a value is outside its range or its choices.
    """
    kinds = _choices(type(args))
    for one in dataclasses.fields(args):
        text = one.metadata.get("help")
        allowed = text.range if isinstance(text, Help) else (ranges or {}).get(one.name)
        value = getattr(args, one.name)
        choices, optional = kinds[one.name]
        inside = optional if value is None else allowed is None or in_range(value, allowed)
        if allowed is not None and not inside:
            words = _words(allowed) + (" or `None`" if optional else "")
            fraction = allowed.endswith(("1]", "1)"))
            fix = "It is a fraction: write 0.5 for 50%." if fraction else "Leave it out for the default."
            raise refuse(one.name, value, words, fix)
        if choices and value not in choices:
            words = ", ".join(repr(choice) for choice in choices)
            raise refuse(one.name, value, f"one of {words}", "Check the spelling.")


def in_range(value: float, allowed: str) -> bool:
    """Whether a value is in a range such as `"(0, 1]"` or `"[1, inf)"`."""
    match = _RANGE.fullmatch(allowed)
    if match is None:
        raise ValueError(f"{allowed!r} is no range. Write it as '(0, 1]' or '[1, inf)'.")
    low, high = float(match[2]), float(match[3])
    above = value >= low if match[1] == "[" else value > low
    below = value <= high if match[4] == "]" else value < high
    return above and below


def _words(allowed: str) -> str:
    """A range in words."""
    if not allowed.endswith("inf)"):
        return f"in {allowed}"
    low = allowed[1:].partition(",")[0]
    return f"at least {low}" if allowed.startswith("[") else f"above {low}"


def _choices(cls: type) -> dict[str, tuple[tuple[Any, ...], bool]]:
    """Choices of each field, none where its type is no `Literal`, and whether it may be `None`."""
    return {name: _choices_of(hint) for name, hint in get_type_hints(cls).items()}


def _choices_of(hint: Any) -> tuple[tuple[Any, ...], bool]:
    parts = get_args(hint) if get_origin(hint) is not Literal else (hint,)
    optional = get_origin(hint) in _UNIONS and type(None) in parts
    literals = [part for part in parts if get_origin(part) is Literal]
    if not (literals and (get_origin(hint) is Literal or get_origin(hint) in _UNIONS)):
        return (), optional
    values = tuple(value for literal in literals for value in get_args(literal))
    return (*values, None) if optional else values, optional


_UNIONS = (Union, type(int | str))


def options_table(cls: type, names: Sequence[str]) -> str:
    """
    Table of options for the documentation.

    Args:
        cls (`type`):
            Configuration, a dataclass.
        names (`Sequence[str]`):
            Options, in the order of the table.

    Returns:
        `str`: Markdown with the columns option, default, meaning and source.
    """
    fields = {one.name: one for one in dataclasses.fields(cls)}
    rows = ["| option | default | meaning | source |", "|---|---|---|---|"]
    for name in names:
        default, text = fields[name].default, fields[name].metadata["help"]
        default = default.value if isinstance(default, Enum) else default
        shown = f'"{default}"' if isinstance(default, str) else str(default)
        meaning = text.replace("%%", "%").replace("|", "\\|")
        rows.append(f"| `{name}` | `{shown}` | {meaning} | {text.source} |")
    return "\n".join(rows) + "\n"
