"""Paths that programs may read: the interpreter, its library and what is installed for it, and nothing beside."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable


# Names of the folders that installers fill. Other entries of the search path, such as a checkout of an editable
# installation, may hold anything.
_INSTALLED = ("site-packages", "dist-packages", "lib-dynload")


def readable_paths() -> list[str]:
    """Return the folders that programs of this interpreter may read, besides the system's."""
    package = __name__.partition(".")[0]
    library = os.path.dirname(os.__file__)
    # `__path__` is empty where the package was sent as a script.
    return select([library, *sys.modules[package].__path__], sys.path, sys.base_exec_prefix, sys.platlibdir)


def select(always: Iterable[str], search_path: Iterable[str], prefix: str, platlibdir: str) -> list[str]:
    """
    Return the readable ones of an interpreter's paths, in order and once each.

    Those are the paths of `always`, the folders of installed packages in `search_path`, and the folders of shared
    libraries below `prefix`, which extension modules are linked with.
    """
    installed = [path for path in map(os.path.normpath, search_path) if os.path.basename(path) in _INSTALLED]
    shared = [os.path.join(prefix, folder) for folder in ("lib", platlibdir)]
    found = dict.fromkeys(path for path in (*always, *installed, *shared) if os.path.isabs(path))
    return [path for path in found if os.path.exists(path)]
