"""Measure and empty the scratch folder that a program may write to."""

from __future__ import annotations

import contextlib
import itertools
import os


BYTES_PER_ENTRY = 4096  # counted for an empty file or folder


def size_of(folder: str, max_bytes: int) -> int:
    """
    Return the bytes on disk of a folder. Counting stops above `max_bytes`.

    Every file and folder counts at least `BYTES_PER_ENTRY`. While a program writes, the size is a lower bound.
    """
    total = 0
    folders = [folder]
    while folders and total <= max_bytes:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                total += BYTES_PER_ENTRY
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                if total > max_bytes:
                    break
    return total


def empty(folder: str) -> None:
    """
    Remove everything in a folder.

    Nested folders are first moved to the top, so that any depth can be removed without recursion and long paths.
    Missing permissions are restored. Files that still cannot be removed stay.
    """
    serial = itertools.count()
    tried: set[str] = set()
    while True:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if entry.name not in tried]
        if not found:
            return
        for entry in found:
            with contextlib.suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    _flatten(entry.path, folder, serial)
                else:
                    os.unlink(entry.path)
                continue
            tried.add(entry.name)


def _flatten(path: str, top: str, serial: itertools.count[int]) -> None:
    """Move the folders in a folder to `top`, then remove its files and the folder."""
    os.chmod(path, 0o700)
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                os.chmod(entry.path, 0o700)  # moving a folder changes its `..`
                os.rename(entry.path, os.path.join(top, f".removed-{os.getpid()}-{next(serial)}"))
            else:
                os.unlink(entry.path)
    os.rmdir(path)


def remove(folder: str) -> None:
    """Remove a folder and its contents. What cannot be removed stays."""
    with contextlib.suppress(OSError):
        os.chmod(folder, 0o700)
        empty(folder)
        os.rmdir(folder)
