"""Completions as reports show them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from stepcoder_trl.types import CharSpan


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
