"""Rows of a file: JSON Lines, JSON arrays, both also gzip-compressed, parquet, and a folder in the layout of APPS."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.jsonl import parse_json, shown


_SUFFIXES = (".gz", ".jsonl", ".ndjson", ".json", ".parquet")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ACCEPTED = (
    "JSON Lines (.jsonl), a JSON array (.json), either of them gzip-compressed (.gz), parquet, or a folder of APPS"
)


@dataclass(frozen=True)
class SourceRow:
    """
    Row as it stands in a file.

    Attributes:
        values (`Mapping[str, Any]`): Columns.
        where (`str`): Place to name in messages, e.g. `"data/mbpp.jsonl:3"`.
        source (`str`): Name of the file without its suffixes, or of the folder.
        number (`int`): Position in the file, counted from 1; for JSON Lines the line.
    """

    values: Mapping[str, Any]
    where: str
    source: str
    number: int


def read_rows(path: str | os.PathLike[str]) -> list[SourceRow]:
    """
    Read all rows of a file or folder. What it is is told from its content, not from its name.

    Args:
        path (`str` or `os.PathLike`):
            JSON Lines or a JSON array (UTF-8; a byte order mark and blank lines are skipped), either of them
            gzip-compressed; parquet; or a folder with one folder per problem, as APPS is published.

    Returns:
        `list[SourceRow]`: At least one row.

    Raises:
        BadInputError: If the file is missing, empty, damaged or of another kind.
    """
    path = Path(path)
    rows = list(_rows(path))
    if not rows:
        raise BadInputError(f"{path}: the file holds no rows. Check that it was written completely.")
    return rows


def _rows(path: Path) -> Iterator[SourceRow]:
    if path.is_dir():
        return _apps_folder_rows(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise BadInputError(f"{path}: there is no such file. Check the path.") from None
    except OSError as error:
        raise BadInputError(f"{path}: the file cannot be read: {error.strerror}. Check the path.") from error
    if data.startswith(b"PAR1"):
        return _parquet_rows(path)
    if data.startswith(b"\x1f\x8b"):
        data = _decompressed(data, path)
    data = data.removeprefix(_BYTE_ORDER_MARK)
    if data.lstrip()[:1] == b"[":
        return _array_rows(data, path)
    return _line_rows(data, path)


def _decompressed(data: bytes, path: Path) -> bytes:
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as error:
        raise BadInputError(f"{path}: the gzip file is damaged: {error}. Copy or download it again.") from error


def _line_rows(data: bytes, path: Path) -> Iterator[SourceRow]:
    source = _source_name(path)
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            where = f"{path}:{number}"
            yield SourceRow(_as_row(_parsed(_decoded(line, where), where), where), where, source, number)


def _array_rows(data: bytes, path: Path) -> Iterator[SourceRow]:
    source = _source_name(path)
    for number, value in enumerate(_parsed(_decoded(data, str(path)), str(path)), start=1):
        where = f"{path}, row {number}"
        yield SourceRow(_as_row(value, where), where, source, number)


def _parquet_rows(path: Path) -> Iterator[SourceRow]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise BadInputError(f"{path}: reading parquet needs pyarrow. Run `pip install pyarrow`.") from None
    try:
        values = pyarrow.parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise BadInputError(f"{path}: the parquet file is damaged: {error}. Copy or download it again.") from error
    for number, value in enumerate(values, start=1):
        yield SourceRow(value, f"{path}, row {number}", _source_name(path), number)


def _apps_folder_rows(path: Path) -> Iterator[SourceRow]:
    folders = sorted(folder for folder in path.iterdir() if (folder / "question.txt").is_file())
    if not folders:
        raise BadInputError(
            f"{path}: the folder holds no folders with a `question.txt`. Pass the folder of one split of APPS, which "
            "has `0000/question.txt` and so on, or a single file."
        )
    for number, folder in enumerate(folders, start=1):
        yield SourceRow(_apps_folder_row(folder), str(folder), path.resolve().name, number)


def _apps_folder_row(folder: Path) -> dict[str, Any]:
    """One problem's files as a row with the columns of codeparrot/apps."""

    def text(name: str) -> str:
        file = folder / name
        return _decoded(file.read_bytes().removeprefix(_BYTE_ORDER_MARK), str(file)) if file.is_file() else ""

    metadata = _parsed(text("metadata.json") or "{}", str(folder / "metadata.json"))
    return {
        "problem_id": int(folder.name) if folder.name.isdecimal() else folder.name,
        "question": text("question.txt"),
        "solutions": text("solutions.json"),
        "input_output": text("input_output.json"),
        "difficulty": metadata.get("difficulty") if isinstance(metadata, dict) else None,
        "starter_code": text("starter_code.py"),
    }


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadInputError(
            f"{where}: byte {error.start + 1} is not UTF-8. Accepted are {_ACCEPTED}; text must be UTF-8."
        ) from error


def _parsed(text: str, where: str) -> Any:
    try:
        return parse_json(text)
    except json.JSONDecodeError as error:
        line = "" if error.lineno == 1 else f"line {error.lineno}, "
        raise BadInputError(
            f"{where}: invalid JSON at {line}column {error.colno}: {error.msg}. Each line must hold one whole object, "
            "or the file one array of objects."
        ) from error
    except ValueError as error:
        raise BadInputError(f"{where}: invalid JSON: {error}. Flatten it or drop the row.") from error


def _as_row(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadInputError(
            f"{where}: the row is {shown(value)}, but must be an object: one problem with named fields."
        )
    return value


def cut_to_whole_lines(path: Path) -> None:
    """Cut off the last line of a file, if there is one, whose end was never written: the process was stopped."""
    if not path.exists():
        return
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)


def _source_name(path: Path) -> str:
    name = path.name
    while name.endswith(_SUFFIXES):
        name = name[: name.rindex(".")]
    return name
