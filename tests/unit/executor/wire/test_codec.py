"""Test the codec of plain values."""

from __future__ import annotations

import json
import math
from array import array
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from http import HTTPStatus
from time import thread_time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepcoder_trl.executor.wire import codec
from stepcoder_trl.executor.wire.bounds import check_bounds
from stepcoder_trl.executor.wire.codec import TooLarge, Unserializable, decode, encode
from stepcoder_trl.executor.wire.frames import FrameBuffer, frame, json_bytes


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


@pytest.mark.parametrize("text", ["\ud83d\ude00", "a\ud83d\ude00\U0001f600", "\ud83d", "\U0001f600"])
def test_surrogates_are_not_joined(text):
    tree = encode({text: [text]})
    (received,) = FrameBuffer(2**20).feed(frame(tree))

    assert decode(received) == {text: [text]}
    assert json.loads(json_bytes(tree)) == tree


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


class Color(Enum):
    RED = 1


@pytest.mark.parametrize(
    "value", [Strange(), object(), len, (i for i in range(3)), int, Color.RED, Decimal("1e99999")]
)
def test_other_values_equal_nothing(value):
    received = decode(encode(value))

    assert isinstance(received, Unserializable)
    assert received != 3
    assert received != received


class Overridden:
    """Methods that no reader of values may call."""

    def _called(self, *arguments):
        raise RuntimeError("called")

    __iter__ = __len__ = __getitem__ = __contains__ = items = keys = values = isoformat = as_tuple = _called
    __int__ = __index__ = __float__ = __neg__ = __pos__ = __abs__ = __reduce__ = __reduce_ex__ = hex = tobytes = (
        _called
    )

    def __eq__(self, other):
        return True

    __hash__ = object.__hash__


def derived(base):
    """Return a class that a program may derive from a class, with methods of its own."""
    return type("Derived", (Overridden, base), {})


class Level(IntEnum):
    LOW = 3


class Unit(str, Enum):
    METRE = "m"


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (derived(int)(3), 3),
        (derived(float)(0.5), 0.5),
        (derived(complex)(1, 2), 1 + 2j),
        (derived(str)("ab"), "ab"),
        (derived(bytes)(b"ab"), b"ab"),
        (derived(bytearray)(b"ab"), bytearray(b"ab")),
        (derived(list)([1, 2]), [1, 2]),
        (derived(tuple)((1, 2)), (1, 2)),
        (derived(set)({1, 2}), {1, 2}),
        (derived(frozenset)({1, 2}), frozenset({1, 2})),
        (derived(dict)({1: 2}), {1: 2}),
        (derived(Counter)("aab"), {"a": 2, "b": 1}),
        (derived(OrderedDict)(a=1), {"a": 1}),
        (derived(defaultdict)(int, {1: 2}), {1: 2}),
        (derived(deque)([1, 2]), [1, 2]),
        (derived(Decimal)("1.5"), Decimal("1.5")),
        (derived(Fraction)(1, 3), Fraction(1, 3)),
        (derived(date)(2020, 1, 2), date(2020, 1, 2)),
        (derived(time)(1, 2), time(1, 2)),
        (derived(datetime)(2020, 1, 2, 3), datetime(2020, 1, 2, 3)),
        (derived(timedelta)(1, 2), timedelta(1, 2)),
        (Liar(3), 3),
        (Level.LOW, 3),
        (Unit.METRE, "m"),
        (Point(1, 2), (1, 2)),
        (HTTPStatus.OK, 200),
    ],
    ids=lambda value: type(value).__mro__[-2].__name__,
)
def test_derived_values_are_read_by_methods_of_their_base(value, expected):
    assert same(decode(encode([value])), [expected])


@pytest.mark.parametrize(
    "value",
    [
        *(Decimal("1.50"), Decimal("-Infinity"), Fraction(-3, 7), Fraction(10**5000, 7), date(2020, 1, 2)),
        *(
            time(1, 2, 3, 4),
            datetime(2020, 1, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=2))),
            timedelta(-1, 5, 7),
        ),
        *(
            bytearray(b"ab"),
            array("d", [0.5]),
            timedelta(-1, 5, 7),
            float("inf"),
            -0.0,
            5e-324,
            {1: 2}.keys(),
            {1: [2]}.items(),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_of_the_standard_library_round_trip(value):
    found = decode(json.loads(json_bytes(encode(value))))

    assert type(found) is type(value)
    assert found == value
    assert found == 10**5000 / Fraction(7) or repr(found) == repr(value)


def test_views_are_set_like_or_lists():
    assert decode(encode({1: 5, 2: 6}.keys())) == {1, 2}
    assert decode(encode({1: 5, 2: 6}.items())) == {(1, 5), (2, 6)}
    assert decode(encode({1: 5, 2: 6}.values())) == [5, 6]


def test_moment_with_a_named_zone_is_the_same_moment():
    value = datetime(2020, 7, 1, 12, tzinfo=ZoneInfo("UTC"))

    assert decode(encode(value)) == value


@pytest.mark.parametrize(
    "value",
    [
        [()] * 1_000_001,
        {number: number for number in range(500_001)},
        [2**70] * 1_000_001,
        [1j] * 700_000,
        [Fraction(1, 3)] * 410_000,
        [range(3)] * 340_000,
    ],
    ids=["tuples", "dict", "integers", "complex", "fractions", "ranges"],
)
def test_values_are_refused_by_the_encoder_before_the_bounds_of_messages_refuse_them(value):
    with pytest.raises(TooLarge):
        encode(value)
    check_bounds(
        json_bytes(encode(value[: len(value) // 2] if isinstance(value, list) else dict(list(value.items())[:9])))
    )


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


@pytest.mark.parametrize(
    "forged",
    [
        *({"t": 1}, {"x": []}, {"i": "zz"}, {"s": [[1]]}, {}, {"r": ["a"]}, {"f": 3}, {"D": "x"}, {"D": "1e99999"}),
        *({"q": [1, 0]}, {"q": [1.5, 2]}, {"c": [1, "2"]}, {"T": [0.5]}, {"y": ["eval", "1"]}, {"k": [[1]]}),
    ],
)
def test_malformed_trees_raise(forged):
    with pytest.raises(ValueError):
        decode(forged)


def test_numpy_values_become_python_values():
    numpy = pytest.importorskip("numpy")

    assert decode(encode([numpy.int64(3), numpy.float32(0.5), numpy.array([[1, 2]])])) == [3, 0.5, [[1, 2]]]
    scalars = [numpy.float64(0.5), numpy.str_("ab"), numpy.bool_(True), numpy.longlong(7), numpy.complex128(1j)]
    assert same(decode(encode(scalars)), [0.5, "ab", True, 7, 1j])
    assert decode(encode(numpy.array([[1, 2]]).view(type("Grid", (numpy.ndarray,), {"tolist": None})))) == [[1, 2]]
    assert isinstance(decode(encode(numpy.longdouble(1))), Unserializable)


@pytest.mark.parametrize(
    "forge",
    [lambda keys: {"s": keys}, lambda keys: {"z": keys}, lambda keys: {"d": [{"t": [key, 0]} for key in keys]}],
)
def test_colliding_keys_raise(forge):
    colliding = [{"i": hex(number * (2**61 - 1))} for number in range(1, 2000)]

    with pytest.raises(ValueError, match="collide"):
        decode(forge(colliding))


P = 2**61 - 1  # integers with the same remainder have the same hash


@pytest.mark.parametrize(
    "slow",
    [
        [{"s": [{"i": hex(number * P)} for number in range(2, 900)]} for _ in range(60)],
        {"s": [{"t": [7] * 400 + [{"i": hex(number * P)}]} for number in range(2, 900)]},
        {"q": [{"i": hex(3**300_000)}, {"i": hex(2**600_000 - 1)}]},
        [{"q": [{"i": hex(3**60_000)}, {"i": hex(2**100_000 - 1)}]} for _ in range(10)],
        {"r": [0, {"i": hex(3**500_000)}, {"i": hex(3**250_000)}]},
    ],
    ids=["many_colliding_keys", "colliding_tuples", "fraction", "many_fractions", "range"],
)
def test_what_takes_long_to_decode_raises(slow):
    with pytest.raises(ValueError, match="take long"):
        decode(slow)


def test_long_fractions_and_ranges_round_trip():
    harmonic = sum((Fraction(1, number) for number in range(1, 2000)), Fraction(0))
    value = [harmonic, range(10**1000, 10**1000 + 50, 7), {2**number for number in range(900)}]

    assert decode(encode(value)) == value


def test_large_sets_and_dicts_round_trip():
    value = {number: {number - 1, -number} for number in range(5000)}

    assert decode(encode([value, set(value), frozenset(value)])) == [value, set(value), frozenset(value)]


def colliding_by_place(bits):
    """Return keys whose places in a dict of `2**bits` are all taken, until the end of one long way."""
    mask = 2**bits - 1
    way, place = [], 0
    for _ in range(mask + 1):
        way.append(place)
        place = (5 * place + 1) & mask
    position = {place: number for number, place in enumerate(way)}
    filled = (mask + 1) // 3 + 2
    keys = way[:filled]
    number = mask
    while len(keys) < 2 * (mask + 1) // 3:
        number += 1
        place, rest = number & mask, number
        while rest and position[place] < filled:
            rest >>= 5
            place = (5 * place + rest + 1) & mask
        if not rest and position[place] < filled // 4:
            keys.append(number)
    return keys


def test_keys_that_collide_by_their_places_are_not_waited_for():
    tree = {"k": colliding_by_place(13)}
    decode(tree)  # one such dict is small enough
    began = thread_time()

    with pytest.raises(ValueError, match="take long"):
        decode([tree] * 300)

    assert thread_time() - began < 10


@pytest.mark.parametrize("tag", ["s", "z", "d", "k", "e"])
def test_time_of_all_tables_is_limited(monkeypatch, tag):
    ticks = iter(range(10**6))
    monkeypatch.setattr(codec, "thread_time", lambda: 0.1 * next(ticks))
    keys = list(range(20_000))

    with pytest.raises(ValueError, match="take long"):
        decode([{tag: [{"t": [key, key]} for key in keys]}] * 3)


def test_large_tables_take_little_of_the_time_that_they_may_take(monkeypatch):
    monkeypatch.setattr(codec, "MAX_TABLES_S", codec.MAX_TABLES_S / 2)

    assert len(decode({"s": [number * 7919 for number in range(300_000)]})) == 300_000
