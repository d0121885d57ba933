"""Hypothesis strategies: spans, divisions into tokens, texts, answers and programs."""

from __future__ import annotations

from hypothesis import strategies as st


def spans(max_offset: int = 40, max_size: int = 8) -> st.SearchStrategy[list[tuple[int, int]]]:
    """Return lists of half-open spans in any order. They may be empty, touch and overlap."""
    offsets = st.integers(0, max_offset)
    return st.lists(st.tuples(offsets, offsets).map(lambda pair: (min(pair), max(pair))), max_size=max_size)


def partitions(length: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    """Return divisions of a text of a given length into tokens, some of them empty."""
    cuts = st.lists(st.integers(0, length), max_size=12).map(sorted)
    return cuts.map(lambda inner: list(zip([0, *inner], [*inner, length], strict=True)))


def source_like_texts() -> st.SearchStrategy[str]:
    """Return texts with many quotes, brackets and all kinds of white space and line ends."""
    return st.text(st.sampled_from("ab#\"'():`=\\ \t\n\r\f\v\x1c\x85\u2028\u00e9\u4e16\U0001f600"), max_size=60)


def answers() -> st.SearchStrategy[str]:
    """Return answers of a model: code, prose, and complete and incomplete fences."""
    fences = ["```", "```\n", "```python\n", "```py\r\n", "  ```\n", "    ```\n", "````\n", "``"]
    parts = ["x = 1\n", "text\n", *fences, "\n"]
    return st.lists(st.sampled_from(parts), max_size=10).map("".join)


# Marks a line that is not indented with its suite.
_UNINDENTED = "\0"

_FILLERS = ["", "   ", "# comment", "    # deep comment", "\t# tab", _UNINDENTED + "# at the margin"]

_SIMPLE = [
    ["x = 1"],
    ["x = [", "    flag(),", "", "    # inside", "]"],
    ["x = 1; x = 2"],
    ["pass"],
    ["..."],
    ["'text'"],
    ["'''text", _UNINDENTED + "# no comment", _UNINDENTED + "'''"],
    ["x = \\", "    2"],
    ["x: int"],
    ["x: int = 3"],
    ["flag()"],
    ["assert flag(), \\", "    'no'"],
    ["if flag(): x = 1"],
    ["if flag(): x = 1", "else: x = 2"],
    ["for i in range(2): flag()"],
    ["raise ValueError(", "    'no'", ")"],
]
# These do not raise, because CPython 3.11 reports the last line of a `finally` suite when an exception leaves it.
_FINALLY = [
    ["x = 1"],
    ["x = [", "    1,", "    flag()]"],
    ["if flag():", "    x = 1", "else:", "    # comment", "    x = 2"],
    ["match flag():", "    case True:", "        x = 1"],
    ["for i in range(2): flag()"],
    _FILLERS,
]
_PASSIVE = [["global nowhere"], ["x: int"]]


@st.composite
def programs(draw: st.DrawFn, max_depth: int = 3) -> str:
    """
    Return programs that parse. They end if `flag`, which decides every branch, is false from some call on.

    They have every kind of statement, comments and blank lines in unusual places, and suites without line events.
    """
    lines = _suite(draw, max_depth, in_function=False, in_loop=False)
    return "\n".join(line.lstrip(_UNINDENTED) for line in lines) + draw(st.sampled_from(["", "\n", "\n\n"]))


def _suite(draw: st.DrawFn, depth: int, in_function: bool, in_loop: bool, docstring: bool = False) -> list[str]:
    lines: list[str] = []
    if docstring and draw(st.booleans()):
        lines += draw(st.sampled_from([['"""Doc."""'], ['"""Doc', _UNINDENTED + "ends.", '"""']]))
    if in_function and draw(st.integers(0, 4)) == 0:
        lines += draw(st.sampled_from(_PASSIVE))
    for _ in range(draw(st.integers(0 if lines else 1, 3))):
        if draw(st.integers(0, 3)) == 0:
            lines.append(draw(st.sampled_from(_FILLERS)))
        lines += _statement(draw, depth, in_function, in_loop)
    if draw(st.integers(0, 3)) == 0:
        lines.append(draw(st.sampled_from(_FILLERS)))
    return lines


def _statement(draw: st.DrawFn, depth: int, in_function: bool, in_loop: bool) -> list[str]:
    if depth and draw(st.booleans()):
        return draw(st.sampled_from(_COMPOUND))(draw, depth - 1, in_function, in_loop)
    simple = [*_SIMPLE, *([["return"], ["return flag()"]] if in_function else [])]
    return draw(st.sampled_from([*simple, *([["break"], ["continue"]] if in_loop else [])]))


def _indented(lines: list[str]) -> list[str]:
    return [line if line.startswith(_UNINDENTED) or not line else "    " + line for line in lines]


def _clause(draw: st.DrawFn, header: list[str], *context: object, docstring: bool = False) -> list[str]:
    return [*header, *_indented(_suite(draw, *context, docstring=docstring))]  # type: ignore[arg-type]


def _maybe(draw: st.DrawFn, header: list[str], *context: object) -> list[str]:
    filler = [draw(st.sampled_from(_FILLERS))] if draw(st.integers(0, 4)) == 0 else []
    return [*filler, *_clause(draw, header, *context)] if draw(st.booleans()) else []


def _if(draw: st.DrawFn, *context: object) -> list[str]:
    header = draw(st.sampled_from([["if flag():"], ["if (flag()", "        and True", "):  # a: b"]]))
    elifs = [_maybe(draw, ["elif flag():"], *context) for _ in range(2)]
    return [*_clause(draw, header, *context), *elifs[0], *elifs[1], *_maybe(draw, ["else:  # x"], *context)]


def _loop(draw: st.DrawFn, depth: int, in_function: bool, in_loop: bool) -> list[str]:
    header = draw(
        st.sampled_from([["while flag():"], ["for i in range(2):"], ["for i in (", "    1,", "    2,", "):"]])
    )
    return [
        *_clause(draw, header, depth, in_function, True),
        *_maybe(draw, ["else:"], depth, in_function, in_loop),
    ]


def _try(draw: st.DrawFn, *context: object) -> list[str]:
    tries = _clause(draw, ["try:"], *context)
    handlers = _maybe(draw, ["except (TypeError,", "        KeyError):"], *context)
    handlers += _maybe(draw, ["except ValueError as e:"], *context)
    if not handlers:
        return [*tries, *_finally(draw)]
    return [*tries, *handlers, *_maybe(draw, ["else:"], *context), *(_finally(draw) if draw(st.booleans()) else [])]


def _finally(draw: st.DrawFn) -> list[str]:
    suites = st.lists(st.sampled_from(_FINALLY), max_size=2).map(
        lambda parts: [line for part in parts for line in part]
    )
    return ["finally:", *_indented([*draw(suites), "x = 3"])]


def _match(draw: st.DrawFn, *context: object) -> list[str]:
    cases = _clause(draw, ["case True:"], *context) + _maybe(draw, ["case (", "    3 |", "    4", "):"], *context)
    return ["match flag():", *_indented([*cases, *_maybe(draw, ["case _:"], *context)])]


def _with(draw: st.DrawFn, *context: object) -> list[str]:
    return _clause(draw, draw(st.sampled_from([["with manager() as m:"], ["with (manager(", "    )):"]])), *context)


def _function(draw: st.DrawFn, depth: int, in_function: bool, in_loop: bool) -> list[str]:
    header = draw(
        st.sampled_from([["def f(a=1):"], ["@same", "# between", "@same", "def f(", "    a=1,  # a: int", "):"]])
    )
    call = [["f()"], [""], ["try:", "    f()", "except ValueError: pass"]]
    return [*_clause(draw, header, depth, True, False, docstring=True), *draw(st.sampled_from(call))]


def _class(draw: st.DrawFn, depth: int, in_function: bool, in_loop: bool) -> list[str]:
    return _clause(draw, ["class C(object,", "        ):"], depth, False, False, docstring=True)


_COMPOUND = [_if, _if, _loop, _try, _match, _with, _function, _class]
