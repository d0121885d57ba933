"""Reading rows and writing files."""

from __future__ import annotations

import gzip
import io
import json
import os
import stat
import sys
import threading

import pytest

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.jsonl import (
    Row,
    cut_to_whole_lines,
    json_text,
    parse_json,
    read_rows,
    shown,
    temporary_path,
    write_json,
    write_rows,
    write_text,
)


FIELDS = [{"id": 1, "text": "é"}, {"id": "b", "text": None}]


def row(**fields) -> Row:
    return Row(fields, "f.jsonl:3", "f", 3)


# Values


def test_integers_may_have_any_length():
    assert parse_json("[-" + "9" * 9000 + "]") == [1 - 10**9000]


def test_deep_nesting_raises_value_error():
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json("[" * 100_000)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "None"), (3, "3 (int)"), ("x" * 99, "'" + "x" * 76 + "... (str)"), (10**9000, "of type int")],
    ids=["null", "number", "long text", "long number"],
)
def test_shown_gives_value_and_type(value, text):
    assert shown(value) == text


# Reading


def test_every_kind_of_file_gives_same_rows(tmp_path):
    lines = "".join(json.dumps(fields) + "\n" for fields in FIELDS).encode()
    array = json.dumps(FIELDS, indent=2).encode()
    contents = {
        "a.jsonl": lines,
        "b.json": array,
        "c.jsonl.gz": gzip.compress(lines, mtime=0),
        "d.txt": gzip.compress(array),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)

    read = {name: [found.fields for found in read_rows(tmp_path / name)] for name in contents}

    assert read == dict.fromkeys(contents, FIELDS)


def test_parquet_gives_same_rows(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="parquet needs pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet", reason="parquet needs pyarrow")
    parquet.write_table(pyarrow.Table.from_pylist([{"id": 1}, {"id": 2}]), tmp_path / "p.parquet")

    rows = read_rows(tmp_path / "p.parquet")

    assert [found.fields for found in rows] == [{"id": 1}, {"id": 2}]
    assert rows[1].where.endswith("p.parquet, row 2")


def test_rows_have_place_source_and_number(tmp_path):
    path = tmp_path / "plus.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": 1}\n\n{"a": 2}\n', mtime=0))

    first, second = read_rows(str(path))

    assert (first.number, second.number) == (1, 3)
    assert second.where == f"{path}:3"
    assert second.source == "plus"


def test_byte_order_mark_and_blank_lines_are_skipped(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n\n  \n')

    assert [found.fields for found in read_rows(path)] == [{"a": 1}]


def test_only_newline_ends_a_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": "b\u2028c\x85d"}\n', encoding="utf-8")

    assert read_rows(path)[0].fields == {"a": "b\u2028c\x85d"}


def test_dash_reads_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"id": 1}')))

    (found,) = read_rows("-")

    assert (found.id, found.where) == (1, "standard input:1")


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", ["no rows"]),
        (b"\n \n", ["no rows"]),
        (b"[]", ["no rows"]),
        (b'{"task_id": "a",\n', ["rows.jsonl:1", "column", "invalid JSON"]),
        (b"{}\nnope\n", ["rows.jsonl:2", "column 1", "one whole object"]),
        (b"[{},\n {]", ["rows.jsonl", "line 2, column 3"]),
        (b"3\n", ["rows.jsonl:1", "the row is 3 (int)"]),
        (b"[3]", ["rows.jsonl, row 1", "the row is 3 (int)"]),
        (b"[" * 100_000, ["rows.jsonl", "nested too deeply"]),
        (b'{"a": ' + b"[" * 100_000, ["rows.jsonl:1", "nested too deeply"]),
        (b'{"a": "\xff"}', ["rows.jsonl:1", "byte 8", "not UTF-8"]),
        (gzip.compress(b"{}", mtime=0)[:-4], ["rows.jsonl", "gzip", "damaged"]),
        (b'{\n "a": 1\n}\n', ["rows.jsonl: no line of it is an object in JSON. Write each row as one line."]),
        (b"[1, 2]", ["rows.jsonl, row 1: the row is 1 (int)"]),
        (b"PAR1nope", ["rows.jsonl", "parquet", "damaged"]),
    ],
    ids=str,
)
def test_error_for_invalid_file_names_place_and_reason(tmp_path, content, parts):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)

    with pytest.raises(BadInputError) as error:
        read_rows(path)

    assert [part for part in parts if part not in str(error.value)] == []


def test_missing_file_or_folder_raises(tmp_path):
    with pytest.raises(BadInputError, match=r"missing\.jsonl: there is no such file"):
        read_rows(tmp_path / "missing.jsonl")
    with pytest.raises(BadInputError, match="cannot be read: Is a directory"):
        read_rows(tmp_path)


# Fields


def test_fields_are_returned_unchanged():
    found = row(id=7, a="x", b=["x", "y"], c=[1], d='{"e": 1}', f=" ")

    assert (found.id, found.identifier("a"), found.text("a"), found.get("c")) == (7, "x", "x", [1])
    assert (found.texts("b"), found.items("c")) == (["x", "y"], [1])
    assert (found.json("d"), found.json("c"), found.json("f"), found.json("missing")) == ({"e": 1}, [1], None, None)


def test_default_replaces_missing_and_null_fields():
    assert row(a=None).text("a", "") == row().text("a", "") == ""
    assert row(a=None).texts("a") == row().texts("a") == []


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda found: found.get("z"), "field `z` is missing. Add it."),
        (lambda found: found.text("z"), "field `z` is missing. Add it."),
        (lambda found: found.id, "field `id` is True (bool), but must be a string or an integer. Correct it"),
        (lambda found: found.text("n"), "field `n` is None, but must be a string. Correct it"),
        (lambda found: found.text("a"), "field `a` is 5 (int), but must be a string. Correct it"),
        (lambda found: found.text("a", ""), "field `a` is 5 (int), but must be a string. Correct it"),
        (lambda found: found.texts("b"), "field `b` is [1] (list), but must be a list of strings. Correct it"),
        (lambda found: found.items("a"), "field `a` is 5 (int), but must be a list. Correct it"),
        (lambda found: found.json("c"), "field `c` is not valid JSON: Expecting"),
    ],
)
def test_error_for_invalid_field_names_place_value_and_fix(read, message):
    with pytest.raises(BadInputError) as error:
        read(row(id=True, n=None, a=5, b=[1], c="{"))

    assert str(error.value).startswith(f"f.jsonl:3: {message}")


# Writing


def test_written_rows_can_be_read(tmp_path):
    write_rows(tmp_path / "rows.jsonl", iter(FIELDS))
    write_json(tmp_path / "value.json", {"é": [1]}, indent=None)
    write_text(tmp_path / "text.txt", "é\r\n")

    assert [found.fields for found in read_rows(tmp_path / "rows.jsonl")] == FIELDS
    assert (tmp_path / "rows.jsonl").read_bytes().isascii()
    assert (tmp_path / "value.json").read_bytes() == b'{"\\u00e9": [1]}\n'
    assert (tmp_path / "text.txt").read_bytes() == "é\r\n".encode()
    assert len(list(tmp_path.iterdir())) == 3


def test_dash_writes_standard_output(capsys):
    write_text("-", "said")

    assert capsys.readouterr().out == "said"


def test_interrupted_writing_keeps_earlier_file(tmp_path):
    path = tmp_path / "out"
    write_text(path, "before")

    def interrupted():
        yield {"half": 1}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_rows(path, interrupted())

    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "out"

    with temporary_path(path) as temporary:
        temporary.write_bytes(b"\x00")
        assert not path.exists()

    assert path.read_bytes() == b"\x00"


def test_file_modes_follow_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "out", "")
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o640


def test_missing_folder_or_folder_as_file_raises(tmp_path):
    with pytest.raises(BadInputError, match="cannot be written: No such file or directory"):
        write_text(tmp_path / "missing" / "out", "")
    with pytest.raises(BadInputError, match="cannot be written: this is a folder"):
        write_text(tmp_path, "")


def test_pipe_is_written_to_directly(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(path.read_text()))
    reader.start()

    write_text(path, "said")
    reader.join(timeout=20)

    assert read == ["said"]
    assert path.is_fifo()


@pytest.mark.parametrize(("content", "kept"), [(b"a\nb\n", b"a\nb\n"), (b"a\nhal", b"a\n"), (b"hal", b""), (b"", b"")])
def test_incomplete_last_line_is_cut_off(tmp_path, content, kept):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)

    cut_to_whole_lines(path)

    assert path.read_bytes() == kept


# Integers of any length


@pytest.mark.parametrize("digits", [1, 4300, 4301, 9131])
def test_integers_of_any_length_are_written_and_read(digits):
    number = 10**digits - 3
    value = {"a": [number, {"b": -number}], "text": "integer 0", "small": [True, 1, 0.5, None]}

    assert parse_json(json_text(value)) == value
    assert parse_json(json_text(value, indent=2)) == value


def test_values_that_are_not_json_still_raise():
    endless: list[object] = []
    endless.append(endless)

    with pytest.raises((ValueError, RecursionError)):
        json_text(endless)
    with pytest.raises(TypeError):
        json_text({"a": {1}})
