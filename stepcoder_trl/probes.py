"""
Finer than a line: regions of a program that may stay unevaluated although their statement runs, and probes for them.

A probe stands before each such region of the syntax tree and notes that it was entered. Regions are numbered by the
text alone, so that whoever put the probes in and whoever reads the notes need to agree on nothing else.
"""

from __future__ import annotations

import ast
import secrets
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from types import CodeType
from typing import Any

from stepcoder_trl.parsing import (
    COMPILE_ERRORS,
    first_line,
    is_passive,
    line_spans,
    mark_silent_suites,
    parse,
    quiet_parser,
    suites,
    without_mark,
)
from stepcoder_trl.types import CharSpan


MAX_PROBES = 10_000  # a program with more regions has none: a text made to be costly, not one that a model learns from
_TOKEN_BYTES = 16
FIRST_KEY = 2 * _TOKEN_BYTES  # beyond the end of the text that stands for the table, so that nothing is folded
_NOT_RUN = ("annotation", "returns", "type_params")  # evaluated late, as text, or not at all
_FSTRING_POSITIONS_ARE_EXACT = sys.version_info >= (3, 12)


@dataclass(eq=False)
class _Site:
    """
    Place of one probe.

    Attributes:
        owner (`Any`): Node, or list in a node, that holds what the probe stands before.
        key (`Any`): Field of the node, or index in the list.
        first, last (`ast.AST`): Nodes with which the region begins and ends.
        is_statement (`bool`): Whether the probe is a statement of its own.
    """

    owner: Any
    key: Any
    first: ast.AST
    last: ast.AST
    is_statement: bool = False


def find_regions(program: str) -> list[CharSpan]:
    """
    Find what may stay unevaluated although the statement, or the line, that holds it runs.

    These are: the arms of `x if c else y`; all operands of `and` and `or` but the first; in `a < b < c` all operands
    from the third on; the body of a `lambda`; element, conditions and inner iterables of a comprehension or generator
    expression; the message of an `assert`; the guard of a `case`; statements that share a line with their header or
    with the statement before. Parentheses around an expression belong to it. Not followed are expressions that an
    exception kept from being reached, and annotations.

    Args:
        program (`str`):
            Text of the program.

    Returns:
        `list[CharSpan]`: Regions by number, in characters of the program; they are disjoint or nested. None for a text
        that does not parse, and for one with more than `MAX_PROBES` regions.
    """
    tree = parse(program)
    if tree is None:
        return []
    offsets = _Offsets(without_mark(program))
    return [offsets.region(site) for site in _sites(tree, offsets)]


def unexecuted_regions(regions: Sequence[CharSpan], executed: Collection[int]) -> list[CharSpan] | None:
    """
    Regions that were not entered.

    Args:
        regions (`Sequence[CharSpan]`):
            Regions of a program, from [`find_regions`].
        executed (`Collection[int]`):
            Numbers of those that were entered.

    Returns:
        `list[CharSpan]` or `None`: `None` if the numbers cannot be right: a region was entered, but not the one around
        it, or there is none with that number.
    """
    ran = frozenset(executed)
    if not ran <= frozenset(range(len(regions))):
        return None
    skipped: list[CharSpan] = []
    enclosing: list[tuple[int, bool]] = []  # where each open region ends, and whether it was entered
    for (start, end), number in sorted(zip(regions, range(len(regions)), strict=True), key=_outermost_first):
        while enclosing and enclosing[-1][0] <= start:
            enclosing.pop()
        if number not in ran:
            skipped.append((start, end))
        elif not all(entered for _, entered in enclosing[-1:]):
            return None
        enclosing.append((end, number in ran))
    return skipped


def _outermost_first(item: tuple[CharSpan, int]) -> tuple[int, int]:
    (start, end), _ = item
    return start, -end


@dataclass(frozen=True)
class ProbedCode:
    """
    Code with probes.

    Attributes:
        code (`CodeType`): What to run.
        num_regions (`int`): Regions it has a probe for; whoever reads the notes must find as many.
    """

    code: CodeType
    num_regions: int


def compile_with_probes(program: str, filename: str, table: object) -> ProbedCode | None:
    """
    Compile a program with a probe before each region; it behaves as without.

    Region `i` is entered through the expression `table[FIRST_KEY + i]`, whose value must be `None`. The table is a
    constant of the code: no name leads to it, none is taken from the program, and none that the program binds hides
    it. Locations are those of the program, so that tracebacks and line events stay as they are; suites that a line
    tracer does not see are marked as by [`~parsing.compile_for_tracing`].

    Args:
        program (`str`):
            Text that compiles.
        filename (`str`):
            Path to compile it under.
        table (`object`):
            What the probes ask.

    Returns:
        [`ProbedCode`] or `None`: `None` if there is nothing to probe, or if the tree is nested too deeply for more.
    """
    tree = parse(program)
    if tree is None:
        return None
    sites = _sites(tree, _Offsets(without_mark(program)))
    if not sites:
        return None
    token = secrets.token_hex(_TOKEN_BYTES)
    _insert(sites, token)
    mark_silent_suites(tree)
    try:
        with quiet_parser():  # the program itself was compiled before, and gave its warnings
            code = compile(tree, filename, "exec", dont_inherit=True, optimize=0)
        return ProbedCode(_with_constant(code, token, table), len(sites))
    except COMPILE_ERRORS:
        return None


# Sites


def _sites(tree: ast.Module, offsets: _Offsets) -> list[_Site]:
    """All places for probes, in an order that depends on the tree alone."""
    sites: list[_Site] = []
    pending: list[tuple[ast.AST, ast.JoinedStr | None]] = [(tree, None)]
    while pending:  # a loop, not a recursion: programs are nested as deeply as they like
        node, text = pending.pop()
        text = node if isinstance(node, ast.JoinedStr) and text is None else text
        found = [*_expression_sites(node), *_statement_sites(node, offsets)]
        sites += [site for site in found if text is None or offsets.is_exact(site, text)]
        if len(sites) > MAX_PROBES:
            return []
        pending += [(child, text) for child in _evaluated_children(node)]
    return sites


def _evaluated_children(node: ast.AST) -> Iterator[ast.AST]:
    if type(node).__name__ == "TypeAlias":
        return
    for name, value in ast.iter_fields(node):
        if name not in _NOT_RUN:
            yield from (child for child in (value if isinstance(value, list) else [value]) if _is_node(child))


def _is_node(value: Any) -> bool:
    return isinstance(value, ast.AST)


def _expression_sites(node: ast.AST) -> Iterator[_Site]:
    if isinstance(node, ast.IfExp):
        yield _Site(node, "body", node.body, node.body)
        yield _Site(node, "orelse", node.orelse, node.orelse)
    elif isinstance(node, ast.BoolOp):
        yield from _items(node.values, 1)
    elif isinstance(node, ast.Compare):
        yield from _items(node.comparators, 1)
    elif isinstance(node, ast.Lambda):
        yield _Site(node, "body", node.body, node.body)
    elif isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)):
        yield from _comprehension_sites(node)
    elif isinstance(node, ast.Assert) and node.msg is not None:
        yield _Site(node, "msg", node.msg, node.msg)
    elif isinstance(node, ast.match_case) and node.guard is not None:
        yield _Site(node, "guard", node.guard, node.guard)


def _items(expressions: list[ast.expr], first: int) -> Iterator[_Site]:
    for index in range(first, len(expressions)):
        yield _Site(expressions, index, expressions[index], expressions[index])


def _comprehension_sites(node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> Iterator[_Site]:
    if isinstance(node, ast.DictComp):
        yield _Site(node, "key", node.key, node.value)  # the value is evaluated right after
    else:
        yield _Site(node, "elt", node.elt, node.elt)
    for number, generator in enumerate(node.generators):
        if number:
            yield _Site(generator, "iter", generator.iter, generator.iter)
        yield from _items(generator.ifs, 0)


def _statement_sites(owner: ast.AST, offsets: _Offsets) -> Iterator[_Site]:
    for suite in suites(owner):
        yield from _sites_on_shared_lines(owner, suite, offsets)


def _sites_on_shared_lines(owner: ast.AST, suite: list[ast.stmt], offsets: _Offsets) -> Iterator[_Site]:
    """Statements on the line of their header, or of the one before. Docstrings and the like go with the next one."""
    for run in _shared_runs(suite, offsets):
        active = [index for index in run if not (is_passive(owner, suite, index) or _is_future(suite[index]))]
        if active:
            firsts = [run.start, *(index + 1 for index in active[:-1])]
            lasts = [*active[:-1], run.stop - 1]
            for index, first, last in zip(active, firsts, lasts, strict=True):
                yield _Site(suite, index, suite[first], suite[last], is_statement=True)
        elif len(run) == len(suite):  # a docstring must stay first
            yield _Site(suite, run.stop, suite[0], suite[-1], is_statement=True)


def _shared_runs(suite: Sequence[ast.stmt], offsets: _Offsets) -> Iterator[range]:
    """Consecutive statements that share a line with what stands before each of them."""
    start: int | None = None
    for index in range(len(suite) + 1):
        shares = index < len(suite) and _shares_line(suite, index, offsets)
        if shares and start is None:
            start = index
        elif not shares and start is not None:
            yield range(start, index)
            start = None


def _shares_line(suite: Sequence[ast.stmt], index: int, offsets: _Offsets) -> bool:
    node = suite[index]
    if index:
        return first_line(node) <= (suite[index - 1].end_lineno or 0)
    return first_line(node) == node.lineno and not offsets.is_first_on_line(node)


def _is_future(node: ast.stmt) -> bool:
    """Whether nothing may stand before a statement but others of its kind."""
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


# Positions


class _Offsets:
    """Positions of nodes as offsets in characters of the text they were parsed from."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = line_spans(text)
        self._characters: dict[int, list[int]] = {}

    def region(self, site: _Site) -> CharSpan:
        """Span of a region, with the parentheses around it or the semicolon after it."""
        start, end = self._start(site.first), self._end(site.last)
        if site.is_statement:
            after = _skip_space(self.text, end, 1)
            return start, after + 1 if self.text[after : after + 1] == ";" else end
        while True:
            before, after = _skip_space(self.text, start - 1, -1), _skip_space(self.text, end, 1)
            if before < 0 or self.text[before] != "(" or self.text[after : after + 1] != ")":
                break
            start, end = before, after + 1
        return start, end

    def is_first_on_line(self, node: ast.stmt) -> bool:
        start, _ = self.lines[node.lineno - 1]
        return not self.text[start : self._start(node)].strip()

    def is_exact(self, site: _Site, text: ast.JoinedStr) -> bool:
        """Whether a region inside an f-string stands where the parser says: before Python 3.12 it may not."""
        if _FSTRING_POSITIONS_ARE_EXACT:
            return True
        start, end = self._start(site.first), self._end(site.last)
        if site.first is not site.last or not self._start(text) < start < end < self._end(text):
            return False
        found = parse(f"({self.text[start:end]})")
        return found is not None and _parts(found.body[0]) == _parts(ast.Expr(site.first))  # type: ignore[arg-type]

    def _start(self, node: Any) -> int:
        return self._offset(node.lineno, node.col_offset)

    def _end(self, node: Any) -> int:
        return self._offset(node.end_lineno, node.end_col_offset)

    def _offset(self, line: int, byte: int) -> int:
        start, end = self.lines[line - 1]
        if line not in self._characters:
            text = self.text[start:end]
            self._characters[line] = [] if text.isascii() else _characters_before_bytes(text)
        characters = self._characters[line]
        return start + (characters[byte] if characters else byte)


def _parts(tree: ast.AST) -> list[Any]:
    """What a tree is made of, positions aside. No recursion: its limit would depend on who calls."""
    return [(type(node), [value for _, value in ast.iter_fields(node) if _is_plain(value)]) for node in ast.walk(tree)]


def _is_plain(value: Any) -> bool:
    return not isinstance(value, (ast.AST, list))


def _characters_before_bytes(text: str) -> list[int]:
    """For each byte of the text's UTF-8, and for its end, the number of characters that begin before it."""
    return list(accumulate((byte & 0xC0 != 0x80 for byte in text.encode()), initial=0))


def _skip_space(text: str, index: int, step: int) -> int:
    """First index in a direction with something else than white space; may be -1 or the length."""
    while 0 <= index < len(text) and (text[index].isspace() or text[index] == "\\"):
        index += step
    return index


# Inserting


def _insert(sites: Sequence[_Site], token: str) -> None:
    """Put the probes in, in place. The text `token` stands for the table."""
    statements: dict[int, tuple[list[ast.stmt], dict[int, ast.stmt]]] = {}
    for number, site in enumerate(sites):
        probe = _probe(number, token, site.first)
        if site.is_statement:
            statement = ast.copy_location(ast.Expr(probe), probe)
            statements.setdefault(id(site.owner), (site.owner, {}))[1][site.key] = statement
        elif isinstance(site.owner, list):
            site.owner[site.key] = _guarded(probe, site.owner[site.key])
        else:
            setattr(site.owner, site.key, _guarded(probe, getattr(site.owner, site.key)))
    for suite, probes in statements.values():
        suite[:] = [statement for index in range(len(suite) + 1) for statement in _at(suite, probes, index)]


def _at(suite: Sequence[ast.stmt], probes: dict[int, ast.stmt], index: int) -> Iterator[ast.stmt]:
    if index in probes:
        yield probes[index]
    yield from suite[index : index + 1]


def _probe(number: int, token: str, at: Any) -> ast.expr:
    """`table[FIRST_KEY + number]`, where `at` begins."""
    here = {"lineno": at.lineno, "col_offset": at.col_offset, "end_lineno": at.lineno, "end_col_offset": at.col_offset}
    table, key = ast.Constant(token, **here), ast.Constant(FIRST_KEY + number, **here)
    return ast.Subscript(table, key, ast.Load(), **here)


def _guarded(probe: ast.expr, expression: ast.expr) -> ast.expr:
    """`(probe or expression)`: its value, as the probe's is None."""
    return ast.copy_location(ast.BoolOp(ast.Or(), [probe, expression]), expression)


def _with_constant(code: CodeType, token: str, table: object) -> CodeType:
    """Code, that of inner functions included, whose constant `token` is the table."""
    constants = tuple(_replaced(constant, token, table) for constant in code.co_consts)
    return code.replace(co_consts=constants)


def _replaced(constant: Any, token: str, table: object) -> Any:
    if isinstance(constant, CodeType):
        return _with_constant(constant, token, table)
    return table if type(constant) is str and constant == token else constant
