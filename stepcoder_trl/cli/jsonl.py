"""JSON Lines in and out: rows with their place for error messages, files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.jsonl import parse_json


STANDARD_STREAM = "-"


@dataclass(frozen=True)
class Row:
    """
    One input row.

    Attributes:
        where (`str`): File and line, for messages.
        fields (`dict[str, Any]`): Content.
    """

    where: str
    fields: dict[str, Any]

    def text(self, name: str, default: str | None = None) -> str:
        """
        String field.

        Raises:
            BadInputError: If it is missing (and there is no default) or not a string.
        """
        value = self.fields.get(name)
        if value is None and default is not None:
            return default
        if value is None:
            raise BadInputError(f"{self.where}: field `{name}` is missing. Add it as a string.")
        if not isinstance(value, str):
            raise BadInputError(f"{self.where}: field `{name}` is {_shown(value)}, but must be a string. Quote it.")
        return value

    @property
    def id(self) -> str | int:
        """Field `id`, a string or an integer."""
        value = self.fields.get("id")
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            found = "missing" if "id" not in self.fields else _shown(value)
            raise BadInputError(f"{self.where}: field `id` is {found}, but must be a string or an integer. Add one.")
        return value

    def get(self, name: str) -> Any:
        """
        Field of any type.

        Raises:
            BadInputError: If it is missing.
        """
        if name not in self.fields:
            raise BadInputError(f"{self.where}: field `{name}` is missing. Add it.")
        return self.fields[name]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def read_rows(path: str) -> list[Row]:
    """
    Read a JSONL file, or standard input for `-`. Blank lines are skipped.

    Raises:
        BadInputError: If the file cannot be read, a line is not a JSON object, or there is no row.
    """
    name = "standard input" if path == STANDARD_STREAM else path
    try:
        data = sys.stdin.buffer.read() if path == STANDARD_STREAM else Path(path).read_bytes()
        lines = data.decode("utf-8-sig").split("\n")  # only \n ends a line: JSON text may hold U+2028
    except OSError as error:
        raise BadInputError(f"{name}: cannot be read ({error.strerror}). Check the path.") from None
    except UnicodeDecodeError as error:
        raise BadInputError(f"{name}: byte {error.start} is not UTF-8. Save the file as UTF-8.") from None
    rows = [_parse_row(f"{name}:{number}", line) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise BadInputError(f"{name}: holds no rows. Write one JSON object per line.")
    return rows


def _parse_row(where: str, line: str) -> Row:
    try:
        value = parse_json(line)
    except ValueError as error:
        raise BadInputError(f"{where}: not JSON ({error}). Write one object per line.") from None
    if not isinstance(value, dict):
        raise BadInputError(f"{where}: is {_shown(value)}, but must be a JSON object. Write {{...}} on each line.")
    return Row(where, value)


def write_rows(path: str, rows: Iterable[Any]) -> None:
    """Write rows as ASCII JSONL. A file gets its name only when it is complete; `-` is standard output."""
    with open_output(path) as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=True) + "\n")


def write_text(path: str, text: str) -> None:
    """Write a text file that gets its name only when it is complete."""
    with open_output(path) as stream:
        stream.write(text)


@contextlib.contextmanager
def open_output(path: str) -> Iterator[IO[str]]:
    """
    Text stream whose content appears under `path` when the block ends without an error.

    Raises:
        BadInputError: If the folder does not exist or cannot be written to.
    """
    if path == STANDARD_STREAM:
        yield sys.stdout
        sys.stdout.flush()
        return
    target = Path(path)
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise BadInputError(f"{path}: cannot be written ({error.strerror}). Check the folder.") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as stream:
            yield stream
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
