"""
Protocol of `POST /v1/problems`: programs with their tests go to a sandbox service, executions come back.

Both sides are ours. A result has the names of the fields of `Execution` and `TestResult`, so a new field travels
without a change here. A field that has its default value is left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, TypedDict

from stepcoder_trl.executor.wire.codec import Encoder, Unserializable, decode
from stepcoder_trl.types import Execution, Outcome, TestResult


PROTOCOL = 2  # of the service that `SERVICE_PATH` describes; a client of another number refuses to use it
SERVICE_PATH, PROBLEMS_PATH = "/v1/service", "/v1/problems"
TOKEN_VARIABLE = "STEPCODER_BACKEND_TOKEN"  # holds the bearer token, on both sides
HEARTBEAT_S = 10.0  # an empty line is sent while no program has ended for so long

Why = Literal["sandbox", "bad_input", "stopping"]


class Service(TypedDict):
    """Answer of `SERVICE_PATH`."""

    service: Literal["stepcoder-trl"]
    protocol: int
    workers: int  # programs that run at a time
    max_programs: int  # of all requests, those that wait included
    max_body_bytes: int
    isolation: str
    layers: dict[str, bool]
    missing: dict[str, str]


class Problem(TypedDict, total=False):
    """One program of a request."""

    program: str
    tests: Any  # an object, its JSON text, or an index into the tests of the request
    limits: dict[str, Any]  # instead of those of the request


class ProblemsRequest(TypedDict, total=False):
    """Body of a request."""

    problems: list[Problem]
    tests: list[Any]  # that several programs share
    limits: dict[str, Any]  # fields of `Limits`, but `isolation`, which is the service's


class ProblemResult(TypedDict, total=False):
    """One line of the answer: an execution, or why there is none."""

    index: int  # in `problems`
    execution: dict[str, Any]
    error: str
    why: Why


class _OutputEncoder(Encoder):
    """Encoder of outputs, which were decoded before."""

    def opaque(self, value: Any, kind: type) -> Any:
        if isinstance(value, Unserializable):
            return self.tagged("u", value.type_name)
        return super().opaque(value, kind)


def execution_to_json(execution: Execution) -> dict[str, Any]:
    """Return an execution as an object of JSON."""
    return _to_json(execution)


def execution_from_json(given: Mapping[str, Any]) -> Execution:
    """Return the execution of `execution_to_json`. Raise ValueError if the object has another form."""
    try:
        tests = tuple(TestResult(**_fields(test)) for test in given["tests"])
        return Execution(**{**_fields(given), "tests": tests})
    except (TypeError, LookupError, AttributeError) as error:
        raise ValueError(f"malformed execution: {error}") from None


def tests_to_json(tests: Mapping[str, Any]) -> dict[str, Any]:
    """Return checked tests as an object of JSON. Values of call tests are encoded: their integers have any length."""
    plain = dict(tests)
    if plain["type"] == "call":
        for field in ("inputs", "outputs"):
            plain[field] = [Encoder().encode(value, 0) for value in plain[field]]
        plain["encoded"] = True
    return plain


def tests_from_json(given: Any) -> Any:
    """Return the tests of `tests_to_json`. Tests of other clients are returned as they are."""
    if not isinstance(given, dict) or given.get("encoded") is not True:
        return given
    tests = {name: value for name, value in given.items() if name != "encoded"}
    for field in ("inputs", "outputs"):
        tests[field] = [decode(tree) for tree in tests[field]]
    return tests


def _to_json(result: Execution | TestResult) -> dict[str, Any]:
    plain = {}
    for field in dataclasses.fields(result):
        value = getattr(result, field.name)
        if value is field.default or (field.name != "output" and value == field.default):
            continue
        plain[field.name] = _value_to_json(field.name, value)
    return plain


def _value_to_json(name: str, value: Any) -> Any:
    if name == "output":
        return _OutputEncoder().encode(value, 0)
    if isinstance(value, Outcome):
        return value.value
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return [_to_json(test) for test in value]
    return value


def _fields(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _value_from_json(name, value) for name, value in given.items()}


def _value_from_json(name: str, value: Any) -> Any:
    if name == "outcome":
        return Outcome(value)
    if name == "output":
        return decode(value)
    return frozenset(value) if name.endswith("_lines") and value is not None else value
