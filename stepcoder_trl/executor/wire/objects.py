"""
Encode the values in messages between the examiner and a program.

The examiner runs no code of the program. Its messages carry more types than `encode` does:

- values of the standard library, by exact type (dates, decimals, fractions, other containers, views of dicts);
- values of classes that a program derives from plain ones, such as named tuples: the content is sent, and the examiner
  creates an instance of a class of its own;
- any other object is sent as a number. The examiner may ask the program for the object's text, length or elements, but
  never whether it equals a value of the test.

A container that occurs twice in the arguments is decoded as one container.
"""

from __future__ import annotations

from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

from stepcoder_trl.executor.wire.codec import Encoder, decode, dict_of, hashed_apart, name_of


_mro_of = type.__dict__["__mro__"].__get__
_FACTORIES: dict[str, type] = {kind.__name__: kind for kind in (list, dict, set, int, float, str, tuple, bool)}
_EMPTY: dict[Any, Any] = {}
_KEYS, _VALUES, _ITEMS = type(_EMPTY.keys()), type(_EMPTY.values()), type(_EMPTY.items())
_MUTABLE = frozenset(map(id, (list, dict, set, bytearray, array, deque, Counter, OrderedDict, defaultdict)))


class Objects:
    """Objects of a program, by number. They are kept alive, so that no new object gets the same `id`."""

    def __init__(self) -> None:
        self._objects: list[Any] = []
        self._numbers: dict[int, int] = {}

    def number(self, value: Any) -> int:
        """Return the number of an object. A new object gets a new number."""
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self._objects)
            self._objects.append(value)
        return self._numbers[id(value)]

    def __getitem__(self, number: int) -> Any:
        return self._objects[number]


class Writer(Encoder):
    """
    Encoder of values to trees for `Reader`.

    `number` returns the number of an object. `shares`: a container that occurs twice is encoded once.
    """

    lists = frozenset({id(list)})
    dicts = frozenset({id(dict)})

    def __init__(self, number: Callable[[Any], int], shares: bool = False) -> None:
        super().__init__()
        self.number = number
        self._shares = shares
        self._places: dict[int, tuple[int, Any]] = {}  # by `id`; the object is kept so that its `id` stays unique
        self._num_containers = 0

    def earlier(self, value: Any, kind: type) -> Any:
        if not self._shares or id(kind) not in _MUTABLE:
            return None
        if id(value) in self._places:
            return {"@": self._places[id(value)][0]}
        self._places[id(value)] = self._num_containers, value
        self._num_containers += 1
        return None

    def exact(self, value: Any, kind: type, depth: int) -> Any:
        """Encode a value of the standard library. `None` if its class is not listed, or if it cannot be sent."""
        return _OTHERS[id(kind)](self, value, depth) if id(kind) in _OTHERS else None

    def other(self, value: Any, kind: type, depth: int) -> Any:
        tree = super().other(value, kind, depth)
        if not (isinstance(tree, dict) and "u" in tree):  # a value of numpy
            return tree
        for base in _mro_of(kind):
            if base is kind and id(base) in _OTHERS:
                content = self.exact(value, kind, depth)
                if content is not None:
                    return content
            elif id(base) in _CONTENTS:
                self._num_containers += id(base) in _MUTABLE  # the reader counts these containers too
                return {"S": [self.number(value), name_of(kind), _CONTENTS[id(base)](self, value, depth)]}
        return {"o": self.number(value)}


_Write = Callable[[Writer, Any, int], Any]


def _bytes(tag: str, hexadecimal: Callable[[Any], str], size: Callable[[Any], int]) -> _Write:
    def write(writer: Writer, value: Any, depth: int) -> Any:
        writer.charge(2 * size(value))
        return {tag: hexadecimal(value)}

    return write


def _text_of_number(writer: Writer, value: Any, depth: int) -> Any:
    text = Decimal.__str__(value)
    writer.charge(len(text))
    return {"D": text}


def _with_zone(name: str) -> _Write:
    def write(writer: Writer, value: Any, depth: int) -> Any:
        plain_zone = value.tzinfo is None or type(value.tzinfo) is timezone  # others would be cut to their offset
        return {"y": [name, value.isoformat()]} if plain_zone else None

    return write


def _factory_of(value: defaultdict[Any, Any]) -> str:
    """Return the name of the `default_factory` if it is a builtin class, else an empty text."""
    factory: Any = value.default_factory
    name = name_of(factory) if type(factory) is type else ""
    return name if _FACTORIES.get(name) is factory else ""


# Encoders by exact class. They return `None` if the value cannot be sent.
_OTHERS: dict[int, _Write] = {
    id(kind): write
    for kind, write in {
        Counter: lambda writer, value, depth: {"C": writer.all(dict.items(value), depth, value)},
        OrderedDict: lambda writer, value, depth: {"O": writer.all(OrderedDict.items(value), depth, value)},
        defaultdict: lambda writer, value, depth: {
            "F": [_factory_of(value), writer.all(dict.items(value), depth, value)]
        },
        deque: lambda writer, value, depth: {"Q": [value.maxlen, writer.all(deque.__iter__(value), depth, value)]},
        _KEYS: lambda writer, value, depth: {"k": writer.all(iter(value), depth, value)},
        _VALUES: lambda writer, value, depth: {"v": writer.all(iter(value), depth, value)},
        _ITEMS: lambda writer, value, depth: {"e": writer.all(iter(value), depth, value)},
        bytearray: _bytes("B", bytearray.hex, len),
        array: _bytes("A", lambda value: value.typecode + value.tobytes().hex(), lambda v: len(v) * v.itemsize),
        Fraction: lambda writer, value, depth: {
            "q": [writer.encode(value.numerator, depth), writer.encode(value.denominator, depth)]
        },
        Decimal: _text_of_number,
        date: lambda writer, value, depth: {"y": ["date", value.isoformat()]},
        time: _with_zone("time"),
        datetime: _with_zone("datetime"),
        timedelta: lambda writer, value, depth: {"T": [value.days, value.seconds, value.microseconds]},
    }.items()
}
# Encoders by base class, for instances of derived classes. Only methods of the base class read the value.
_CONTENTS: dict[int, _Write] = {
    id(kind): write
    for kind, write in {
        str: lambda writer, value, depth: writer.encode(str.__str__(value), depth),
        bytes: lambda writer, value, depth: writer.encode(bytes.__getitem__(value, slice(None)), depth),
        int: lambda writer, value, depth: writer.encode(int.__int__(value), depth),
        float: lambda writer, value, depth: writer.encode(float.__float__(value), depth),
        complex: lambda writer, value, depth: writer.encode(complex.__pos__(value), depth),
        list: lambda writer, value, depth: writer.all(list.__iter__(value), depth, value),
        tuple: lambda writer, value, depth: {"t": writer.all(tuple.__iter__(value), depth, value)},
        dict: lambda writer, value, depth: {"d": writer.all(dict.items(value), depth, value)},
        set: lambda writer, value, depth: {"s": writer.all(set.__iter__(value), depth, value)},
        frozenset: lambda writer, value, depth: {"z": writer.all(frozenset.__iter__(value), depth, value)},
        Counter: _OTHERS[id(Counter)],
        OrderedDict: _OTHERS[id(OrderedDict)],
    }.items()
}


class Reader:
    """
    Decoder of trees from `Writer`.

    `referred` returns the object for a number. `derived` returns an instance of a derived class for its number, the
    name of the class and its content. `shares`: a container may occur twice.
    """

    def __init__(
        self,
        referred: Callable[[int], Any],
        derived: Callable[[int, str, Any], Any] | None = None,
        shares: bool = True,
    ) -> None:
        self.referred = referred
        self.derived = derived
        self._shares = shares
        self._made: list[Any] = []

    def read(self, tree: Any) -> Any:
        """Decode a tree. It may come from a hostile process: raise ValueError if it is malformed."""
        try:
            return self._read(tree)
        except (TypeError, LookupError, ArithmeticError, AttributeError, RecursionError) as error:
            raise ValueError(f"not an encoded value: {error}") from None

    def _read(self, tree: Any) -> Any:
        if tree is None or isinstance(tree, (bool, int, str)):
            return tree
        if isinstance(tree, list):
            return self.kept(self.all, tree)
        ((tag, body),) = tree.items()
        return _READERS[tag](self, body) if tag in _READERS else decode(tree)

    def all(self, trees: list[Any]) -> list[Any]:
        """Decode a list of trees."""
        return [self._read(tree) for tree in trees]

    def dict(self, pairs: list[Any]) -> dict[Any, Any]:
        """Decode a dict from its pairs."""
        return dict_of(self.all(pairs))

    def kept(self, make: Callable[[Any], Any], body: Any) -> Any:
        """Decode a container that may occur again. Containers are numbered from the outermost inwards."""
        place = len(self._made)
        self._made.append(_UNFINISHED)
        self._made[place] = made = make(body)
        return made

    def again(self, place: Any) -> Any:
        """Return a container decoded before."""
        if not self._shares or type(place) is not int or place < 0 or self._made[place] is _UNFINISHED:
            raise ValueError("not a container decoded before")
        return self._made[place]

    def object(self, body: Any) -> Any:
        """Return the object for a number."""
        return self.referred(_number(body))

    def instance(self, body: Any) -> Any:
        """Decode an instance of a derived class."""
        number, name, content = body
        if self.derived is None:
            raise ValueError("an instance of a derived class")
        return self.derived(_number(number), str(name), self._read(content))


_UNFINISHED = object()


def _number(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("not a number of an object")
    return value


def _array(body: str) -> array[Any]:
    return array(body[:1], bytes.fromhex(body[1:]))


def _fraction(parts: list[Any]) -> Fraction:
    numerator, denominator = parts
    if not (type(numerator) is int and type(denominator) is int):
        raise ValueError("not a fraction")
    return Fraction(numerator, denominator)


def _moment(body: Any) -> Any:
    name, text = body
    kinds: dict[str, Any] = {"date": date, "time": time, "datetime": datetime}
    return kinds[name].fromisoformat(text)


def _view_of_values(values: list[Any]) -> Any:
    return dict(enumerate(values)).values()


_READERS: dict[str, Callable[[Reader, Any], Any]] = {
    "@": Reader.again,
    "o": Reader.object,
    "S": Reader.instance,
    "t": lambda reader, body: tuple(reader.all(body)),
    "z": lambda reader, body: frozenset(hashed_apart(reader.all(body))),
    "s": lambda reader, body: reader.kept(lambda trees: set(hashed_apart(reader.all(trees))), body),
    "d": lambda reader, body: reader.kept(reader.dict, body),
    "C": lambda reader, body: reader.kept(lambda pairs: Counter(reader.dict(pairs)), body),
    "O": lambda reader, body: reader.kept(lambda pairs: OrderedDict(reader.dict(pairs)), body),
    "F": lambda reader, body: reader.kept(
        lambda parts: defaultdict(_FACTORIES.get(parts[0]), reader.dict(parts[1])), body
    ),
    "Q": lambda reader, body: reader.kept(lambda parts: deque(reader.all(parts[1]), parts[0]), body),
    "B": lambda reader, body: reader.kept(bytearray.fromhex, body),
    "A": lambda reader, body: reader.kept(_array, body),
    "k": lambda reader, body: dict.fromkeys(hashed_apart(reader.all(body))).keys(),
    "v": lambda reader, body: _view_of_values(reader.all(body)),
    "e": lambda reader, body: reader.dict(body).items(),
    "q": lambda reader, body: _fraction(reader.all(body)),
    "D": lambda reader, body: Decimal(str(body)),
    "y": lambda reader, body: _moment(body),
    "T": lambda reader, body: timedelta(*body),
}
