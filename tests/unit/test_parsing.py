from __future__ import annotations

import gc
import os
import sys
import threading
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepcoder_trl.parsing import (
    any_digits,
    compile_for_tracing,
    extract_program,
    find_closing_fence,
    line_spans,
    parse,
    syntax_tree,
)
from stepcoder_trl.types import Program
from stepcoder_trl.units import executable_units
from tests.strategies import answers, source_like_texts


# Lines


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("a", ["a"]),
        ("a\n", ["a\n"]),
        ("a\nb", ["a\n", "b"]),
        ("\n\n", ["\n", "\n"]),
        ("a\r\nb\rc\n", ["a\r\n", "b\r", "c\n"]),
        ("a\r\r\n\n", ["a\r", "\r\n", "\n"]),
        ("a\x0cb\x0bc\x1cd\x85e\u2028f\n", ["a\x0cb\x0bc\x1cd\x85e\u2028f\n"]),
    ],
)
def test_line_ends_are_those_of_the_tokenizer(text, lines):
    assert [text[start:end] for start, end in line_spans(text)] == lines


@given(source_like_texts())
def test_lines_add_up_to_the_text(text):
    spans = line_spans(text)

    assert "".join(text[start:end] for start, end in spans) == text
    assert all(text[start:end].rstrip("\r\n").count("\n") == 0 and start < end for start, end in spans)


@given(st.text(st.sampled_from("#\n\r\f\x85\u2028 "), max_size=20))
def test_line_number_equals_that_of_the_compiler(text):
    tree = parse(text + "x")

    if tree is not None and tree.body:
        assert tree.body[0].lineno == len(line_spans(text + "x"))


# Answers


@pytest.mark.parametrize(
    ("completion", "text"),
    [
        ("x = 1\n", "x = 1\n"),
        ("", ""),
        ("Sure:\n```python\nx = 1\n```\nDone", "x = 1\n"),
        ("```python\nx = 1\n```", "x = 1\n"),
        ("```\nx = 1\n```", "x = 1\n"),
        ("```Python\nx = 1\n```", "x = 1\n"),
        ("```py\nx = 1\n```", "x = 1\n"),
        ("``` python3 title='a'\nx = 1\n```", "x = 1\n"),
        ("   ```python\nx = 1\n   ```\n", "x = 1\n"),
        ("    ```python\nx = 1\n", "    ```python\nx = 1\n"),
        ("say ```python\nx = 1\n", "say ```python\nx = 1\n"),
        ("``\nx\n", "``\nx\n"),
        ("```\n1 2\n```\n```python\nx = 1\n```\n", "x = 1\n"),
        ("```json\n{}\n```\n```\nx = 1\n```\n", "{}\n"),
        ("```python\na\n```\n```python\nb\n```\n", "a\n"),
        ("```python\nx = 1\n", "x = 1\n"),
        ("```python\nx = 1\n``", "x = 1\n``"),
        ("text\n```python", ""),
        ("```pytho", ""),
        ("```python\n```\nx = 1", ""),
        ("```python\r\nx = 1\r\n```\r\n", "x = 1\r\n"),
        ("```python\rx = 1\r```\r", "x = 1\r"),
        ("````python\na = '''\n```\n'''\n````\n", "a = '''\n```\n'''\n"),
        ("```pythonic\na\n```\n```python\nb\n```", "b\n"),
    ],
)
def test_program_is_first_python_block_or_first_block_or_whole_text(completion, text):
    assert extract_program(completion).text == text


@pytest.mark.parametrize(
    ("completion", "part"),
    [
        ("    return x\n", "    return x\n"),
        ("\n    return x\n```\nDone\n```python\ny\n```", "\n    return x\n"),
        ("```\nDone", ""),
        ("", ""),
        (" x\r\n```", " x\r\n"),
        (" x\n  ```", " x\n"),
        (" x\n    ```", " x\n    ```"),
        (" x ```", " x ```"),
    ],
)
def test_program_after_prefix_or_opened_fence_ends_at_closing_fence(completion, part):
    assert extract_program(completion, "def f(x):") == Program("def f(x):" + part, (0, len(part)))
    assert extract_program(completion, opened_fence=True) == Program(part, (0, len(part)))


@given(completion=answers() | source_like_texts(), prefix=st.sampled_from(["", "def f():\n"]), opened=st.booleans())
def test_program_is_prefix_and_slice_of_completion(completion, prefix, opened):
    program = extract_program(completion, prefix, opened_fence=opened)

    start, end = program.span
    assert 0 <= start <= end <= len(completion)
    assert program.text == prefix + completion[start:end]


@given(answers())
def test_opened_fence_equals_completion_that_begins_with_fence(completion):
    written = extract_program("```python\n" + completion)

    assert written.text == extract_program(completion, opened_fence=True).text


@pytest.mark.parametrize(
    ("text", "offset"),
    [("a\n```\n", 2), ("```", 0), ("a ```", None), ("a\n  ````x\n", 2), ("a\n``", None), ("", None)],
)
def test_closing_fence_starts_at_its_line(text, offset):
    assert find_closing_fence(text) == offset


# Syntax trees


INVALID = {
    "brackets": "(" * 100_000,
    "pairs": "[" * 50_000 + "]" * 50_000,
    "minus": "-" * 100_000 + "1",
    "attributes": "x" + ".x" * 50_000,
    "lambdas": "lambda: " * 50_000 + "1",
    "null byte": "x = 1\0",
    "lone surrogate": "x = '\ud800'",
    "indentation": "if 1:\n  a\n b\n",
    "mixed tabs": "if 1:\n        a\n\tb\n  c",
    "open string": "x = '''",
}


@pytest.mark.parametrize("program", INVALID.values(), ids=INVALID)
def test_invalid_program_has_no_tree_and_no_units(program):
    if sys.version_info < (3, 11) and program == INVALID["attributes"]:
        pytest.skip("Python 3.10 parses it, and only its compiler rejects it")
    assert parse(program) is None
    assert executable_units(program) is None


def test_parsing_gives_no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        tree = parse("x = '\\d' is 1\n")

    assert tree is not None


# Compiling


def events(program: str) -> set[int]:
    """Run a program and return the lines for which `sys.settrace` reports an event."""
    lines: set[int] = set()

    def tracer(frame, event, arg):
        if event == "line" and frame.f_code.co_filename == "/solution.py":
            lines.add(frame.f_lineno)
        return tracer

    code = compile_for_tracing(program, "/solution.py")
    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        exec(code, {"__name__": "solution"})
    finally:
        sys.settrace(before)
    return lines


@pytest.mark.parametrize(
    ("program", "silent"),
    [
        ("def f():\n    '''Doc.'''\nf()\n", 2),
        ("def f():\n    global x\nf()\n", 2),
        ("def f():\n    x: int\nf()\n", 2),
        ("def f():\n    if 1:\n        global x\nf()\n", 3),
        ("def f():\n    if 1:  # why\n\n        # what\n        (x): int\n    x = 1\nf()\n", 5),
        ("def f():\n    for _ in [1]:\n        x: int\nf()\n", 3),
        ("class C:\n    global x\n", 2),
        ("try:\n    1\nfinally:\n    global x\n", 4),
        ("match 1:\n    case 1:\n        global x\n", 3),
        ("", 1),
        ("\n# comment\n", 1),
    ],
)
def test_entered_suite_without_events_gets_one(program, silent):
    assert silent in events(program)


def test_suite_that_is_not_entered_gets_no_event():
    assert events("def f():\n    '''Doc.'''\nx = 1\n") == {1, 3}


def test_docstrings_are_kept():
    names: dict[str, object] = {"__name__": "solution"}
    exec(compile_for_tracing("'''M'''\nclass C:\n    '''C'''\ndef f():\n    '''F'''\n", "/solution.py"), names)

    assert (names["__doc__"], names["C"].__doc__, names["f"].__doc__) == ("M", "C", "F")


@pytest.mark.parametrize("program", ["def f(:\n", "return 1\n", "x = 1\0", "def f():\n    x: int\n    global x\n"])
def test_compile_errors_equal_those_of_compile(program):
    with pytest.raises((SyntaxError, ValueError)) as ours:
        compile_for_tracing(program, "/solution.py")
    with pytest.raises((SyntaxError, ValueError)) as theirs:
        compile(program, "/solution.py", "exec")

    assert (type(ours.value), str(ours.value)) == (type(theirs.value), str(theirs.value))


class Cycle:
    """Reference cycle. Its finalizer runs long enough that Python switches threads during parsing."""

    def __init__(self):
        self.itself = self

    def __del__(self):
        for _ in range(50):
            pass


def test_threads_can_parse_at_the_same_time():
    text = "\n".join(f"def f{n}(x):\n    return [x + {n} for x in range({n}) if x]" for n in range(60))
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    found = []

    def work():
        for _ in range(40):
            for _ in range(30):
                Cycle()
            found.append(len(syntax_tree(text).body))

    threads = [threading.Thread(target=work) for _ in range(4)]
    sys.setswitchinterval(1e-6)
    gc.set_threshold(20)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*thresholds)

    assert found == [60] * 160  # without the lock `ast.parse` sometimes raises SystemError, up to Python 3.12


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # Python 3.12 warns of what we test
def test_process_forked_while_a_thread_parses_can_parse():
    text = "x = 1\n" * 2000
    ending = threading.Event()

    def work():
        while not ending.is_set():
            syntax_tree(text)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                os._exit(0 if len(syntax_tree("a = 1").body) == 1 else 1)
            assert os.waitpid(pid, 0)[1] == 0
    finally:
        ending.set()
        thread.join()


COMMENTS = {
    "plain": "# a\n" * 100_000,
    "with colons": "# a: b\n" * 100_000,
    "that end with colons": "if x:\n" + "# a:\n" * 100_000 + "    y = 1\n",
    "in a suite": "def f():\n    if x:\n        y = 1\n" + "    # a: b #:\n" * 100_000 + "    return 1\n",
    "with other line ends": "if x:\r" + "# a:\r\n" * 100_000 + "    y = 1\r",
    "before an annotation": "class A:\n" + "    # a: b\n" * 100_000 + "    y: int\n",
    "in brackets": "x = (\n" + "# a: b\n" * 100_000 + "1)\n",
    "between annotations": "if x:\n    y: int\n" + "    # a:\n    z: int\n" * 50_000,
}


@pytest.mark.timeout(20)  # it took minutes
@pytest.mark.parametrize("comments", COMMENTS)
def test_many_comment_lines_take_linear_time(comments):
    compile_for_tracing(COMMENTS[comments], "solution.py")


@pytest.mark.parametrize(
    "gap", ["", " ", "\n    ", "  # c\n    ", "\n# c: d\n\n  # e:\n    ", " \\\n", "\r\n\t", "\r# c\r    "]
)
@pytest.mark.parametrize("annotation", ["x: int", "(x): int", "( x\n): int"])
def test_suite_of_an_annotation_gets_an_event_after_any_gap(gap, annotation):
    lines = set()
    code = compile_for_tracing(f"y = 1\nif y:{gap}{annotation}\n", "solution.py")
    for _, _, line in code.co_lines():
        lines.add(line)

    suite = 2 + gap.count("\n") + gap.count("\r") - gap.count("\r\n")
    assert suite in lines


# Integers with many digits


@pytest.mark.skipif(sys.version_info < (3, 10, 7), reason="this Python has no limit")
def test_limit_on_digits_comes_back_when_the_last_block_ends():
    limit, text = sys.get_int_max_str_digits(), "9" * 5000
    inside, go_on = threading.Event(), threading.Event()

    def other():
        with any_digits():
            inside.set()
            go_on.wait(60)

    thread = threading.Thread(target=other)
    with any_digits():
        thread.start()
        assert inside.wait(60)
    found = parse(text)
    go_on.set()
    thread.join(60)

    assert found is not None
    assert sys.get_int_max_str_digits() == limit > 0
    assert parse(text) is None
