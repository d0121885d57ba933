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
    both, and could have made them equal anyway. Its length and its elements by place are those of the elements in
    order, so that an object cannot pass as sorted by place and complete in order.
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
        length = self._ask("len", self)
        elements = self._elements()
        if elements is not None and len(elements) != length:
            raise ValueError("an object whose length is not the number of its elements")
        return length

    def __iter__(self) -> Any:
        return iter(self._ask("elements", self))

    def __getitem__(self, key: Any) -> Any:
        element = self._ask("getitem", self, key)
        elements = self._elements() if type(key) is int else None
        return element if elements is None else elements[key]

    def _elements(self) -> list[Any] | None:
        """Return the elements in order, or `None` if the object cannot be iterated, or not here."""
        try:
            elements: list[Any] = self._ask("list", self)
            return elements
        except Exception:
            return None


class References:
    """
    References of the examiner to the program's objects, by number. `ask` has the program carry out an operation.

    Between two calls of the program no object changes. So an operation is asked for once, and then has the same
    result until `forget` is called.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask_program = ask
        self._results: dict[tuple[Any, ...], tuple[Any, BaseException | None]] = {}
        self._iterated: set[int] = set()  # ids of references whose elements were read in order
        self._by_number: dict[int, Reference] = {}
        self._known: dict[int, tuple[Any, int]] = {}  # by `id`; the object is kept so that its `id` stays unique
        self._classes: dict[tuple[str, type], Any] = {}

    def forget(self) -> None:
        """Forget the results of operations, because the program is called and may change its objects."""
        self._results.clear()
        self._iterated.clear()

    def _elements(self, reference: Reference) -> list[Any]:
        """Return the elements in order. A generator has them once, any other object has the same ones again."""
        elements: list[Any] = self._ask("list", reference)
        if id(reference) in self._iterated and elements and not self._ask_program("list", reference):
            elements.clear()
        self._iterated.add(id(reference))
        return elements

    def _ask(self, operation: str, *operands: Any) -> Any:
        """Return the result of an operation, or raise its exception."""
        if operation == "elements":
            return self._elements(*operands)
        parts: list[Any] = [operation]
        for operand in operands:
            if type(operand) in (str, int):
                parts.append((operand,))
            elif id(operand) in self._known:
                parts.append(id(operand))
            else:  # another object may get the same `id`
                return self._ask_program(operation, *operands)
        key = tuple(parts)
        if key not in self._results:
            try:
                result = self._ask_program(operation, *operands)
                if operation == "list" and type(result) is not list:
                    raise TypeError("elements that are no list")
                self._results[key] = result, None
            except BaseException as error:
                self._results[key] = None, error
        result, problem = self._results[key]
        if problem is not None:
            raise problem
        return result

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
