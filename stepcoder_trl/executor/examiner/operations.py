"""
Operations that an object of the program may define, and that a test may ask of it in the examiner.

The program carries out those that get nothing but the object. All others, such as `f(1) + 2` or `f(1)[0] = 5`, could
show it what a test expects. They end the test if the object defines them. An error that the test can catch would not
do: the test may expect it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn


if TYPE_CHECKING:
    from stepcoder_trl.executor.examiner.references import References


Ask = Callable[..., Any]  # name of an operation, operands -> result
Refuse = Callable[[str], NoReturn]

_ASKED = ("abs", "neg", "pos", "invert", "round", "floor", "ceil")
_ARITHMETIC = (
    *("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "divmod", "pow", "lshift", "rshift"),
    *("and", "or", "xor"),
)
_BINARY = (
    *("lt", "le", "gt", "ge"),
    *(prefix + name for prefix in ("", "r", "i") for name in _ARITHMETIC),
)
_OTHER = ("setitem", "delitem", "call", "enter", "exit", "next", "fspath")


class Operations:
    """Operations of an object of the program that plain values do not have."""

    __slots__ = ()
    _references: References

    def _ask(self, operation: str, *operands: Any) -> Any:
        return self._references.ask(operation, *operands)

    def _refuse(self, what: str) -> NoReturn:
        self._references.refuse(what)

    def _refuse_own(self, name: str) -> None:
        """End the test if the object's class defines a special method."""
        if self._ask("defines", self, name):
            self._refuse(f"`{name}` of an object of the program")

    def __getattr__(self, name: str) -> Any:
        if self._ask("hasattr", self, name):
            self._refuse(f"`{name}` of an object of the program")
        raise AttributeError(f"an object of the program has no attribute {name!r}")


def asked(operation: str) -> Callable[..., Any]:
    """Return a method that has the program carry out an operation."""
    return lambda self, *operands: self._ask(operation, self, *operands)


def _binary(name: str) -> Callable[..., Any]:
    def operate(self: Operations, *operands: Any) -> Any:
        self._refuse_own(name)
        return NotImplemented

    return operate


def _other(name: str) -> Callable[..., Any]:
    def operate(self: Operations, *operands: Any) -> Any:
        self._refuse_own(name)
        raise TypeError(f"an object of the program has no `{name}`")

    return operate


for _name in _ASKED:
    setattr(Operations, f"__{_name}__", asked(_name))
for _name in _BINARY:
    setattr(Operations, f"__{_name}__", _binary(f"__{_name}__"))
for _name in _OTHER:
    setattr(Operations, f"__{_name}__", _other(f"__{_name}__"))
