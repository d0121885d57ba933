"""
Text of a program: where it stands in an answer, its lines, and its syntax tree.

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
from types import CodeType

from stepcoder_trl.types import CharSpan, Program, TLineNo


_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_FENCE = re.compile(r"(?:\A|(?<=[\r\n])) {0,3}(?P<ticks>`{3,})(?P<info>[^\r\n]*)(?:\r\n|\r|\n|\Z)")
_PYTHON_INFO = ("python", "python3", "py")

# What `ast.parse` and `compile` raise for a text that is not a program: besides syntax errors null bytes and lone
# surrogates (ValueError) and nesting that is too deep (RecursionError, MemoryError, OverflowError).
COMPILE_ERRORS = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)

SUITES = ("body", "handlers", "orelse", "finalbody", "cases")
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
        if name in SUITES and isinstance(value, list) and (isinstance(node, ast.Module) or _holds_statements(value)):
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
    rest = from_byte(lines[line - 1], column)
    while ":" not in rest.split("#", 1)[0] and line < len(lines):
        line += 1
        rest = lines[line - 1]
    return line


def _header_ends(node: ast.AST) -> Iterator[tuple[TLineNo, int]]:
    """Where the parts of a header end (lines; bytes in the line); its keyword counts with its beginning."""
    if isinstance(node, (ast.stmt, ast.excepthandler)):
        yield node.lineno, node.col_offset
    for name, value in ast.iter_fields(node):
        if name in SUITES or name == "decorator_list":
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, (ast.arguments, ast.withitem)):  # have no position of their own
                yield from _header_ends(child)
            elif isinstance(child, ast.AST):
                yield _end(child)


def _end(node: ast.AST) -> tuple[TLineNo, int]:
    position: tuple[TLineNo, int] = (node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]
    return position


def from_byte(line: str, column: int) -> str:
    """Text of a line from a column on; syntax trees count columns in bytes of UTF-8."""
    return line[column:] if line.isascii() else line.encode()[column:].decode(errors="replace")
