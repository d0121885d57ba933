"""
Reads rows and writes files, for the whole package.

Rows are read from JSON Lines, a JSON array, either of them gzip-compressed, or parquet. A file is written under a
temporary name and renamed when it is complete, so that it is never seen half-written. `-` is standard input or output.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import gzip
import json
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from stepcoder_trl.errors import BadInputError


STANDARD_STREAM = "-"

_ACCEPTED = "JSON Lines (.jsonl), a JSON array (.json), either of them gzip-compressed (.gz), or parquet"
_GZIP_START = b"\x1f\x8b"
_PARQUET_START = b"PAR1"
_SUFFIXES = (".gz", ".jsonl", ".ndjson", ".json", ".parquet")
_SHOWN_LENGTH = 80
_INT_DIGITS = 4000  # below the interpreter's limit on the digits of one conversion
_INT_BITS = 13_000  # of an integer with fewer digits than that


# Values


def shown(value: Any) -> str:
    """Return value and type as text for a message, cut to a readable length. Works for every value."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer with too many digits; a list nested too deeply
        return f"of type {type(value).__name__}"
    text = text if len(text) <= _SHOWN_LENGTH else text[: _SHOWN_LENGTH - 3] + "..."
    return f"{text} ({type(value).__name__})" if value is not None else text


def parse_json(text: str) -> Any:
    """
    Return the value of JSON text. Integers may have any length.

    A `ValueError` is raised if it is not JSON or nested too deeply. For invalid JSON the message has line and column.
    """
    try:
        return json.loads(text, parse_int=_parse_int)
    except RecursionError:
        raise ValueError("it is nested too deeply: more levels than Python's JSON reader allows") from None


def _parse_int(digits: str) -> int:
    """Return `int(digits)` without Python's limit on digits, which protects from untrusted data: these are our own."""
    if len(digits) <= _INT_DIGITS:
        return int(digits)
    sign, digits = (-1, digits[1:]) if digits[0] == "-" else (1, digits)
    value = 0
    for start in range(0, len(digits), _INT_DIGITS):
        part = digits[start : start + _INT_DIGITS]
        value = value * 10 ** len(part) + int(part)
    return sign * value


def json_text(value: Any, indent: int | None = None) -> str:
    """Return a value as ASCII JSON. Integers may have any length, as for [`parse_json`]."""
    try:
        return json.dumps(value, indent=indent)
    except ValueError:  # Python's limit on digits, which protects from untrusted data
        pass
    long: dict[str, int] = {}
    text = json.dumps(_without_long_integers(value, long), indent=indent)
    for mark, number in long.items():
        text = text.replace(f'"{mark}"', _digits(number))
    return text


def _without_long_integers(value: Any, found: dict[str, int]) -> Any:
    """Return a value with a mark, which no other text has, for each integer that Python does not convert to text."""
    if isinstance(value, int) and value.bit_length() > _INT_BITS:
        mark = f"integer {len(found)} {os.urandom(16).hex()}"
        found[mark] = value
        return mark
    if isinstance(value, (list, tuple)):
        return [_without_long_integers(part, found) for part in value]
    if isinstance(value, dict):
        return {key: _without_long_integers(part, found) for key, part in value.items()}
    return value


def _digits(number: int) -> str:
    sign, number = ("-", -number) if number < 0 else ("", number)
    parts = []
    while number >= 10**_INT_DIGITS:
        number, part = divmod(number, 10**_INT_DIGITS)
        parts.append(f"{part:0{_INT_DIGITS}}")
    return sign + str(number) + "".join(reversed(parts))


# Reading


def whole_rows(path: Path) -> list[dict[str, Any]]:
    """
    Return the objects of a JSON Lines file that a run appends to. It is empty without a file.

    A line that is being written, or was cut off when its process was killed, is left out.
    """
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


@dataclass(frozen=True)
class Row:
    """
    One row of a file.

    Its methods return the value of a field, or raise a `BadInputError` that names the place, the field and the fix.

    Attributes:
        fields (`Mapping[str, Any]`): Columns.
        where (`str`): File and row for messages, e.g. `"data/mbpp.jsonl:3"`.
        source (`str`): Name of the file without folder and suffixes.
        number (`int`): Position in the file, counted from 1. For JSON Lines it is the line.
    """

    fields: Mapping[str, Any]
    where: str
    source: str
    number: int

    def get(self, name: str) -> Any:
        """Return a field of any type. It must exist."""
        if name not in self.fields:
            raise BadInputError(f"{self.where}: field `{name}` is missing. Add it.")
        return self.fields[name]

    def text(self, name: str, default: str | None = None) -> str:
        """Return a string field. The default, if given, replaces a missing field and null."""
        if default is not None and self.fields.get(name) is None:
            return default
        value = self.get(name)
        if not isinstance(value, str):
            raise self._wrong(name, value, "a string")
        return value

    def texts(self, name: str) -> list[str]:
        """Return a list of strings, given as one or as its JSON text. It is empty if the field is missing or null."""
        values = self.unpacked(name)
        if values is None:
            return []
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise self._wrong(name, values, "a list of strings")
        return values

    def items(self, name: str) -> list[Any]:
        """Return a list, given as one or as its JSON text."""
        self.get(name)
        value = self.unpacked(name)
        if not isinstance(value, list):
            raise self._wrong(name, value, "a list")
        return value

    def unpacked(self, name: str) -> Any:
        """Return a field, or the list that it holds as JSON text. `None` if it is missing."""
        value = self.fields.get(name)
        if not isinstance(value, str) or not value.lstrip().startswith("["):
            return value
        try:
            return parse_json(value)
        except ValueError:
            return value

    def identifier(self, name: str) -> str | int:
        """Return a string or an integer."""
        value = self.get(name)
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise self._wrong(name, value, "a string or an integer")
        return value

    @property
    def id(self) -> str | int:
        """Return the field `id`, or `task_id` if there is none: a string or an integer."""
        if "id" not in self.fields and "task_id" in self.fields:
            return self.identifier("task_id")
        if "id" not in self.fields:
            raise BadInputError(f"{self.where}: field `id` is missing, and so is `task_id`. Add one of them.")
        return self.identifier("id")

    def json(self, name: str) -> Any:
        """Return the value of a field that holds it directly or as JSON text. `None` if missing or blank."""
        value = self.fields.get(name)
        if not isinstance(value, str):
            return value
        try:
            return parse_json(value) if value.strip() else None
        except ValueError as error:
            raise BadInputError(
                f"{self.where}: field `{name}` is not valid JSON: {error}. Correct it or drop the row."
            ) from error

    def _wrong(self, name: str, value: Any, allowed: str) -> BadInputError:
        return BadInputError(
            f"{self.where}: field `{name}` is {shown(value)}, but must be {allowed}. Correct it or drop the row."
        )


OnBadText = Callable[[BadInputError], None]


def read_rows(path: str | os.PathLike[str], on_bad_text: OnBadText | None = None) -> list[Row]:
    """
    Return all rows of a file, at least one. Its kind is recognised by its content, not by its name.

    JSON Lines or a JSON array (UTF-8; a byte order mark and blank lines are skipped), either of them gzip-compressed;
    or parquet. `-` is standard input. If the file is missing, empty, damaged or of an unknown kind, a `BadInputError`
    is raised. A line or entry that is no object in JSON raises one, too, or is left out and handed to `on_bad_text`.
    """
    name = os.fspath(path)
    if name == STANDARD_STREAM:
        data, name, source = sys.stdin.buffer.read(), "standard input", "stdin"
    else:
        data, source = _read_bytes(name), _source_name(name)
    bad: list[BadInputError] = []
    rows = [Row(value, where, source, number) for value, where, number in _values(data, name, bad)]
    if len(bad) > 1 and not rows and isinstance(bad[0].__cause__, json.JSONDecodeError):  # such as an indented object
        bad = [BadInputError(f"{name}: no line of it is an object in JSON. Write each row as one line.")]
    for error in bad:
        if on_bad_text is None:
            raise error
        on_bad_text(error)
    if not rows and not bad:
        raise BadInputError(f"{name}: the file holds no rows. Check that it was written completely.")
    return rows


def _read_bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise BadInputError(f"{path}: there is no such file. Check the path.") from None
    except OSError as error:
        raise BadInputError(f"{path}: the file cannot be read: {error.strerror}. Check the path.") from error


def _source_name(path: str) -> str:
    name = Path(path).name
    while name.endswith(_SUFFIXES):
        name = name[: name.rindex(".")]
    return name


_Place = tuple[Mapping[str, Any], str, int]  # fields, place for messages, number


def _values(data: bytes, path: str, bad: list[BadInputError]) -> Iterator[_Place]:
    if data.startswith(_PARQUET_START):
        return _parquet_values(data, path)
    if data.startswith(_GZIP_START):
        data = _decompressed(data, path)
    data = data.removeprefix(codecs.BOM_UTF8)
    is_array = data.lstrip()[:1] == b"["
    return _array_values(data, path, bad) if is_array else _line_values(data, path, bad)


def _decompressed(data: bytes, path: str) -> bytes:
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as error:
        raise BadInputError(f"{path}: the gzip file is damaged: {error}. Copy or download it again.") from error


def _line_values(data: bytes, path: str, bad: list[BadInputError]) -> Iterator[_Place]:
    for number, line in enumerate(
        data.split(b"\n"), start=1
    ):  # only \n ends a line, since JSON text may contain U+2028
        if line.strip():
            where = f"{path}:{number}"
            try:
                yield _object(parse_json_at(decode_utf8(line, where), where), where), where, number
            except BadInputError as error:
                bad.append(error)


def _array_values(data: bytes, path: str, bad: list[BadInputError]) -> Iterator[_Place]:
    for number, value in enumerate(parse_json_at(decode_utf8(data, path), path), start=1):
        where = f"{path}, row {number}"
        try:
            yield _object(value, where), where, number
        except BadInputError as error:
            bad.append(error)


def _parquet_values(data: bytes, path: str) -> Iterator[_Place]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise BadInputError(f"{path}: reading parquet needs pyarrow. Run `pip install pyarrow`.") from None
    try:
        values = pyarrow.parquet.read_table(pyarrow.BufferReader(data)).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise BadInputError(f"{path}: the parquet file is damaged: {error}. Copy or download it again.") from error
    for number, value in enumerate(values, start=1):
        yield value, f"{path}, row {number}", number


def decode_utf8(data: bytes, where: str) -> str:
    """Return the text of UTF-8 bytes, or raise a `BadInputError` whose message begins with `where`."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadInputError(
            f"{where}: byte {error.start + 1} is not UTF-8. Save the text as UTF-8. Accepted are {_ACCEPTED}."
        ) from error


def parse_json_at(text: str, where: str) -> Any:
    """Return the value of JSON text, as `parse_json`, or raise a `BadInputError` whose message begins with `where`."""
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


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadInputError(f"{where}: the row is {shown(value)}, but must be an object: named fields in braces.")
    return value


# Writing


@contextlib.contextmanager
def temporary_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """
    Yield a temporary path to write to. The file gets its final name when the block ends without an error.

    A pipe or a device such as `/dev/null` is written to directly. If the folder does not exist or cannot be written
    to, or the disk is full, a `BadInputError` is raised.
    """
    target = Path(path)
    temporary = _create_temporary(target)
    if temporary is None:
        with _named_disk_errors(path):
            yield target
        return
    try:
        with _named_disk_errors(path):
            yield temporary
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise a `BadInputError` if `temporary_path` would, before the work is done whose result is written there."""
    temporary = _create_temporary(Path(path))
    if temporary is not None:
        temporary.unlink()


def _create_temporary(target: Path) -> Path | None:
    """Create an empty file beside a target, and return its path. `None` for a pipe or a device."""
    if os.path.isdir(target):
        raise BadInputError(f"{target}: the file cannot be written: this is a folder. Add the name of a file.")
    if os.path.exists(target) and not os.path.isfile(target):
        return None
    temporary = target.with_name(f".{target.name}.{os.urandom(4).hex()}.tmp")
    try:
        temporary.touch(exist_ok=False)
    except OSError as error:
        raise BadInputError(f"{target}: the file cannot be written: {error.strerror}. Check the folder.") from error
    return temporary


DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


@contextlib.contextmanager
def _named_disk_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let an error of the disk, such as that it is full, name the file."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        name = "standard output" if os.fspath(path) == STANDARD_STREAM else os.fspath(path)
        raise BadInputError(
            f"{name}: the file cannot be written: {error.strerror}. Free some space, or name a file elsewhere."
        ) from error


@contextlib.contextmanager
def open_output(path: str | os.PathLike[str]) -> Iterator[IO[str]]:
    """Yield a text stream. The file gets its name when the block ends without an error. `-` is standard output."""
    if os.fspath(path) == STANDARD_STREAM:
        with _named_disk_errors(path):
            yield sys.stdout
            sys.stdout.flush()
        return
    with temporary_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        yield stream


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write text as UTF-8."""
    with open_output(path) as stream:
        stream.write(text)


def write_json(path: str | os.PathLike[str], value: Any, indent: int | None = 2) -> None:
    """Write one value as ASCII JSON."""
    write_text(path, json_text(value, indent) + "\n")


def write_rows(path: str | os.PathLike[str], rows: Iterable[Any]) -> None:
    """Write rows as ASCII JSON Lines."""
    with open_output(path) as stream:
        for row in rows:
            stream.write(json_text(row) + "\n")


def make_folder(path: str | os.PathLike[str], option: str = "--out") -> Path:
    """Make a folder, and those above it, if missing. Return its path. `option` names it in errors."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is a file" if isinstance(error, FileExistsError) else error.strerror
        raise BadInputError(
            f"`{option}` is {str(folder)!r}, but the folder cannot be made: {reason}. Choose another one."
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadInputError(f"`{option}` is {str(folder)!r}, but the folder cannot be written to. Choose another one.")
    return folder


def cut_to_whole_lines(path: Path) -> None:
    """Cut off the last line of a file, if any, that has no line end: the process that wrote it was stopped."""
    if not path.exists():
        return
    data = path.read_bytes()
    end = data.rfind(b"\n") + 1
    if end < len(data):
        os.truncate(path, end)
