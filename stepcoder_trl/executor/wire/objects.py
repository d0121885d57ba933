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
from collections.abc import Callable, Mapping
from datetime import datetime, time, timezone
from typing import Any

from stepcoder_trl.executor.wire.codec import DECODERS, MAX_ITEMS, VALUES, WRITERS, Decoder, Encoder, Write, name_of


_FACTORIES: dict[str, type] = {kind.__name__: kind for kind in (list, dict, set, int, float, str, tuple, bool)}
_MUTABLE = frozenset(map(id, (list, dict, set, bytearray, array, deque, Counter, OrderedDict, defaultdict)))
_MAXLEN: Callable[[Any], int | None] = deque.__dict__["maxlen"].__get__
# Instances of classes derived from these are sent with the name of their class.
_NAMED = frozenset(map(id, (str, bytes, int, float, complex, list, tuple, dict, set, frozenset, Counter, OrderedDict)))


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

    `number` returns the number of an object. `shares`: a container that occurs twice is encoded once. `items_left`:
    items that the value may have.
    """

    def __init__(self, number: Callable[[Any], int], shares: bool = False, items_left: int = MAX_ITEMS) -> None:
        super().__init__()
        self.items_left = items_left
        self.number = number
        self._shares = shares
        self._places: dict[int, tuple[int, Any]] = {}  # by `id`; the object is kept so that its `id` stays unique
        self._num_containers = 0

    def earlier(self, value: Any, kind: type) -> Any:
        if not self._shares or id(kind) not in _MUTABLE:
            return None
        if id(value) in self._places:
            return self.tagged("@", self._places[id(value)][0])
        self._places[id(value)] = self._num_containers, value
        self._num_containers += 1
        return None

    @property
    def writers(self) -> Mapping[int, Write]:
        return _WRITERS

    def other(self, value: Any, kind: type, depth: int) -> Any:
        if kind is defaultdict:
            pairs = self.all(dict.items(value), depth, value)
            return self.tagged("F", [_factory_of(value), pairs], 2)
        return super().other(value, kind, depth)

    def derived(self, value: Any, kind: type, base: type, depth: int) -> Any:
        if base in (time, datetime) and not _has_plain_zone(value):
            return self.opaque(value, kind)  # the zone would be cut to its offset
        if base is kind:
            return self.writers[id(base)](self, value, depth)
        self._num_containers += id(base) in _MUTABLE  # the reader counts these containers too
        if id(base) not in _NAMED:
            return self.writers[id(base)](self, value, depth)
        content = self.writers[id(base)](self, value, depth + 1)
        return self.tagged("S", [self.number(value), name_of(kind), content], 3)

    def opaque(self, value: Any, kind: type) -> Any:
        return self.tagged("o", self.number(value))


def _has_plain_zone(value: Any) -> bool:
    return value.tzinfo is None or type(value.tzinfo) is timezone


def _factory_of(value: defaultdict[Any, Any]) -> str:
    """Return the name of the `default_factory` if it is a builtin class, else an empty text."""
    factory: Any = value.default_factory
    name = name_of(factory) if type(factory) is type else ""
    return name if _FACTORIES.get(name) is factory else ""


# Some containers keep their exact type.
_WRITERS: dict[int, Write] = WRITERS | {
    id(Counter): lambda writer, value, depth: writer.tagged("C", writer.all(dict.items(value), depth, value)),
    id(OrderedDict): lambda writer, value, depth: writer.tagged(
        "O", writer.all(OrderedDict.items(value), depth, value)
    ),
    id(deque): lambda writer, value, depth: writer.tagged(
        "Q", [_MAXLEN(value), writer.all(deque.__iter__(value), depth, value)], 2
    ),
    id(VALUES): lambda writer, value, depth: writer.tagged("v", writer.all(iter(value), depth, value)),
}


class Reader(Decoder):
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
        super().__init__()
        self.referred = referred
        self.derived = derived
        self._shares = shares
        self._made: list[Any] = []

    def part(self, tree: Any) -> Any:
        if isinstance(tree, list):
            return self.kept(self.all, tree)
        if isinstance(tree, dict) and len(tree) == 1:
            ((tag, body),) = tree.items()
            if tag in _READERS:
                return _READERS[tag](self, body)
        return super().part(tree)

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
        return self.derived(_number(number), str(name), self.part(content))


_UNFINISHED = object()


def _number(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("not a number of an object")
    return value


def _kept(tag: str) -> Callable[[Reader, Any], Any]:
    """Return the decoder of a plain container that may occur again."""
    return lambda reader, body: reader.kept(lambda parts: DECODERS[tag](reader, parts), body)


_READERS: dict[str, Callable[[Reader, Any], Any]] = {
    "@": Reader.again,
    "o": Reader.object,
    "S": Reader.instance,
    **{tag: _kept(tag) for tag in ("s", "d", "B", "A")},
    "C": lambda reader, body: reader.kept(lambda pairs: Counter(reader.dict_of(pairs)), body),
    "O": lambda reader, body: reader.kept(lambda pairs: OrderedDict(reader.dict_of(pairs)), body),
    "F": lambda reader, body: reader.kept(
        lambda parts: defaultdict(_FACTORIES.get(parts[0]), reader.dict_of(parts[1])), body
    ),
    "Q": lambda reader, body: reader.kept(lambda parts: deque(reader.all(parts[1]), parts[0]), body),
    "v": lambda reader, body: dict(enumerate(reader.all(body))).values(),
}
