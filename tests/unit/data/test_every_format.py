"""Each format of the table, by a row of our own in its published schema."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepcoder_trl.data.formats import FORMATS, load_problems, read_raw_rows
from stepcoder_trl.data.formats.table import formats_as_markdown
from stepcoder_trl.errors import BadInputError
from tests.unit.data.published_rows import EVERY_FORMAT


def test_every_format_has_an_example():
    assert [known.name for known in FORMATS] == list(EVERY_FORMAT)


@pytest.mark.sandbox
@pytest.mark.parametrize("name", EVERY_FORMAT)
def test_solution_passes_all_tests_and_wrong_program_fails(untraced, write_rows, name):
    example = EVERY_FORMAT[name]
    (problem,) = load_problems(write_rows(example.row))

    solution = problem.canonical_solution if example.solution is None else example.solution

    right, wrong = untraced.run_many([solution, example.wrong], [problem.tests] * 2)

    assert [test.message for test in right.tests] == [""] * example.num_tests
    assert right.outcome == "passed"
    assert wrong.outcome == "failed"
    assert (right.trusted, wrong.trusted) == (example.trusted, example.trusted)


@pytest.mark.parametrize("name", EVERY_FORMAT)
def test_row_with_broken_field_gives_one_clear_line(write_rows, name):
    example = EVERY_FORMAT[name]
    path = write_rows({**example.row, **example.broken})

    with pytest.raises(BadInputError) as error:
        load_problems(path)
    (raw,) = read_raw_rows(path)

    assert str(error.value).startswith(f"{path}:1: ")
    assert example.part in str(error.value)
    assert "\n" not in str(error.value)
    assert str(raw.error) == str(error.value)


@pytest.mark.parametrize("name", [name for name in EVERY_FORMAT if name != "stepcoder"])
@pytest.mark.parametrize("field", ["extra_tests", "hidden_test", "asserts"])
def test_tests_that_a_format_would_ignore_are_refused(write_rows, name, field):
    row = {**EVERY_FORMAT[name].row, field: ["assert inc(5) == 6"]}

    with pytest.raises(BadInputError, match=f"rows.jsonl:1: field `{field}` seems to hold tests"):
        load_problems(write_rows(row))


@pytest.mark.parametrize("name", EVERY_FORMAT)
def test_raw_rows_have_the_solution(write_rows, name):
    (raw,) = read_raw_rows(write_rows(EVERY_FORMAT[name].row))

    assert raw.error is None
    assert raw.problem is not None
    assert raw.problem.canonical_solution in ("", *raw.solutions)


def test_docs_have_the_table_of_formats():
    page = Path(__file__).parents[3] / "docs" / "data.md"

    assert formats_as_markdown() in page.read_text(encoding="utf-8")
