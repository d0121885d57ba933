"""References in the examiner to objects of the program, and the encoder of the examiner's values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from typing import Any, NoReturn

from stepcoder_trl.executor.examiner.elements import Elements, Stream
from stepcoder_trl.executor.examiner.operations import Ask, Operations, Refuse, asked
from stepcoder_trl.executor.wire.codec import TooLarge
from stepcoder_trl.executor.wire.objects import Writer


_MOST_COMPARED = 2**17  # elements of an object, which may make them when they are asked for


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


class Reference(Operations):
    """
    Reference to an object of the program. Its operations ask the program.

    It equals no value of the test. It equals another object of the program if the program says so: the program made
    both, and could have made them equal anyway. Its length and its elements by place are those of the elements in
    order, so that an object cannot pass as sorted by place and complete in order.
    """

    def __init__(self, references: References) -> None:
        self._references = references

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other or (type(other) is Reference and self._ask("eq", self, other) is True)

    def __bool__(self) -> bool:
        return bool(self._ask("bool", self))

    __str__, __repr__, __format__ = asked("str"), asked("repr"), asked("format")
    __int__, __float__, __complex__, __bytes__ = asked("int"), asked("float"), asked("complex"), asked("bytes")
    __index__, __trunc__ = asked("index"), asked("trunc")

    def __len__(self) -> Any:
        length = self._ask("len", self)
        elements = self._elements()
        if elements is not None and len(elements.all()) != length:
            self._refuse("a length that is not the number of elements")
        return length

    def __iter__(self) -> Iterator[Any]:
        return iter(self._references.elements(self))

    def __reversed__(self) -> Iterator[Any]:
        self._refuse_own("__reversed__")
        return iter([self[place] for place in reversed(range(len(self)))])

    def __contains__(self, item: object) -> bool:
        try:
            elements = iter(self)
        except TypeError:
            self._refuse_own("__contains__")
            raise
        return any(item is element or item == element for element in elements)

    def __getitem__(self, key: Any) -> Any:
        element = self._ask("getitem", self, key)
        elements = self._elements() if type(key) is int else None
        return element if elements is None else elements[key]

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        self._refuse("a copy of an object of the program")

    def _elements(self) -> Elements | None:
        """Return the elements in order. `None` if the object cannot be iterated, or has more than can be compared."""
        try:
            elements = self._references.elements(self, in_order=False)
            elements.has(0)
        except Exception:
            return None
        if isinstance(elements, Stream):
            self._refuse("a generator with a length or places")
        return None if elements.has(_MOST_COMPARED) else elements


class References:
    """
    References of the examiner to the program's objects, by number. `ask` has the program carry out an operation.

    Between two calls of the program no object changes. So an operation is asked for once, and then has the same
    result until `forget` is called. `refuse` ends the test: it needs what cannot be asked.
    """

    def __init__(self, ask: Ask, refuse: Refuse) -> None:
        self._ask_program = ask
        self.refuse = refuse
        self._results: dict[tuple[Any, ...], tuple[Any, BaseException | None]] = {}
        self._elements: dict[int, Elements] = {}  # by `id` of the reference
        self._streams: dict[int, Stream | None] = {}
        self._by_number: dict[int, Reference] = {}
        self._known: dict[int, tuple[Any, int]] = {}  # by `id`; the object is kept so that its `id` stays unique
        self._classes: dict[tuple[str, type], Any] = {}

    def forget(self) -> None:
        """Forget the results of operations, because the program is called and may change its objects."""
        self._results.clear()
        self._elements.clear()

    def elements(self, reference: Reference, in_order: bool = True) -> Elements:
        """Return the elements. A generator has them once, any other object has the same ones again."""
        key = id(reference)
        if key not in self._streams:
            is_stream = self._ask_program("is_stream", reference) is True
            self._streams[key] = Stream(partial(self._ask_program, "take", reference)) if is_stream else None
        stream = self._streams[key]
        if stream is not None:
            return stream
        known = self._elements.get(key)
        if known is None:
            known = self._elements[key] = self._from_the_first(self.ask("iter", reference))
        elif in_order and known.was_read and known.has_ended and not self._has_more(reference):
            known.clear()
        known.was_read |= in_order
        return known

    def _from_the_first(self, iterator: Any) -> Elements:
        return Elements(partial(self._ask_program, "take", iterator))

    def _has_more(self, reference: Reference) -> bool:
        """Return whether an object that was read to its end has elements again."""
        return self._from_the_first(self._ask_program("iter", reference)).has(0)

    def ask(self, operation: str, *operands: Any) -> Any:
        """Return the result of an operation, or raise its exception."""
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
                self._results[key] = self._ask_program(operation, *operands), None
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
            self._by_number[number] = reference = Reference(self)
            self._known[id(reference)] = reference, number
        return self._by_number[number]

    def derived(self, number: int, type_name: str, content: Any) -> Any:
        """Create an instance of a class derived from that of the content. Its `str` and `repr` ask the program."""
        key = type_name, type(content)
        if key not in self._classes:
            body = {"_references": self, "__str__": asked("str"), "__repr__": asked("repr")}
            self._classes[key] = type(type_name, (type(content), Operations), body)
        instance = self._classes[key](content)
        self._known[id(instance)] = instance, number
        return instance
