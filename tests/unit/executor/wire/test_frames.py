"""Test the messages between processes."""

from __future__ import annotations

import json

import pytest

from stepcoder_trl.executor.wire.frames import FrameBuffer, frame, json_length


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


def test_wide_characters_are_garbage():
    """Their bytes look like other characters, so that brackets would not be counted."""
    payload = '["\u2200",[],[]]'.encode("utf-16-le")

    with pytest.raises(json.JSONDecodeError):
        list(FrameBuffer(100).feed(len(payload).to_bytes(4, "little") + payload))


@pytest.mark.parametrize("text", ["", "abc", "a\x00\x1f\x7f\n", "äöü", "漢字", "😀", '"\\', "\ud800"])
def test_length_as_json_is_known_before(text):
    assert len(json.dumps(text)) <= json_length(text) <= 12 * len(text) + 2
