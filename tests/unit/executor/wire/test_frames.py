"""Test the messages between processes."""

from __future__ import annotations

import pytest

from stepcoder_trl.executor.wire.frames import FrameBuffer, frame


def test_messages_arrive_in_any_pieces():
    data = frame({"a": 1}) + frame([2])
    buffer = FrameBuffer(100)

    received = [message for byte in data for message in buffer.feed(bytes([byte]))]

    assert received == [{"a": 1}, [2]]


def test_too_long_message_raises():
    with pytest.raises(OverflowError):
        list(FrameBuffer(10).feed((11).to_bytes(4, "little")))


def test_message_before_garbage_is_yielded():
    messages = FrameBuffer(10).feed(frame(1) + b"\xff" * 8)

    assert next(messages) == 1
    with pytest.raises(OverflowError):
        next(messages)
