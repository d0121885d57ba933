"""Completions as reports show them."""

from __future__ import annotations

import bisect
import dataclasses
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from stepcoder_trl.parsing import line_spans
from stepcoder_trl.types import CharSpan, Execution, Outcome, TLineNo


T = TypeVar("T")
_LONGEST_TEXT = 1000  # characters of an input or an expected output that are kept


END_MARK = "<end>"  # shown for a token without text


class TokenKind(str, Enum):
    """
    Role of a text in the policy loss.

    `prefix` was given to the model. `kept` is in the loss. `masked` is not, because it never ran. `outside` is in
    the loss but not part of the program: the end token, a closing fence, prose.
    """

    PREFIX = "prefix"
    KEPT = "kept"
    MASKED = "masked"
    OUTSIDE = "outside"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class FailingTest:
    """First test that a program did not pass."""

    number: int  # counts from 1
    outcome: str
    message: str  # what came instead
    input: str = ""  # input, arguments or statement; empty if unknown
    expected: str = ""  # expected output or value; empty if unknown


@dataclass(frozen=True)
class CodeLine:
    """Line of a text that holds a program."""

    number: TLineNo | None  # in the program, counted from 1; `None` outside it
    ran: bool | None  # `None` if unknown, or outside the program
    parts: tuple[tuple[str, TokenKind], ...]  # neighbours have different kinds


@dataclass(frozen=True)
class RolloutView:
    """Completion and its loss mask, as reports show them."""

    task_id: str
    prompt: str
    prefix: str  # code given to the model: starter code or the curriculum's prefix
    tokens: tuple[str, ...]  # text of each sampled token, empty for special tokens
    loss_mask: tuple[bool, ...]  # `True` where the token takes part in the policy loss, as long as `tokens`
    outcome: str | None  # `None` if the program could not be run
    score: float | None  # `None` if the completion was not scored
    stage: int | None  # of the curriculum; 0 is scratch, `None` means no curriculum
    tests_passed: int
    tests_total: int
    program_span: CharSpan | None = None  # in the joined tokens; `None` means the whole text
    completion: str = ""  # by default the joined tokens, which repeat a character split over two tokens
    executed_lines: tuple[TLineNo, ...] | None = None  # of the program, counted from 1; `None` if unknown
    failing_test: FailingTest | None = None
    token_ids: tuple[int, ...] = ()  # as long as `tokens`, or empty if unknown
    solution: str = ""  # canonical solution of the problem

    def __post_init__(self) -> None:
        if len(self.tokens) != len(self.loss_mask):
            raise ValueError(
                f"`loss_mask` has {len(self.loss_mask)} values, but there are {len(self.tokens)} `tokens`. Pass one "
                "value per token."
            )

    @property
    def text(self) -> str:
        """Return the text of the completion."""
        return self.completion or "".join(self.tokens)

    @property
    def masked_share(self) -> float:
        """Return the share of tokens that are not in the loss. 0 without tokens."""
        return self.loss_mask.count(False) / len(self.loss_mask) if self.loss_mask else 0.0

    def kinds(self) -> Iterator[tuple[str, TokenKind]]:
        """Yield each token's text and kind."""
        offset = 0
        for token, kept in zip(self.tokens, self.loss_mask, strict=True):
            yield token, self._kind(token, kept, offset)
            offset += len(token)

    def _kind(self, token: str, kept: bool, offset: int) -> TokenKind:
        if not kept:
            return TokenKind.MASKED
        start, end = self.program_span or (0, sum(map(len, self.tokens)))
        inside = bool(token) and offset < end and offset + len(token) > start
        return TokenKind.KEPT if inside else TokenKind.OUTSIDE

    def lines(self) -> list[CodeLine]:
        """
        Return prefix and completion by line. Neighbouring tokens of one kind are joined.

        A token without text, such as the end token, becomes [`END_MARK`].
        """
        texts = [(self.prefix, TokenKind.PREFIX), *self.kinds()] if self.prefix else list(self.kinds())
        text = "".join(part for part, _ in texts)
        spans = line_spans(text) or [(0, 0)]
        starts = [start for start, _ in spans]
        parts: list[list[tuple[str, TokenKind]]] = [[] for _ in spans]
        offset = 0
        for part, kind in texts:
            for line, (first, last) in _split((offset, offset + len(part)), starts):
                _append(parts[line], text[first:last] or END_MARK, kind)
            offset += len(part)
        numbers = _line_numbers(text, self._program_in_text(len(text)), spans)
        ran = None if self.executed_lines is None else frozenset(self.executed_lines)
        return [
            CodeLine(number, None if ran is None or number is None else number in ran, tuple(line_parts))
            for number, line_parts in zip(numbers, parts, strict=True)
        ]

    def _program_in_text(self, length: int) -> CharSpan:
        """Return the span of the program in prefix and joined tokens, which have `length` characters."""
        start, end = self.program_span or (0, length)
        shift = len(self.prefix)
        return (0 if shift else start, min(length, end + shift))


def _split(span: CharSpan, starts: Sequence[int]) -> Iterator[tuple[int, CharSpan]]:
    """Yield the parts of a span by line, each with the index of its line. An empty span is one part."""
    start, end = span
    line = bisect.bisect_right(starts, start) - 1
    while line + 1 < len(starts) and starts[line + 1] < end:
        yield line, (start, starts[line + 1])
        line, start = line + 1, starts[line + 1]
    yield line, (start, end)


def _append(parts: list[tuple[str, TokenKind]], text: str, kind: TokenKind) -> None:
    """Append a text, to the last part if it has the same kind."""
    if parts and parts[-1][1] == kind:
        text = parts.pop()[0] + text
    parts.append((text, kind))


def _line_numbers(text: str, program: CharSpan, spans: Sequence[CharSpan]) -> list[TLineNo | None]:
    """Return the line of the program that each line of a text shows first. `None` for a line without one."""
    first, last = program
    starts = [start for start, _ in line_spans(text[first:last])]
    numbers: list[TLineNo | None] = []
    for start, end in spans:
        begin = max(start, first)
        numbers.append(bisect.bisect_right(starts, begin - first) if begin < min(end, last) else None)
    return numbers


def failing_test(execution: Execution | None, tests: Mapping[str, Any] | None) -> FailingTest | None:
    """Return the first test that an execution did not pass, with its input and expected output where there are any."""
    if execution is None:
        return None
    wrong = ((n, test) for n, test in enumerate(execution.tests) if test.outcome is not Outcome.PASSED)
    number, test = next(wrong, (0, None))
    if test is None:
        return None
    columns = tests or {}
    given = _item(columns.get("asserts") or columns.get("inputs"), number)
    return FailingTest(number + 1, test.outcome.value, test.message, given, _item(columns.get("outputs"), number))


def _item(values: Any, number: int) -> str:
    """Return an item of a list as text, shortened. Empty if there is none."""
    if not isinstance(values, Sequence) or number >= len(values):
        return ""
    text = values[number] if isinstance(values[number], str) else repr(values[number])
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}... ({len(text)} characters)"


def rollout_row(update: int, view: RolloutView) -> dict[str, Any]:
    """Return a completion of an update as a row of JSON."""
    return {"update": update, **dataclasses.asdict(view)}


def read_rollout(row: Mapping[str, Any]) -> RolloutView:
    """
    Return the completion of a row that `rollout_row` made. Unknown columns are ignored.

    Raises:
        TypeError, ValueError: If a column is missing, or has another type.
    """
    known = {one.name for one in dataclasses.fields(RolloutView)}
    values = {name: value for name, value in row.items() if name in known}
    test, lines, span = (values.get(name) for name in ("failing_test", "executed_lines", "program_span"))
    return RolloutView(
        **{
            **values,
            "tokens": tuple(values.get("tokens", ())),
            "token_ids": tuple(values.get("token_ids", ())),
            "loss_mask": tuple(map(bool, values.get("loss_mask", ()))),
            "program_span": None if span is None else (int(span[0]), int(span[1])),
            "executed_lines": None if lines is None else tuple(lines),
            "failing_test": None if test is None else FailingTest(**test),
        }
    )


def choose_rollouts(rollouts: Sequence[RolloutView], most: int) -> list[RolloutView]:
    """Select at most `most` completions, in order: one of each outcome, then evenly spaced ones of the others."""
    first_of = {one.outcome: number for number, one in reversed(list(enumerate(rollouts)))}
    chosen = sorted(first_of.values())[:most]
    others = [number for number in range(len(rollouts)) if number not in chosen]
    return [rollouts[number] for number in sorted([*chosen, *evenly_spaced(others, most - len(chosen))])]


def evenly_spaced(items: Sequence[T], max_items: int) -> list[T]:
    """Select at most `max_items` evenly spaced items. Two or more include the first and the last."""
    if len(items) <= max_items:
        return list(items)
    if max_items < 2:
        return list(items[: max(0, max_items)])
    last = len(items) - 1
    return [items[round(number * last / (max_items - 1))] for number in range(max_items)]


_ALLOWED = "\n\t"
_INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")  # controls, direction marks, lone surrogates, separators


def visible(text: str) -> str:
    """
    Escape invisible characters, except line ends and tabs, as in Python, so that UTF-8 can encode the text.

    Programs are untrusted: a terminal executes control characters, and direction marks make code look like other code.
    """
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character in _ALLOWED or unicodedata.category(character) not in _INVISIBLE:
        return character
    return character.encode("unicode_escape").decode("ascii")
