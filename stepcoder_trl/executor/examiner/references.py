"""References in the examiner to objects of the program, and the encoder of the examiner's values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from stepcoder_trl.executor.wire.codec import TooLarge
from stepcoder_trl.executor.wire.objects import Writer


class NotPlain(Exception):
    """Raised for a `value` of the examiner that cannot be sent unchanged."""

    def __init__(self, value: Any) -> None:
        super().__init__(f"value of type {type(value).__name__}")
        self.value = value


class StrictWriter(Writer):
    """Encoder for values of the examiner. It raises `NotPlain` for a value that cannot be sent unchanged."""

    def cut_off(self, value: Any, why: str) -> Any:
        if id(value) in self.open:
            raise NotPlain(value)
        raise TooLarge

    def other(self, value: Any, kind: type, depth: int) -> Any:
        if kind is defaultdict or id(kind) in self.writers:
            return super().other(value, kind, depth)
        return self.opaque(value, kind)


Ask = Callable[..., Any]  # name of an operation, operands -> result


class Reference:
    """
    Reference to an object of the program. Its operations ask the program.

    It equals no value of the test. It equals another object of the program if the program says so: the program made
    both, and could have made them equal anyway.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other or (type(other) is Reference and self._ask("eq", self, other) is True)

    def __bool__(self) -> bool:
        return bool(self._ask("bool", self))

    def __str__(self) -> Any:
        return self._ask("str", self)

    def __repr__(self) -> Any:
        return self._ask("repr", self)

    def __int__(self) -> Any:
        return self._ask("int", self)

    def __float__(self) -> Any:
        return self._ask("float", self)

    def __len__(self) -> Any:
        return self._ask("len", self)

    def __iter__(self) -> Any:
        return iter(self._ask("list", self))

    def __getitem__(self, key: Any) -> Any:
        return self._ask("getitem", self, key)


class References:
    """References of the examiner to the program's objects, by number. `ask` has the program carry out an operation."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._by_number: dict[int, Reference] = {}
        self._known: dict[int, tuple[Any, int]] = {}  # by `id`; the object is kept so that its `id` stays unique
        self._classes: dict[tuple[str, type], Any] = {}

    def number(self, value: Any) -> int:
        """Return the number of an object of the program. Raise NotPlain for any other value."""
        if id(value) not in self._known:
            raise NotPlain(value)
        return self._known[id(value)][1]

    def referred(self, number: int) -> Reference:
        """Return the reference for a number. The same number always gives the same reference."""
        if number not in self._by_number:
            self._by_number[number] = reference = Reference(self._ask)
            self._known[id(reference)] = reference, number
        return self._by_number[number]

    def derived(self, number: int, type_name: str, content: Any) -> Any:
        """Create an instance of a class derived from that of the content. Its `str` and `repr` ask the program."""
        key = type_name, type(content)
        if key not in self._classes:
            ask = self._ask
            body = {"__str__": lambda own: ask("str", own), "__repr__": lambda own: ask("repr", own)}
            self._classes[key] = type(type_name, (type(content),), body)
        instance = self._classes[key](content)
        self._known[id(instance)] = instance, number
        return instance
