"""Test the values sent between examiner and program."""

from __future__ import annotations

import itertools
import json
from array import array
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepcoder_trl.executor.child.answers import operations
from stepcoder_trl.executor.examiner.references import NotPlain, Reference, References, StrictWriter
from stepcoder_trl.executor.wire.codec import TooLarge
from stepcoder_trl.executor.wire.objects import Objects, Reader, Writer


Point = namedtuple("Point", "x y")


class Text(str):
    def __eq__(self, other):
        return True

    __hash__ = str.__hash__


class Level(IntEnum):
    LOW = 3


class Color(Enum):
    RED = 1


class Program:
    """Program's side of an examination, in this process."""

    def __init__(self):
        self.objects = Objects()
        self.references = References(self.ask, self.refuse)
        self.operations = operations()

    def answer(self, value):
        """Send a value of the program to the examiner."""
        tree = json.loads(json.dumps(Writer(self.objects.number).encode(value, 0)))
        return Reader(self.references.referred, self.references.derived, shares=False).read(tree)

    def argument(self, value):
        """Send a value of the examiner to the program."""
        tree = json.loads(json.dumps(StrictWriter(self.references.number, shares=True).encode(value, 0)))
        return Reader(self.objects.__getitem__).read(tree)

    def ask(self, operation, *operands):
        return self.answer(self.operations[operation](*self.argument(list(operands))))

    def refuse(self, what):
        raise Refused(what)


class Refused(BaseException):
    pass


@pytest.fixture
def program():
    return Program()


EXACT = [
    Counter("aab"),
    OrderedDict([(2, 1), (1, 2)]),
    deque([1, [2]], maxlen=5),
    bytearray(b"ab"),
    array("d", [0.5, 2.0]),
    Fraction(-3, 7),
    Decimal("1.50"),
    Decimal("-Infinity"),
    date(2020, 1, 2),
    time(1, 2, 3, 4),
    datetime(2020, 1, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=2))),
    timedelta(-1, 5, 7),
    {1: 2, 3: 4}.keys(),
    {1: 2, 3: 4}.items(),
    "\ud83d\ude00",  # JSON reads these two characters as one
    [{"a": (Fraction(1, 2), {Decimal(1)})}],
]


@pytest.mark.parametrize("value", EXACT, ids=lambda value: type(value).__name__)
def test_values_round_trip(program, value):
    for found in (program.answer(value), program.argument(value)):
        assert type(found) is type(value)
        assert found == value
        assert repr(found) == repr(value)


def test_attributes_that_equality_ignores_round_trip(program):
    assert program.answer(deque([1], maxlen=3)).maxlen == 3
    assert program.answer(defaultdict(list, {1: [2]}))[7] == []
    assert program.answer(defaultdict(lambda: 5)).default_factory is None
    assert list(program.answer({1: 5, 2: 6}.values())) == [5, 6]


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Point(1, 2), (1, 2)),
        (Level.LOW, 3),
        (type("Numbers", (list,), {})([1, 2]), [1, 2]),
        (type("Table", (defaultdict,), {})(int, {1: 2}), {1: 2}),
        (type("Counts", (Counter,), {})("aab"), Counter("aab")),
        (type("Real", (float,), {})(-0.0), -0.0),
        (Text("ab"), "ab"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_derived_instances_are_sent_by_base_content(program, value, plain):
    found = program.answer(value)

    assert isinstance(found, type(plain))
    assert type(found) is not type(plain)
    assert found == plain
    assert str(found) == str(value)


def test_custom_eq_has_no_effect(program):
    found = program.answer([Text("ab"), type("Anything", (), {"__eq__": lambda self, other: True})()])

    assert found[0] != "cd"
    assert found[1] != 3
    assert found != ["ab", 3]


def test_references_return_text_and_elements(program):
    value = {"ab": 1}.__class__
    found = program.answer(value)
    assert isinstance(found, Reference)
    assert (str(found), bool(found)) == ("<class 'dict'>", True)

    generator = program.answer(number for number in range(3))
    assert sum(generator) == 3
    assert list(generator) == []  # the generator is exhausted


def shifting_object():
    """Return an object that is another one each time it is looked at."""
    looks = itertools.count()
    kinds = {
        "__float__": float,
        "__int__": int,
        "__str__": str,
        "__bool__": lambda count: count % 2 == 0,
        "__iter__": lambda count: iter([count]),
    }
    body = {name: lambda self, kind=kind: kind(next(looks)) for name, kind in kinds.items()}
    return type("Shifting", (), {**body, "__getitem__": lambda self, key: next(looks)})()


def test_references_are_the_same_at_each_look_until_the_program_is_called(program):
    found = program.answer(shifting_object())

    for look in (float, int, str, bool, list, lambda reference: reference["key"]):
        before = look(found)
        assert look(found) == before
    assert [found[0]] == list(found)
    before = str(found)
    program.references.forget()
    assert str(found) != before


def test_length_and_places_of_a_reference_agree_with_its_elements(program):
    body = {
        "__iter__": lambda self: iter([3, 1, 2]),
        "__len__": lambda self: 4,
        "__getitem__": lambda self, place: place,
    }
    found = program.answer(type("Liar", (), body)())

    assert [found[0], found[1], found[-1]] == [3, 1, 2]
    with pytest.raises(Refused, match="length"):
        len(found)


def test_object_that_claims_to_be_a_generator_has_no_places(program):
    body = {"__iter__": lambda self: iter([3, 1, 2]), "__getitem__": lambda self, place: place + 1}
    program.operations["is_stream"] = lambda value: True

    with pytest.raises(Refused, match="generator"):
        program.answer(type("Liar", (), body)())[0]


@pytest.mark.parametrize("taken", [5, [1], ([1, 2], False), ((1,), False), ([1], False, 0)], ids=repr)
def test_elements_that_are_no_list_raise(program, taken):
    program.operations["take"] = lambda iterator, number: taken

    with pytest.raises(TypeError, match="elements"):
        list(program.answer(object.__new__(type("Iterable", (), {"__iter__": lambda self: iter([1])}))))


def test_references_keep_identity(program):
    first, again, other = program.answer([Color.RED, Color.RED, Color])

    assert first is again
    assert first == program.answer(Color.RED)
    assert first != other
    assert program.argument([first]) == [Color.RED]
    assert program.argument([program.answer(Level.LOW)])[0] is Level.LOW


def test_program_decides_equality_of_its_objects(program):
    first, second, third = program.answer([ZoneInfo("UTC"), {}.__class__.fromkeys, {}.__class__.fromkeys])

    assert second == third
    assert first != second


def test_shared_containers_stay_shared(program):
    row = [0]
    table = [row, row, {"row": row}]

    found = program.argument([table, table])

    assert found[0] is found[1]
    assert found[0][0] is found[0][1] is found[0][2]["row"]
    assert program.answer([row, row])[0] == row


@pytest.mark.parametrize("content", [[1], deque([1]), bytearray([1]), array("i", [1]), {1}], ids=repr)
def test_derived_containers_keep_container_numbers(program, content):
    row = [5]
    base = type(content)
    given = ("i", content) if base is array else (content,)
    derived = type("Row", (base,), {})(*given)
    tree = Writer(program.objects.number, shares=True).encode([derived, row, row], 0)

    found = Reader(program.references.referred, program.references.derived).read(tree)

    assert found == [content, [5], [5]]
    assert found[1] is found[2]


@pytest.mark.parametrize("value", [object(), len, Point(1, 2), datetime.now(ZoneInfo("UTC")), (n for n in ())])
def test_examiner_values_that_would_change_raise(program, value):
    with pytest.raises(NotPlain):
        program.argument([value])


def test_recursive_or_too_deep_arguments_raise(program):
    cyclic: list[object] = []
    cyclic.append(cyclic)
    deep: list[object] = []
    for _ in range(300):
        deep = [deep]

    with pytest.raises(NotPlain):
        program.argument(cyclic)
    with pytest.raises(TooLarge):
        program.argument(deep)
    assert program.answer(cyclic) != cyclic


@pytest.mark.parametrize(
    "forged",
    [
        *({"q": [1, 0]}, {"q": ["1", 2]}, {"D": "x"}, {"y": ["date", "1"]}, {"y": ["eval", "1"]}, {"T": [10**30]}),
        *({"Q": [-1, []]}, {"A": "i0"}, {"B": "zz"}, {"@": 0}, [{"@": 0}], [[], {"@": -1}], {"o": -1}),
        *({"S": [0, "x", None]}, {"S": [0, "x", True]}, {"S": [0, "\0", 1]}, {"S": [True, "x", 1]}, {"k": [[1]]}),
        *({"C": [1]}, {"F": [[], []]}, {"e": 5}, {"o": [0]}, {}),
    ],
    ids=str,
)
def test_malformed_trees_raise(program, forged):
    with pytest.raises(ValueError):
        Reader(program.references.referred, program.references.derived).read(forged)


def test_answers_do_not_share_containers(program):
    with pytest.raises(ValueError):
        Reader(program.references.referred, program.references.derived, shares=False).read([[], {"@": 1}])


def test_metaclass_with_custom_eq_is_not_a_list(program):
    class Meta(type):
        def __eq__(cls, other):
            raise RuntimeError("called")

        def __hash__(cls):
            raise RuntimeError("called")

    assert isinstance(program.answer(Meta("Odd", (), {})()), Reference)


plain = st.none() | st.integers() | st.text() | st.binary() | st.fractions() | st.dates()
nested = st.recursive(
    plain,
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(plain, inner, max_size=3),
    max_leaves=20,
)


@given(nested)
def test_nested_values_round_trip(value):
    program = Program()

    assert program.answer(value) == program.argument(value) == value
