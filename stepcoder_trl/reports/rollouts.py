"""What a report shows of a completion."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from stepcoder_trl.types import CharSpan


class TokenKind(str, Enum):
    """
    Part that a piece of text plays in the policy loss.

    `prefix` was given to the model; `kept` is in the loss; `masked` is not, because it never ran; `outside` is
    in the loss although it is no part of the program: the end token, a closing fence, prose.
    """

    PREFIX = "prefix"
    KEPT = "kept"
    MASKED = "masked"
    OUTSIDE = "outside"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class RolloutView:
    """
    Completion with its mask, as reports show it.

    Args:
        task_id (`str`):
            Problem.
        prompt (`str`):
            Requirement, may be empty.
        prefix (`str`):
            Code that the model was given: starter code or the curriculum's prefix.
        tokens (`tuple[str, ...]`):
            Text of each sampled token; empty for special tokens.
        loss_mask (`tuple[bool, ...]`):
            `True` where the token takes part in the policy loss. As long as `tokens`.
        outcome (`str` or `None`):
            Verdict on the program, `None` if it could not be run.
        score (`float` or `None`):
            Score, `None` if there is none.
        stage (`int` or `None`):
            Stage of the curriculum; 0 is scratch, `None` means that there is no curriculum.
        tests_passed (`int`):
            Tests that passed.
        tests_total (`int`):
            Tests in all.
        program_span (`CharSpan`, *optional*):
            Where the program stands in the text of the tokens. `None` means everywhere.
        completion (`str`, *optional*):
            Text of the completion. Without it that of the tokens, in which a character that tokens share is repeated.

    Raises:
        ValueError: If the mask is not as long as the tokens.
    """

    task_id: str
    prompt: str
    prefix: str
    tokens: tuple[str, ...]
    loss_mask: tuple[bool, ...]
    outcome: str | None
    score: float | None
    stage: int | None
    tests_passed: int
    tests_total: int
    program_span: CharSpan | None = None
    completion: str = ""

    def __post_init__(self) -> None:
        if len(self.tokens) != len(self.loss_mask):
            raise ValueError(
                f"`loss_mask` has {len(self.loss_mask)} values, but there are {len(self.tokens)} `tokens`. Pass one "
                "value per token."
            )

    @property
    def text(self) -> str:
        """Text of the completion."""
        return self.completion or "".join(self.tokens)

    @property
    def masked_share(self) -> float:
        """Share of the tokens that are not in the loss; 0 without tokens."""
        return self.loss_mask.count(False) / len(self.loss_mask) if self.loss_mask else 0.0

    def kinds(self) -> Iterator[tuple[str, TokenKind]]:
        """Text of each token with the part it plays."""
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


_HARMLESS = "\n\t"
_INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")  # controls, direction marks, lone surrogates, separators


def visible(text: str) -> str:
    """
    Write out characters that a screen would act on instead of showing them.

    Programs are hostile text: a terminal obeys control characters, and direction marks make code look like other code.

    Args:
        text (`str`):
            Any text.

    Returns:
        `str`: Text of printable characters, line ends and tabs; all others as Python's escapes. UTF-8 can encode it.
    """
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character in _HARMLESS or unicodedata.category(character) not in _INVISIBLE:
        return character
    return character.encode("unicode_escape").decode("ascii")
