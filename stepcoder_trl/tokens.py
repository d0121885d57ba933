"""Text of sampled tokens, and the characters that each of them wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from stepcoder_trl.types import CharSpan


_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


_SPACE = "\u2581"  # how SentencePiece writes a space


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
