"""Our own protocol: a batch of programs with their tests, and a line for each result."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.executor.remote.client import ServiceClient, TemporaryFailure, shorten
from stepcoder_trl.executor.remote.dispatch import Item
from stepcoder_trl.executor.verdict.limits import Limits
from stepcoder_trl.executor.wire.frames import json_bytes
from stepcoder_trl.executor.wire.problems import (
    PROBLEMS_PATH,
    Problem,
    ProblemsRequest,
    execution_from_json,
    tests_to_json,
)
from stepcoder_trl.types import Execution


_MIN_LANES, _MIN_BATCH = 3, 8  # a service has more programs than workers, so that none waits for the next request


@dataclass(frozen=True)
class Room:
    """What a service takes: programs that run at a time, programs with those that wait, and bytes of a request."""

    workers: int
    programs: int
    body_bytes: int


class OwnProtocol:
    """Our protocol, at one address."""

    def __init__(self, client: ServiceClient, room: Room, limits: Limits, num_requests: int, silence_s: float) -> None:
        # All lanes together send no more programs than the service takes.
        self.lanes = min(num_requests, max(_MIN_LANES, room.workers), room.programs)
        self.max_batch = min(max(_MIN_BATCH, 2 * room.workers // self.lanes), room.programs // self.lanes)
        self._client, self._max_body_bytes, self._silence_s = client, room.body_bytes, silence_s
        self._limits = _given_limits(limits)

    def run(self, items: Sequence[Item]) -> Iterator[tuple[Item, Execution | Exception]]:
        """Run programs, see `dispatch.Service`."""
        body = json_bytes(request_of(items, self._limits))
        if len(body) > self._max_body_bytes:
            yield from self._run_in_parts(items, len(body))
            return
        left = dict(enumerate(items))
        given_back = ""
        for line in self._client.post_for_lines(PROBLEMS_PATH, body, self._silence_s):
            try:
                index = line["index"]
                if line.get("why") == "stopping":
                    given_back = str(line["error"])
                    continue
                result = _result(line)
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise TemporaryFailure(f"the service sent a malformed result ({shorten(error)})") from None
            if index in left:
                yield left.pop(index), result
        if left:
            raise TemporaryFailure(given_back or "the answer ended before all results had come", is_gone=True)

    def _run_in_parts(self, items: Sequence[Item], size: int) -> Iterator[tuple[Item, Execution | Exception]]:
        """Run programs in two requests, as one would be too large. A program that is too large alone fails."""
        if len(items) > 1:
            half = len(items) // 2
            yield from self.run(items[:half])
            yield from self.run(items[half:])
            return
        problem = (
            f"a program and its tests have {size} bytes, but the service takes {self._max_body_bytes}. "
            "Start it with a larger `--max-body-mb`"
        )
        yield items[0], self._client.failure(PROBLEMS_PATH, problem)


def request_of(items: Sequence[Item], limits: Mapping[str, Any]) -> ProblemsRequest:
    """Return the body of a request. Tests that several programs share are sent once."""
    numbers: dict[int, int] = {}
    tests: list[Any] = []
    problems: list[Problem] = []
    for item in items:
        number = numbers.setdefault(id(item.tests), len(tests))
        if number == len(tests):
            tests.append(tests_to_json(item.tests))
        problems.append(Problem(program=item.program, tests=number))
    return ProblemsRequest(problems=problems, tests=tests, limits=dict(limits))


def _result(line: Mapping[str, Any]) -> Execution | Exception:
    if "execution" in line:
        return execution_from_json(line["execution"])
    error = str(line["error"])
    if line["why"] == "bad_input":
        return BadInputError(error)
    return TemporaryFailure(f"the service failed to run a program ({shorten(error)})")


def _given_limits(limits: Limits) -> dict[str, Any]:
    """Return all limits of programs. `isolation` is the service's."""
    names = (one.name for one in dataclasses.fields(Limits) if one.name != "isolation")
    return {name: getattr(limits, name) for name in names}
