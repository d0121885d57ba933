"""The folder that a program may write to: measuring and emptying it, whatever the program made of it."""

from __future__ import annotations

import contextlib
import itertools
import os


BYTES_PER_ENTRY = 4096  # what an empty file or folder counts


def size_of(folder: str, most: int) -> int:
    """
    Bytes that a folder holds, as a lower bound while a program writes to it.

    Args:
        folder (`str`): Path.
        most (`int`): Where counting stops.

    Returns:
        `int`: Bytes on disk, every file and folder counting at least `BYTES_PER_ENTRY`.
    """
    total = 0
    folders = [folder]
    while folders and total <= most:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                total += BYTES_PER_ENTRY
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                if total > most:
                    break
    return total


def empty(folder: str) -> None:
    """
    Remove everything in a folder.

    Folders in it are first moved to its top, so that neither recursion nor the longest path limits the depth that a
    program may have dug. Missing permissions are restored. What cannot be removed even so stays.
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
    """Remove a folder after its files, its folders moved to `top`."""
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
    """Remove a folder with everything in it; what cannot be removed stays."""
    with contextlib.suppress(OSError):
        os.chmod(folder, 0o700)
        empty(folder)
        os.rmdir(folder)
