"""Test completions as table columns, parquet and Markdown."""

import pyarrow.parquet

from stepcoder_trl.reports.completions import completion_columns, completions_markdown, write_completions
from tests.unit.reports.test_html import view


def test_row_holds_result_of_completion():
    columns = completion_columns([view()], update=7)

    row = {name: values[0] for name, values in columns.items()}
    assert row["update"] == 7
    assert row["completion"] == "".join(view().tokens)
    assert row["kept_share"] == 1 - view().masked_share
    assert (row["outcome"], row["score"], row["stage"]) == (view().outcome, view().score, view().stage)


def test_surrogates_are_escaped_in_parquet(tmp_path):
    odd = view(prompt="\udcff\x00", tokens=("\ud800 é",), loss_mask=(True,))

    path = write_completions([odd], 1, tmp_path / "new")

    assert path.name == "completions_00001.parquet"
    (row,) = pyarrow.parquet.read_table(path).to_pylist()
    assert row["prompt"] == "\\udcff\x00"
    assert row["completion"] == "\\ud800 é"


def test_column_types_stay_the_same_without_results(tmp_path):
    full = pyarrow.parquet.read_table(write_completions([view()], 1, tmp_path)).schema
    nothing = view(outcome=None, score=None, stage=None)

    empty = pyarrow.parquet.read_table(write_completions([nothing], 2, tmp_path)).schema

    assert full.types == empty.types


def test_given_completion_text_replaces_joined_tokens():
    # Two tokens that share a character.
    assert view(tokens=("é", "é"), loss_mask=(True, True), completion="é").text == "é"


def test_program_cannot_close_its_markdown_block():
    text = completions_markdown([view(tokens=("```\n# heading\x1b",), loss_mask=(True,))])

    assert "    ```\n    # heading\\x1b" in text
