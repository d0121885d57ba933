"""Text of sampled tokens, and the span of each token in it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from stepcoder_trl.types import CharSpan


_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE = "\u2581"  # how SentencePiece writes a space


@dataclass(frozen=True)
class TokenizedText:
    """
    Text of sampled tokens, without special tokens, and the span of each token in it.

    Bytes that are not UTF-8 become U+FFFD. If several tokens make up one character, all their spans include it.
    Special tokens have an empty span.
    """

    text: str
    spans: tuple[CharSpan, ...]


def token_texts(token_ids: Sequence[int], tokenizer: Any, eos_token_ids: Collection[int] = ()) -> TokenizedText:
    """
    Decode sampled tokens, and return the text with the span of each token. Nothing is tokenized again.

    `eos_token_ids` have no text, even if they are not special tokens of the tokenizer.

    For byte-level BPE, SentencePiece with or without byte fallback, and vocabularies of literal text, each token is
    converted to bytes. The lengths of these bytes give the spans. A leading space of the first token is kept, because
    the tokens continue a query (`tokenizer.decode` of SentencePiece drops it). For any other tokenizer the first 1, 2,
    ... tokens are decoded, and the texts are compared.
    """
    ids = [int(token_id) for token_id in token_ids]
    to_bytes = _bytes_of_token(tokenizer)
    if to_bytes is None:
        return _decode_growing(ids, tokenizer, eos_token_ids)
    added, special = tokenizer.added_tokens_decoder, _special_ids(tokenizer).union(eos_token_ids)
    pieces = []
    for token_id, token in zip(ids, tokenizer.convert_ids_to_tokens(ids), strict=True):
        if token_id in special or token is None:  # `None`: an id of the embedding without a token
            pieces.append(b"")
        elif token_id in added:
            pieces.append(_utf8(str(added[token_id].content)))
        else:
            pieces.append(to_bytes(token))
    return _join(pieces)


def without_added_space(tokens: TokenizedText, text: str) -> TokenizedText:
    """
    Return the tokens of `text` without the space that SentencePiece adds before a text. Other tokens are unchanged.

    A first token that is only this space gets the span of the first character: white space goes with the next text.
    """
    if tokens.text != f" {text}" or not text:
        return tokens
    spans = (span if span == (0, 1) else (max(span[0] - 1, 0), max(span[1] - 1, 0)) for span in tokens.spans)
    return TokenizedText(text, tuple(spans))


def _special_ids(tokenizer: Any) -> frozenset[int]:
    added = tokenizer.added_tokens_decoder.items()
    return frozenset(tokenizer.all_special_ids) | {token_id for token_id, token in added if token.special}


def _bytes_of_token(tokenizer: Any) -> Callable[[str], bytes] | None:
    """Return the function from a token to its bytes. `None` if they depend on other tokens or are unknown."""
    # No common class or attribute of the tokenizers names their kind, so that it is found by what they have.
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        return _bytes_by_decoder(backend.decoder)
    if getattr(tokenizer, "byte_decoder", None) is not None:
        return _bytes_of_byte_level
    if getattr(tokenizer, "sp_model", None) is not None:
        return _bytes_of_sentencepiece_or_byte
    return None


def _bytes_by_decoder(decoder: Any) -> Callable[[str], bytes] | None:
    """Return the function from a token to its bytes for a decoder of the `tokenizers` library, as above."""
    if decoder is None:
        return None
    # The state for pickling is JSON, the only public description of a decoder.
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
    """Return the byte that each character of a byte-level vocabulary represents (GPT-2)."""
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
    """Decode the bytes of all tokens together, and return the text with the span of each token."""
    text, character_of = _decode(b"".join(pieces))
    spans = []
    start = 0
    for piece in pieces:
        end = start + len(piece)
        first = character_of[start]
        spans.append((first, character_of[end - 1] + 1 if piece else first))
        start = end
    return TokenizedText(text, tuple(spans))


def _decode(data: bytes) -> tuple[str, list[int]]:
    """Decode UTF-8, with errors replaced. Return the text, and the character of each byte and of the end."""
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


def _decode_growing(ids: Sequence[int], tokenizer: Any, without: Collection[int]) -> TokenizedText:
    """Decode the first 1, 2, ... tokens. The span of a token is the text that it adds to the decoded text before."""
    text = ""
    spans = []
    for end in range(1, len(ids) + 1):
        shown = [token_id for token_id in ids[:end] if token_id not in without]
        longer = tokenizer.decode(shown, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        spans.append((_common_length(text, longer), len(longer)))
        text = longer
    return TokenizedText(text, tuple((min(start, len(text)), min(end, len(text))) for start, end in spans))


def _common_length(a: str, b: str) -> int:
    """Return the length of the common beginning of two texts."""
    if b.startswith(a):
        return len(a)
    return next((index for index, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
