"""`POST /v1/problems`: check the programs, tests and limits of a request."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.executor.serve.run_code import RunRequest
from stepcoder_trl.executor.verdict.limits import Limits, program_seconds
from stepcoder_trl.executor.verdict.schema import count_tests
from stepcoder_trl.executor.wire.problems import tests_from_json
from stepcoder_trl.jsonl import shown


_FIELDS = {field.name: field.type for field in dataclasses.fields(Limits) if field.name != "isolation"}
_FLAGS = {name for name, kind in _FIELDS.items() if kind == "bool"}
_OPTIONAL = {name for name, kind in _FIELDS.items() if "None" in str(kind)}


@dataclass(frozen=True)
class Asked:
    """One program of a request, with its tests and limits. Its tests are not checked yet, nor what they ask for."""

    program: str
    tests: Any
    limits: Limits


class Bounds:
    """
    Limits of programs that come without any, and how far a request may go.

    Args:
        default (`Limits`): Limits of a program whose request names none.
        max_timeout_s (`float`): CPU seconds of one test.
        max_program_timeout_s (`float`): CPU seconds of all tests of a program together.
        max_memory_bytes (`int`): Memory of a program.
    """

    def __init__(
        self, default: Limits, max_timeout_s: float, max_program_timeout_s: float, max_memory_bytes: int
    ) -> None:
        self.default = Limits(**{field.name: getattr(default, field.name) for field in dataclasses.fields(Limits)})
        self.max_timeout_s, self.max_program_timeout_s = max_timeout_s, max_program_timeout_s
        self.max_memory_bytes = max_memory_bytes

    def limits(self, given: Any, default: Limits) -> Limits:
        """Return the limits of an object of JSON, or the default. Raise a `BadInputError` that names the field."""
        if given is None:
            return default
        if not isinstance(given, Mapping):
            raise BadInputError(f"`limits` is {shown(given)}, but must be an object")
        for name, value in given.items():
            if name not in _FIELDS:
                raise BadInputError(f"`limits.{name}` is not a limit. There are {', '.join(sorted(_FIELDS))}")
            is_right = isinstance(value, (int, float)) and (name in _FLAGS) is isinstance(value, bool)
            if not is_right and not (value is None and name in _OPTIONAL):
                kind = "true or false" if name in _FLAGS else "a number"
                raise BadInputError(f"`limits.{name}` is {shown(value)}, but must be {kind}")
        self.check(given.get("timeout_s", 0), given.get("memory_limit_bytes", 0))
        of_program = given.get("program_timeout_s") or 0
        if not (of_program <= self.max_program_timeout_s or of_program == math.inf):
            raise BadInputError(
                f"{shown(of_program)} seconds are more than the {self.max_program_timeout_s:g} that all tests of a "
                "program together may have. Ask for less, or start the service with a larger `--max-program-timeout-s`"
            )
        return replace(default, **given)

    def of_run(self, request: RunRequest) -> Limits:
        """Return the limits of a script. Raise a `BadInputError` if it asks for too much."""
        self.check(request.run_timeout_s, request.memory_limit_bytes or 0)
        memory = request.memory_limit_bytes or self.default.memory_limit_bytes
        timeout_s = request.run_timeout_s
        return Limits(timeout_s, timeout_s, memory, trace=False, keep_outputs=True)

    def of_tests(self, tests: Mapping[str, Any], limits: Limits) -> Limits:
        """
        Return the limits of a program under these tests. Raise a `BadInputError` if the tests ask for too much.

        Where the limit of all tests together is not given, it is cut to the largest one.
        """
        self.check(tests.get("timeout_s", 0), tests.get("memory_limit_bytes", 0))
        timeout_s = float(tests.get("timeout_s", limits.timeout_s))
        if program_seconds(limits.program_timeout_s, timeout_s, count_tests(tests)) <= self.max_program_timeout_s:
            return limits
        return replace(limits, program_timeout_s=self.max_program_timeout_s)

    def check(self, timeout_s: float, memory_bytes: float) -> None:
        """Raise a `BadInputError` if a program may not have so many seconds or bytes. NaN is refused, too."""
        if not timeout_s <= self.max_timeout_s:
            raise BadInputError(
                f"{shown(timeout_s)} seconds are more than the {self.max_timeout_s:g} that a test may have. Ask for "
                "less, or start the service with a larger `--max-timeout-s`"
            )
        if not memory_bytes <= self.max_memory_bytes:
            most = self.max_memory_bytes // 2**20
            raise BadInputError(
                f"{shown(memory_bytes)} bytes of memory are more than the {most} MiB that a program may have. Ask for "
                "less, or start the service with a larger `--max-memory-mb`"
            )


def parse_problems(body: Any, bounds: Bounds) -> Iterator[Asked | BadInputError]:
    """Yield the programs of a request, or why one is refused. Raise a `BadInputError` for the request as a whole."""
    if not isinstance(body, dict) or not isinstance(body.get("problems"), list):
        raise BadInputError("the body must be an object with `problems`, a list of objects")
    shared = body.get("tests") or []
    if not isinstance(shared, list):
        raise BadInputError(f"`tests` is {shown(shared)}, but must be a list, which problems name by index")
    default = bounds.limits(body.get("limits"), bounds.default)
    decoded: dict[int, Any] = {}
    return (_asked(problem, shared, decoded, default, bounds) for problem in body["problems"])


def _asked(
    problem: Any, shared: list[Any], decoded: dict[int, Any], default: Limits, bounds: Bounds
) -> Asked | BadInputError:
    try:
        if not isinstance(problem, dict) or not isinstance(problem.get("program"), str):
            raise BadInputError("a problem must be an object with `program`, a str, and `tests`")
        tests = problem.get("tests")
        if isinstance(tests, int):
            if not 0 <= tests < len(shared):
                raise BadInputError(f"`tests` is {tests}, but the request has {len(shared)} tests")
            if tests not in decoded:
                decoded[tests] = _decoded(shared[tests])
            tests = decoded[tests]
        else:
            tests = _decoded(tests)
        return Asked(problem["program"], tests, bounds.limits(problem.get("limits"), default))
    except BadInputError as error:
        return error


def _decoded(tests: Any) -> Any:
    try:
        return tests_from_json(tests)
    except (ValueError, LookupError, TypeError) as error:
        raise BadInputError(f"`tests` are not encoded as they say: {error}") from None
