"""
Jobs on their way to a fork server and to a program's process: a JSON header, then parts as raw bytes.

The first part is the program and the second the code around it, as JSON. The others are the tests: the standard input
of a stdio test as text, else JSON. So a fork server passes tests on without reading them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from stepcoder_trl.executor.wire.frames import HEADER, Readable, json_bytes


def text_bytes(text: str) -> bytes:
    """Return a text as UTF-8. Lone surrogates are kept, so that the receiver decides about them."""
    return text.encode("utf-8", "surrogatepass")


def text_of(data: bytes) -> str:
    """Return the text of `text_bytes`."""
    return data.decode("utf-8", "surrogatepass")


def pack(header: Mapping[str, Any], parts: Sequence[bytes]) -> bytes:
    """Return a header and its parts as one message."""
    return joined(json_bytes(header), [len(part) for part in parts], b"".join(parts))


def joined(header: bytes, part_bytes: Sequence[int], parts: bytes) -> bytes:
    """Return a message of a JSON header, which gets the sizes of its parts, and the parts."""
    head = header[:-1] + b',"part_bytes":' + json_bytes(part_bytes) + b"}"  # of two equal keys, the last one counts
    return HEADER.pack(len(head)) + head + parts


def unpack(stream: Readable) -> tuple[Any, list[bytes]]:
    """Read a header and its parts from a blocking stream. Raise EOFError if the stream ends before they do."""
    (size,) = HEADER.unpack(_exactly(stream, HEADER.size))
    header = json.loads(_exactly(stream, size))
    return header, [_exactly(stream, size) for size in header["part_bytes"]]


def _exactly(stream: Readable, size: int) -> bytes:
    data = stream.read(size) if size else b""
    if len(data) == size:
        return data
    pieces = [data]
    missing = size - len(data)
    while missing:
        piece = stream.read(missing)
        if not piece:
            raise EOFError("stream ended inside a message")
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)
