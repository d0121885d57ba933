"""Rebuild exceptions of a program in the examiner, for tests that expect them."""

from __future__ import annotations

from typing import Any, NoReturn

from stepcoder_trl.executor.examiner.operations import Refuse
from stepcoder_trl.executor.wire.codec import decode
from stepcoder_trl.executor.wire.exceptions import MAX_TEXT, known_class
from stepcoder_trl.executor.wire.messages import Raised


_Class = type[BaseException]


def rebuilt(raised: Raised, refuse: Refuse) -> BaseException:
    """
    Return an exception that a test catches, compares and prints as it would the program's.

    It is one of Python, or of a pure module, if that is all there is to it. Otherwise it is of a derived class. A test
    that asks this one for what was not sent is ended by `refuse`. Raise ValueError if `raised` is malformed.
    """
    arguments, attributes, text = _checked(raised)
    own_names = _checked_names(raised["class_names"])
    classes = list(map(known_class, raised["classes"]))
    found = [each for each in classes if each is not None]
    if not found:
        raise ValueError("not an exception")
    if any(issubclass(each, StopIteration) for each in found):  # it would end a `map` of the test early
        found = [Exception]
    elif raised["is_known"] and classes[0] is not None and arguments is not None and attributes is not None:
        error = _made(classes[0], arguments, attributes)
        if str(error) == text:
            return error
    bases = [each for place, each in enumerate(found) if not any(issubclass(other, each) for other in found[:place])]
    body = _body(arguments, text, None if attributes is None else own_names, refuse)
    try:
        return _made(type(str(raised["name"]), tuple(bases), body), arguments or (), attributes or {})
    except TypeError:  # an exception group needs others in it
        plain = Exception if issubclass(found[0], Exception) else BaseException
        return _made(type(str(raised["name"]), (plain,), body), arguments or (), attributes or {})


def _checked_names(names: list[str] | None) -> frozenset[str] | None:
    if names is None:
        return None
    if type(names) is not list or not all(type(name) is str for name in names):
        raise ValueError("not names")
    return frozenset(names)


def _checked(raised: Raised) -> tuple[tuple[Any, ...] | None, dict[str, Any] | None, str | None]:
    arguments = None if raised["arguments"] is None else decode(raised["arguments"])
    attributes = None if raised["attributes"] is None else decode(raised["attributes"])
    text = raised["text"]
    if not (arguments is None or type(arguments) is tuple) or not (attributes is None or type(attributes) is dict):
        raise ValueError("not parts of an exception")
    if not (text is None or (type(text) is str and len(text) <= MAX_TEXT)):
        raise ValueError("not the text of an exception")
    if attributes and not all(type(name) is str and not name.startswith("__") for name in attributes):
        raise ValueError("not attributes of an exception")
    return arguments, attributes, text


def _made(kind: _Class, arguments: tuple[Any, ...], attributes: dict[str, Any]) -> BaseException:
    """Return an instance of a class. Some take other arguments than those that they keep."""
    error: BaseException
    try:
        error = kind(*arguments)
    except Exception:
        error = kind.__new__(kind, *arguments)
        if arguments:  # where they were not sent, `args` ends the test
            error.args = arguments
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


def _body(
    arguments: tuple[Any, ...] | None, text: str | None, own_names: frozenset[str] | None, refuse: Refuse
) -> dict[str, Any]:
    """Return the attributes of a derived class. `own_names` are what the program's classes have beside them."""

    def text_of(error: BaseException) -> str:
        if text is None:
            refuse("the text of an exception")
        return text

    def attribute_of(error: BaseException, name: str) -> NoReturn:
        if name.startswith("__") or (own_names is not None and name not in own_names):
            raise AttributeError(name)
        refuse(f"`{name}` of an exception of the program")

    body: dict[str, Any] = {"__str__": text_of, "__getattr__": attribute_of}
    if arguments is None:
        body["args"] = property(lambda error: refuse("arguments of an exception"))
    return body
