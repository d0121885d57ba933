"""
Codec of plain Python values, which travel in messages between processes as JSON.

Values of a fixed list of types are sent. An instance of a derived class is sent as a value of the listed class. Values
are read with the methods of the listed class, so no method of an object that the program made is called. Nothing is
pickled. `decode` checks everything, because the sender may be hostile.
"""

from __future__ import annotations

import re
import sys
from array import array
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from time import thread_time
from typing import Any


MAX_DEPTH = 200  # nesting of a value; the scanner of `json` fails near the recursion limit
# Elements of a value. Shared parts count each time, so that lists of shared lists stay small. What needs more than two
# commas, colons and brackets in JSON counts more than once, so that `bounds.py` can count them.
MAX_ITEMS = 2_000_000
MAX_CHARACTERS = 16 * 2**20  # text, bytes and hexadecimal digits of a value together
MAX_COLLISIONS = 1000  # keys of one set or dict that have the hash of another key
# Steps of decoding a value that grow faster than its message: comparisons of keys with the same hash, and divisions of
# long integers. They take about a second.
MAX_WORK = 2**25
MAX_TABLES_S = 1.0  # CPU seconds for all sets and dicts of a value: their keys may collide by other means than hashes
_KEYS_AT_A_TIME = 4096
_FEW_KEYS = 30  # that may have the same hash
_BITS_PER_STEP = 2**11  # product of the lengths of two integers that are divided
MAX_EXPONENT = 2**16  # of a Decimal; converting a larger one to an int would take too long
_SMALL_INT = 2**62  # larger integers are sent as hexadecimal text, because decimal conversion is slow and limited
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")  # two characters of a text, which JSON reads as one
_EMPTY: dict[Any, Any] = {}
KEYS, VALUES, ITEMS = type(_EMPTY.keys()), type(_EMPTY.values()), type(_EMPTY.items())

mro_of = type.__dict__["__mro__"].__get__  # a metaclass may define `__mro__`
_NAME_OF = type.__dict__["__name__"].__get__


Write = Callable[[Any, Any, int], Any]  # encoder, value, depth -> tree


class Unserializable:
    """Placeholder for a value of another type. It equals nothing, not even itself."""

    __hash__ = object.__hash__  # it may be a key

    def __init__(self, type_name: str) -> None:
        self.type_name = type_name

    def __eq__(self, other: object) -> bool:
        return False

    def __repr__(self) -> str:
        return f"<value of type {self.type_name}>"


class TooLarge(Exception):
    """Raised by `encode` for a value with more than `MAX_ITEMS` elements or `MAX_CHARACTERS` of text."""


def encode(value: Any) -> Any:
    """
    Return a JSON tree of a plain Python value: None, bool, int, float, str, lists and one-key dicts.

    Plain are None, bool, int, float, complex, str, bytes, bytearray, array, list, tuple, set, frozenset, dict, range,
    Decimal, Fraction, date, time, datetime, timedelta and the views of keys and items of a dict. A deque and a view of
    values count as list, numpy's scalars and arrays as Python values. An instance of a derived class counts as a value
    of its plain base: a Counter as dict, a named tuple as tuple, a member of an IntEnum as int. Anything else becomes
    a marker that decodes to `Unserializable`. Raise `TooLarge` for too much.
    """
    return Encoder().encode(value, 0)


def is_opaque(tree: Any) -> bool:
    """Return whether a tree of `encode` is the marker of a value that is not sent."""
    return isinstance(tree, dict) and "u" in tree


class Encoder:
    """Encoder of one value, see `encode`."""

    @property
    def writers(self) -> Mapping[int, Write]:
        """Return the encoders of less frequent classes, by `id`. A class may say that it equals one of them."""
        return WRITERS

    def __init__(self) -> None:
        self.items_left = MAX_ITEMS
        self.characters_left = MAX_CHARACTERS
        self.open: set[int] = set()  # ids of containers that are being read, to find one that contains itself

    def encode(self, value: Any, depth: int) -> Any:
        """Return the tree of a value at this depth of nesting."""
        if id(value) in self.open:
            return self.cut_off(value, "value that contains itself")
        kind = type(value)
        if kind is str:
            self.charge(len(value))
            return value if value.isascii() or _PAIR.search(value) is None else self._surrogates(value)
        if kind is bool or kind is float or value is None:
            return value
        if kind is int:
            if -_SMALL_INT < value < _SMALL_INT:
                return value
            self.charge(value.bit_length() // 4)
            return self.tagged("i", hex(value))
        if depth >= MAX_DEPTH:
            return self.cut_off(value, "value nested too deeply")
        earlier = self.earlier(value, kind)
        if earlier is not None:
            return earlier
        if kind is list:
            return self.all(list.__iter__(value), depth, value)
        if kind is dict:
            return self.tagged("d", self.all(dict.items(value), depth, value))
        if kind is tuple:
            return self.tagged("t", self.all(tuple.__iter__(value), depth, value))
        return self.other(value, kind, depth)

    def _surrogates(self, text: str) -> Any:
        content = text.encode("utf-8", "surrogatepass")
        self.charge(2 * len(content))
        return self.tagged("p", content.hex())

    def tagged(self, tag: str, body: Any, items: int = 1) -> dict[str, Any]:
        """Return the tree of a value that needs a tag, and count its size beside its elements."""
        self.items_left -= items
        return {tag: body}

    def cut_off(self, value: Any, why: str) -> Any:
        """Return the marker of a part that cannot be encoded in full."""
        return self.tagged("u", why)

    def earlier(self, value: Any, kind: type) -> Any:
        """Return a back-reference to a container already encoded, or `None`."""
        return None

    def charge(self, characters: int) -> None:
        """Count characters. Raise `TooLarge` before a long value is copied at the cost of the program's CPU time."""
        self.characters_left -= characters
        if self.characters_left < 0:
            raise TooLarge

    def all(self, items: Any, depth: int, container: object) -> list[Any]:
        """Return the trees of a container's elements."""
        self.open.add(id(container))
        encoded: list[Any] = []
        for item in items:
            self.items_left -= 1
            if self.items_left < 0:
                raise TooLarge
            encoded.append(self.encode(item, depth + 1))
        self.open.discard(id(container))
        return encoded

    def other(self, value: Any, kind: type, depth: int) -> Any:
        """Return the tree of a value whose class is not one of the most frequent ones."""
        bases = mro_of(kind)
        numpy: Any = sys.modules.get("numpy")
        if numpy is not None:
            if any(base is numpy.ndarray for base in bases):
                return self._array(numpy.ndarray, value, depth)
            if any(base is numpy.generic for base in bases):
                plain = numpy.generic.item(value)
                is_plain = not any(base is numpy.generic for base in mro_of(type(plain)))
                return self.encode(plain, depth) if is_plain else self.opaque(value, kind)
        for base in bases:
            if id(base) in self.writers:
                return self.derived(value, kind, base, depth)
        return self.opaque(value, kind)

    def _array(self, kind: Any, value: Any, depth: int) -> Any:
        if kind.size.__get__(value) > self.items_left:
            raise TooLarge
        return self.encode(kind.tolist(value), depth)

    def derived(self, value: Any, kind: type, base: type, depth: int) -> Any:
        """Return the tree of an instance of a listed class, or of a class derived from it."""
        return self.writers[id(base)](self, value, depth)

    def opaque(self, value: Any, kind: type) -> Any:
        """Return the tree of a value of any other type."""
        return self.tagged("u", name_of(kind))


def _list(encoder: Encoder, value: Any, depth: int) -> Any:
    return encoder.all(list.__iter__(value), depth, value)


def _bytes(encoder: Encoder, value: Any, depth: int) -> Any:
    plain = bytes.__getitem__(value, slice(None))
    encoder.charge(2 * len(plain))
    return encoder.tagged("b", plain.hex())


def _bytearray(encoder: Encoder, value: Any, depth: int) -> Any:
    encoder.charge(2 * bytearray.__len__(value))
    return encoder.tagged("B", bytearray.hex(value))


def _array(encoder: Encoder, value: Any, depth: int) -> Any:
    content = array.tobytes(value)
    encoder.charge(2 * len(content))
    return encoder.tagged("A", array.typecode.__get__(value) + content.hex())


def _complex(encoder: Encoder, value: Any, depth: int) -> Any:
    plain = complex.__pos__(value)
    return encoder.tagged("c", [plain.real, plain.imag], 2)


def _range(encoder: Encoder, value: Any, depth: int) -> Any:
    parts = [encoder.encode(part, depth) for part in (value.start, value.stop, value.step)]
    return encoder.tagged("r", parts, 5)


def _fraction(encoder: Encoder, value: Any, depth: int) -> Any:
    parts = Fraction.numerator.fget(value), Fraction.denominator.fget(value)  # type: ignore[attr-defined]
    return encoder.tagged("q", [encoder.encode(part, depth) for part in parts], 4)


def _decimal(encoder: Encoder, value: Any, depth: int) -> Any:
    if Decimal.is_finite(value) and abs(Decimal.as_tuple(value).exponent) > MAX_EXPONENT:  # type: ignore[arg-type]
        return encoder.tagged("u", "Decimal")
    text = Decimal.__str__(value)
    encoder.charge(len(text))
    return encoder.tagged("D", text)


def _moment(kind: Any) -> Write:
    # A zone is sent as its offset: moments are equal or not whatever their zones are called.
    return lambda encoder, value, depth: encoder.tagged("y", [kind.__name__, kind.isoformat(value)], 2)


def _timedelta(encoder: Encoder, value: Any, depth: int) -> Any:
    parts: Any = timedelta
    return encoder.tagged("T", [part.__get__(value) for part in (parts.days, parts.seconds, parts.microseconds)], 2)


# Encoders by class. They also encode instances of classes derived from it, so they call only methods of this class.
WRITERS: dict[int, Write] = {
    id(kind): write
    for kind, write in {
        str: lambda encoder, value, depth: encoder.encode(str.__str__(value), depth),
        int: lambda encoder, value, depth: encoder.encode(int.__int__(value), depth),
        float: lambda encoder, value, depth: float.__float__(value),
        complex: _complex,
        bytes: _bytes,
        bytearray: _bytearray,
        array: _array,
        list: _list,
        deque: lambda encoder, value, depth: encoder.all(deque.__iter__(value), depth, value),
        tuple: lambda encoder, value, depth: encoder.tagged("t", encoder.all(tuple.__iter__(value), depth, value)),
        set: lambda encoder, value, depth: encoder.tagged("s", encoder.all(set.__iter__(value), depth, value)),
        frozenset: lambda encoder, value, depth: encoder.tagged(
            "z", encoder.all(frozenset.__iter__(value), depth, value)
        ),
        OrderedDict: lambda encoder, value, depth: encoder.tagged(
            "d", encoder.all(OrderedDict.items(value), depth, value)
        ),
        dict: lambda encoder, value, depth: encoder.tagged("d", encoder.all(dict.items(value), depth, value)),
        KEYS: lambda encoder, value, depth: encoder.tagged("k", encoder.all(iter(value), depth, value)),
        ITEMS: lambda encoder, value, depth: encoder.tagged("e", encoder.all(iter(value), depth, value)),
        VALUES: lambda encoder, value, depth: encoder.all(iter(value), depth, value),
        range: _range,
        Fraction: _fraction,
        Decimal: _decimal,
        date: _moment(date),
        time: _moment(time),
        datetime: _moment(datetime),
        timedelta: _timedelta,
    }.items()
}


def name_of(kind: type) -> str:
    """Return the name of a class. It asks `type`, because a metaclass may define `__name__`."""
    name: str = _NAME_OF(kind)
    return name


def decode(tree: Any) -> Any:
    """Decode a tree of `encode`. It may come from a hostile process: raise ValueError if it is malformed."""
    return Decoder().read(tree)


class Decoder:
    """Decoder of one value, see `decode`."""

    def __init__(self) -> None:
        self._work_left = MAX_WORK
        self._tables_left_s = MAX_TABLES_S

    def read(self, tree: Any) -> Any:
        """Decode a tree. Raise ValueError if it is malformed, or made to take long."""
        try:
            return self.part(tree)
        except (TypeError, LookupError, ArithmeticError, AttributeError, RecursionError) as error:
            raise ValueError(f"not an encoded value: {error}") from None

    def part(self, tree: Any) -> Any:
        """Decode a part of a tree."""
        if tree is None or isinstance(tree, (bool, int, float, str)):
            return tree
        if isinstance(tree, list):
            return self.all(tree)
        ((tag, body),) = tree.items()
        return DECODERS[tag](self, body)

    def all(self, trees: list[Any]) -> list[Any]:
        """Decode a list of trees."""
        return [self.part(tree) for tree in trees]

    def set_of(self, trees: list[Any]) -> set[Any]:
        """Decode a set."""
        keys = self.all(trees)
        self._charge_for_keys(keys)
        table: set[Any] = set()
        self._fill(table, keys)
        return table

    def dict_of(self, pairs: list[Any]) -> dict[Any, Any]:
        """Decode a dict from its pairs."""
        return self._dict([(key, value) for key, value in self.all(pairs)])

    def keys_of(self, trees: list[Any]) -> dict[Any, Any]:
        """Decode a dict from its keys."""
        return self._dict([(key, None) for key in self.all(trees)])

    def _dict(self, pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
        self._charge_for_keys([key for key, _ in pairs])
        table: dict[Any, Any] = {}
        self._fill(table, pairs)
        return table

    def whole(self, tree: Any) -> int:
        """Decode an integer."""
        value = self.part(tree)
        if type(value) is not int:
            raise ValueError("not a whole number")
        return value

    def charge_for_division(self, left: int, right: int) -> None:
        """Count the steps of a division, or of finding a common divisor."""
        self._charge(left.bit_length() * right.bit_length() // _BITS_PER_STEP)

    def _charge_for_keys(self, keys: list[Any]) -> None:
        """Count the comparisons of keys that have the same hash."""
        if len(keys) <= _FEW_KEYS:
            return
        hashes: set[int] = set()
        self._fill(hashes, list(map(hash, keys)))
        if collisions := len(keys) - len(hashes):
            if collisions > MAX_COLLISIONS:
                raise ValueError("keys that were made to collide")
            self._charge(collisions**2 * max(map(_size, keys)))

    def _fill(self, table: set[Any] | dict[Any, Any], entries: list[Any]) -> None:
        """Put entries into a table. Raise ValueError if the tables of this value take too much time."""
        for start in range(0, len(entries), _KEYS_AT_A_TIME):
            began = thread_time()
            table.update(entries[start : start + _KEYS_AT_A_TIME])
            self._tables_left_s -= thread_time() - began
            if self._tables_left_s < 0:
                raise ValueError("a value that was made to take long")

    def _charge(self, steps: int) -> None:
        self._work_left -= steps
        if self._work_left < 0:
            raise ValueError("a value that was made to take long")


def _size(key: Any) -> int:
    """Return the number of steps in which a key is compared with another one."""
    return 1 + sum(map(_size, key)) if isinstance(key, (tuple, frozenset)) else 1


def _decoded_fraction(decoder: Decoder, body: Any) -> Fraction:
    numerator, denominator = map(decoder.whole, body)
    decoder.charge_for_division(numerator, denominator)
    return Fraction(numerator, denominator)


def _decoded_range(decoder: Decoder, body: Any) -> range:
    start, stop, step = map(decoder.whole, body)
    decoder.charge_for_division(stop - start, step)
    return range(start, stop, step)


def _decoded_decimal(decoder: Decoder, body: Any) -> Decimal:
    number = Decimal(str(body))
    if number.is_finite() and abs(number.as_tuple().exponent) > MAX_EXPONENT:  # type: ignore[arg-type]
        raise ValueError("exponent too large")
    return number


def _decoded_moment(decoder: Decoder, body: Any) -> Any:
    name, text = body
    kinds: dict[str, Any] = {"date": date, "time": time, "datetime": datetime}
    return kinds[name].fromisoformat(text)


def _decoded_complex(decoder: Decoder, body: Any) -> complex:
    real, imaginary = body
    if not (type(real) is float and type(imaginary) is float):
        raise ValueError("not a complex number")
    return complex(real, imaginary)


# Code of arrays of characters. Python 3.13 has another one for the same four bytes, and warns of the old one.
_CHARACTER = "u" if sys.version_info < (3, 13) else "w"
# Decoders by tag.
DECODERS: dict[str, Callable[[Decoder, Any], Any]] = {
    "i": lambda decoder, body: int(body, 16),
    "c": _decoded_complex,
    "b": lambda decoder, body: bytes.fromhex(body),
    "p": lambda decoder, body: bytes.fromhex(body).decode("utf-8", "surrogatepass"),
    "B": lambda decoder, body: bytearray.fromhex(body),
    "A": lambda decoder, body: array(body[:1].replace("u", _CHARACTER), bytes.fromhex(body[1:])),
    "t": lambda decoder, body: tuple(decoder.all(body)),
    "s": lambda decoder, body: decoder.set_of(body),
    "z": lambda decoder, body: frozenset(decoder.set_of(body)),
    "d": lambda decoder, body: decoder.dict_of(body),
    "k": lambda decoder, body: decoder.keys_of(body).keys(),
    "e": lambda decoder, body: decoder.dict_of(body).items(),
    "r": _decoded_range,
    "q": _decoded_fraction,
    "D": _decoded_decimal,
    "y": _decoded_moment,
    "T": lambda decoder, body: timedelta(*map(decoder.whole, body)),
    "u": lambda decoder, body: Unserializable(str(body)),
}
