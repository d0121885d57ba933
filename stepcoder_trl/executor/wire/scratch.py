"""Folders that programs write to: measure them, and remove them whatever they hold."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import sys
from collections.abc import Iterator
from typing import NamedTuple


# Counted for an empty file or folder. A slow disk takes milliseconds to remove one.
BYTES_PER_FILE = 2**16
BYTES_PER_FOLDER = 2**18
_MAX_LEVELS = 16  # folders that are open at a time
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def random_name() -> str:
    """Return the name of a new folder, which no program can know beforehand."""
    return secrets.token_hex(8)


def size_of(folder: str, max_bytes: int) -> int:
    """
    Return the bytes on disk of a folder. Counting stops above `max_bytes`.

    Every file counts at least `BYTES_PER_FILE`, every folder `BYTES_PER_FOLDER`. While a program writes, the size is a
    lower bound. A folder that is hidden from the server, because it cannot be read or has too long a path, counts as
    too large.
    """
    total = 0
    folders = [folder]
    while folders and total <= max_bytes:
        try:
            total += _size_of_entries(folders, max_bytes - total)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.ENAMETOOLONG):
                return max_bytes + 1
    return total


def _size_of_entries(folders: list[str], max_bytes: int) -> int:
    """Take the last folder off the list, and return the bytes of its entries. Add the folders in it to the list."""
    total = 0
    with os.scandir(folders.pop()) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                total += BYTES_PER_FOLDER
                folders.append(entry.path)
            else:
                total += BYTES_PER_FILE
                with contextlib.suppress(FileNotFoundError):
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

    Nothing outside of it changes, also while a program exchanges its folders for links. So each folder is opened
    below the one that holds it, and no path is used. Folders that are nested deeply are first moved beside `folder`
    under random names. Missing permissions are restored.
    """
    above, name = os.path.split(folder)
    waiting = [name]
    with _opened(above, None) as parent:
        while waiting:
            try:
                _remove_tree(waiting.pop(), parent, _Removal(parent, waiting), 0)
            except FileNotFoundError:
                pass
            except OSError:
                return False
    return not os.path.lexists(folder)


class _Removal(NamedTuple):
    """Descriptor of the folder that deeply nested folders are moved to, and their new names."""

    parent: int
    waiting: list[str]


def _remove_tree(name: str, above: int, removal: _Removal, level: int) -> None:
    """Remove a folder in the folder with the descriptor `above`."""
    with _opened(name, above) as folder:
        with os.scandir(folder) as found:
            entries = list(found)
        for entry in entries:
            is_folder = entry.is_dir(follow_symlinks=False)
            if is_folder and level < _MAX_LEVELS:
                _remove_tree(entry.name, folder, removal, level + 1)
            elif is_folder:
                with _opened(entry.name, folder):  # moving a folder changes its `..`
                    removal.waiting.append(random_name())
                    os.rename(entry.name, removal.waiting[-1], src_dir_fd=folder, dst_dir_fd=removal.parent)
            else:
                os.unlink(entry.name, dir_fd=folder)
    os.rmdir(name, dir_fd=above)


@contextlib.contextmanager
def _opened(name: str, above: int | None) -> Iterator[int]:
    """Open a folder, not a link to one. All that its owner lacks is permitted."""
    try:
        folder = os.open(name, _FOLDER, dir_fd=above)
    except PermissionError:
        _permit(name, above)
        folder = os.open(name, _FOLDER, dir_fd=above)
    try:
        if above is not None and os.fstat(folder).st_mode & 0o700 != 0o700:
            os.fchmod(folder, 0o700)
        yield folder
    finally:
        os.close(folder)


def _permit(name: str, above: int | None) -> None:
    """Permit reading a folder, not what a link of that name points to."""
    if sys.platform != "linux":
        os.chmod(name, 0o700, dir_fd=above, follow_symlinks=False)
        return
    folder = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    try:
        os.chmod(f"/proc/self/fd/{folder}", 0o700)
    finally:
        os.close(folder)


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
