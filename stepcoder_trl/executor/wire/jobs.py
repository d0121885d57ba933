"""
Jobs on their way to a fork server and to a program's process: a header, then parts as raw bytes.

The first part is the program and the second the code around it. The others are the tests: the standard input of a
stdio test as text, else JSON. So a fork server passes tests on without reading them.

Header and code are in Python's own format: its sender is always ours, and reading JSON touches ten times as many pages
of memory, each of which a child has to copy.
"""

from __future__ import annotations

import marshal
import os
from collections.abc import Mapping, Sequence
from typing import Any

from stepcoder_trl.executor.wire.frames import HEADER, Readable


_dumps, _loads, _read = marshal.dumps, marshal.loads, os.read  # bound before any program runs, which may replace them
_PIECE_BYTES = 2**18  # more than a socket holds
_FORMAT_VERSION = 2  # the last one without references to earlier parts, and the same in all versions of Python


def text_bytes(text: str) -> bytes:
    """Return a text as UTF-8. Lone surrogates are kept, so that the receiver decides about them."""
    return text.encode("utf-8", "surrogatepass")


def text_of(data: bytes) -> str:
    """Return the text of `text_bytes`."""
    return data.decode("utf-8", "surrogatepass")


def pack(header: Mapping[str, Any], parts: Sequence[bytes]) -> bytes:
    """Return a header and its parts as one message."""
    return joined(header, [len(part) for part in parts], b"".join(parts))


def joined(header: Mapping[str, Any], part_bytes: Sequence[int], parts: bytes) -> bytes:
    """Return a message of a header, which gets the sizes of its parts, and the parts."""
    head = compact({**header, "part_bytes": list(part_bytes)})
    return HEADER.pack(len(head)) + head + parts


def compact(value: Any) -> bytes:
    """Return a plain value in Python's own format."""
    return _dumps(value, _FORMAT_VERSION)


def expanded(data: bytes) -> Any:
    """Return the value of `compact`. Use it only for data of our own processes."""
    return _loads(data)


def unpack(stream: Readable) -> tuple[Any, list[bytes]]:
    """Read a header and its parts from a blocking stream. Raise EOFError if the stream ends before they do."""
    (size,) = HEADER.unpack(_exactly(stream, HEADER.size))
    header = expanded(_exactly(stream, size))
    return header, [_exactly(stream, size) for size in header["part_bytes"]]


def pack_for_child(header: Mapping[str, Any], parts: Sequence[bytes]) -> bytes:
    """Return a header and its parts as one message for `unpack_in_child`."""
    message = pack(header, parts)
    return HEADER.pack(len(message)) + message


def unpack_in_child(descriptor: int) -> tuple[Any, list[bytes]]:
    """
    Read a header and its parts from a descriptor. Raise EOFError if the other end is closed before.

    This needs no stream object, and as few calls as possible.
    """
    (missing,) = HEADER.unpack(read_exactly(descriptor, HEADER.size))
    message = read_exactly(descriptor, missing)
    (size,) = HEADER.unpack_from(message)
    start = HEADER.size + size
    header = expanded(message[HEADER.size : start])
    parts = []
    for size in header["part_bytes"]:
        parts.append(message[start : start + size])
        start += size
    return header, parts


def read_exactly(descriptor: int, size: int) -> bytes:
    """Read so many bytes from a descriptor. Raise EOFError if the other end is closed before."""
    data = _read(descriptor, min(size, _PIECE_BYTES))
    if len(data) == size:
        return data
    pieces = [data]
    missing = size - len(data)
    while missing:
        if not data:
            raise EOFError("the other side is gone")
        data = _read(descriptor, min(missing, _PIECE_BYTES))
        pieces.append(data)
        missing -= len(data)
    return b"".join(pieces)


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
