"""
Fine-Grained Optimization (FGO): decides which completion tokens take part in the policy loss.

The input is the lines for which a tracer has an event. From them follow the executed lines, the kept lines, and the
tokens on the kept lines.

Paper: StepCoder (arXiv:2402.01391), section 3.2.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from stepcoder_trl.parsing import line_spans
from stepcoder_trl.types import CharSpan, Execution, Outcome, Program, TLineNo
from stepcoder_trl.units import executable_units


Fgo = Literal["lines", "off", "random", "tests", "tests_random"]
CompileErrorMask = Literal["all", "up_to_error_line"]


# Lines


def executed_lines(program: str, raw_lines: Iterable[TLineNo]) -> frozenset[TLineNo]:
    """
    Return the lines of every statement that ran, given the lines for which a tracer has an event.

    - A simple statement has all its lines, a compound statement those of its header.
    - `else:` and `finally:` lines go with the first statement of their suite.
    - Docstrings, comments, blank lines, `global`, `nonlocal` and bare annotations go with the next statement of their
      block, or at its end with the last one.
    - A suite that holds nothing else ran if it has an event. It has one only if the program was compiled with
      [`~parsing.compile_for_tracing`].
    - In a program without statements all lines ran if there is any event.

    Args:
        program (`str`):
            Text of the program.
        raw_lines (`Iterable[int]`):
            Lines with an event in one or several runs, counted from 1. Lines outside the program are ignored.

    Returns:
        `frozenset[int]`: Executed lines. For a text that does not parse, only the lines with an event: usually none,
        because it did not run. The process that compiled it may allow deeper nesting.
    """
    events = frozenset(raw_lines)
    units = executable_units(program)
    if not units:
        every_line = frozenset(range(1, len(line_spans(program)) + 1))
        runs_as_a_whole = units is not None and events
        return every_line if runs_as_a_whole else events & every_line
    ran = [not events.isdisjoint(range(unit.first_line, unit.last_line + 1)) for unit in units]
    lines: set[TLineNo] = set()
    for unit, own in zip(units, ran, strict=True):
        if own or (unit.follows is not None and ran[unit.follows]):
            lines.update(range(unit.first_line, unit.last_line + 1), unit.attached)
    return frozenset(lines)


# Masks


def executed_token_mask(
    token_spans: Sequence[CharSpan], executed_spans: Sequence[CharSpan], text: str | None = None
) -> list[bool]:
    """
    Mark the completion tokens whose text overlaps a line that ran.

    A token that straddles an executed and an unexecuted line is marked. A token without text is not.

    Args:
        token_spans (`Sequence[CharSpan]`):
            Span of each completion token, in characters. Length `T`.
        executed_spans (`Sequence[CharSpan]`):
            Spans of the executed lines, in characters of the same text.
        text (`str`, *optional*):
            The text of both. If given, white space does not count: a token of white space alone is marked if the next
            token with other characters is marked. At the end the last such token decides.

    Returns:
        `list[bool]`: Length `T`. `True` where the token takes part in the policy loss.

    Raises:
        ValueError: If a span ends before it starts.

    Paper: StepCoder (arXiv:2402.01391), Fine-Grained Optimization.
    """
    for start, end in (*token_spans, *executed_spans):
        if end < start:
            raise ValueError(f"Span ({start}, {end}) ends before it starts. Pass half-open character offsets.")
    executed = _merge(executed_spans)
    if text is None:
        return _overlaps(token_spans, executed)
    return _visible_overlaps(token_spans, executed, text)


def _merge(spans: Iterable[CharSpan]) -> list[CharSpan]:
    """Return the same characters as sorted spans that do not touch. Empty spans are left out."""
    merged: list[CharSpan] = []
    for start, end in sorted(spans):
        if start == end:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _overlaps(spans: Sequence[CharSpan], merged: Sequence[CharSpan]) -> list[bool]:
    """Return for each span whether it overlaps one of the merged spans."""
    ends = [end for _, end in merged]
    nearest = (bisect_right(ends, start) for start, _ in spans)  # index of the first that ends after the span's start
    return [
        start < end and index < len(merged) and merged[index][0] < end
        for (start, end), index in zip(spans, nearest, strict=True)
    ]


def _visible_overlaps(spans: Sequence[CharSpan], merged: Sequence[CharSpan], text: str) -> list[bool]:
    """Return the same as `_overlaps`, but without counting white space, as in `executed_token_mask`."""
    visible = [not character.isspace() for character in text]
    inside = [False] * len(text)
    for start, end in merged:
        inside[start:end] = visible[start:end]
    # Number of such characters before each offset, so that the number in a span is a difference.
    visible_before, inside_before = ([0, *accumulate(flags)] for flags in (visible, inside))

    def count(before: list[int], span: CharSpan) -> int:
        return before[min(span[1], len(text))] - before[min(span[0], len(text))]

    # `None`: the token is white space, or empty.
    marks = [count(inside_before, span) > 0 if count(visible_before, span) else None for span in spans]
    latest = next((mark for mark in reversed(marks) if mark is not None), False)
    mask = []
    for (start, end), mark in zip(reversed(spans), reversed(marks), strict=True):
        latest = latest if mark is None else mark
        mask.append(latest and start < end)
    return mask[::-1]


def completion_loss_mask(
    token_spans: Sequence[CharSpan],
    completion: str,
    program: Program,
    kept_lines: Collection[TLineNo],
    *,
    outside_program: bool = True,
) -> list[bool]:
    """
    Mark the tokens of a completion that take part in the policy loss.

    A token of the program is kept if one of its characters other than white space is on a kept line. A token of white
    space alone goes with the next text, or at the end with the last text. If the whole completion is white space, that
    is the end of the prefix. The completion may begin within a line of the prefix: both parts are one line.

    Args:
        token_spans (`Sequence[CharSpan]`):
            Span of each token in the completion, as from [`token_texts`]. Length `T`.
        completion (`str`), program ([`Program`]):
            Text of the completion, and the program in it, as [`~parsing.extract_program`] returns it.
        kept_lines (`Collection[int]`):
            Lines of `program.text` whose tokens are kept, counted from 1, such as `Execution.kept_lines`.
        outside_program (`bool`, *optional*, defaults to `True`):
            Whether to keep tokens outside the program: fences, prose, EOS and all other tokens without text.

    Returns:
        `list[bool]`: Length `T`. `True` where the token takes part in the policy loss.
    """
    start, end = program.span
    lines = frozenset(kept_lines)
    kept = [span for line, span in enumerate(line_spans(program.text), 1) if line in lines]
    spans = _spans_in_completion(program, kept)
    if outside_program:
        spans += [(0, start), (end, len(completion))]
    if completion.isspace():
        mask = [_keeps_blank_completion(program, kept)] * len(token_spans)
    else:
        mask = executed_token_mask(token_spans, spans, completion)
    return [mark if lo < hi else outside_program for mark, (lo, hi) in zip(mask, token_spans, strict=True)]


def _prefix_length(program: Program) -> int:
    return len(program.text) - (program.span[1] - program.span[0])


def _spans_in_completion(program: Program, kept: Sequence[CharSpan]) -> list[CharSpan]:
    """Return spans of a program as spans of the completion. Characters of the prefix are cut off."""
    start, end = program.span
    shift = start - _prefix_length(program)
    spans = [(lo + shift, hi + shift) for lo, hi in kept]
    return [(max(lo, start), min(hi, end)) for lo, hi in spans if max(lo, start) < min(hi, end)]


def _keeps_blank_completion(program: Program, kept: Sequence[CharSpan]) -> bool:
    """Return whether the last text of the prefix is on a kept line. Without such text any kept line is enough."""
    before = len(program.text[: _prefix_length(program)].rstrip())
    if before == 0:
        return bool(kept)
    return any(lo < before <= hi for lo, hi in kept)


def random_token_mask(
    loss_mask: Sequence[bool],
    token_spans: Sequence[CharSpan],
    program: Program,
    *,
    seed: int,
    task_id: str,
    step: int,
    sample: int,
) -> list[bool]:
    """
    Keep as many tokens of the program as `loss_mask`, drawn uniformly: a control for Fine-Grained Optimization.

    Tokens outside the program keep their value. `sample` is the index in the global batch. Equal values of `seed`,
    `task_id`, `step` and `sample` give an equal mask. Both masks and `token_spans` have length `T`.
    """
    inside = [index for index, mark in enumerate(_overlaps(token_spans, _merge([program.span]))) if mark]
    rng = random.Random(f"{seed}|{step}|{sample}|{task_id}")
    drawn = set(rng.sample(inside, sum(loss_mask[index] for index in inside)))
    mask = list(loss_mask)
    for index in inside:
        mask[index] = index in drawn
    return mask


# Rule


def kept_lines(program: str, executed: frozenset[TLineNo] | None) -> frozenset[TLineNo]:
    """
    Return the lines whose tokens are kept: those that ran.

    `None` means that they are unknown, or that the program did not compile. All lines are kept then.
    """
    return frozenset(range(1, len(line_spans(program)) + 1)) if executed is None else executed


@dataclass(frozen=True)
class MaskRule:
    """
    Rule that decides which tokens take part in the policy loss.

    `fgo="lines"` keeps tokens of executed lines, `"off"` keeps all tokens, `"random"` keeps as many tokens of the
    program as `"lines"`, drawn uniformly with `seed`. `"tests"` and its control `"tests_random"` keep the tokens of
    `"lines"`, and give each token the credit of the tests that ran it, see [`masks_of_tests`].
    """

    fgo: Fgo = "lines"
    outside_program: bool = True  # whether EOS, the closing fence and text outside the program are kept
    compile_error_mask: CompileErrorMask = "all"  # lines kept if the program does not compile
    seed: int = 0

    @property
    def is_per_test(self) -> bool:
        """Return whether a token gets the credit of single tests."""
        return self.fgo in ("tests", "tests_random")

    def lines_of_tests(self, execution: Execution) -> list[frozenset[TLineNo]]:
        """
        Return for each test the lines of an executed program whose tokens are kept.

        They are those of the whole program if its lines are not known, and `lines` if it does not compile.
        """
        every = self.lines(execution)
        if execution.outcome is Outcome.COMPILE_ERROR or execution.trace_lost:
            return [every] * len(execution.tests)
        return [every if test.executed_lines is None else test.executed_lines for test in execution.tests]

    def lines(self, execution: Execution) -> frozenset[TLineNo]:
        """Return the lines of an executed program whose tokens are kept."""
        if execution.outcome is Outcome.COMPILE_ERROR and self.compile_error_mask == "up_to_error_line":
            error_line = execution.tests[0].error_line if execution.tests else None
            if error_line:
                return frozenset(range(1, error_line + 1))
        return execution.kept_lines


def loss_mask(
    token_spans: Sequence[CharSpan],
    completion: str,
    program: Program,
    execution: Execution | None,
    rule: MaskRule,
    *,
    task_id: str = "",
    step: int = 0,
    sample: int = 0,
) -> list[bool]:
    """
    Mark the tokens of a completion that take part in the policy loss, by the rule. Every trainer calls this function.

    Args:
        token_spans (`Sequence[CharSpan]`):
            Span of each token in the completion. Length `T`.
        completion (`str`), program ([`Program`]):
            Text of the completion, and the program in it.
        execution ([`Execution`] or `None`):
            Result of running the program. With `None` every token is kept.
        rule ([`MaskRule`]):
            Rule.
        task_id, step, sample (`str`, `int`, `int`, *optional*):
            Problem, update and index in the global batch. Only `fgo="random"` depends on them.

    Returns:
        `list[bool]`: Length `T`. `True` where the token is kept.
    """
    if rule.fgo == "off" or execution is None:
        mask = [True] * len(token_spans)
    else:
        lines = rule.lines(execution)
        mask = completion_loss_mask(token_spans, completion, program, lines, outside_program=rule.outside_program)
    if rule.fgo == "random":
        return random_token_mask(mask, token_spans, program, seed=rule.seed, task_id=task_id, step=step, sample=sample)
    return mask


# FGO per test


def masks_of_tests(
    token_spans: Sequence[CharSpan],
    completion: str,
    program: Program,
    execution: Execution,
    rule: MaskRule,
    *,
    task_id: str = "",
    step: int = 0,
    sample: int = 0,
) -> list[list[bool]]:
    """
    Mark for each test the tokens of a completion that it ran. Together they are the tokens that `"lines"` keeps.

    Tokens that `"lines"` always keeps, such as those outside the program, ran in every test. With `"tests_random"` the
    kept tokens of the program are permuted, the same way for all tests: a control, seeded by `rule.seed`, `task_id`,
    `step` and `sample`. Other arguments are those of [`loss_mask`].

    Returns:
        `list[list[bool]]`: Shape `(J, T)` for `J` tests and `T` tokens.
    """
    by_lines: dict[frozenset[TLineNo], list[bool]] = {}
    masks = []
    for lines in rule.lines_of_tests(execution):
        if lines not in by_lines:
            by_lines[lines] = completion_loss_mask(
                token_spans, completion, program, lines, outside_program=rule.outside_program
            )
        masks.append(by_lines[lines])
    if rule.fgo != "tests_random":
        return masks
    inside = _overlaps(token_spans, _merge([program.span]))
    kept = [index for index, mark in enumerate(inside) if mark and any(mask[index] for mask in masks)]
    drawn = kept.copy()
    random.Random(f"{rule.seed}|{step}|{sample}|{task_id}").shuffle(drawn)
    origin = dict(zip(kept, drawn, strict=True))
    return [[mask[origin.get(index, index)] for index in range(len(mask))] for mask in masks]


def credit_of_tests(masks: Sequence[Sequence[bool]], deviations: Sequence[float]) -> tuple[list[float], list[float]]:
    """
    Compute for each token the share of tests that ran it, and the mean over all tests of the deviations of these.

    `kappa_t = (1 / J) sum_j c_jt` and `d_t = (1 / J) sum_j c_jt x_j`, with `c_jt = 1` if test `j` ran token `t`.

    Args:
        masks (`Sequence[Sequence[bool]]` of shape `(J, T)`): Tokens that each test ran, `c_jt`.
        deviations (`Sequence[float]` of length `J`):
            Deviation `x_j` of each test's reward from the mean over the tests. Their sum is 0, and so is `d_t` where
            every test ran the token.

    Returns:
        `tuple[list[float], list[float]]`: `kappa` and `d`, both of length `T`.
    """
    shares, credits = [], []
    for column in zip(*masks, strict=True):
        ran = sum(column)
        partly = 0 < ran < len(column)
        shares.append(ran / len(column))
        parts = (value for value, mark in zip(deviations, column, strict=True) if mark)
        credits.append(math.fsum(parts) / len(column) if partly else 0.0)
    return shares, credits
