"""
Finds the program in a model's answer, its lines and its syntax tree.

Lines are those of Python's tokenizer: they end at `\\n`, `\\r\\n` or `\\r`, never at the form feeds and Unicode
separators of `str.splitlines`.
"""

from __future__ import annotations

import ast
import os
import re
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import CodeType

from stepcoder_trl.types import CharSpan, Program, TLineNo


_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_FENCE = re.compile(r"(?:\A|(?<=[\r\n])) {0,3}(?P<ticks>`{3,})(?P<info>[^\r\n]*)(?:\r\n|\r|\n|\Z)")
_PYTHON_INFO = ("python", "python3", "py")

# Raised by `ast.parse` and `compile` for a text that is not a program: ValueError for null bytes and lone surrogates;
# RecursionError, MemoryError and OverflowError for nesting that is too deep.
COMPILE_ERRORS = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)

SUITES = ("body", "handlers", "orelse", "finalbody", "cases")  # fields of syntax nodes
# A name and a colon, at the begin of a line or after another colon. Some are parts of expressions.
_ANNOTATION = re.compile(
    r"(?:\A|[:\n])(?:[^\S\n]|\\)*(?!(?:else|try|finally|lambda)\b)"
    r"(?:\([(\s]*[^\W\d]\w*[\s\\)]*|[^\W\d]\w*[\s\\]*)(?=:(?!=))"
)
_COLON_AT_END = re.compile(r":[\s\\]*(?:#.*)?\Z")  # of a line, before white space and a comment
_parser_lock = threading.RLock()  # not `Lock`: garbage collection during parsing may run a finalizer that parses
# A fork while another thread parses would otherwise leave the lock locked forever in the new process.
os.register_at_fork(
    before=_parser_lock.acquire, after_in_parent=_parser_lock.release, after_in_child=_parser_lock.release
)


def line_spans(text: str) -> list[CharSpan]:
    """Return the span of each line, line end included. There is no empty line after the last line end."""
    return [match.span() for match in _LINE.finditer(text)]


# Answers


def find_closing_fence(text: str) -> int | None:
    """
    Return the offset of the line with the closing fence, in a text that begins inside a fence. `None` without one.

    A fence is a line that begins with three or more backticks, after at most three spaces.
    """
    fence = _FENCE.search(text)
    return fence.start() if fence else None


def extract_program(completion: str, prefix: str = "", *, opened_fence: bool = False) -> Program:
    """
    Find the program in a model's answer.

    With a `prefix` or an opened fence, the program is the completion up to the closing fence. Otherwise it is the
    first block fenced as Python, else the first fenced block, else the whole text. A block without a closing fence
    goes to the end of the text. The closing fence of a block has at least as many backticks as its opening fence.

    Args:
        completion (`str`):
            Text that the model generated.
        prefix (`str`, *optional*):
            Text that the completion continues, exactly as in the query. The program begins with it.
        opened_fence (`bool`, *optional*, defaults to `False`):
            Whether the query ended inside an open code fence.

    Returns:
        [`Program`]: `text` is the program to run, `span` the span of its generated part in the completion.
    """
    if prefix or opened_fence:
        end = find_closing_fence(completion)
        span = (0, len(completion) if end is None else end)
    else:
        span = _fenced_block(completion) or (0, len(completion))
    return Program(text=prefix + completion[span[0] : span[1]], span=span)


def _fenced_block(text: str) -> CharSpan | None:
    """Return the span of the code in the first block fenced as Python, else in the first fenced block."""
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
    Suppress warnings of Python's parser and compiler in the block, and let only one thread in at a time.

    Warnings, such as those of invalid escapes, would be errors if a user turns warnings into errors. `catch_warnings`
    is not thread-safe. Threads that build syntax trees at the same time may get a SystemError, "AST constructor
    recursion depth mismatch" (CPython issue 106905; seen on 3.11).
    """
    with _parser_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def any_digits() -> Iterator[None]:
    """
    Lift Python's limit on the digits of integers in the block. For tests, which may have an integer of any length.

    The limit is one for all threads. It comes back when the last block of this kind ends. Keep the blocks short, and
    parse no program of a model in one: there a long literal would cost minutes.
    """
    if sys.version_info < (3, 10, 7):
        yield
        return
    with _parser_lock:
        _digit_limits.append(sys.get_int_max_str_digits())
        sys.set_int_max_str_digits(0)
    try:
        yield
    finally:
        with _parser_lock:
            sys.set_int_max_str_digits(_digit_limits.pop())


_digit_limits: list[int] = []  # what each block of `any_digits` found: the limit first, which comes back last


def syntax_tree(source: str) -> ast.Module:
    """Return the syntax tree of a text, as `ast.parse` does, with its errors, but in a [`quiet_parser`]."""
    with quiet_parser():
        return ast.parse(source)  # noqa: TID251


def expression_tree(source: str) -> ast.expr:
    """Return the syntax tree of an expression, as [`syntax_tree`] does."""
    with quiet_parser():
        return ast.parse(source.strip(), mode="eval").body  # noqa: TID251


def parse(program: str) -> ast.Module | None:
    """Return the syntax tree of a program, or `None` if the text is not a program or nested too deeply."""
    try:
        return syntax_tree(_without_byte_order_mark(program))
    except COMPILE_ERRORS:
        return None


def _without_byte_order_mark(program: str) -> str:
    """Replace a byte order mark by a form feed, because `compile` rejects it, unlike the interpreter in a file."""
    return "\f" + program[1:] if program.startswith("\ufeff") else program


def compile_for_tracing(program: str, filename: str) -> CodeType:
    """
    Compile a program so that a line tracer sees every suite that is entered.

    CPython has no line event for a suite that holds only a docstring, `global`, `nonlocal` or bare annotations. A
    tracer cannot see whether a function with only a docstring is called. Such silent suites, and programs without any
    statement, get a `pass` at the line of their first statement. Nothing else in the program is changed.

    If the program does not compile, one of `COMPILE_ERRORS` is raised.
    """
    code = compile(_without_byte_order_mark(program), filename, "exec", dont_inherit=True, optimize=0)
    if not _may_hold_silent_suite(program, code):
        return code
    tree = parse(program)
    if tree is None or not _add_pass_to_silent_suites(tree):
        return code
    try:
        return compile(tree, filename, "exec", dont_inherit=True, optimize=0)
    except COMPILE_ERRORS:
        return code  # too deeply nested for compiling from a tree


def _may_hold_silent_suite(program: str, code: CodeType) -> bool:
    """
    Return `False` if the program surely has no silent suite. This saves its syntax tree, slower than compiling.

    A silent suite begins with `global`, `nonlocal` or a bare annotation, or it is a whole function or program.
    """
    return (
        "global" in program
        or "nonlocal" in program
        or _may_begin_suite_with_annotation(program)
        or _may_do_nothing(code)
    )


def _may_begin_suite_with_annotation(program: str) -> bool:
    """Return whether an annotation, or what looks like one, is the first statement after a colon or of the program."""
    text = program.replace("\r", "\n")
    return any(found[0][:1] == ":" or _follows_colon(text, found.start()) for found in _ANNOTATION.finditer(text))


def _follows_colon(text: str, line_end: int) -> bool:
    """Return whether a colon is the last code before a line end, or there is no code before it."""
    while line_end > 0:
        start = text.rfind("\n", 0, line_end) + 1
        line = text[start:line_end]
        if _COLON_AT_END.search(line):
            return True
        code = line.strip(" \t\f\\")
        if code and code[0] != "#":
            return False
        line_end = start - 1
    return True


def _may_do_nothing(code: CodeType) -> bool:
    """Return whether this code, or that of a function in it, uses no names and no constants but strings and `None`."""
    constants = code.co_consts
    if not code.co_names and all(constant is None or isinstance(constant, str) for constant in constants):
        return not code.co_name.startswith("<") or code.co_name == "<module>"
    return any(isinstance(constant, CodeType) and _may_do_nothing(constant) for constant in constants)


def _add_pass_to_silent_suites(tree: ast.Module) -> bool:
    """Add a `pass` to every silent suite, in place. Return whether there is one."""
    silent = [(node, suite) for node in ast.walk(tree) for suite in suites(node) if _is_silent(node, suite)]
    for _, suite in silent:
        line = suite[0].lineno if suite else 1
        suite.append(ast.Pass(lineno=line, col_offset=0, end_lineno=line, end_col_offset=0))
    return bool(silent)


def suites(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """Yield the lists of statements directly under a node. Only the list of a module may be empty."""
    for name, value in ast.iter_fields(node):
        is_suite = name in SUITES and isinstance(value, list)
        if is_suite and (isinstance(node, ast.Module) or (value and isinstance(value[0], ast.stmt))):
            yield value


def _is_silent(owner: ast.AST, suite: Sequence[ast.stmt]) -> bool:
    return all(is_passive(owner, suite, index) for index in range(len(suite)))


def is_passive(owner: ast.AST | None, suite: Sequence[ast.stmt], index: int) -> bool:
    """Return whether a statement has no line event: docstring, `global`, `nonlocal` or bare annotation."""
    node = suite[index]
    if isinstance(node, ast.Expr):
        takes_docstring = isinstance(owner, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        is_string = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return index == 0 and takes_docstring and is_string
    return isinstance(node, (ast.Global, ast.Nonlocal)) or (isinstance(node, ast.AnnAssign) and node.value is None)


def first_line(node: ast.stmt) -> TLineNo:
    """Return the first line of a statement, decorators included."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and node.decorator_list:
        return min(node.lineno, node.decorator_list[0].lineno)
    return node.lineno


def header_end_line(node: ast.stmt | ast.excepthandler | ast.match_case, lines: Sequence[str]) -> TLineNo:
    """Return the line on which the header of a compound statement ends, with its colon."""
    line, column = max(_header_ends(node))
    # After the last expression of a header come only brackets, commas, names and comments. The first colon ends it.
    rest = from_byte(lines[line - 1], column)
    while ":" not in rest.split("#", 1)[0] and line < len(lines):
        line += 1
        rest = lines[line - 1]
    return line


def _header_ends(node: ast.AST) -> Iterator[tuple[TLineNo, int]]:
    """Yield the ends of the parts of a header, as line and byte in the line; for its keyword the beginning."""
    if isinstance(node, (ast.stmt, ast.excepthandler)):
        yield node.lineno, node.col_offset
    for name, value in ast.iter_fields(node):
        if name in SUITES or name == "decorator_list":
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, (ast.arguments, ast.withitem)):  # these have no position of their own
                yield from _header_ends(child)
            elif isinstance(child, ast.AST):
                yield child.end_lineno, child.end_col_offset  # type: ignore[attr-defined]


def from_byte(line: str, column: int) -> str:
    """Return the text of a line from a column on. Syntax trees count columns in bytes of UTF-8."""
    return line[column:] if line.isascii() else line.encode()[column:].decode(errors="replace")
