"""Encode exceptions of a program for the examiner, where a test may expect them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from stepcoder_trl.executor.wire.codec import Encoder, TooLarge, mro_of, name_of
from stepcoder_trl.executor.wire.messages import Raised, Tree


# Modules without state that a program and its test could share, and without access to files or the network. The
# examiner has no others.
PURE_MODULES = frozenset(
    (
        *("array", "bisect", "cmath", "collections", "copy", "dataclasses", "datetime", "decimal", "enum"),
        *("fractions", "functools", "heapq", "itertools", "json", "math", "numbers", "numpy", "operator"),
        *("random", "re", "statistics", "string", "textwrap", "types", "typing", "unicodedata"),
    )
)
MAX_TEXT = 4096  # characters of an exception's text, and of its arguments

_MAX_PARTS = 100
_type, _object, _isinstance, _str, _len = type, object, isinstance, str, len
_getattribute = type.__getattribute__
_arguments_of = BaseException.__dict__["args"].__get__
_filename_of = OSError.__dict__["filename"].__get__
_attributes_of = BaseException.__dict__["__dict__"].__get__
_names_of = type.__dict__["__dict__"].__get__


def raised_form(error: BaseException) -> Raised:
    """Return an exception as a message. Its text is asked for, which may run code of the program."""
    bases = [base for base in mro_of(_type(error)) if base is not _object]
    names = [_known_name(base) for base in bases]
    attributes = {name: value for name, value in dict.items(_attributes_of(error)) if not _is_special(name)}
    return {
        "name": name_of(_type(error))[:MAX_TEXT],
        "classes": [name for name in names if name is not None],
        "is_known": names[0] is not None,
        "arguments": _tree_of(_made_of(error)),
        "attributes": _tree_of(attributes),
        "class_names": _own_names(base for base, name in zip(bases, names, strict=True) if name is None),
        "text": _text_of(error),
    }


def known_class(name: str) -> type[BaseException] | None:
    """Return the class of exceptions of this dotted name, if this process has it and it is one that is sent."""
    module_name, _, own_name = name.rpartition(".")
    module = sys.modules.get(module_name)
    if module_name != "builtins" and module_name.partition(".")[0] not in PURE_MODULES:
        return None
    found: Any = vars(module).get(own_name) if _type(module) is ModuleType else None
    return found if _isinstance(found, type) and issubclass(found, BaseException) else None


def _is_special(name: Any) -> bool:
    return _type(name) is not str or str.startswith(name, "__")


def _own_names(kinds: Iterable[type]) -> list[str] | None:
    """Return the names that classes of the program define. `None` if they are many, or made when asked for."""
    found: set[str] = set()
    for kind in kinds:
        names = _names_of(kind)
        if "__getattr__" in names or "__getattribute__" in names:
            return None
        found.update(name[:MAX_TEXT] for name in names if not _is_special(name))
    return sorted(found) if _len(found) <= _MAX_PARTS else None


def _known_name(kind: Any) -> str | None:
    module = _getattribute(kind, "__module__")
    if _type(module) is not str:
        return None
    name = f"{module}.{name_of(kind)}"
    return name if known_class(name) is kind else None


def _made_of(error: BaseException) -> tuple[Any, ...]:
    """Return the arguments that make an exception. Those of a missing file do not say its name."""
    arguments: tuple[Any, ...] = _arguments_of(error)
    name = _filename_of(error) if _isinstance(error, OSError) else None
    return arguments if name is None or _len(arguments) != 2 else (*arguments, name)


def _text_of(error: BaseException) -> str | None:
    try:
        text = _str(error)
        return text if _type(text) is str and _len(text) <= MAX_TEXT else None
    except BaseException:
        return None


def _tree_of(value: Any) -> Tree | None:
    try:
        return _Strict().encode(value, 0)
    except TooLarge:
        return None


class _Strict(Encoder):
    """Encoder of small plain values. Raises TooLarge for all others."""

    def __init__(self) -> None:
        super().__init__()
        self.items_left, self.characters_left = _MAX_PARTS, MAX_TEXT

    def cut_off(self, value: Any, why: str) -> Any:
        raise TooLarge

    def opaque(self, value: Any, kind: type) -> Any:
        raise TooLarge
