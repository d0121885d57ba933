"""Remove the files that one test of a program leaves, before the next test runs in the same process."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


# Bound before any program runs, which may replace them.
_open, _close, _stat, _scandir = os.open, os.close, os.stat, os.scandir
_rename, _unlink, _rmdir, _urandom, _time_ns = os.rename, os.unlink, os.rmdir, os.urandom, time.time_ns
_join, _is_dir = os.path.join, stat.S_ISDIR

# A file system's clock ticks slowly: two changes within this time may have the same time stamp.
_TICK_NS = 50_000_000


class FolderState:
    """
    Entries of a folder, and of the folders in it, at the creation of this object.

    Create it before the first test, and call `restore` after each.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._folders: list[_Known] = []
        paths = [folder]
        while paths:
            path = paths.pop()
            with _scandir(path) as entries:
                found = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
            self._folders.append(_Known(path, frozenset(found), _last_change(path)))
            paths += [_join(path, name) for name, is_folder in found.items() if is_folder]

    def restore(self) -> bool:
        """
        Remove all entries that were added. Return `False` if that fails: then the next test needs a new folder.

        A folder that did not change is not read. Changed and removed files are not restored.
        """
        try:
            for known in self._folders:
                if known.last_change is None or known.last_change != _last_change(known.path):
                    self._remove_additions(known)
        except OSError:
            return False
        return True

    def _remove_additions(self, known: _Known) -> None:
        with _scandir(known.path) as entries:
            added = [entry.name for entry in entries if entry.name not in known.names]
        if added:
            with _descriptor(known.path) as folder:
                for name in added:
                    _remove(name, folder)
        known.last_change = _last_change(known.path)


@dataclass
class _Known:
    """Names in one folder, and the time of its last change, or `None` if a change now may have the same time."""

    path: str
    names: frozenset[str]
    last_change: int | None


def _last_change(path: str) -> int | None:
    changed = _stat(path, follow_symlinks=False).st_mtime_ns
    return None if _time_ns() - changed < _TICK_NS else changed


@contextmanager
def _descriptor(name: str, parent: int | None = None) -> Iterator[int]:
    folder = _open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        yield folder
    finally:
        _close(folder)


def _remove(name: str, parent: int) -> None:
    """
    Remove a file or folder in the folder with the descriptor `parent`.

    Nested folders are first moved up to `parent`, under names that no program can know beforehand, so that any depth
    can be removed without recursion and long paths.
    """
    waiting = [name]
    while waiting:
        name = waiting.pop()
        if not _is_dir(_stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            _unlink(name, dir_fd=parent)
            continue
        try:
            _rmdir(name, dir_fd=parent)
        except OSError:
            with _descriptor(name, parent) as folder:
                waiting += _emptied(folder, parent)
            _rmdir(name, dir_fd=parent)


def _emptied(folder: int, parent: int) -> list[str]:
    """Unlink the files in a folder, and move the folders in it to `parent`. Return their new names."""
    moved = []
    with _scandir(folder) as entries:
        for entry in list(entries):
            if entry.is_dir(follow_symlinks=False):
                moved.append(_urandom(16).hex())
                _rename(entry.name, moved[-1], src_dir_fd=folder, dst_dir_fd=parent)
            else:
                _unlink(entry.name, dir_fd=folder)
    return moved
