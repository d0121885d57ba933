"""Test the codec of plain values."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, defaultdict, deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepcoder_trl.executor.wire.codec import TooLarge, Unserializable, decode, encode
from stepcoder_trl.executor.wire.frames import FrameBuffer, frame


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
hashables = st.recursive(
    scalars, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=8
)
values = st.recursive(
    scalars | st.complex_numbers(allow_nan=False) | st.sets(hashables, max_size=3),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(hashables, inner, max_size=3),
    max_leaves=20,
)


def same(left, right):
    if type(left) is not type(right):
        return False
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return left == right and all(same(value, right[key]) for key, value in left.items())
    return left == right


@given(values)
def test_plain_values_round_trip_with_exact_types(value):
    (received,) = FrameBuffer(2**20).feed(frame(encode(value)))

    assert same(decode(received), value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Counter("aab"), {"a": 2, "b": 1}),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(int, a=1), {"a": 1}),
        (deque([1, 2]), [1, 2]),
        (range(1, 9, 2), range(1, 9, 2)),
        pytest.param(10**5000, 10**5000, id="long"),
        (-(2**62), -(2**62)),
    ],
)
def test_containers_and_long_integers_round_trip(value, expected):
    assert decode(encode(value)) == expected


def test_nan_round_trips():
    assert math.isnan(decode(encode(float("nan"))))


class Liar(int):
    def __eq__(self, other):
        return True

    __hash__ = int.__hash__


class Meta(type):
    @property
    def __name__(cls):
        raise RuntimeError("called")


class Strange(metaclass=Meta):
    def __iter__(self):
        raise RuntimeError("called")


@pytest.mark.parametrize("value", [Liar(3), Strange(), object(), len, (i for i in range(3)), int])
def test_other_values_equal_nothing(value):
    received = decode(encode(value))

    assert isinstance(received, Unserializable)
    assert received != 3
    assert received != received


def test_list_that_contains_itself_ends():
    cyclic: list[object] = []
    cyclic.append(cyclic)

    assert decode(encode(cyclic)) != cyclic


def test_list_that_doubles_at_each_level_is_too_large():
    doubling: list[object] = [0]
    for _ in range(60):
        doubling = [doubling, doubling]

    with pytest.raises(TooLarge):
        encode(doubling)


@pytest.mark.parametrize(
    "value",
    ["x" * 2**25, [b"x" * 2**12] * 2**12, {"deep": [1 << 2**27]}],
    ids=["text", "bytes", "integer"],
)
def test_value_with_too_much_text_is_too_large(value):
    with pytest.raises(TooLarge):
        encode(value)


@pytest.mark.parametrize("forged", [{"t": 1}, {"x": []}, {"i": "zz"}, {"s": [[1]]}, {}, {"r": ["a"]}, {"f": 3}, 1.5])
def test_malformed_trees_raise(forged):
    with pytest.raises(ValueError):
        decode(forged)


def test_numpy_values_become_python_values():
    numpy = pytest.importorskip("numpy")

    assert decode(encode([numpy.int64(3), numpy.float32(0.5), numpy.array([[1, 2]])])) == [3, 0.5, [[1, 2]]]


@pytest.mark.parametrize(
    "forge",
    [lambda keys: {"s": keys}, lambda keys: {"z": keys}, lambda keys: {"d": [{"t": [key, 0]} for key in keys]}],
)
def test_colliding_keys_raise(forge):
    colliding = [{"i": hex(number * (2**61 - 1))} for number in range(1, 2000)]

    with pytest.raises(ValueError, match="collide"):
        decode(forge(colliding))


def test_large_sets_and_dicts_round_trip():
    value = {number: {number - 1, -number} for number in range(5000)}

    assert decode(encode([value, set(value), frozenset(value)])) == [value, set(value), frozenset(value)]
