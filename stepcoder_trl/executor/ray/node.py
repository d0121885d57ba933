"""The actor that runs programs on one node."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from stepcoder_trl.errors import SandboxError
from stepcoder_trl.executor.local.config import ExecutorConfig
from stepcoder_trl.executor.local.executor import CodeExecutor
from stepcoder_trl.executor.verdict.schema import Tests
from stepcoder_trl.types import Execution
from stepcoder_trl.versions import versions


_MAX_TESTS = 64


@dataclass(frozen=True)
class NodeFacts:
    """What an actor says of its node when it has started."""

    version: str
    layers: dict[str, bool]
    missing: dict[str, str]


def own_version() -> str:
    """Return the version of this package."""
    return versions().get("stepcoder-trl", "that is not installed")


def defect(error: Exception) -> SandboxError:
    """Return the failure of one program for a reason that nobody expected."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return SandboxError(f"A program could not be executed for a reason that was not expected ({reason}).")


class NodeExecutor:
    """
    Actor with a [`CodeExecutor`]. A failure of the sandbox is a result: Ray wraps what is raised.

    Its methods are coroutines, so that one actor has many programs at once, and answers while they run.
    """

    def __init__(self, config: ExecutorConfig) -> None:
        self._executor = CodeExecutor(config)
        self._tests: dict[int, Tests] = {}

    async def describe(self) -> NodeFacts | SandboxError:
        """Run a harmless program. Return what the node has, or why it cannot run programs."""
        loop = asyncio.get_running_loop()
        try:
            layers = await loop.run_in_executor(None, lambda: self._executor.layers)
            return NodeFacts(own_version(), layers, self._executor.missing_layers)
        except SandboxError as error:
            return error

    async def run(self, program: str, key: int, tests: Tests) -> Execution | SandboxError:
        """Run a program under its tests, which the caller knows by this number."""
        try:
            return await asyncio.wrap_future(self._executor.submit(program, self._known(key, tests)))
        except SandboxError as error:
            return error
        except Exception as error:  # a defect, which must cost neither the other programs of this node nor a score
            return defect(error)

    async def ping(self) -> None:
        """Answer at once."""

    def _known(self, key: int, tests: Tests) -> Tests:
        """Return the tests that were sent before under this number, because they are prepared already."""
        if key not in self._tests and len(self._tests) >= _MAX_TESTS:
            del self._tests[next(iter(self._tests))]
        return self._tests.setdefault(key, tests)
