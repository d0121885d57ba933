"""Test each refinement rule on hand-made executions."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from stepcoder_trl.data import Problem
from stepcoder_trl.data import refine_rules as rules
from stepcoder_trl.data.refine_rules import refine_row
from stepcoder_trl.types import Execution, Outcome, TestResult


PASSED, FAILED = Outcome.PASSED, Outcome.FAILED
STDIO = {"type": "stdio", "inputs": ["1\n", "2\n"], "outputs": ["1\n", "4\n"]}


def run(*answers, executed=frozenset({1})):
    """Return an execution that ended normally with these answers."""
    tests = tuple(TestResult(FAILED, output=answer) for answer in answers)
    return Execution(FAILED, tests, executed, executed, 0.0, True)


def broken(outcome, message=""):
    return Execution(outcome, (TestResult(outcome, message=message),) * 2, frozenset(), frozenset(), 0.0, True)


def problem(prompt="Square the number.", tests=STDIO, **changes):
    return Problem("p", prompt, tests=tests, **changes)


def refined(observed, prompt="Square the number.", tests=STDIO):
    solutions = tuple(f"print(int(input()) ** {number})" for number in range(2, 2 + len(observed)))
    return refine_row(problem(prompt, tests), solutions, [[one] for one in observed])


def findings(row):
    return [(finding.action, finding.rule) for finding in row.findings]


@pytest.mark.parametrize(
    ("runs", "code"),
    [
        ([run("1", "4")], None),
        ([run("1", "4"), run("1", "5")], "nondeterministic"),
        ([broken(PASSED), broken(FAILED)], "nondeterministic"),
        ([broken(Outcome.COMPILE_ERROR)], "does_not_compile"),
        ([broken(Outcome.TIMEOUT)], "too_slow"),
        ([broken(Outcome.MEMORY_EXCEEDED)], "too_much_memory"),
        ([broken(Outcome.RUNTIME_ERROR, "ValueError: x")], "runtime_error"),
        ([broken(Outcome.RUNTIME_ERROR, "ModuleNotFoundError: No module named 'gmpy2'")], "missing_library"),
        ([broken(Outcome.RUNTIME_ERROR, "AttributeError: module 'time' has no attribute 'clock'")], "api_misuse"),
        ([broken(Outcome.RUNTIME_ERROR, "ImportError: cannot import name 'gcd' from 'fractions'")], "api_misuse"),
        ([run("1", "4"), broken(Outcome.RUNTIME_ERROR, "KeyError: 3")], "runtime_error"),
    ],
)
def test_solution_defect(runs, code):
    assert rules.solution_defect(runs) == code


@pytest.mark.parametrize(
    ("kind", "actual", "expected", "found"),
    [
        ("stdio", "1 2\n", "1 2", None),
        ("stdio", "1 2", "1\n2", "white_space"),
        ("stdio", "0.50", "0.5", "float_format"),
        ("stdio", "1000000007 2", "1000000007.0 2", "float_format"),
        ("stdio", "1000000008", "1000000007", "wrong_output"),  # near, but whole numbers
        ("stdio", "YES\n1", "Yes\n1", "letter_case"),
        ("stdio", "2 1", "1 2", "order"),
        ("stdio", "1 3", "1 2", "wrong_output"),
        ("call", [1, 2], [1, 2], None),
        ("call", [2, 1], [1, 2], "order"),
        ("call", [2, 2], [1, 2], "wrong_output"),
    ],
)
def test_mismatch_classifies_difference(kind, actual, expected, found):
    assert rules.mismatch(kind, actual, expected) == found


@pytest.mark.parametrize(
    "statement",
    [
        "If there are multiple answers, print any of them.",
        "You may output the numbers in any order.",
        "Print any valid permutation.",
        "If several solutions exist you can print any.",
        "The answer is not unique.",
        "Any valid answer will be accepted.",
        "Find any point inside the rectangle.",
        "The elements in original may be returned in any order.",
    ],
)
def test_statement_that_allows_several_answers_is_found(statement):
    assert rules.words_of_several_answers(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "Print the sum of many numbers.",
        "Is there any number? Print YES or NO.",
        "If there are multiple such strings, print the lexicographically smallest one.",
        "There are many students in the class.",
        "Do not print any spaces.",
        "If there is not any such rectangle, return 0.",
        "The goal is achievable for any valid input data.",
        "Your answer is accepted if its error is below 1e-6.",
        "The boy can buy the ice cream bars in any order.",
        "We reorder the digits in any order. Return true if the result is a power of two.",
    ],
)
def test_statement_with_one_answer_is_not_found(statement):
    assert not rules.words_of_several_answers(statement)


@pytest.mark.parametrize(
    ("program", "hard_coded"),
    [
        ("print(1)", True),
        ("n = int(input())\nprint(n)", False),
        ("import sys\nprint(sys.stdin.read())", False),
        ("from sys import stdin\nprint(stdin.read())", False),
        ("print(open(0).read())", False),
    ],
)
def test_program_that_ignores_its_input_is_hard_coded(program, hard_coded):
    assert rules.is_hard_coded(program, STDIO) is hard_coded


def test_program_without_input_is_not_hard_coded():
    assert not rules.is_hard_coded("print(1)", {**STDIO, "inputs": ["", " \n"]})


def test_correct_row_is_unchanged():
    row = refined([run("1\n", "4\n")])

    assert row.problem.tests == STDIO
    assert findings(row) == []
    assert row.problem.canonical_solution == "print(int(input()) ** 2)"


def test_shortest_correct_solution_becomes_canonical():
    solutions = ("n = int(input())\nprint(n * n)", "print(int(input())**2)  # squares", "x", "print(3)")
    observed = [run("1", "4"), run("1", "4"), broken(Outcome.RUNTIME_ERROR), run("1", "3")]

    row = refine_row(problem(), solutions, [[one] for one in observed])

    assert row.problem.canonical_solution == solutions[1]
    assert row.correct == solutions[:2]
    assert row.findings[0].detail == "runtime_error 1, wrong_output 1"


@pytest.mark.parametrize(
    ("observed", "prompt", "found"),
    [
        ([run("1", "4 ")], "p", []),
        ([run("1", "5")], "p", [("drop", "wrong_output")]),
        ([run("1", "5"), run("1", "5")], "p", [("repair", "corrected_output")]),
        ([run("1", "5"), run("1", "6")], "p", [("drop", "solutions_disagree")]),
        ([run("1", "5"), run("1", "6")], "Print any of them.", [("drop", "several_answers")]),
        ([run("1", "4"), run("1", "6")], "Print any of them.", [("drop", "several_answers")]),
        ([run("1", "4"), run("1", "6")], "p", [("note", "bad_solutions")]),
        ([run("1", "5")], "Print any of them.", [("drop", "several_answers")]),
        ([run("1", "4"), run("1", "4")], "Print any of them.", [("note", "several_answers")]),
        ([broken(Outcome.TIMEOUT), broken(Outcome.TIMEOUT)], "p", [("drop", "too_slow")]),
    ],
)
def test_rules_drop_repair_or_note_row(observed, prompt, found):
    row = refined(observed, prompt)

    assert findings(row) == found
    assert (row.problem is None) == any(action == "drop" for action, _ in found)


def test_expected_outputs_are_corrected():
    tests = {**STDIO, "outputs": ["1\n", "0.5  1\n"]}

    assert refined([run("1", "0.5 1")], tests=tests).problem.tests["outputs"] == ["1\n", "0.5 1"]
    assert findings(refined([run("1", "0.5 1")], tests=tests)) == [("repair", "white_space")]
    assert findings(refined([run("1", "0.50 1")], tests=tests)) == [("repair", "float_format")]
    assert findings(refined([run("1", "1 0.5")], tests=tests)) == [("drop", "order")]


def test_unexecuted_code_is_noted():
    program = "n = int(input())\nif n > 9:\n    print(0)\n    print(0)\nprint(n * n)"
    row = refine_row(problem(), (program,), [[run("1", "4", executed=frozenset({1, 2, 5}))]])

    assert row.unexecuted == pytest.approx(2 / 5)
    assert findings(row) == [("note", "irrelevant_code")]


def test_row_without_solutions_is_dropped():
    assert findings(refine_row(problem(), (), [])) == [("drop", "no_solution")]


def test_duplicates_ignore_letter_case_and_punctuation():
    rows = [Problem(name, text, tests=STDIO) for name, text in [("a", "Add, x!"), ("b", "add x"), ("c", "add y")]]

    assert rules.duplicates(rows) == {1: "a"}


def test_duplicates_respect_operators_but_not_bullets():
    texts = [("a", "Print a + b."), ("b", "Print a - b."), ("c", "- Print a + b"), ("d", "Print a * b.")]

    assert rules.duplicates([Problem(name, text, tests=STDIO) for name, text in texts]) == {2: "a"}


def test_duplicates_respect_non_latin_text():
    rows = [replace(problem("Сложите числа."), task_id="a"), replace(problem("求最大值。"), task_id="b")]

    assert rules.duplicates(rows) == {}


def test_contaminated_finds_rows_that_share_benchmark_lines():
    def row(name, *lines):
        return Problem(name, name, canonical_solution="\n".join(lines), tests=STDIO)

    lines = [f"x{number} = {number}" for number in range(5)]
    rows = [row("all", *lines), row("few", *lines[:3]), row("some", *lines[:2], "a", "b", "c")]

    assert rules.contaminated(rows, [row("benchmark", *lines)], 0.5) == {0: "100% of the lines"}


def test_contaminated_finds_short_rows_with_a_statement_or_a_solution_of_a_benchmark():
    benchmark = [Problem("bench/1", "Print a sum.", canonical_solution="print(1 + 2)\n", tests=STDIO)]
    rows = [
        Problem("a", "Print a sum", canonical_solution="print(sum([1, 2]))", tests=STDIO),
        Problem("b", "Print 3.", canonical_solution="print(1 + 2)", tests=STDIO),
        Problem("c", "Print 4.", canonical_solution="print(4)", tests=STDIO),
        Problem("d", "Print 5.", canonical_solution="", tests=STDIO),
    ]

    found = rules.contaminated(rows, benchmark, 0.5)

    assert found == {0: "the statement of bench/1", 1: "the solution of bench/1"}


def test_mutated_changes_one_part():
    rng = random.Random(0)
    texts = {rules.mutated({**STDIO, "inputs": ["3 5 abc\n"]}, 0, rng.randrange) for _ in range(50)}
    calls = [rules.mutated({"type": "call", "inputs": [[[4, 5], "ab", True]]}, 0, rng.randrange) for _ in range(50)]

    assert len(texts) > 4
    for text in texts:
        changed = [old != new for old, new in zip(["3", "5", "abc"], text.split(), strict=True)]
        assert sum(changed) <= 1
    for call in calls:
        assert sum(old != new for old, new in zip([[4, 5], "ab", True], call, strict=True)) <= 1
        assert [type(value) for value in call] == [list, str, bool]
    assert rules.mutated({**STDIO, "inputs": ["?\n"]}, 0, rng.randrange) == "?\n"


def test_mutated_changes_one_digit_of_very_long_number():
    number = "12345" * 2000

    changed = rules.mutated({**STDIO, "inputs": [number]}, 0, random.Random(1).randrange)

    assert len(changed) == len(number)
    assert sum(a != b for a, b in zip(changed, number, strict=True)) == 1


def test_form_feed_does_not_end_a_line():
    program = "x = 1\x0c\nprint(x)\n"

    assert rules.unexecuted_share(program, replace(run("1"), executed_lines=frozenset({1, 2}))) == 0.0
