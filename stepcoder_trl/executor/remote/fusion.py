"""
SandboxFusion's protocol, for services that do not speak ours.

Each request sends our own fork server as a script, and the job. The script forks, limits and traces the program as it
does locally, applies the isolation layers available there, and prints a report. Expected outputs are never sent. The
outcome is decided here, as for local runs.
Interface: https://bytedance.github.io/SandboxFusion/docs/api/run-code-run-code-post
"""

from __future__ import annotations

import base64
import json
import math
import secrets
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from stepcoder_trl.errors import SandboxError
from stepcoder_trl.executor.announce import start_failure
from stepcoder_trl.executor.backend import HARMLESS_PROGRAM, HARMLESS_TESTS
from stepcoder_trl.executor.checking import submit_checked
from stepcoder_trl.executor.remote.bundle import server_script
from stepcoder_trl.executor.remote.client import ServiceClient, TemporaryFailure, shorten
from stepcoder_trl.executor.remote.dispatch import Item
from stepcoder_trl.executor.verdict.judge import judge_reply, judge_test, worker_lost
from stepcoder_trl.executor.verdict.limits import Limits
from stepcoder_trl.executor.verdict.prepare import Job, prepare_job
from stepcoder_trl.executor.verdict.schema import Tests
from stepcoder_trl.executor.wire.frames import json_bytes
from stepcoder_trl.executor.wire.messages import Greeting, Infrastructure, RemoteRequest, Reply, Result, StartMessage
from stepcoder_trl.types import Execution, Outcome


RUN_CODE_PATH = "/run_code"
_MAX_REPORT_BYTES = 256 * 2**20  # after decompression
_MALFORMED = (ValueError, LookupError, TypeError, RecursionError, zlib.error)
_MAX_LOSSES = 2
_SERVER_MEMORY_BYTES = 2**30  # memory of the fork server, in addition to the program's


class _NoReport(TemporaryFailure):
    """Raised if our script printed no report: the program, or the service, killed it."""


class FusionProtocol:
    """SandboxFusion's protocol, at one address."""

    max_batch = 1

    def __init__(
        self,
        client: ServiceClient,
        limits: Limits,
        num_requests: int,
        queue_timeout_s: float,
        greet: Callable[[Greeting], None],
    ) -> None:
        self.lanes = num_requests
        self._client, self._queue_timeout_s, self._greet = client, queue_timeout_s, greet
        self._given, self._stops = limits, limits.stop_on_first_failure
        # The remote fork server gets no answers while it runs, so it cannot stop: see `_stopped_at_failure`.
        self._limits = replace(limits, stop_on_first_failure=False)

    def run(self, items: Sequence[Item]) -> Iterator[tuple[Item, Execution | Exception]]:
        """Run programs, see `dispatch.Service`."""
        for item in items:
            result: Execution | TemporaryFailure
            try:
                result = self._run(item)
            except TemporaryFailure as error:
                if error.is_gone or error.wait_s is not None:
                    raise
                result = error  # it says nothing about other programs
            yield item, result

    def _run(self, item: Item) -> Execution:
        try:
            if item.tests["type"] == "checker":
                return submit_checked(self._submit, item.program, item.tests, self._given).result()
            return self._submit(item.program, item.tests, self._limits).result()
        except _NoReport:
            item.losses += 1
            if item.losses == _MAX_LOSSES and self._is_healthy():
                job = prepare_job(item.program, item.tests, self._limits, examine=False)
                return worker_lost(job.program, job.tests.judges, job.tests.header["is_traced"])
            raise

    def _submit(self, program: str, tests: Tests, limits: Limits) -> Future[Execution]:
        """Run a program now, and return its result as a future."""
        done: Future[Execution] = Future()
        job = prepare_job(program, tests, limits, examine=False)
        try:
            done.set_result(self._judged(job, self._report(job)))
        except (TemporaryFailure, SandboxError) as error:
            done.set_exception(error)
        return done

    def _is_healthy(self) -> bool:
        try:
            harmless = self._submit(HARMLESS_PROGRAM, Tests.parse(HARMLESS_TESTS), self._limits).result()
            return harmless.outcome is Outcome.PASSED
        except TemporaryFailure:
            return False

    def _judged(self, job: Job, messages: list[Any]) -> Execution:
        """Decide the outcome from the fork server's messages, which a program may have forged."""
        greeting: StartMessage = messages[0]
        if "refused" in greeting:
            raise start_failure(greeting)
        if "infrastructure" in greeting:
            raise TemporaryFailure(f"the fork server failed to start ({shorten(greeting['infrastructure'])})")
        reply: Reply | Infrastructure = messages[1]
        if "infrastructure" in reply:
            raise TemporaryFailure(f"the fork server failed to run a program ({shorten(reply['infrastructure'])})")
        self._greet(greeting)
        if self._stops:
            reply = _stopped_at_failure(job, reply)
        try:
            tests = job.tests
            traced = tests.header["is_traced"]
            return judge_reply(job.program, tests.judges, reply, traced, tests.called, tests.sharing)
        except SandboxError as error:  # the disk was full there; it may not be in another try
            raise TemporaryFailure(str(error)) from None

    def _report(self, job: Job) -> list[Any]:
        """Send a job and return the greeting and the reply of the fork server, checked for form."""
        token = secrets.token_hex(16)
        message = RemoteRequest(
            settings={"isolation": self._limits.isolation}, job=base64.b64encode(job.message).decode()
        )
        request = json_bytes(message).decode("ascii")
        response = self._client.post(
            RUN_CODE_PATH,
            {
                "code": server_script(),
                "language": "python",
                "stdin": f"{len(request)}\n{request}{token}\n",
                "run_timeout": job.tests.deadline_s,
                "compile_timeout": 10,
                "memory_limit_MB": (job.tests.memory_limit_bytes + _SERVER_MEMORY_BYTES) // 2**20,
                "files": {},
                "fetch_files": [],
            },
            timeout_s=job.tests.deadline_s + self._queue_timeout_s,
        )
        if response.get("status") == "SandboxError":
            raise TemporaryFailure(f"the service failed ({shorten(response.get('message'))})")
        result = response.get("run_result")
        if not isinstance(result, dict) or not isinstance(result.get("stdout"), str):
            raise TemporaryFailure("the service sent no `run_result` with a `stdout`")
        for line in result["stdout"].split("\n"):
            if line.startswith(token):
                try:
                    return _unpacked(line[len(token) :], len(job.tests.judges))
                except _MALFORMED:
                    raise _NoReport("the report was cut off or forged") from None
        raise _NoReport(f"there was no report ({shorten(result.get('status'))}, {shorten(result.get('stderr'))})")


def _unpacked(text: str, num_tests: int) -> list[Any]:
    """Decode the messages of a report. A malformed one raises one of `_MALFORMED`."""
    inflate = zlib.decompressobj()
    data = inflate.decompress(base64.b64decode(text, validate=True), _MAX_REPORT_BYTES)
    if not inflate.eof:
        raise ValueError("too long, or cut off")
    messages = json.loads(data)
    greeting = messages[0]
    if "infrastructure" in greeting:
        return [greeting]
    if not all(isinstance(greeting[key], dict) for key in ("layers", "missing")):
        raise TypeError("malformed greeting")
    reply = messages[1]
    if "infrastructure" not in reply:
        lines, cpu_s = reply["lines"], reply["cpu_s"]
        if not isinstance(reply["tests"], list) or len(reply["tests"]) != num_tests:
            raise TypeError("malformed results")
        if lines is not None and not (isinstance(lines, list) and all(type(line) is int for line in lines)):
            raise TypeError("malformed lines")
        if not all(0 <= float(seconds) < math.inf for seconds in (cpu_s, reply["compile_s"])):
            raise ValueError("malformed time")
    return [greeting, reply]


def _stopped_at_failure(job: Job, reply: Reply) -> Reply:
    """Mark the tests after the first failure as not run."""
    passed = [judge_test(*one).outcome is Outcome.PASSED for one in zip(job.tests.judges, reply["tests"], strict=True)]
    kept = passed.index(False) + 1 if False in passed else len(passed)
    not_run: Result = {"timeout": True, "not_run": True, "cpu_s": 0.0}
    tests = reply["tests"][:kept] + [not_run] * (len(passed) - kept)
    return {**reply, "tests": tests, "ran": [None] * len(tests)}
