"""APPS as its authors publish it: one folder per problem."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.jsonl import Row, decoded, parsed


def read_apps_folder(path: Path) -> Iterator[Row]:
    """
    Rows with the columns of codeparrot/apps, one per folder, in the order of their names.

    Args:
        path (`Path`):
            Folder of one split, which holds `0000/question.txt` and so on.

    Raises:
        BadInputError: If no folder has a `question.txt`, or a file is not UTF-8.
    """
    folders = sorted(folder for folder in path.iterdir() if (folder / "question.txt").is_file())
    if not folders:
        raise BadInputError(
            f"{path}: the folder holds no folders with a `question.txt`. Pass the folder of one split of APPS, which "
            "has `0000/question.txt` and so on, or a single file."
        )
    for number, folder in enumerate(folders, start=1):
        yield Row(_columns(folder), str(folder), path.resolve().name, number)


def _columns(folder: Path) -> dict[str, Any]:
    metadata = parsed(_text(folder / "metadata.json") or "{}", str(folder / "metadata.json"))
    return {
        "problem_id": int(folder.name) if folder.name.isdecimal() else folder.name,
        "question": _text(folder / "question.txt"),
        "solutions": _text(folder / "solutions.json"),
        "input_output": _text(folder / "input_output.json"),
        "difficulty": metadata.get("difficulty") if isinstance(metadata, dict) else None,
        "starter_code": _text(folder / "starter_code.py"),
    }


def _text(path: Path) -> str:
    """Text of a file, empty if there is none."""
    return decoded(path.read_bytes().removeprefix(codecs.BOM_UTF8), str(path)) if path.is_file() else ""
