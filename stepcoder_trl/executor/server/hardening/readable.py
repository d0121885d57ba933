"""Paths that programs may read: the interpreter, its library and what is installed for it but this package."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator

from stepcoder_trl.executor.server.hardening.landlock import ONLY_LISTED


# Names of the folders that installers fill. Other entries of the search path, such as a checkout of an editable
# installation, may hold anything.
_INSTALLED = ("site-packages", "dist-packages", "lib-dynload")
# Folders of the system's libraries. Python packages may be installed there, too.
_LIBRARIES = (
    *("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64"),
)


def readable_paths() -> list[str]:
    """Return the files and folders of the interpreter and of libraries, which its programs may read."""
    package = __name__.partition(".")[0]
    library = os.path.dirname(os.__file__)
    # `__path__` is empty where the package was sent as a script.
    hidden = sys.modules[package].__path__
    return select([library, *_LIBRARIES], sys.path, sys.base_exec_prefix, sys.platlibdir, hidden)


def select(
    always: Iterable[str], search_path: Iterable[str], prefix: str, platlibdir: str, hidden: Iterable[str]
) -> list[str]:
    """
    Return the readable ones of an interpreter's paths, in order and once each.

    Those are the paths of `always`, the folders of installed packages in `search_path`, and the folders of shared
    libraries below `prefix`, which extension modules are linked with. A folder that holds one of the folders `hidden`
    is replaced by what else it holds, and by itself with `ONLY_LISTED` at its end: imports look for names there. This
    package is hidden, because it holds tests with their answers.
    """
    installed = [path for path in map(os.path.normpath, search_path) if os.path.basename(path) in _INSTALLED]
    shared = [os.path.join(prefix, folder) for folder in ("lib", platlibdir)]
    found = [path for path in (*always, *installed, *shared) if os.path.isabs(path) and os.path.exists(path)]
    for folder in map(os.path.realpath, hidden):
        parts = [[path] if path.endswith(ONLY_LISTED) else _without(path, folder) for path in found]
        found = [part for each in parts for part in each]
    return list(dict.fromkeys(found))


def _without(path: str, hidden: str) -> Iterator[str]:
    """Yield a path, or what it holds beside the folder `hidden`."""
    resolved = os.path.realpath(path)
    if resolved == hidden:
        return
    if os.path.commonpath([resolved, hidden]) != resolved:
        yield path
        return
    yield path + ONLY_LISTED
    way, *_ = os.path.relpath(hidden, resolved).split(os.sep)
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name == way or entry.is_symlink():
                yield from _without(entry.path, hidden)
            else:
                yield entry.path
