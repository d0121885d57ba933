"""
Codec of plain Python values, which travel in messages between processes as JSON.

Values of a fixed list of exact types are sent. They are read with the methods of their base class, so no method of an
object that the program made is called. Nothing is pickled. `decode` checks everything, because the sender may be
hostile.
"""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any


MAX_DEPTH = 200  # nesting of a value; the scanner of `json` fails near the recursion limit
MAX_ITEMS = 2_000_000  # elements of a value; shared parts count each time, so that lists of shared lists stay small
MAX_CHARACTERS = 16 * 2**20  # text, bytes and hexadecimal digits of a value together
MAX_COLLISIONS = 1000  # keys of a set or dict that have the hash of another key
_SMALL_INT = 2**62  # larger integers are sent as hexadecimal text, because decimal conversion is slow and limited
_NUMPY_SCALARS = (
    *("bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128", "str_", "bytes_"),
)


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
    Return a JSON tree of a plain Python value, with its exact type: None, bool, int, str, lists and one-key dicts.

    Plain are None, bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict and range. Counter,
    OrderedDict and defaultdict count as dict, deque as list, numpy scalars and arrays as Python values. Anything else,
    subclasses included, becomes a marker that decodes to `Unserializable`. Raise `TooLarge` for too much.
    """
    return Encoder().encode(value, 0)


class Encoder:
    """Encoder of one value, see `encode`."""

    # Ids of classes that are sent as lists and dicts. A program's class may say that it equals one of them.
    lists = frozenset(map(id, (list, deque)))
    dicts = frozenset(map(id, (dict, Counter, OrderedDict, defaultdict)))

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
            return value
        if kind is bool or value is None:
            return value
        if kind is int:
            if -_SMALL_INT < value < _SMALL_INT:
                return value
            self.charge(value.bit_length() // 4)
            return {"i": hex(value)}
        if kind is float:
            return {"f": float.hex(value)}
        if depth >= MAX_DEPTH:
            return self.cut_off(value, "value nested too deeply")
        earlier = self.earlier(value, kind)
        if earlier is not None:
            return earlier
        if id(kind) in self.lists:
            return self.all(kind.__iter__(value), depth, value)
        if id(kind) in self.dicts:
            return {"d": self.all(dict.items(value), depth, value)}
        return self._tagged(value, kind, depth)

    def _tagged(self, value: Any, kind: type, depth: int) -> Any:
        """Return the tree of a value whose type needs a tag."""
        if kind is tuple:
            return {"t": self.all(tuple.__iter__(value), depth, value)}
        if kind is set:
            return {"s": self.all(set.__iter__(value), depth, value)}
        if kind is frozenset:
            return {"z": self.all(frozenset.__iter__(value), depth, value)}
        if kind is complex:
            return {"c": [float.hex(value.real), float.hex(value.imag)]}
        if kind is bytes:
            self.charge(2 * len(value))
            return {"b": bytes.hex(value)}
        if kind is range:
            return {"r": [self.encode(part, depth) for part in (value.start, value.stop, value.step)]}
        return self.other(value, kind, depth)

    def cut_off(self, value: Any, why: str) -> Any:
        """Return the marker of a part that cannot be encoded in full."""
        return {"u": why}

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
        """Return the tree of a value of numpy, or the marker of a value of any other type."""
        numpy: Any = sys.modules.get("numpy")
        if numpy is not None:
            if kind is numpy.ndarray:
                if value.size > self.items_left:
                    raise TooLarge
                return self.encode(value.tolist(), depth)  # the type is numpy's own, and so is the method
            if id(kind) in _numpy_scalars(numpy):
                return self.encode(numpy.generic.item(value), depth)
        return {"u": name_of(kind)}


def name_of(kind: type) -> str:
    """Return the name of a class. It asks `type`, because a metaclass may define `__name__`."""
    name: str = type.__dict__["__name__"].__get__(kind)
    return name


def _numpy_scalars(numpy: Any) -> frozenset[int]:
    return frozenset(id(getattr(numpy, name)) for name in _NUMPY_SCALARS)


def decode(tree: Any) -> Any:
    """Decode a tree of `encode`. It may come from a hostile process: raise ValueError if it is malformed."""
    try:
        return _decode(tree)
    except (TypeError, KeyError, IndexError, OverflowError, AttributeError, RecursionError) as error:
        raise ValueError(f"not an encoded value: {error}") from None


def _decode(tree: Any) -> Any:
    if tree is None or isinstance(tree, (bool, int, str)):
        return tree
    if isinstance(tree, list):
        return [_decode(item) for item in tree]
    ((tag, body),) = tree.items()
    return _DECODERS[tag](body)


def hashed_apart(keys: list[Any]) -> list[Any]:
    """Return the keys. Raise `ValueError` if many have the same hash, because a set of them would take too long."""
    if len(keys) > MAX_COLLISIONS and len(keys) - len(set(map(hash, keys))) > MAX_COLLISIONS:
        raise ValueError("keys that were made to collide")
    return keys


def dict_of(pairs: list[Any]) -> dict[Any, Any]:
    """Return the dict of pairs. Raise `ValueError` if many keys have the same hash."""
    hashed_apart([key for key, _ in pairs])
    return dict(pairs)


_DECODERS: dict[str, Any] = {
    "i": lambda body: int(body, 16),
    "f": float.fromhex,
    "c": lambda body: complex(*map(float.fromhex, body)),
    "b": bytes.fromhex,
    "t": lambda body: tuple(_decode(item) for item in body),
    "s": lambda body: set(hashed_apart([_decode(item) for item in body])),
    "z": lambda body: frozenset(hashed_apart([_decode(item) for item in body])),
    "d": lambda body: dict_of([_decode(pair) for pair in body]),
    "r": lambda body: range(*(_decode(part) for part in body)),
    "u": lambda body: Unserializable(str(body)),
}
