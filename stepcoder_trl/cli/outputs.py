"""Check that no output of a verb overwrites one of its inputs, or another output."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.jsonl import STANDARD_STREAM, check_writable


_WRITTEN = (".jsonl", ".html", ".png")  # what verbs write into the folder of a model or of a run
_FIX = "Name another file."
_PathLike = str | os.PathLike[str]


def check_outputs(
    outputs: Mapping[str, _PathLike | None], inputs: Iterable[_PathLike | None], new_folder: _PathLike | None = None
) -> None:
    """
    Raise a `BadInputError` if two outputs are one file, or an output is an input or cannot be written.

    A file is recognised by every spelling of its path, through links, too. `-` is no file.

    Args:
        outputs (`Mapping[str, str]`): Path by option. An option that is not given is `None`.
        inputs (`Iterable[str]`):
            Paths of files, and of folders all of whose files are read. Other names, such as those of the Hub, are no
            paths.
        new_folder (`str`, *optional*): Folder that the command makes later.
    """
    sources = _existing(inputs)
    options: dict[str, str] = {}
    for option, path in outputs.items():
        if path is None or os.fspath(path) == STANDARD_STREAM or _is_stream(path):
            continue
        if any(_is_read(path, source) for source in sources):
            raise BadInputError(f"`{option}` is {os.fspath(path)!r}, which is an input of this command. {_FIX}")
        other = options.setdefault(os.path.realpath(path), option)
        if other != option:
            raise BadInputError(f"`{option}` is {os.fspath(path)!r}, and `{other}` is the same file. {_FIX}")
        if new_folder is None or Path(new_folder).resolve() not in Path(path).resolve().parents:
            check_writable(path)


def check_output_folder(
    option: str, folder: _PathLike, names: Iterable[str], inputs: Iterable[_PathLike | None]
) -> None:
    """Raise a `BadInputError` if an input is one of the files that are written to a folder."""
    sources = _existing(inputs)
    for name in names:
        if any(_is_read(Path(folder) / name, source) for source in sources):
            raise BadInputError(
                f"`{option}` is {os.fspath(folder)!r}, but {name} there is an input of this command. Name another "
                "folder."
            )


def files_of(folder: _PathLike | None) -> list[Path]:
    """Return the files of a model or of a run that no verb may overwrite. Empty if there is no such folder."""
    if folder is None or not os.path.isdir(folder):
        return []
    return [path for path in Path(folder).iterdir() if path.is_file() and path.suffix not in _WRITTEN]


def _existing(paths: Iterable[_PathLike | None]) -> list[_PathLike]:
    return [path for path in paths if path is not None and os.path.exists(path)]


def _is_stream(path: _PathLike) -> bool:
    """Return whether a path is a pipe or a device, which several may write to."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def _is_read(path: _PathLike, source: _PathLike) -> bool:
    """Return whether a path is a file that is read, or lies in a folder that is read."""
    if not os.path.isfile(path):
        return False
    if not os.path.isdir(source):
        return os.path.samefile(path, source)
    return Path(source).resolve() in Path(path).resolve().parents
