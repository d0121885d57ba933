"""Folders that programs write to: measure them, and remove them whatever they hold."""

from __future__ import annotations

import contextlib
import os
import secrets


BYTES_PER_ENTRY = 4096  # counted for an empty file or folder


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

    No process may write to it any more. Nested folders are first moved beside it under random names, so that neither
    recursion nor long paths are needed. Missing permissions are restored.
    """
    waiting = [folder]
    parent = os.path.dirname(folder)
    removed = True
    while waiting:
        path = waiting.pop()
        try:
            waiting += _emptied(path, parent)
            os.rmdir(path)
        except FileNotFoundError:
            pass
        except OSError:
            removed = False
    return removed


def _emptied(path: str, parent: str) -> list[str]:
    """Remove the files of a folder, and move its folders to `parent`. Return their new paths."""
    os.chmod(path, 0o700)
    moved = []
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                os.chmod(entry.path, 0o700)  # moving a folder changes its `..`
                moved.append(os.path.join(parent, random_name()))
                os.rename(entry.path, moved[-1])
            else:
                os.unlink(entry.path)
    return moved


def remove_all(base: str) -> None:
    """Remove a server's folder and those of its programs. What cannot be removed stays."""
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
