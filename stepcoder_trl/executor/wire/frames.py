"""Messages between processes: JSON with its length in front, over pipes."""

from __future__ import annotations

import json
import os
import struct
from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol


READ_BYTES = 2**16  # what a pipe holds; a buffer of more would be mapped and unmapped for every message
_HEADER = struct.Struct("<I")
_write, _read = os.write, os.read  # bound before any program runs: one may replace them in its own process


class Readable(Protocol):
    """What `read_frame` needs of a stream."""

    def read(self, size: int, /) -> bytes: ...


def json_bytes(message: Any) -> bytes:
    """JSON message as bytes."""
    return json.dumps(message, ensure_ascii=True, separators=(",", ":")).encode("ascii")


def frame(message: Any) -> bytes:
    """JSON message as bytes with its length in front."""
    payload = json_bytes(message)
    return _HEADER.pack(len(payload)) + payload


def write_all(descriptor: int, data: bytes) -> None:
    """Write all bytes to a descriptor that may take them in pieces."""
    rest = memoryview(data)
    while rest:
        rest = rest[_write(descriptor, rest) :]


def read_frame(stream: Readable) -> Any:
    """
    Read one message from a blocking stream.

    Raises:
        EOFError: If the stream ends before the message does.
    """
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        raise EOFError("stream ended")
    (length,) = _HEADER.unpack(header)
    payload = stream.read(length)
    if len(payload) < length:
        raise EOFError("stream ended inside a message")
    return json.loads(payload)


class FrameBuffer:
    """
    Frames out of bytes that arrive in pieces.

    Args:
        max_bytes (`int`): Length above which a frame is refused.
    """

    def __init__(self, max_bytes: int) -> None:
        self._data = bytearray()
        self._max_bytes = max_bytes

    def feed(self, data: bytes) -> Iterator[Any]:
        """
        Add bytes and yield the messages that are complete, one by one: garbage behind a message does not undo it.

        Raises:
            OverflowError: If a frame announces more than `max_bytes`.
            ValueError: If a frame is not JSON.
            RecursionError: If its JSON is nested too deeply.
        """
        self._data += data
        while len(self._data) >= _HEADER.size:
            (length,) = _HEADER.unpack_from(self._data)
            if length > self._max_bytes:
                raise OverflowError(f"frame of {length} bytes")
            end = _HEADER.size + length
            if len(self._data) < end:
                break
            payload = bytes(self._data[_HEADER.size : end])
            del self._data[:end]
            yield json.loads(payload)


class Channel:
    """
    One side of a conversation over two pipes.

    Args:
        read_fd (`int`): Where messages of the other side arrive.
        write_fd (`int`): Where ours go.
        max_bytes (`int`): Length above which a message is refused.
    """

    def __init__(self, read_fd: int, write_fd: int, max_bytes: int) -> None:
        self._read_fd, self._write_fd = read_fd, write_fd
        self._buffer = FrameBuffer(max_bytes)
        self._waiting: deque[Any] = deque()

    def send(self, message: Any) -> None:
        """Send one message; waits until the other side takes what a pipe does not hold."""
        write_all(self._write_fd, frame(message))

    def receive(self) -> Any:
        """
        Wait for one message.

        Raises:
            EOFError: If the other side is gone.
            OverflowError, ValueError, RecursionError: If it sent garbage; see [`FrameBuffer`].
        """
        while not self._waiting:
            data = _read(self._read_fd, READ_BYTES)
            if not data:
                raise EOFError("the other side is gone")
            self._waiting.extend(self._buffer.feed(data))
        return self._waiting.popleft()

    def close(self) -> None:
        """Close both pipes."""
        os.close(self._read_fd)
        os.close(self._write_fd)
