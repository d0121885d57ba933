"""Folders that programs write to: measure them, and remove them whatever they hold."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable


BYTES_PER_ENTRY = 4096  # counted for an empty file or folder
_LONG_PATH = 1000  # characters; it also limits the depth of recursion, and the system refuses paths of 4096 bytes


def random_name() -> str:
    """Return the name of a new folder, which no program can know beforehand."""
    return secrets.token_hex(8)


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


def free_bytes(folder: str) -> int:
    """Return the bytes that the disk of a folder has left. 0 if no file can be created there."""
    disk = os.statvfs(folder)
    has_no_files = disk.f_files > 0 and disk.f_favail == 0
    return 0 if has_no_files else disk.f_bavail * disk.f_frsize


def remove(folder: str) -> bool:
    """
    Remove a folder and its contents, of any depth. Return whether it is gone.

    No process may write to it any more. Folders with a long path are first moved beside it under random names. Missing
    permissions are restored.
    """
    waiting = [folder]
    parent = os.path.dirname(folder)
    while waiting:
        try:
            _remove_tree(waiting.pop(), parent, waiting)
        except FileNotFoundError:
            pass
        except OSError:
            return False
    return True


def _remove_tree(path: str, parent: str, waiting: list[str]) -> None:
    """Remove a folder. Move folders in it that have a long path to `parent`, and add their new paths to `waiting`."""
    try:
        entries = _entries(path)
    except PermissionError:
        os.chmod(path, 0o700)
        entries = _entries(path)
    for entry in entries:
        is_folder = entry.is_dir(follow_symlinks=False)
        if is_folder and len(entry.path) < _LONG_PATH:
            _remove_tree(entry.path, parent, waiting)
        elif is_folder:
            os.chmod(entry.path, 0o700)  # moving a folder changes its `..`
            waiting.append(os.path.join(parent, random_name()))
            os.rename(entry.path, waiting[-1])
        else:
            _with_permission(path, os.unlink, entry.path)
    _with_permission(os.path.dirname(path), os.rmdir, path)


def _entries(path: str) -> list[os.DirEntry[str]]:
    with os.scandir(path) as entries:
        return list(entries)


def _with_permission(folder: str, act: Callable[[str], None], path: str) -> None:
    """Remove an entry of a folder. If the folder does not permit it, permit it first."""
    try:
        act(path)
    except PermissionError:
        os.chmod(folder, 0o700)
        act(path)


def remove_all(base: str) -> bool:
    """Remove a server's folder and those of its programs. What cannot be removed stays. Return whether all is gone."""
    with contextlib.suppress(OSError):
        os.chmod(base, 0o700)
        with os.scandir(base) as entries:
            found = list(entries)
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                remove(entry.path)
            else:
                os.unlink(entry.path)
        os.rmdir(base)
    return not os.path.lexists(base)
