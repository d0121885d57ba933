"""
Fine-Grained Optimization (FGO): from the lines that ran to the completion tokens that take part in the policy loss.

Paper: StepCoder (arXiv:2402.01391), section 3.2.
"""

from __future__ import annotations

import json
import random
import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from stepcoder_trl.parsing import executable_units, line_spans
from stepcoder_trl.types import CharSpan, Program, TLineNo


_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE = "\u2581"  # how SentencePiece writes a space


# Lines


def executed_lines(program: str, raw_lines: Iterable[TLineNo]) -> frozenset[TLineNo]:
    """
    Lines of every statement that ran, from the lines for which a tracer had an event.

    A simple statement counts with all its lines, a compound one with its header; `else:` and `finally:` go with the
    first statement of their suite; docstrings, comments, blank lines, `global`, `nonlocal` and bare annotations go
    with the next statement of their block, or with the previous one at its end. A suite that holds nothing else ran if
    there was an event in it: compile the program with [`~parsing.compile_for_tracing`], otherwise there never is. In a
    program without any statement every line ran if there was an event at all.

    Args:
        program (`str`):
            Text of the program.
        raw_lines (`Iterable[int]`):
            Lines with an event, counted from 1, of one run or of several. Lines that the program does not have are
            ignored.

    Returns:
        `frozenset[int]`: Executed lines. For a text that does not parse those with an event alone: none, as nothing of
        it ran, except where the limit on nesting lies higher for whoever compiled it.

    Paper: StepCoder (arXiv:2402.01391), Fine-Grained Optimization.
    """
    events = frozenset(raw_lines)
    units = executable_units(program)
    if not units:
        every_line = frozenset(range(1, len(line_spans(program)) + 1))
        return events & every_line if units is None or not events else every_line
    ran = [not events.isdisjoint(range(unit.first_line, unit.last_line + 1)) for unit in units]
    lines: set[TLineNo] = set()
    for unit, own in zip(units, ran, strict=True):
        if own or (unit.follows is not None and ran[unit.follows]):
            lines.update(range(unit.first_line, unit.last_line + 1), unit.attached)
    return frozenset(lines)


# Spans


def executed_spans(
    program: str, lines: Collection[TLineNo], unexecuted: Iterable[CharSpan] = ()
) -> tuple[CharSpan, ...]:
    """
    Characters that ran, from the lines that ran and what is known to have been left out on them.

    Args:
        program (`str`):
            Text of the program.
        lines (`Collection[int]`):
            Executed lines, counted from 1.
        unexecuted (`Iterable[CharSpan]`, *optional*):
            Regions that were not entered, such as [`~probes.unexecuted_regions`] finds. None at granularity `"lines"`.

    Returns:
        `tuple[CharSpan, ...]`: Spans in the program, sorted, neither empty nor touching.
    """
    ran = _merge(span for line, span in enumerate(line_spans(program), 1) if line in lines)
    return tuple(_without(ran, _merge(unexecuted)))


def _without(spans: Sequence[CharSpan], holes: Sequence[CharSpan]) -> list[CharSpan]:
    """Merged spans without the characters of other merged spans."""
    rest: list[CharSpan] = []
    ends = [end for _, end in holes]
    for start, end in spans:
        for index in range(bisect_right(ends, start), len(holes)):
            hole_start, hole_end = holes[index]
            if hole_start >= end:
                break
            rest.append((start, hole_start))
            start = hole_end
        rest.append((start, end))
    return [(start, end) for start, end in rest if start < end]


# Tokens


@dataclass(frozen=True)
class TokenizedText:
    """
    Text of sampled tokens.

    Attributes:
        text (`str`): What the tokens say, special tokens left out; bytes that are not UTF-8 appear as U+FFFD.
        spans (`tuple[tuple[int, int], ...]`):
            Characters of each token in `text`. The tokens that share a character all have it; special tokens have an
            empty span.
    """

    text: str
    spans: tuple[CharSpan, ...]


def token_texts(token_ids: Sequence[int], tokenizer: Any) -> TokenizedText:
    """
    Decode sampled tokens and say which characters each of them wrote. Nothing is tokenized again.

    The tokens are decoded here, byte by byte, for byte-level BPE, for SentencePiece with or without byte fallback, and
    for vocabularies whose tokens are literal text: the spans are right by construction. A leading space of the first
    token stays, as the tokens continue a query (`tokenizer.decode` of SentencePiece drops it). With any other
    tokenizer growing beginnings of the sequence are decoded and compared.

    Args:
        token_ids (`Sequence[int]`):
            Tokens, as sampled. Length `T`.
        tokenizer (`PreTrainedTokenizerBase`):
            Tokenizer of transformers, of any kind.

    Returns:
        [`TokenizedText`]: The text and `T` spans.
    """
    ids = [int(token_id) for token_id in token_ids]
    to_bytes = _bytes_of_token(tokenizer)
    if to_bytes is None:
        return _decode_growing(ids, tokenizer)
    added, special = tokenizer.added_tokens_decoder, _special_ids(tokenizer)
    pieces = []
    for token_id, token in zip(ids, tokenizer.convert_ids_to_tokens(ids), strict=True):
        if token_id in special or token is None:  # `None`: a row of the embedding that no token uses
            pieces.append(b"")
        elif token_id in added:
            pieces.append(_utf8(str(added[token_id].content)))
        else:
            pieces.append(to_bytes(token))
    return _join(pieces)


def _special_ids(tokenizer: Any) -> frozenset[int]:
    added = tokenizer.added_tokens_decoder.items()
    return frozenset(tokenizer.all_special_ids) | {token_id for token_id, token in added if token.special}


def _bytes_of_token(tokenizer: Any) -> Callable[[str], bytes] | None:
    """How a token of the vocabulary is turned into bytes; `None` if this depends on its neighbours or is not known."""
    # The tokenizer classes have no common name for what they are; their decoders differ in kind, not in type.
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        return _bytes_by_decoder(backend.decoder)
    if getattr(tokenizer, "byte_decoder", None) is not None:
        return _bytes_of_byte_level
    if getattr(tokenizer, "sp_model", None) is not None:
        return _bytes_of_sentencepiece_or_byte
    return None


def _bytes_by_decoder(decoder: Any) -> Callable[[str], bytes] | None:
    """As above, for a tokenizer of the `tokenizers` library. Its decoders pickle as their JSON description."""
    if decoder is None:
        return None
    description: dict[str, Any] = json.loads(decoder.__getstate__())
    steps: list[dict[str, Any]] = description.get("decoders", [description])
    kinds = {step["type"] for step in steps}
    if "ByteLevel" in kinds:
        return _bytes_of_byte_level
    if "ByteFallback" in kinds:
        return _bytes_of_sentencepiece_or_byte
    if "Metaspace" in kinds or any(step.get("pattern") == {"String": _SPACE} for step in steps):
        return _bytes_of_sentencepiece
    return _utf8 if kinds == {"Fuse"} else None


def _byte_alphabet() -> dict[str, int]:
    """Byte for which each character of a byte-level vocabulary stands (GPT-2)."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + index): byte for index, byte in enumerate(hidden)}


_BYTE_OF = _byte_alphabet()


def _bytes_of_byte_level(token: str) -> bytes:
    if all(character in _BYTE_OF for character in token):
        return bytes(_BYTE_OF[character] for character in token)
    return _utf8(token)


def _bytes_of_sentencepiece(token: str) -> bytes:
    return _utf8(token.replace(_SPACE, " "))


def _bytes_of_sentencepiece_or_byte(token: str) -> bytes:
    byte = _BYTE_TOKEN.fullmatch(token)
    return bytes([int(byte[1], 16)]) if byte else _bytes_of_sentencepiece(token)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", errors="replace")


def _join(pieces: Sequence[bytes]) -> TokenizedText:
    """Decode the bytes of all tokens together."""
    text, character_of = _decode(b"".join(pieces))
    spans = []
    start = 0
    for piece in pieces:
        end = start + len(piece)
        spans.append((character_of[start], character_of[end - 1] + 1) if piece else (character_of[start],) * 2)
        start = end
    return TokenizedText(text, tuple(spans))


def _decode(data: bytes) -> tuple[str, list[int]]:
    """Text of UTF-8 with errors replaced, and the character that each byte belongs to (one more entry for the end)."""
    text: list[str] = []
    character_of: list[int] = []
    length = done = 0
    while done < len(data):
        try:
            valid, bad = data[done:].decode(), 0
        except UnicodeDecodeError as error:
            valid, bad = data[done : done + error.start].decode(), error.end - error.start
        for character in valid:
            character_of += [length] * len(character.encode())
            length += 1
        if bad:
            character_of += [length] * bad
            length += 1
        text += [valid, "\ufffd" if bad else ""]
        done = len(character_of)
    return "".join(text), [*character_of, length]


def _decode_growing(ids: Sequence[int], tokenizer: Any) -> TokenizedText:
    """Spans by decoding ever longer beginnings: a token wrote what its predecessors' text did not have yet."""
    text = ""
    spans = []
    for end in range(1, len(ids) + 1):
        longer = tokenizer.decode(ids[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        spans.append((_common_length(text, longer), len(longer)))
        text = longer
    return TokenizedText(text, tuple((min(start, len(text)), min(end, len(text))) for start, end in spans))


def _common_length(a: str, b: str) -> int:
    """Length of the beginning that two texts share."""
    if b.startswith(a):
        return len(a)
    return next((index for index, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


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
            That text. With it only characters other than white space count: a token of nothing but white space goes
            with the next token that has other text, at the end with the last one.

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
    """The same characters in sorted spans that do not touch; empty ones left out."""
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
    """Whether each span has a character in common with the merged ones."""
    ends = [end for _, end in merged]
    nearest = (bisect_right(ends, start) for start, _ in spans)  # the first that ends behind the span's start
    return [
        start < end and index < len(merged) and merged[index][0] < end
        for (start, end), index in zip(spans, nearest, strict=True)
    ]


def _visible_overlaps(spans: Sequence[CharSpan], merged: Sequence[CharSpan], text: str) -> list[bool]:
    """As `_overlaps`, by the characters other than white space; tokens without any go with their neighbours."""
    visible = [not character.isspace() for character in text]
    inside = [False] * len(text)
    for start, end in merged:
        inside[start:end] = visible[start:end]
    visible_before, inside_before = ([0, *accumulate(flags)] for flags in (visible, inside))

    def count(before: list[int], span: CharSpan) -> int:
        return before[min(span[1], len(text))] - before[min(span[0], len(text))]

    marks = [count(inside_before, span) > 0 if count(visible_before, span) else None for span in spans]
    following = next((mark for mark in reversed(marks) if mark is not None), False)
    mask = []
    for (start, end), mark in zip(reversed(spans), reversed(marks), strict=True):
        following = following if mark is None else mark
        mask.append(following and start < end)
    return mask[::-1]


def completion_loss_mask(
    token_spans: Sequence[CharSpan],
    completion: str,
    program: Program,
    kept_lines: Collection[TLineNo],
    *,
    outside_program: bool = True,
    kept_spans: Sequence[CharSpan] | None = None,
) -> list[bool]:
    """
    Mark the tokens of a completion that take part in the policy loss.

    Tokens of the program are kept if any of their characters other than white space lies on a kept line; white space
    goes with the text that follows it, at the end with the text before, which for a completion of nothing else is the
    prefix. A completion that begins in the middle of a line of the prefix has that line's number there.

    Args:
        token_spans (`Sequence[CharSpan]`):
            Span of each token in the completion, as from [`token_texts`]. Length `T`.
        completion (`str`):
            Text of the completion.
        program ([`Program`]):
            What [`~parsing.extract_program`] found in it.
        kept_lines (`Collection[int]`):
            Lines of `program.text` whose tokens are kept, counted from 1, such as `Execution.kept_lines`.
        outside_program (`bool`, *optional*, defaults to `True`):
            Whether to keep tokens outside the program: closing fence, text around it, EOS and all tokens without text.
        kept_spans (`Sequence[CharSpan]`, *optional*):
            Spans of `program.text` whose tokens are kept, such as `Execution.kept_spans`. They take the place of
            `kept_lines`, which they refine.

    Returns:
        `list[bool]`: Length `T`. `True` where the token takes part in the policy loss.
    """
    start, end = program.span
    kept = executed_spans(program.text, frozenset(kept_lines)) if kept_spans is None else kept_spans
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
    """Where spans of a program stand in the completion; nothing for those that lie in the prefix."""
    start, end = program.span
    shift = start - _prefix_length(program)
    spans = [(lo + shift, hi + shift) for lo, hi in kept]
    return [(max(lo, start), min(hi, end)) for lo, hi in spans if max(lo, start) < min(hi, end)]


def _keeps_blank_completion(program: Program, kept: Sequence[CharSpan]) -> bool:
    """Whether the text before a completion of white space is kept; without any, whether anything is."""
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
    Control for Fine-Grained Optimization: keep as many of the program's tokens, drawn uniformly.

    Args:
        loss_mask (`Sequence[bool]`):
            Mask of [`completion_loss_mask`]. Length `T`.
        token_spans (`Sequence[CharSpan]`):
            Span of each token in the completion.
        program ([`Program`]):
            Program in the completion. Tokens without a character in it keep their value.
        seed, task_id, step, sample (`int`, `str`, `int`, `int`):
            What the draw depends on, and nothing else.

    Returns:
        `list[bool]`: Length `T`, with as many `True` as `loss_mask` has.
    """
    inside = [index for index, mark in enumerate(_overlaps(token_spans, _merge([program.span]))) if mark]
    rng = random.Random(f"{seed}|{step}|{sample}|{task_id}")
    drawn = set(rng.sample(inside, sum(loss_mask[index] for index in inside)))
    mask = list(loss_mask)
    for index in inside:
        mask[index] = index in drawn
    return mask
