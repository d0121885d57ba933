"""
Defines the entry of a format in the table, and what several readers need.

Prompts end with a newline, since starter code or prefix follows directly. The preamble of APPS, APPS+ and LeetCode
tests holds the imports that their harnesses put in scope. Programs of the other formats import what they use.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stepcoder_trl.data.problems import Problem
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.jsonl import Row, parse_json, shown
from stepcoder_trl.parsing import any_digits, expression_tree, extract_program, parse


_DIFFICULTIES = {
    "introductory": "introductory",
    "interview": "interview",
    "competition": "competition",
    "easy": "introductory",
    "medium": "interview",
    "meidum": "interview",  # misspelt in some rows of LeetCodeDataset
    "medium_hard": "interview",
    "hard": "competition",
    "very_hard": "competition",
}
# A word in the name of a field that holds tests: `hidden_tests`, `testcases`, `checker`, not `contest_id`.
_TEST_WORD = re.compile(
    r"^(cases|checks)$|(?<![a-z])((unit|py)?tests?(cases?)?|asserts?|assertions?|checkers?|special_judge"
    r"|(test|hidden|private|extra|edge|corner)_?(cases|checks)"
    r"|(hidden|private|secret|extra|plus|additional)_?(inputs?|outputs?))(?![a-z])"
)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")  # between the words of `testCases`
BASE_TESTS = "num_base_tests"  # column of problems whose first tests are those of the benchmark that others extend
# Fields that hold tests in a published format under other names.
_TEST_FIELDS = frozenset(
    (
        *("base_input", "plus_input", "plus", "input_output", "inputs", "outputs"),
        *("verification_info", "reward_model"),
    )
)


@dataclass(frozen=True)
class Format:
    """Format of a dataset: how its rows become problems, where all their solutions are, and what the docs say."""

    name: str  # for `load_problems`
    title: str  # in help texts
    needs: tuple[str, ...]  # fields of every row; `a|b` is one of them. A file has the first format that its row fits
    load: Callable[[Row], Problem]
    licence: str  # as the dataset's card states it
    reads: str  # what becomes of the fields, for the docs
    refuses: str = ""  # what is refused and why, for the docs
    # Fields that hold tests, or whose names look like it. A row with tests elsewhere is refused: none may be dropped.
    knows: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()  # fields of another format that needs the same ones
    is_published: bool = True  # not the package's own, whose columns and line ends are the user's
    date: str | None = None  # field with the day on which a problem was published, as `2024-05-31...`
    solutions: Callable[[Row, Problem], Sequence[str]] = lambda row, problem: [problem.canonical_solution]

    def fits(self, row: Row) -> bool:
        """Return whether the row has all required fields, and none of another format."""
        return not self.missing_from(row) and not any(name in row.fields for name in self.lacks)

    def missing_from(self, row: Row) -> list[str]:
        """Return the required fields that the row does not have, e.g. `["id|problem_id"]`."""
        return [names for names in self.needs if not any(name in row.fields for name in names.split("|"))]

    @any_digits()
    def problem(self, row: Row) -> Problem:
        """Return the problem of a row, with the line ends of Python. Raise a `BadInputError` if it cannot be used."""
        for names in self.missing_from(row):
            raise BadInputError(
                f"{row.where}: field `{names.replace('|', '` or `')}` is missing, which the format `{self.name}` "
                "needs. Add it, or keep rows of different formats in separate files."
            )
        if not self.is_published:
            return self.load(row)
        for name in self.unread_tests(row):
            raise BadInputError(
                f"{row.where}: field `{name}` seems to hold tests, which the format `{self.name}` does not read. "
                "Name another format, or rename or drop the field if it holds no tests."
            )
        return with_plain_line_ends(self.load(row))

    def unread_tests(self, row: Row) -> list[str]:
        """Return the fields that seem to hold tests and that this format does not read."""
        known = {name for names in (*self.needs, *self.knows) for name in names.split("|")}
        return tests_beside(row.fields, known)


def tests_beside(fields: Mapping[str, Any], known: Collection[str]) -> list[str]:
    """Return the names of other fields than the known ones that seem to hold tests."""
    return [
        name
        for name, value in fields.items()
        if name not in known
        and (name in _TEST_FIELDS or _TEST_WORD.search(_CAMEL.sub("_", str(name)).lower()) is not None)
        and isinstance(value, (str, list, dict))
        and len(value) > 0
    ]


class LeftOut(BadInputError):
    """Raised for a row that is in order, but that this package cannot use. Such rows are left out and counted."""

    def __init__(self, where: str, reason: str, fix: str) -> None:
        super().__init__(f"{where}: the row {reason}. {fix} Drop the row.")
        self.reason = reason


# Line ends

_CODE_OF_TESTS = ("setup", "preamble", "code", "checker")


def plain_line_ends(text: str) -> str:
    r"""Return a text whose lines end with `\n`."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def with_plain_line_ends(problem: Problem) -> Problem:
    r"""Return a problem whose prompt and code have lines that end with `\n`. Inputs and outputs stay as they are."""
    is_text = isinstance(problem.prompt, str)
    messages = [{"content": problem.prompt}] if isinstance(problem.prompt, str) else problem.prompt
    asserts = problem.tests.get("asserts", [])
    code = {name: problem.tests[name] for name in _CODE_OF_TESTS if name in problem.tests}
    texts = (*(message["content"] for message in messages), *code.values(), *asserts)
    if not any("\r" in text for text in (*texts, problem.starter_code, problem.canonical_solution)):
        return problem
    tests = {**problem.tests, **{name: plain_line_ends(text) for name, text in code.items()}}
    if asserts:
        tests["asserts"] = [plain_line_ends(statement) for statement in asserts]
    messages = [{**message, "content": plain_line_ends(message["content"])} for message in messages]
    return replace(
        problem,
        prompt=messages[0]["content"] if is_text else messages,
        starter_code=plain_line_ends(problem.starter_code),
        canonical_solution=plain_line_ends(problem.canonical_solution),
        tests=tests,
    )


# Fields


def difficulty(row: Row, value: Any) -> str | None:
    """Return a difficulty in the words of APPS where it is one of theirs or like one, else as it is given."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise BadInputError(
            f"{row.where}: `difficulty` is {shown(value)}, but must be a str or null. Write it as text."
        )
    return _DIFFICULTIES.get(value.strip().lower(), value)


def paragraph(text: str) -> str:
    """Return a text without white space around it, and with a newline at its end."""
    return text.strip() + "\n"


def programs(row: Row, name: str) -> list[str]:
    """Return a list of programs, given as a list or as its JSON text. It is empty if the field is missing."""
    found = row.json(name)
    found = [] if found is None else found
    if not isinstance(found, list) or not all(isinstance(program, str) for program in found):
        raise BadInputError(f"{row.where}: `{name}` is {shown(found)}, but must be a JSON list of programs.")
    return found


def first_that_parses(solutions: Sequence[str]) -> str:
    """Return the first solution that parses, or `""`. Some solutions of old datasets are Python 2."""
    return next((solution for solution in solutions if solution.strip() and parse(solution) is not None), "")


def task_id(row: Row, *names: str) -> str:
    """Return the file's name and the first of these fields that the row has, else its number: `train/17`."""
    name = next((name for name in names if row.fields.get(name) not in (None, "")), None)
    return f"{row.source}/{row.number if name is None else row.identifier(name)}"


# Values


def plain_object(row: Row, name: str) -> Any:
    """Return the value of a field that holds it directly, as JSON text, or as the text of a Python literal."""
    value = row.fields.get(name)
    if not isinstance(value, str):
        return value
    try:
        return parse_json(value)
    except ValueError as error:
        try:
            return literal(value)
        except ValueError:
            raise BadInputError(
                f"{row.where}: field `{name}` is not valid JSON: {error}. Correct it or drop the row."
            ) from error


def literal(text: str) -> Any:
    """Return the value of a Python literal. Raise a `ValueError` for anything else."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of invalid escapes
            return ast.literal_eval(expression_tree(text))
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(str(error)) from error


def records(row: Row, name: str, value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield objects, given as a list of them or as an object of lists, as `datasets` writes sequences of objects."""
    if value is None:
        return
    if isinstance(value, Mapping):
        columns = list(value.values())
        if all(isinstance(column, list) for column in columns) and len({len(column) for column in columns}) <= 1:
            for entries in zip(*columns, strict=True):
                yield dict(zip(value, entries, strict=True))
            return
    elif isinstance(value, list) and all(isinstance(entry, Mapping) for entry in value):
        yield from value
        return
    raise BadInputError(
        f"{row.where}: `{name}` is {shown(value)}, but must be a list of objects, or an object of lists of one "
        "length. Correct it or drop the row."
    )


def code_of_answer(text: str) -> str:
    """Return the program of a model's answer, or `""` if it does not parse."""
    return first_that_parses([extract_program(text).text])
