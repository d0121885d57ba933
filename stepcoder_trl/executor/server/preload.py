"""Load the modules that programs import, before the fork that runs the program."""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import sys


PRELOADED = (
    *("abc", "array", "ast", "base64", "bisect", "cmath", "collections", "collections.abc", "contextlib", "copy"),
    *("dataclasses", "datetime", "decimal", "enum", "fractions", "functools", "hashlib", "heapq", "io", "itertools"),
    *("json", "math", "numbers", "operator", "os", "queue", "random", "re", "string", "struct", "sys", "textwrap"),
    *("threading", "time", "traceback", "types", "typing", "warnings"),
)
# Rare modules. Every page of the server's memory makes each fork slower, so they are loaded when a program names them.
LOADED_ON_MENTION = (
    *("asyncio", "calendar", "concurrent.futures", "csv", "logging", "numpy", "pprint", "statistics", "tempfile"),
    "unicodedata",
)


def load_usual_modules() -> None:
    """Load `PRELOADED`."""
    for name in PRELOADED:
        importlib.import_module(name)
    _seed_generators()


def load_named_modules(program: str) -> bool:
    """Load those of `LOADED_ON_MENTION` that occur in a program's text. Return whether any had to be loaded."""
    missing = [name for name in LOADED_ON_MENTION if name not in sys.modules and name in program]
    for name in missing:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
            _seed_generators()
    return bool(missing)


def _seed_generators() -> None:
    """Seed the generators, so that programs that do not seed them draw the same numbers on every worker."""
    seed = int(os.environ.get("PYTHONHASHSEED", "0"))  # one number decides everything that may differ between runs
    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed)
