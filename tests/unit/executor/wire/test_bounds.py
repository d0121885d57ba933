"""Test the bounds of messages."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepcoder_trl.executor.wire.bounds import check_bounds
from stepcoder_trl.executor.wire.codec import MAX_DEPTH, MAX_ITEMS, encode
from stepcoder_trl.executor.wire.frames import json_bytes


TEXTS = st.text(alphabet='ab"\\,:[]{}\n\u00e9')
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=30,
)


def items(value: Any) -> int:
    """Return the number of commas, colons and opening brackets that a value has as JSON."""
    if isinstance(value, list):
        return 1 + max(len(value) - 1, 0) + sum(map(items, value))
    if isinstance(value, dict):
        return 1 + len(value) + max(len(value) - 1, 0) + sum(map(items, value.values()))
    return 0


def depth(value: Any) -> int:
    if isinstance(value, (list, dict)):
        return 1 + max(map(depth, value.values() if isinstance(value, dict) else value), default=0)
    return 0


def is_within(payload: bytes, max_items: int, max_depth: int) -> bool:
    try:
        check_bounds(payload, max_items, max_depth)
    except (ValueError, OverflowError):
        return False
    return True


@given(VALUES, st.sampled_from([(",", ":"), (" , ", " : ")]), st.booleans())
def test_items_and_levels_are_counted_exactly(value: Any, separators: tuple[str, str], ascii_only: bool) -> None:
    payload = json.dumps(value, separators=separators, ensure_ascii=ascii_only).encode() + b" " * 200

    assert is_within(payload, items(value), 200)
    assert is_within(payload, 10**6, depth(value))
    assert items(value) == 0 or not is_within(payload, items(value) - 1, 200)
    assert depth(value) == 0 or not is_within(payload, 10**6, depth(value) - 1)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"test":0,"value":[' + b"[]," * 2_500_000 + b"[]]}",
        b'{"test":0,"value":[' + b"{}," * 2_500_000 + b"{}]}",
        b"[" + b'{"a":1},' * 1_500_000 + b"1]",
        b"[" + b'"a",' * 4_500_000 + b"1]",
        b"[" + b'"[",' * 4_500_000 + b"1]",
        b"[" + b"1," * 4_500_000 + b"1]",
        b"[" * 987 + b"]" * 987,
        b'{"a":' * 987 + b"1" + b"}" * 987,
        b'[" \\" ","\\\\",' + b"[" * 987,
    ],
    ids=["lists", "dicts", "full dicts", "strings", "brackets", "numbers", "deep", "deep dicts", "after escapes"],
)
def test_too_large_messages_are_refused(payload: bytes) -> None:
    with pytest.raises((ValueError, OverflowError)):
        check_bounds(payload)


@pytest.mark.parametrize(
    "payload",
    [
        b'"' + b"," * 2**25 + b'"',
        b'"' + b'\\"[' * 2**23 + b'"',
        b'"' * 2**25,
        b"\\" * 2**25,
        b'"\\' * 2**24,
        b'",' * 2**24,
        b'"a,' * 2**23,
        b"[" * 2**25,
        b"[]" * 2**24,
    ],
    ids=["commas", "escaped", "quotes", "backslashes", "open", "quoted commas", "mixed", "brackets", "pairs"],
)
def test_any_message_is_checked_in_linear_time(payload: bytes) -> None:
    start = time.process_time()
    is_within(payload, 2**30, 2**30)
    is_within(payload, 2**30, 400)
    is_within(payload, 10**6, 400)

    assert time.process_time() - start < 10


def nested(make: Any, levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = make(value)
    return value


@pytest.mark.parametrize(
    "value",
    [
        pytest.param([1] * MAX_ITEMS, id="numbers"),
        pytest.param([[]] * MAX_ITEMS, id="lists"),
        pytest.param([","] * MAX_ITEMS, id="text"),
        pytest.param(nested(lambda inner: [inner], MAX_DEPTH), id="deep list"),
        pytest.param(nested(lambda inner: (inner,), MAX_DEPTH), id="deep tuple"),
        pytest.param(nested(lambda inner: {1: inner}, MAX_DEPTH // 2), id="deep dict"),
    ],
)
def test_largest_values_are_within_the_bounds(value: Any) -> None:
    check_bounds(json_bytes({"test": 0, "lines": list(range(1000)), "result": {"value": encode(value)}}))
