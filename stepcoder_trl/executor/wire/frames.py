"""Messages between processes: JSON with its length in front, over pipes."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from typing import Any, Protocol

from stepcoder_trl.executor.wire.bounds import check_bounds


READ_BYTES = 2**16  # capacity of a pipe; a larger buffer would be mapped and unmapped for every message
HEADER = struct.Struct("<I")  # length of the message that follows
_to_json = json.JSONEncoder(separators=(",", ":")).encode  # `json.dumps` would make an encoder for every message
_CONTROLS, _WIDE = bytes([*range(32), 127]), bytes(range(128, 256))
_write = os.write  # bound before any program runs, which may replace it in its process


class Readable(Protocol):
    """Stream that `read_frame` can read from."""

    def read(self, size: int, /) -> bytes: ...


def json_bytes(message: Any) -> bytes:
    """Return a message as JSON."""
    return _to_json(message).encode("ascii")


def json_length(text: str) -> int:
    """Return an upper bound of the characters that a text has as JSON, without making it."""
    data = text.encode("utf-8", "surrogatepass")
    num_controls = len(data) - len(data.translate(None, _CONTROLS))
    num_wide = len(data) - len(data.translate(None, _WIDE))
    return len(data) + data.count(b'"') + data.count(b"\\") + 5 * num_controls + 2 * num_wide + 2


def frame(message: Any) -> bytes:
    """Return a message as JSON with its length in front."""
    payload = json_bytes(message)
    return HEADER.pack(len(payload)) + payload


def write_all(descriptor: int, data: bytes) -> None:
    """Write all bytes to a descriptor, even if it accepts them only in pieces."""
    rest = memoryview(data)
    while rest:
        rest = rest[_write(descriptor, rest) :]


def read_frame(stream: Readable) -> Any:
    """Read one message from a blocking stream. Raise EOFError if the stream ends before the message does."""
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        raise EOFError("stream ended")
    (length,) = HEADER.unpack(header)
    payload = stream.read(length)
    if len(payload) < length:
        raise EOFError("stream ended inside a message")
    return json.loads(payload)


class FrameBuffer:
    """Buffer that returns messages of at most `max_bytes` from bytes that arrive in pieces."""

    def __init__(self, max_bytes: int) -> None:
        self._data = bytearray()
        self._max_bytes = max_bytes

    def feed(self, data: bytes) -> Iterator[Any]:
        """
        Add bytes and yield each complete message. Messages before garbage are yielded.

        Garbage raises: OverflowError if a message is too long or has too many items, and ValueError if it is nested
        too deeply or is not JSON.
        """
        self._data += data
        while len(self._data) >= HEADER.size:
            (length,) = HEADER.unpack_from(self._data)
            if length > self._max_bytes:
                raise OverflowError(f"frame of {length} bytes")
            end = HEADER.size + length
            if len(self._data) < end:
                break
            payload = bytes(self._data[HEADER.size : end])
            del self._data[:end]
            check_bounds(payload)
            yield json.loads(payload.decode("ascii"))  # bytes could be read in wide characters, which are not counted
