from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import subprocess
import sys
import textwrap
import time
import tokenize
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepcoder_trl.masking import (
    MaskRule,
    completion_loss_mask,
    executed_lines,
    executed_token_mask,
    kept_lines,
    loss_mask,
    random_token_mask,
)
from stepcoder_trl.parsing import compile_for_tracing, extract_program, line_spans
from stepcoder_trl.types import Execution, Outcome, TestResult
from tests.strategies import partitions, programs, source_like_texts, spans


FILENAME = "/untrusted/solution.py"


# Lines


def namespace(flags: list[bool]) -> dict[str, Any]:
    """What generated programs call; `flag` answers with the given decisions in order, then with no."""
    answers = iter(flags)
    return {
        "__name__": "__main__",
        "flag": lambda: next(answers, False),
        "manager": contextlib.nullcontext,
        "same": lambda function: function,
    }


def raw_events(program: str, names: dict[str, Any]) -> set[int]:
    """Lines for which `sys.settrace` reports an event."""
    lines: set[int] = set()
    code = compile_for_tracing(program, FILENAME)

    def tracer(frame: Any, event: str, arg: object) -> Any:
        if frame.f_code.co_filename != FILENAME:
            return None
        if event == "line":
            lines.add(frame.f_lineno)
        return tracer

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        with contextlib.suppress(Exception, SystemExit):
            exec(code, names)
    finally:
        sys.settrace(before)
    return lines


class Probes(ast.NodeTransformer):
    """Oracle: calls `probe(line)` before every statement and clause, so that no tracer is needed."""

    def call(self, line: int) -> ast.Call:
        return ast.Call(ast.Name("probe", ast.Load()), [ast.Constant(line)], [])

    def suite(self, nodes: list[ast.stmt]) -> list[ast.stmt]:
        return [part for node in nodes for part in (ast.Expr(self.call(node.lineno)), self.visit(node))]

    def first(self, line: int, value: ast.expr) -> ast.expr:
        pair = ast.Tuple([self.call(line), value], ast.Load())
        return ast.Subscript(pair, ast.Constant(1), ast.Load())

    def generic_visit(self, node: ast.AST) -> ast.AST:
        for name, value in ast.iter_fields(node):
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                setattr(node, name, self.suite(value))
        for handler in getattr(node, "handlers", []):
            if handler.type is None:
                handler.body = [ast.Expr(self.call(handler.lineno)), *self.suite(handler.body)]
            else:
                handler.type = self.first(handler.lineno, handler.type)
                handler.body = self.suite(handler.body)
        return node

    def visit_If(self, node: ast.If) -> ast.AST:
        if is_elif(node):
            elif_ = node.orelse[0]
            elif_.test = self.first(elif_.lineno, elif_.test)
            node.orelse, nested = [], self.visit(elif_)
            self.generic_visit(node)
            node.orelse = [nested]
            return node
        return self.generic_visit(node)

    def visit_Match(self, node: ast.Match) -> ast.AST:
        cases = []
        for case in node.cases:
            probe = ast.BoolOp(ast.And(), [self.call(case.pattern.lineno), ast.Constant(False)])
            cases.append(ast.match_case(ast.MatchAs(None, None), probe, [ast.Pass()]))
            cases.append(ast.match_case(case.pattern, case.guard, self.suite(case.body)))
        node.cases = cases
        return node


def is_elif(node: ast.If) -> bool:
    # Generated programs and the data sets have no `if` at the same column below an `else:`.
    return (
        len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If) and node.orelse[0].col_offset == node.col_offset
    )


def is_passive(owner: ast.AST, index: int, node: ast.stmt) -> bool:
    docstring_owner = isinstance(owner, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    if index == 0 and docstring_owner and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return isinstance(node.value.value, str)
    return isinstance(node, (ast.Global, ast.Nonlocal)) or (isinstance(node, ast.AnnAssign) and node.value is None)


def logical_lines(program: str) -> list[range]:
    """Lines of each logical line, by the tokenizer."""
    found = []
    first = None
    for token in tokenize.tokenize(BytesIO(program.encode()).readline):
        if token.type == tokenize.NEWLINE:
            found.append(range(first or token.start[0], token.end[0] + 1))
            first = None
        elif first is None and token.type not in (
            tokenize.ENCODING,
            tokenize.COMMENT,
            tokenize.NL,
            tokenize.INDENT,
            tokenize.DEDENT,
        ):
            first = token.start[0]
    return found


def oracle_lines(program: str, names: dict[str, Any]) -> tuple[set[int], set[int]]:
    """Lines of code that ran, and those that did not, by probes. Comments and blank lines are in neither."""
    ran: set[int] = set()
    code = compile(ast.fix_missing_locations(Probes().visit(ast.parse(program))), FILENAME, "exec")
    with contextlib.suppress(Exception, SystemExit):
        exec(code, {**names, "probe": ran.add})

    line_of = {line: lines for lines in logical_lines(program) for line in lines}
    header_of = {}
    opened_by = {}
    for node in ast.walk(ast.parse(program)):
        for decorator in getattr(node, "decorator_list", []):
            header_of[line_of[decorator.lineno]] = node.lineno
        for name, suite in ast.iter_fields(node):
            if not (isinstance(suite, list) and suite and isinstance(suite[0], ast.stmt)):
                continue
            if name in ("orelse", "finalbody") and not (isinstance(node, ast.If) and is_elif(node)):
                opened_by[suite[0].lineno] = suite[0].lineno
            passive = [is_passive(node, index, statement) for index, statement in enumerate(suite)]
            for index, statement in enumerate(suite):
                others = [*suite[index:], *reversed(suite[:index])]
                flags = [*passive[index:], *reversed(passive[:index])]
                target = next((other for other, flag in zip(others, flags, strict=True) if not flag), statement)
                if target.lineno not in ran:
                    if all(other.lineno not in line_of[statement.lineno] for other in suite if other is not statement):
                        ran.discard(statement.lineno)
                else:
                    ran.add(statement.lineno)

    executed: set[int] = set()
    code_lines: set[int] = set()
    pending: list[int] = []
    for lines in line_of.values():
        text = program_line(program, lines[0]).strip()
        if re.match(r"(else|finally)\s*:", text) and not any(line in opened_by for line in lines):
            pending += lines
            continue
        status = any(line in ran for line in lines) or header_of.get(lines) in ran
        for line in (*lines, *pending):
            code_lines.add(line)
            if status:
                executed.add(line)
        pending = []
    return executed, code_lines - executed


def program_line(program: str, line: int) -> str:
    start, end = line_spans(program)[line - 1]
    return program[start:end]


def assert_agrees_with_oracle(program: str, names: Any) -> None:
    raw = raw_events(program, names())
    executed = executed_lines(program, raw)
    ran, did_not_run = oracle_lines(program, names())

    assert ran <= executed, sorted(ran - executed)
    assert not did_not_run & executed, sorted(did_not_run & executed)
    assert raw & set(range(1, len(line_spans(program)) + 1)) <= executed


@settings(max_examples=300, deadline=None)
@given(program=programs(), flags=st.lists(st.booleans(), max_size=30))
def test_executed_lines_agree_with_probes(program, flags):
    assert_agrees_with_oracle(program, lambda: namespace(flags))


@settings(deadline=None)
@given(program=programs(), more=st.sets(st.integers(1, 60)), lines=st.sets(st.integers(-2, 60)))
def test_more_events_never_make_fewer_lines(program, lines, more):
    assert executed_lines(program, lines) <= executed_lines(program, lines | more)


@settings(deadline=None)
@given(program=programs())
def test_events_everywhere_make_every_line_executed_and_none_make_none(program):
    lines = range(1, len(line_spans(program)) + 1)

    assert executed_lines(program, lines) == frozenset(lines)
    assert executed_lines(program, []) == frozenset()


def humaneval_rows() -> list[Any]:
    folder = os.environ.get("STEPCODER_DATA")
    if folder is None:
        return [pytest.param({}, marks=pytest.mark.skip(reason="STEPCODER_DATA does not name the folder of problems"))]
    lines = Path(folder, "humaneval.jsonl").read_text(encoding="utf-8").splitlines()
    return [pytest.param(row, id=row["task_id"]) for row in map(json.loads, lines)]


@pytest.mark.parametrize("row", humaneval_rows())
def test_executed_lines_of_real_programs_agree_with_probes(row):
    program = row["prompt"] + row["canonical_solution"] + row["test"] + f"\ncheck({row['entry_point']})\n"

    assert_agrees_with_oracle(program, lambda: {"__name__": "__main__"})


# Marks: "+" ran, "-" did not.
SPECIMENS = {
    "the parts of a function": """
        + def f(x):
        +     '''Doc.'''
        +     total = [
        +         i for i in
        +         range(x)]
        +     if x > 100:
        -         return -1
        -         # the block ends here
        +     # next comes the return
        +     return total
        -     y = 3
        -     # never
        + f(3)
    """,
    "else and finally go with their suites": """
        + try:
        +     if 1:
        +         a = 1
        -     else:
        -         # nobody
        -         a = 2
        + finally:
        +     b = 1
        + for i in []:
        -     a = 3
        + else:
        +     # follows
        +     a = 4
    """,
    "except headers ran if they were evaluated": """
        + try:
        +     {}[1]
        -     a = 1
        + except (TypeError,
        +         ValueError):
        -     a = 2
        + except KeyError:
        +     a = 3
        - except BaseException:
        -     a = 4
    """,
    "except headers did not run without an exception": """
        + try:
        +     a = 1
        - except KeyError:
        -     a = 2
        + else:
        +     a = 3
    """,
    "case headers ran if they were evaluated": """
        + match 2:
        +     # first
        +     case 1:
        -         a = 1
        -         # one
        +     case (
        +         2
        +     ):
        +         a = 2
        -     # last
        -     case _:
        -         a = 3
    """,
    "elif is a header of its own": """
        + if 0:
        -     a = 1
        + elif 1:
        +     a = 2
        - # the third
        - elif 2:
        -     a = 3
        - else:
        -     a = 4
        + # behind
        + a = 5
    """,
    "a function never called": """
        + @(lambda f: f)
        + # named
        + def f(
        +     x,  # a: b
        + ):
        -     # start
        -     '''Doc.'''
        -
        -     global y
        -     z: int
        -     return x
        -     # end
        +
        + # out
        + z = 1
    """,
    "a docstring alone goes with its block": """
        + def f():
        +     '''Doc
        +     ends.'''
        +     # said all
        + def g():
        -     '''Doc.'''
        + class C:
        +     '''Doc.'''
        + f()
    """,
    "global alone goes with its block": """
        + def f(n):
        +     if n:
        -         global a
        +     else:
        +         global b
        +         c: int
        + f(0)
    """,
    "passive statements at the end go with the one before": """
        + def f(n):
        +     if n:
        +         return
        +         x: int
        +         # end
        -     return 2
        -     global y
        + f(1)
    """,
    "a header with its suite on its line is one line": """
        + if 1: a = [
        +     1]
        - else: b = 1
        + for i in (): c = 1
        + def f(): '''Doc.'''
    """,
    "a crash": """
        + a = 1
        + b = (1 /
        +     0)
        - # not reached
        - c = 3
    """,
    "a comment above else belongs to the block of its indentation": """
        + if 1:
        +     a = 1
        +     # inside
        + # outside
        - else:
        -     a = 2
        + b = 3
    """,
    "what comes first": """
        +
        + # comment
        + '''Doc.'''
        + import os
        + raise SystemExit
        - a = 1
    """,
}


@pytest.mark.parametrize("specimen", SPECIMENS.values(), ids=SPECIMENS)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
def test_specimen_is_executed_where_it_is_marked(specimen, line_end):
    rows = textwrap.dedent(specimen).strip("\n").split("\n")
    program = line_end.join(row[2:] for row in rows)
    marked = {number for number, row in enumerate(rows, 1) if row[0] == "+"}

    executed = executed_lines(program, raw_events(program, {"__name__": "__main__"}))

    assert executed == marked


@pytest.mark.parametrize("program", ["# only a comment", "\n\n# comment\n"])
def test_program_of_comments_is_executed_as_a_whole(program):
    events = raw_events(program, {})

    assert executed_lines(program, events) == frozenset(range(1, len(line_spans(program)) + 1))
    assert executed_lines(program, []) == frozenset()


def test_program_that_does_not_parse_has_no_executed_lines():
    assert executed_lines("def f(:\n    pass\n", []) == frozenset()


def test_form_feeds_and_unicode_separators_do_not_end_lines():
    program = "a = '\u2028\x85\x0b'\n\x0cif 0:\n    b = 1\nc = 2\n"

    assert executed_lines(program, raw_events(program, {})) == {1, 2, 4}


# Masks


def slow_executed_token_mask(token_spans: Any, executed_spans: Any) -> list[bool]:
    return [any(max(start, lo) < min(end, hi) for lo, hi in executed_spans) for start, end in token_spans]


def slow_visible_mask(token_spans: Any, executed_spans: Any, text: str) -> list[bool]:
    executed = {offset for span in executed_spans for offset in range(*span)}
    visible = [
        [at for at in range(start, min(end, len(text))) if not text[at].isspace()] for start, end in token_spans
    ]
    mask = []
    for index, (start, end) in enumerate(token_spans):
        later = [at for at in visible[index:] if at]
        earlier = [at for at in visible[:index] if at]
        text_of = later[0] if later else earlier[-1] if earlier else []
        mask.append(start < end and any(at in executed for at in text_of))
    return mask


@given(tokens=spans(), lines=spans())
def test_mask_equals_comparing_all_pairs(tokens, lines):
    assert executed_token_mask(tokens, lines) == slow_executed_token_mask(tokens, lines)


@given(tokens=spans(), lines=spans(), more=spans())
def test_executing_more_lines_never_unmarks_a_token(tokens, lines, more):
    before = executed_token_mask(tokens, lines)
    after = executed_token_mask(tokens, lines + more)

    assert all(b <= a for b, a in zip(before, after, strict=True))


@given(data=st.data(), text=source_like_texts(), lines=spans(max_offset=60))
def test_mask_by_text_equals_the_obvious_version(data, text, lines):
    tokens = data.draw(partitions(len(text)))

    assert executed_token_mask(tokens, lines, text) == slow_visible_mask(tokens, lines, text)


def test_straddling_token_is_marked_and_empty_token_is_not():
    mask = executed_token_mask([(0, 4), (4, 4), (4, 8), (3, 5)], [(0, 4)])

    assert mask == [True, False, False, True]


def test_white_space_goes_with_the_text_that_follows_and_at_the_end_with_the_text_before():
    text = "a\n    b\n  "
    tokens = [(0, 1), (1, 6), (6, 7), (7, 8), (8, 10)]

    assert executed_token_mask(tokens, [(0, 2)], text) == [True, False, False, False, False]
    assert executed_token_mask(tokens, [(2, 8)], text) == [False, True, True, True, True]


def test_white_space_of_an_executed_line_does_not_mark_a_token():
    mask = executed_token_mask([(0, 3)], [(0, 1)], "\n b")

    assert mask == [False]


@pytest.mark.parametrize(("tokens", "lines"), [([(3, 2)], []), ([], [(3, 2)])])
def test_span_that_ends_before_it_starts_is_refused(tokens, lines):
    with pytest.raises(ValueError, match=r"Span \(3, 2\) ends before it starts"):
        executed_token_mask(tokens, lines)


def test_mask_of_many_tokens_and_lines_is_fast():
    text = "ab cd\n" * 20_000
    tokens = [(offset, offset + 1) for offset in range(len(text))]
    lines = [(offset, offset + 6) for offset in range(0, len(text), 12)]

    begin = time.process_time()
    executed_token_mask(tokens, lines, text)
    executed_token_mask(tokens, lines)

    assert time.process_time() - begin < 5  # all pairs would take hours


def one_token_per_character(text: str) -> list[tuple[int, int]]:
    return [(offset, offset + 1) for offset in range(len(text))]


def kept_text(completion: str, mask: list[bool]) -> str:
    return "".join(character if mark else "." for character, mark in zip(completion, mask, strict=False))


def test_fence_and_prose_are_kept_outside_the_program():
    completion = "Sure:\n```python\na = 1\nb = 2\n```\nDone"
    program = extract_program(completion)
    tokens = [*one_token_per_character(completion), (len(completion), len(completion))]

    mask = completion_loss_mask(tokens, completion, program, {1})

    assert kept_text(completion, mask) == "Sure:\n```python\na = 1......\n```\nDone"
    assert mask[-1]


def test_nothing_outside_the_program_is_kept_on_request():
    completion = "Sure:\n```python\na = 1\nb = 2\n```\nDone"
    program = extract_program(completion)
    tokens = [*one_token_per_character(completion), (len(completion), len(completion))]

    mask = completion_loss_mask(tokens, completion, program, {1}, outside_program=False)

    assert kept_text(completion, mask) == "." * 15 + "\na = 1" + "." * 15
    assert not mask[-1]


def test_completion_goes_on_in_the_middle_of_a_line_of_the_prefix():
    completion = " 1:\n        return x\n    return y\n```"
    program = extract_program(completion, "def f(x):\n    if x >")
    tokens = one_token_per_character(completion)

    mask = completion_loss_mask(tokens, completion, program, {1, 2, 4})

    assert kept_text(completion, mask) == " 1:.................\n    return y\n```"


def test_lines_of_the_prefix_alone_keep_nothing_of_the_program():
    completion = "\n    return 1\n"
    program = extract_program(completion, "def f():")

    mask = completion_loss_mask(one_token_per_character(completion), completion, program, {1})

    assert not any(mask)


@given(data=st.data(), completion=source_like_texts(), prefix=source_like_texts(), outside=st.booleans())
def test_keeping_all_lines_keeps_all_tokens_of_the_program(data, completion, prefix, outside):
    program = extract_program(completion, prefix)
    tokens = data.draw(partitions(len(completion)))
    lines = range(1, len(line_spans(program.text)) + 1)

    mask = completion_loss_mask(tokens, completion, program, lines, outside_program=outside)

    start, end = program.span
    inside = [any(not c.isspace() for c in completion[max(lo, start) : min(hi, end)]) for lo, hi in tokens]
    assert all(mark for mark, is_inside in zip(mask, inside, strict=True) if is_inside)
    assert all(mark is outside for mark, (lo, hi) in zip(mask, tokens, strict=True) if lo == hi)


@pytest.mark.parametrize(("kept", "expected"), [({1}, False), ({2}, True)])
def test_completion_of_white_space_goes_with_the_end_of_the_prefix(kept, expected):
    completion = "\n   "
    program = extract_program(completion, "def f():\n    pass")

    assert completion_loss_mask([(0, 1), (1, 4)], completion, program, kept) == [expected, expected]


def test_program_that_keeps_all_its_lines_keeps_white_space_alone():
    assert completion_loss_mask([(0, 2)], "\n\n", extract_program("\n\n"), {1, 2}) == [True]
    assert completion_loss_mask([(0, 2)], "\n\n", extract_program("\n\n"), set()) == [False]


def random_mask(sample: int, **changes: Any) -> list[bool]:
    completion = "a = 1\nb = 2\nc = 3\n```\n"
    program = extract_program(completion, opened_fence=True)
    tokens = one_token_per_character(completion)
    mask = completion_loss_mask(tokens, completion, program, {1})
    key = {"seed": 1, "task_id": "t", "step": 2, "sample": sample} | changes
    return random_token_mask(mask, tokens, program, **key)


def test_random_mask_keeps_as_many_tokens_of_the_program_and_all_outside():
    mask = random_mask(0)

    # `a = 1`, and the line end that goes with the fence.
    assert (sum(mask[:18]), mask[18:]) == (6, [True] * 4)


def test_random_mask_depends_on_its_key_alone():
    assert random_mask(0) == random_mask(0)
    assert random_mask(0) != random_mask(1)
    assert random_mask(0) != random_mask(0, step=3)
    assert random_mask(0) != random_mask(0, seed=2)
    assert random_mask(0) != random_mask(0, task_id="u")


def test_random_mask_draws_every_token_equally_often():
    counts = [sum(column) for column in zip(*(random_mask(sample) for sample in range(2000)), strict=True)][:18]

    # 2000 draws of 6 out of 18: 667 expected, standard deviation 21.
    assert all(560 < count < 774 for count in counts)


def test_masking_imports_neither_torch_nor_transformers():
    code = "import sys, stepcoder_trl.masking; print(sorted({'torch', 'transformers', 'trl'} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


# Rule


def executed(outcome: Outcome, kept: set[int], error_line: int | None = None) -> Execution:
    lines = frozenset(kept)
    return Execution(outcome, (TestResult(outcome, error_line=error_line),), lines, lines, 0.0, True)


@pytest.mark.parametrize(
    ("run", "rule", "lines"),
    [
        (executed(Outcome.FAILED, {1, 4}), "up_to_error_line", {1, 4}),
        (executed(Outcome.COMPILE_ERROR, {1, 2, 3}, error_line=2), "all", {1, 2, 3}),
        (executed(Outcome.COMPILE_ERROR, {1, 2, 3}, error_line=2), "up_to_error_line", {1, 2}),
        (executed(Outcome.COMPILE_ERROR, {1, 2, 3}), "up_to_error_line", {1, 2, 3}),
    ],
)
def test_compile_errors_keep_what_the_rule_says(run, rule, lines):
    assert MaskRule(compile_error_mask=rule).lines(run) == lines


def test_all_lines_are_kept_where_it_is_not_known_which_ran():
    assert kept_lines("a\nb\n", None) == {1, 2}
    assert kept_lines("a\nb\n", frozenset({2})) == {2}


def rule_mask(run: Execution | None, **rule: Any) -> tuple[str, bool]:
    """Text that is kept of a function with a branch that did not run, and whether EOS is."""
    completion = "\n    if x:\n        return 1\n    return 0\n"
    spans = [*one_token_per_character(completion), (len(completion), len(completion))]
    program = extract_program(completion, "def f(x):")
    mask = loss_mask(spans, completion, program, run, MaskRule(**rule), task_id="a", step=1, sample=2)
    return kept_text(completion, mask[:-1]).replace(".", ""), mask[-1]


def test_rule_keeps_lines_that_ran_and_what_is_outside_the_program():
    run = executed(Outcome.FAILED, {1, 2, 4})

    text, eos = rule_mask(run)
    inside, no_eos = rule_mask(run, outside_program=False)

    assert text.split() == inside.split() == ["if", "x:", "return", "0"]
    assert (eos, no_eos) == (True, False)


@pytest.mark.parametrize("fgo", ["lines", "random"])
def test_without_an_execution_everything_is_kept(fgo):
    text, eos = rule_mask(None, fgo=fgo)

    assert "return 1" in text
    assert eos


def test_off_keeps_everything():
    assert "return 1" in rule_mask(executed(Outcome.FAILED, {1}), fgo="off")[0]


def test_random_keeps_as_many_tokens_elsewhere():
    run = executed(Outcome.FAILED, {1, 2, 4})

    lines, random = rule_mask(run)[0], rule_mask(run, fgo="random")[0]

    assert len(random) == len(lines)
    assert random != lines
