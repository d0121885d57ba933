"""
Text of a program: where it stands in an answer, its lines, and the statements a line tracer can tell apart.

Lines are those of Python's tokenizer: they end at `\\n`, `\\r\\n` or `\\r`, never at the form feeds and Unicode
separators of `str.splitlines`.
"""

from __future__ import annotations

import ast
import os
import re
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from types import CodeType

from stepcoder_trl.types import CharSpan, Program, TLineNo


_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_FENCE = re.compile(r"(?:\A|(?<=[\r\n])) {0,3}(?P<ticks>`{3,})(?P<info>[^\r\n]*)(?:\r\n|\r|\n|\Z)")
_PYTHON_INFO = ("python", "python3", "py")

# What `ast.parse` and `compile` raise for a text that is not a program: besides syntax errors null bytes and lone
# surrogates (ValueError) and nesting that is too deep (RecursionError, MemoryError, OverflowError).
COMPILE_ERRORS = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)

_SUITES = ("body", "handlers", "orelse", "finalbody", "cases")
_INLINE = 1 << 30  # indentation of a suite that stands on its header's line: no comment is ever in it
# A name and a colon behind the colon of a header, with comments and line ends between; also where no header is.
_ANNOTATION_BEGINS_SUITE = re.compile(
    r"(?:\A|:)(?:[\s\\]|#[^\r\n]*[\r\n])*(?!(?:else|try|finally|lambda)\b)"
    r"(?:\([(\s]*[^\W\d]\w*[\s\\)]*|[^\W\d]\w*[\s\\]*):(?!=)"
)
_parser_lock = threading.RLock()  # not `Lock`: a collection amid parsing may run a finalizer that parses
# Else a fork amid another thread's parsing would leave the lock held for ever in the new process.
os.register_at_fork(
    before=_parser_lock.acquire, after_in_parent=_parser_lock.release, after_in_child=_parser_lock.release
)


def line_spans(text: str) -> list[CharSpan]:
    """
    Span of each line, line end included; line `i` is at index `i - 1`.

    A text that ends with a line end has no empty line after it; an empty text has no line.
    """
    return [match.span() for match in _LINE.finditer(text)]


# Answers


def find_closing_fence(text: str) -> int | None:
    """
    Offset at which the line of the closing fence starts, in a text whose fence is already open.

    A fence is a line that begins, after at most three spaces, with three or more backticks.
    """
    fence = _FENCE.search(text)
    return fence.start() if fence else None


def extract_program(completion: str, prefix: str = "", *, opened_fence: bool = False) -> Program:
    """
    Find the program in a model's answer.

    With a `prefix` or an opened fence the answer is code from its first character up to the closing fence. Otherwise
    it is the first block fenced as Python, else the first fenced block, else the whole text. An unclosed fence ends at
    the end. A block is closed by the first fence with at least as many backticks as opened it.

    Args:
        completion (`str`):
            What the model wrote.
        prefix (`str`, *optional*):
            Text that the completion continues, exactly as the model saw it; it becomes the program's beginning.
        opened_fence (`bool`, *optional*, defaults to `False`):
            Whether the query ended inside an open code fence.

    Returns:
        [`Program`]: `text` is what is run, `span` is where the completion's part of it stands in the completion.
    """
    if prefix or opened_fence:
        end = find_closing_fence(completion)
        span = (0, len(completion) if end is None else end)
    else:
        span = _fenced_block(completion) or (0, len(completion))
    return Program(text=prefix + completion[span[0] : span[1]], span=span)


def _fenced_block(text: str) -> CharSpan | None:
    """Content of the first block fenced as Python, else of the first fenced block."""
    opening = next((fence for fence in _FENCE.finditer(text) if _is_python(fence["info"])), _FENCE.search(text))
    if opening is None:
        return None
    closings = (
        fence for fence in _FENCE.finditer(text, opening.end()) if len(fence["ticks"]) >= len(opening["ticks"])
    )
    closing = next(closings, None)
    return opening.end(), closing.start() if closing else len(text)


def _is_python(info: str) -> bool:
    words = info.split(maxsplit=1)
    return bool(words) and words[0].lower() in _PYTHON_INFO


# Syntax trees


@contextmanager
def quiet_parser() -> Iterator[None]:
    """
    Around calls of Python's parser and compiler: no warnings, and one thread at a time.

    Warnings (of invalid escapes) would become errors where warnings are errors, and `catch_warnings` serves one thread
    only. Threads that make syntax trees side by side may get a SystemError, "AST constructor recursion depth mismatch"
    (CPython issue 106905; seen on 3.11).
    """
    with _parser_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def syntax_tree(source: str) -> ast.Module:
    """
    Syntax tree of a text, as `ast.parse` makes it; see [`quiet_parser`].

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: If the text is no program.
    """
    with quiet_parser():
        return ast.parse(source)


def parse(program: str) -> ast.Module | None:
    """
    Syntax tree of a program, or `None` if it is not one. Gives no warnings.

    Args:
        program (`str`):
            Text of any origin: bad syntax, null bytes, lone surrogates and hostile nesting give `None`.
    """
    try:
        return syntax_tree(without_mark(program))
    except COMPILE_ERRORS:
        return None


def without_mark(program: str) -> str:
    """Program without a byte order mark, which the interpreter accepts in a file; a form feed keeps its place."""
    return "\f" + program[1:] if program.startswith("\ufeff") else program


def compile_for_tracing(program: str, filename: str) -> CodeType:
    """
    Compile a program so that a line tracer sees every suite that is entered.

    CPython gives no line event for a suite of nothing but a docstring, `global`, `nonlocal` or bare annotations: a
    function that has only a docstring looks the same whether it was called or not. Such suites, and a program without
    any statement, get a `pass` at the line of their first statement. Nothing else about the program changes.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError, OverflowError: As `compile` does.
    """
    code = compile(without_mark(program), filename, "exec", dont_inherit=True, optimize=0)
    if not _may_hold_silent_suite(program, code):
        return code
    tree = parse(program)
    if tree is None or not mark_silent_suites(tree):
        return code
    try:
        return compile(tree, filename, "exec", dont_inherit=True, optimize=0)
    except COMPILE_ERRORS:
        return code  # nested too deeply to be compiled from a tree


def _may_hold_silent_suite(program: str, code: CodeType) -> bool:
    """
    Whether a look at the syntax tree, which costs more than compiling, is worth it. A no is always right.

    A suite is silent if it begins with `global`, `nonlocal` or a bare annotation, or is all of a function or program.
    """
    return (
        "global" in program
        or "nonlocal" in program
        or _ANNOTATION_BEGINS_SUITE.search(program) is not None
        or _may_do_nothing(code)
    )


def _may_do_nothing(code: CodeType) -> bool:
    """Whether this code, or that of a function in it, uses neither names nor constants but texts and `None`."""
    constants = code.co_consts
    if not code.co_names and all(constant is None or isinstance(constant, str) for constant in constants):
        return not code.co_name.startswith("<") or code.co_name == "<module>"
    return any(isinstance(constant, CodeType) and _may_do_nothing(constant) for constant in constants)


def mark_silent_suites(tree: ast.Module) -> bool:
    """Add a `pass` to every suite without a line event of its own, in place. Say whether there was one."""
    silent = [(node, suite) for node in ast.walk(tree) for suite in suites(node) if _is_silent(node, suite)]
    for _, suite in silent:
        line = suite[0].lineno if suite else 1
        suite.append(ast.Pass(lineno=line, col_offset=0, end_lineno=line, end_col_offset=0))
    return bool(silent)


def suites(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """Lists of statements directly under a node; a module's may be empty."""
    for name, value in ast.iter_fields(node):
        if name in _SUITES and isinstance(value, list) and (isinstance(node, ast.Module) or _holds_statements(value)):
            yield value


def _holds_statements(values: list[ast.AST]) -> bool:
    return bool(values) and isinstance(values[0], ast.stmt)


def _is_silent(owner: ast.AST, suite: Sequence[ast.stmt]) -> bool:
    return all(is_passive(owner, suite, index) for index in range(len(suite)))


def is_passive(owner: ast.AST | None, suite: Sequence[ast.stmt], index: int) -> bool:
    """Whether a statement does nothing that a tracer could see: docstring, `global`, `nonlocal`, bare annotation."""
    node = suite[index]
    if isinstance(node, ast.Expr):
        takes_docstring = isinstance(owner, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        return index == 0 and takes_docstring and _is_string(node.value)
    return isinstance(node, (ast.Global, ast.Nonlocal)) or (isinstance(node, ast.AnnAssign) and node.value is None)


def _is_string(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def first_line(node: ast.stmt) -> TLineNo:
    """First line of a statement, its decorators included."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and node.decorator_list:
        return min(node.lineno, node.decorator_list[0].lineno)
    return node.lineno


def header_end_line(node: ast.stmt | ast.excepthandler | ast.match_case, lines: Sequence[str]) -> TLineNo:
    """
    Line on which the header of a compound statement ends: the one with its colon.

    Args:
        node (`ast.stmt`, `ast.excepthandler` or `ast.match_case`):
            Node with a suite.
        lines (`Sequence[str]`):
            Lines of the program.
    """
    line, column = max(_header_ends(node))
    # After the header's last expression come only brackets, commas, names and comments: the first colon is the one.
    rest = _from_byte(lines[line - 1], column)
    while ":" not in rest.split("#", 1)[0] and line < len(lines):
        line += 1
        rest = lines[line - 1]
    return line


def _header_ends(node: ast.AST) -> Iterator[tuple[TLineNo, int]]:
    """Where the parts of a header end (lines; bytes in the line); its keyword counts with its beginning."""
    if isinstance(node, (ast.stmt, ast.excepthandler)):
        yield node.lineno, node.col_offset
    for name, value in ast.iter_fields(node):
        if name in _SUITES or name == "decorator_list":
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, (ast.arguments, ast.withitem)):  # have no position of their own
                yield from _header_ends(child)
            elif isinstance(child, ast.AST):
                yield _end(child)


def _end(node: ast.AST) -> tuple[TLineNo, int]:
    position: tuple[TLineNo, int] = (node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]
    return position


def _from_byte(line: str, column: int) -> str:
    """Text of a line from a column on; syntax trees count columns in bytes of UTF-8."""
    return line[column:] if line.isascii() else line.encode()[column:].decode(errors="replace")


# Units of execution


@dataclass(frozen=True)
class ExecutableUnit:
    """
    Lines that run together, as far as a line tracer can tell.

    A simple statement with all its lines, or the header of a compound one from its first decorator to its colon, or an
    `except` or `case` header. Statements that share a line are one unit.

    Attributes:
        first_line (`int`): First line, counted from 1.
        last_line (`int`): Last line.
        attached (`tuple[int, ...]`): Comments, blank lines and `else:`, `finally:` lines that share its fate.
        follows (`int` or `None`):
            For a docstring, `global`, `nonlocal` or bare annotation: index of the unit whose fate it shares; in a
            suite that holds nothing else that is the first one. `None` for that one and all others.
    """

    first_line: TLineNo
    last_line: TLineNo
    attached: tuple[TLineNo, ...] = ()
    follows: int | None = None


@dataclass(eq=False)
class _Block:
    """Statements of one suite."""

    indent: int
    parent: _Unit | None
    units: list[_Unit] = field(default_factory=list)


@dataclass(eq=False)
class _Unit:
    """Unit under construction. `index` is its place, or that of the statement whose clause it is, in `block`."""

    number: int
    first: TLineNo
    last: TLineNo
    block: _Block
    index: int
    passive: bool
    is_elif: bool = False
    attached: list[TLineNo] = field(default_factory=list)


def executable_units(program: str) -> list[ExecutableUnit] | None:
    """
    Divide the lines of a program into units of execution. Every line belongs to exactly one.

    `else:` and `finally:` lines are attached to the first statement of their suite. Comments and blank lines are
    attached to the next statement of the block that their indentation says, or to the previous one at its end;
    indentation outside the blocks that are open there counts as that of the nearest one. A comment above an `elif`, at
    its indentation, belongs to it.

    Args:
        program (`str`):
            Text of the program.

    Returns:
        `list[ExecutableUnit]` or `None`: In the order of the text; empty for a program without statements, `None` for
        a text that does not parse.
    """
    tree = parse(program)
    if tree is None:
        return None
    return _UnitBuilder(program).build(tree)


class _UnitBuilder:
    def __init__(self, program: str) -> None:
        self.lines = [program[start:end] for start, end in line_spans(program)]
        self.units: list[_Unit] = []

    def build(self, tree: ast.Module) -> list[ExecutableUnit]:
        self._add_suite(tree, tree.body, None)
        if self.units:
            self._attach_gaps()
        follows = self._follows()
        return [
            ExecutableUnit(unit.first, unit.last, tuple(unit.attached), follows.get(unit.number))
            for unit in self.units
        ]

    def _add_suite(self, owner: ast.AST, suite: Sequence[ast.stmt], parent: _Unit | None) -> None:
        block = _Block(self._suite_indent(suite), parent)
        for index, node in enumerate(suite):
            self._add_statement(node, block, is_passive(owner, suite, index))

    def _suite_indent(self, suite: Sequence[ast.stmt]) -> int:
        if not suite:
            return 0
        line = self.lines[first_line(suite[0]) - 1]
        starts_its_line = first_line(suite[0]) < suite[0].lineno or not line[: suite[0].col_offset].strip()
        return indentation(line) if starts_its_line else _INLINE

    def _add_statement(self, node: ast.stmt, block: _Block, passive: bool) -> None:
        if any(name in _SUITES for name in node._fields):
            unit = self._add_unit(first_line(node), header_end_line(node, self.lines), block)
            self._add_suites_of(node, unit)
        else:
            self._add_unit(first_line(node), node.end_lineno or node.lineno, block, passive)

    def _add_suites_of(self, node: ast.stmt, unit: _Unit) -> None:
        while True:
            elif_ = None
            for name, values in ast.iter_fields(node):
                if name == "handlers":
                    self._add_handlers(values, unit)
                elif name == "cases":
                    self._add_cases(node, values, unit)
                elif name == "orelse" and isinstance(node, ast.If) and self._is_elif(values):
                    elif_ = values[0]
                elif name in _SUITES and values:
                    self._add_suite(node, values, unit)
            if elif_ is None:
                return
            # A loop, not a recursion: a chain of `elif` is nested as deeply as it is long.
            node = elif_
            unit = self._add_clause(node.lineno, header_end_line(node, self.lines), unit)
            unit.is_elif = True

    def _is_elif(self, orelse: list[ast.stmt]) -> bool:
        if not (len(orelse) == 1 and isinstance(orelse[0], ast.If)):
            return False
        return _from_byte(self.lines[orelse[0].lineno - 1], orelse[0].col_offset).startswith("elif")

    def _add_handlers(self, handlers: list[ast.ExceptHandler], owner: _Unit) -> None:
        for handler in handlers:
            clause = self._add_clause(handler.lineno, header_end_line(handler, self.lines), owner)
            self._add_suite(handler, handler.body, clause)

    def _add_cases(self, node: ast.stmt, cases: list[ast.match_case], owner: _Unit) -> None:
        line = header_end_line(node, self.lines)
        block = _Block(0, owner)
        for case in cases:
            line = self._next_code_line(line + 1)  # a `case` has no position, and its pattern may begin lines below it
            block.indent = indentation(self.lines[line - 1])
            self._add_suite(case, case.body, self._add_unit(line, header_end_line(case, self.lines), block))
            line = case.body[-1].end_lineno or line

    def _next_code_line(self, line: TLineNo) -> TLineNo:
        while not self._is_code(line):
            line += 1
        return line

    def _is_code(self, line: TLineNo) -> bool:
        text = self.lines[line - 1].strip()
        return bool(text) and not text.startswith("#")

    def _add_clause(self, first: TLineNo, last: TLineNo, owner: _Unit) -> _Unit:
        """Add an `elif` or `except` header: it has the place of the statement it belongs to."""
        unit = _Unit(len(self.units), first, last, owner.block, owner.index, passive=False)
        self.units.append(unit)
        return unit

    def _add_unit(self, first: TLineNo, last: TLineNo, block: _Block, passive: bool = False) -> _Unit:
        if self.units and first <= self.units[-1].last:  # shares a line with the unit before it
            unit = self.units[-1]
            unit.last = max(unit.last, last)
            unit.passive = unit.passive and passive
            return unit
        unit = _Unit(len(self.units), first, last, block, len(block.units), passive)
        self.units.append(unit)
        block.units.append(unit)
        return unit

    def _attach_gaps(self) -> None:
        """Give every line between two units to one of the units."""
        first, last = self.units[0], self.units[-1]
        first.attached += range(1, first.first)
        for before, after in pairwise(self.units):
            if before.last + 1 < after.first:
                self._attach_gap(before, after)
        for line in range(last.last + 1, len(self.lines) + 1):
            block, index = _open_block(last, None, indentation(self.lines[line - 1]))
            _neighbour(block, index).attached.append(line)

    def _attach_gap(self, before: _Unit, after: _Unit) -> None:
        gap = range(before.last + 1, after.first)
        keyword = next((line for line in gap if self._is_code(line)), after.first)  # `else:`, `finally:`
        after.attached += range(keyword, after.first)
        opens_suite = after.block.parent is before and keyword == after.first and after.block.indent != _INLINE
        if opens_suite:
            after.attached += range(gap.start, keyword)
            return
        owner = (
            after.block.parent if after is after.block.units[0] else None
        )  # its suite opens with `else:`, `finally:`
        outermost = owner.block if owner else after.block
        for line in range(gap.start, keyword):
            block, index = _open_block(before, outermost, indentation(self.lines[line - 1]))
            goes_with_elif = after.is_elif and block is outermost
            (after if goes_with_elif else _neighbour(block, index)).attached.append(line)

    def _follows(self) -> dict[int, int]:
        """For each passive unit the next active one of its block, or the previous one at its end, or the first."""
        follows = {unit.number: unit.block.units[0].number for unit in self.units if unit.passive and unit.index}
        for order in (self.units, self.units[::-1]):
            latest: dict[_Block, int] = {}
            for unit in order:
                is_clause = unit is not unit.block.units[unit.index]
                if not (unit.passive or is_clause):
                    latest[unit.block] = unit.number
                elif unit.passive and unit.block in latest:
                    follows[unit.number] = latest[unit.block]
        return follows


def _open_block(unit: _Unit, outermost: _Block | None, indent: int) -> tuple[_Block, int]:
    """Innermost block open after a unit that an indentation belongs to, and the place in it that was reached."""
    block, index = unit.block, unit.index
    while block is not outermost and block.indent > indent:
        parent = block.parent
        if parent is None:
            break
        block, index = parent.block, parent.index
    return block, index


def _neighbour(block: _Block, index: int) -> _Unit:
    return block.units[min(index + 1, len(block.units) - 1)]


def indentation(line: str) -> int:
    """Column of a line's first character, as the tokenizer counts: tabs to multiples of 8, form feeds reset."""
    column = 0
    for character in line:
        if character == " ":
            column += 1
        elif character == "\t":
            column = column // 8 * 8 + 8
        elif character == "\f":
            column = 0
        else:
            break
    return column
