"""Regions of a line that may stay unevaluated, and probes that change nothing but tell which were entered."""

# ruff: noqa: E501 - a program is one line of the table, whatever its length.
from __future__ import annotations

import contextlib
import io
import sys
import traceback
from types import CodeType
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stepcoder_trl import probes
from stepcoder_trl.masking import executed_spans
from stepcoder_trl.parsing import compile_for_tracing
from stepcoder_trl.probes import FIRST_KEY, compile_with_probes, find_regions, unexecuted_regions
from tests.probe_oracle import OpcodeTracer, entered_regions, seldom_seen_regions
from tests.strategies import programs


FILENAME = "/nowhere/solution.py"


class Table(dict):
    """What probes ask: every key once."""

    __hash__ = object.__hash__

    def __missing__(self, key):
        self[key] = None

    def entered(self):
        return {key - FIRST_KEY for key in self}


def run(code: CodeType, **names: Any) -> dict[str, Any]:
    namespace = {"__name__": "__main__", **names}
    exec(code, namespace)
    return namespace


def probed(program: str) -> tuple[CodeType, Table]:
    table = Table()
    found = compile_with_probes(program, FILENAME, table)
    assert found is not None
    assert found.num_regions == len(find_regions(program))
    return found.code, table


def left_out(program: str) -> list[str]:
    """Texts of the regions that were not entered, those inside others aside."""
    code, table = probed(program)
    with contextlib.suppress(ZeroDivisionError, AssertionError):
        run(code)
    skipped = unexecuted_regions(find_regions(program), table.entered())
    inner = {b for a in skipped for b in skipped if a != b and a[0] <= b[0] and b[1] <= a[1]}
    return [program[start:end] for start, end in sorted(set(skipped) - inner)]


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("y = 1 if 3 else 2", ["2"]),
        ("y = 1 if [] else 2", ["1"]),
        ("x = 1 if 2 else (3 if 4 else 5)", ["(3 if 4 else 5)"]),
        ("n = 3; ok = n > 5 and max(1, 2) > 3", ["max(1, 2) > 3"]),
        ("x = 0 or 5 or 1 or 2", ["1", "2"]),
        ("f = lambda q: q + 1", ["q + 1"]),
        ("f = lambda q: q or 1; f(2)", ["1"]),
        ("z = [v * 2 for v in [2] if v > 10]", ["v * 2"]),
        ("z = [v for v in [] if v > 10 if v]", ["v", "v > 10", "v"]),
        ("z = {a: b for a in [1] for b in [] if b}", ["a: b", "b"]),
        ("z = {a: b for a in [] for b in [a]}", ["a: b", "[a]"]),
        ("g = (v for v in [1])", ["v"]),
        ("g = list({v} for v in [1] for w in (v, 2) if w > 1)", []),
        ("assert 1, 'bad ' + str(1)", ["'bad ' + str(1)"]),
        ("assert 0, 'bad ' + str(1)", []),
        ("k = 1 > 2 < 3 < (4)", ["3", "(4)"]),
        ("w = 1 or ( ( (5) ) )", ["( ( (5) ) )"]),
        ("w = print((1 or (2)))", ["(2)"]),
        ("if []: x = 1; y = 2", ["x = 1;", "y = 2"]),
        ("if []: x = 1; y = 2 ;\nelse: z = 1", ["x = 1;", "y = 2 ;"]),
        ("x = 1; y = 1 / 0; z = 2; w = 3", ["z = 2;", "w = 3"]),
        ("x = '''a\n'''; y = 1 / 0; z = 1", ["z = 1"]),
        ("while []: x = 1", ["x = 1"]),
        ("for i in []: x = 1", ["x = 1"]),
        ("def f(): return 1", ["return 1"]),
        ("def f(): 'doc'", ["'doc'"]),
        ("def f(): 'doc'\nf()", []),
        ("def f(): 'doc'; global x; x = 1; return x", ["'doc'; global x; x = 1;", "return x"]),
        ("def f(): x = 1; global y\nf()", []),
        ("def f(): x = 1; global y", ["x = 1; global y"]),
        ("try: 1 / 0; x = 2\nexcept ZeroDivisionError: x = 3", ["x = 2"]),
        ("match 3:\n    case 3 if []: x = 1", ["x = 1"]),
        ("match 3:\n    case 4 if ([]): x = 1", ["([])", "x = 1"]),
        ("é = 'é' if 'é' else ('é', 'ü')", ["('é', 'ü')"]),
        ("x = f'é {1 if 2 else 3} {4 or 5:{6 or 7}}'", ["3", "5", "7"]),
        ('x = (f"""a\n{1 if 0 else 2} """\n  "b" f"{3 or 4}")', ["1", "4"]),
        ("\ufeffx = 1 or 2", ["2"]),
        ("x = (1 or\r\n     [2,\r\n      3])", ["[2,\r\n      3]"]),
        ("x = (1 or (  # why\n  2))", ["2"]),
        ("x = (1 if 0 else 2)", ["1"]),
        ("class C: x = 1 or 2; y = 1 / 0; z = 3", ["2", "z = 3"]),
        ("'doc'; from __future__ import annotations; x: 'a' or 'b' = 1 or 2", ["2"]),
        ("(1, 2) if 0 else 3", ["(1, 2)"]),
    ],
)
def test_regions_that_were_not_entered_are_known(program, expected):
    assert left_out(program) == expected


@pytest.mark.parametrize(
    "program",
    [
        "",
        "x = 1\n",
        "def f(a: int = 3) -> 1 or 2:\n    x: 'a' if 'b' else 'c'\n",
        "x = (",
        "x = 1 if",
        "\0",
        "x = '\ud800' or 1",
        "1 < 2",
        "x = 1\nglobal_ = 2; global x",
    ],
)
def test_nothing_to_probe(program):
    assert find_regions(program) == []
    assert compile_with_probes(program, FILENAME, Table()) is None


def test_regions_are_nested_or_disjoint_and_in_the_program():
    program = "f = lambda: (a and [b or c for a in x if y < z < (lambda: 3 if 4 else 5)() ])\n"

    regions = find_regions(program)

    assert len(regions) == len(set(regions)) == 9
    for a, b in regions:
        assert all(b <= c or d <= a or (a <= c and d <= b) or (c <= a and b <= d) for c, d in regions)


def test_too_many_regions_are_none():
    program = "x = 0" + " or 0" * (probes.MAX_PROBES + 1)

    assert find_regions(program) == []
    assert compile_with_probes(program, FILENAME, Table()) is None


def test_tree_that_is_too_deep_for_more_has_no_probes():
    low, high = 1, 100_000
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _compiles(_nested(middle)) else (low, middle)

    assert compile_with_probes(_nested(low), FILENAME, Table()) is None
    assert compile_with_probes(_nested(low // 8), FILENAME, Table()) is not None


def _nested(depth: int) -> str:
    return "x = " + "-" * depth + "(1 or 0)"


def _compiles(program: str) -> bool:
    try:
        compile(program, FILENAME, "exec")
    except (SyntaxError, RecursionError, MemoryError):
        return False
    return True


@pytest.mark.parametrize("executed", [{1}, {5}, {-1}, {0, 2, 99}])
def test_notes_that_cannot_be_right_are_refused(executed):
    regions = find_regions("f = lambda: (1 or 2)")  # 0: the body, 1: the operand in it

    assert len(regions) == 2
    assert unexecuted_regions(regions, executed) is None


# Behaviour: what each of these prints is what it prints without probes.
BEHAVIOUR = {
    "walrus in a comprehension": "print([y for x in [1, 2, 3] if x and (y := x * 2) > 2], y)",
    "walrus in an operand": "print(1 and (n := 5), n, (m := 0) or (k := 3), m, k)",
    "yield as an operand": "def g():\n    x = 1 and (yield 5)\n    print(x)\nh = g(); print(next(h)); h.send(7) if 0 else None",
    "yield in a lambda": "print(list((lambda: (yield 3))()))",
    "await as an operand": (
        "import asyncio\nasync def a(x): return x\n"
        "async def main(): return 1 and await a(4), [await a(i) for i in range(2) if await a(i)]\n"
        "print(asyncio.run(main()))"
    ),
    "class scope": "class C:\n    a = 3\n    b = [x for x in range(a) if x or 0]\n    c = a and 4 or 5\nprint(C.b, C.c, sorted(vars(C)))",
    "private names": "class C:\n    __a = 0\n    def f(self): return self.__a or self._C__a or 'none'\nprint(C().f())",
    "globals": "print(sorted(globals()), 1 and dir() == sorted(globals()))",
    "locals": "def f(a):\n    b = a or 1\n    return sorted(locals()), f.__code__.co_varnames, f.__code__.co_names\nprint(f(0))",
    "docstrings": "'module'\ndef f(): 'function'; return 1 or 2\nclass C: 'class'; x = 1\nprint(__doc__, f.__doc__, C.__doc__)",
    "future annotations": "from __future__ import annotations\ndef f(x: 1 or 2) -> (3 if 4 else 5): x or 1\nprint(f.__annotations__)",
    "annotations": "x: (1 or 2) = 1 or 3\ndef f(y: 1 and 2 = 1 or 2): pass\nprint(f.__annotations__, f.__defaults__)",
    "laziness": "def noisy(x): print(x); return x\ng = (noisy(a) for a in [1, 0, 2] if noisy(a) or noisy(9))\nprint('-'); print(list(g))",
    "values of operands": "print(0 or '', '' or 0, 0 and 1, 1 and [], None or (), [] or {} or 0.0, 1 < 2 < 3, 1 < 1 < print('no'))",
    "arms that start with a string": "print('a' 'b' if 1 else 'c', 1 and 'x'.upper())",
    "starred": "print(*(1 and [1, 2]), {**(0 or {'a': 1})}, [*([] or [3])])",
    "slices and targets": "x = [1, 2, 3]\nx[0 or 1], x[1 and 2:] = 5, [6]\nprint(x); del x[1 and 0]; print(x)",
    "deletion and assignment on one line": "a = b = 1; del a; print('a' in globals(), b)",
    "exception on one line": "try: x = 1; y = 1 / 0; z = 2\nexcept ZeroDivisionError as e: print(e); print('x' in dir())",
    "match guard": "match (1, 2):\n    case (a, b) if a > b or 0: print('no')\n    case (a, b) if a < b and 1: print(a, b)",
    "assert message": "try:\n    assert 0 and 1, f'{1 or 2}'\nexcept AssertionError as e: print(e.args)",
    "code as a key": "def f(): return 1 or 2\nprint(len({f.__code__: 1, (lambda: 0 and 1).__code__: 2}), f.__code__ == f.__code__)",
    "recursion limit": (
        "def f(n): return 0 if n < 0 else f(n - 1)\ndef g(n): return n and g(n + 1)\n"
        "print(f(900) if 1 else 0)\ntry: g(1)\nexcept RecursionError: print('deep')"
    ),
    "deep chain": "print(0" + " or 0" * 2_000 + " or 3)",
    "long elif": "x = 400\nif x == 0: pass\n"
    + "".join(f"elif x == {i}: x = {i} or 1; break_ = 1\n" for i in range(1, 60))
    + "print(x)",
    "f-string": 'n = 2\nprint(f\'{n} item{"s" if n > 1 else ""} {n and 3:>{n or 4}} {n or 1=}\')',
    "names that a probe could want": "setitem = table = probe = None; __builtins__ = {}; x = 1 and 2\nimport builtins; builtins.print(x)",
    "dict comprehension order": "def p(x): print(x); return x\nprint({p(a): p(b) for a in (1, 2) for b in (3,) if a or b})",
    "conditional import": "import sys as s; print(s and 1)",
    "tracebacks": (
        "def f(x): return (1 / x if x > 5 else\n    x / 0)\ndef g(): return [f(i) for i in (1,)\n  if 1 and f]\n"
        "import traceback\ntry: g()\nexcept ZeroDivisionError as e:\n    print([(s.lineno, s.name) for s in traceback.extract_tb(e.__traceback__)])"
    ),
    "uncaught": "x = (1 or\n  2)\ny = (0 or\n  1 / 0)",
    "global on the header's line": "def f(): global q; q = 1 or 2\nf(); print(q)",
    "nonlocal": "def f():\n    x = 0\n    def g(): nonlocal x; x = x or 4\n    g(); return x\nprint(f())",
    "star import": "from math import *; print(floor(2.5) or 1)",
    "decorator": "@(lambda f: f or 1)\ndef f(): return 1 or 2\nprint(f())",
    "type of code constants": "print(type((lambda: 1 or 2).__code__.co_consts).__name__)",
    "super": "class A:\n    def f(self): return 1\nclass B(A):\n    def f(self): return 0 or super().f()\nprint(B().f())",
    "__class__ cell": "class A:\n    def f(self): return 0 or __class__.__name__\nprint(A().f())",
    "generator close": "def g():\n    try: yield 1 or 2; yield 3\n    finally: print('closed'); print('twice')\nx = g(); print(next(x)); x.close()",
    "while with else": "n = 2\nwhile n and n > 0: n -= 1; print(n)\nelse: print('done'); n = 9\nprint(n)",
    "docstring of strings": "def f(): 'a' 'b'; 'c'; return 0 or 1\nprint(f.__doc__, f())",
}


def behaviour(code: CodeType) -> tuple[str, Any]:
    output = io.StringIO()
    error = None
    main = sys.modules["__main__"]
    with contextlib.redirect_stdout(output):
        try:
            run(code)
        except Exception as raised:
            places = [(frame.lineno, frame.name) for frame in traceback.extract_tb(raised.__traceback__)[1:]]
            error = type(raised), str(raised), places
    assert sys.modules["__main__"] is main
    return output.getvalue(), error


@pytest.mark.parametrize("program", BEHAVIOUR.values(), ids=BEHAVIOUR)
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_probes_do_not_change_behaviour(program):
    code, _ = probed(program)

    assert behaviour(code) == behaviour(compile_for_tracing(program, FILENAME))


def test_no_name_leads_to_the_probes():
    code, _ = probed("def f(x): return x or 1\nf(0)")
    plain = compile("def f(x): return x or 1\nf(0)", FILENAME, "exec")

    assert run(code).keys() == run(plain).keys()
    assert (code.co_names, code.co_varnames) == (plain.co_names, plain.co_varnames)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="positions of instructions came with Python 3.11")
# A trace function that fails at the recursion limit is removed: the witness would be gone.
@pytest.mark.parametrize("name", sorted(BEHAVIOUR.keys() - {"recursion limit"}))
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_regions_entered_are_those_in_which_bytecode_ran(name):
    program = BEHAVIOUR[name]
    code, table = probed(program)
    behaviour(code)
    with OpcodeTracer(FILENAME) as tracer:
        behaviour(compile(program, FILENAME, "exec"))

    witnessed = entered_regions(program, tracer.positions())
    assert witnessed <= table.entered()
    assert table.entered() - witnessed <= seldom_seen_regions(program)


# Programs of all kinds of statements, with expressions of all kinds where they ask for a flag.
_LEAVES = st.sampled_from(["flag()"])


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    forms = [
        "({} if {} else {})",
        "({} and {})",
        "({} or {} or {})",
        "(0 < {} < {} <= {})",
        "(lambda: {})()",
        "(lambda a: {})",
        "[{} for i in range(2) if {}]",
        "{{{}: {} for i in (1, {}) for j in (i, {})}}",
        "any({} for i in [{}])",
        "(v := {})",
        "f'{{{}!r}}'",
        "(not {})",
    ]
    return st.sampled_from(forms).flatmap(
        lambda form: st.tuples(*[inner] * (form.count("{}"))).map(lambda parts: form.format(*parts))
    )


expressions = st.recursive(_LEAVES, _larger, max_leaves=6)


@st.composite
def rich_programs(draw: st.DrawFn) -> str:
    parts = draw(programs(max_depth=2)).split("flag()")
    # Every loop asks for a flag, so that it ends when there are no more.
    return parts[0] + "".join(f"(flag() and {draw(expressions)})" + part for part in parts[1:])


class OutOfFlags(BaseException):
    pass


def story(code: CodeType, flags: list[bool], tracer: Any = contextlib.nullcontext()) -> list[Any]:  # noqa: B008
    """What a program asks for and how it ends."""
    answers = iter(flags)
    events: list[Any] = []

    def flag() -> bool:
        frame = sys._getframe(1)
        events.append((frame.f_lineno, frame.f_code.co_name))
        try:
            return next(answers)
        except StopIteration:
            raise OutOfFlags from None

    names = {"flag": flag, "manager": contextlib.nullcontext, "same": lambda function: function}
    try:
        with tracer:
            namespace = run(code, **names)
        events.append(sorted(key for key in namespace))
    except (Exception, OutOfFlags) as error:
        events.append((type(error), str(error), [f.lineno for f in traceback.extract_tb(error.__traceback__)][1:]))
    return events


@settings(deadline=None, max_examples=150)
@given(program=rich_programs(), flags=st.lists(st.booleans(), max_size=30))
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_programs_behave_the_same_and_regions_entered_are_those_that_ran(program, flags):
    assume(_compiles(program))  # comprehensions do not allow `:=` everywhere
    table = Table()
    found = compile_with_probes(program, FILENAME, table)
    if found is None:
        assert find_regions(program) == []
        return
    plain = compile_for_tracing(program, FILENAME)
    tracer = OpcodeTracer(FILENAME) if sys.version_info >= (3, 11) else contextlib.nullcontext()

    assert story(found.code, flags) == story(plain, flags, tracer)
    regions = find_regions(program)
    skipped = unexecuted_regions(regions, table.entered())
    assert skipped is not None
    if isinstance(tracer, OpcodeTracer):
        witnessed = entered_regions(program, tracer.positions())
        assert witnessed <= table.entered()
        assert table.entered() - witnessed <= seldom_seen_regions(program)
    every_line = frozenset(range(1, program.count("\n") + 2))
    ran = executed_spans(program, every_line, skipped)
    assert sum(end - start for start, end in ran) <= len(program)
    assert all(hi <= start or end <= lo for lo, hi in ran for start, end in skipped)
