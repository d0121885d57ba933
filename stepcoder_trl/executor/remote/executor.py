"""
Run programs on other machines, in an HTTP sandbox that implements SandboxFusion's `/run_code`.

Each request sends our own fork server as a script, and the job. The script forks, limits and traces the program as it
does locally, applies the isolation layers available there, and prints a report. Expected outputs are never sent. The
outcome is decided here, as for local runs.
Interface: https://bytedance.github.io/SandboxFusion/docs/api/run-code-run-code-post
"""

from __future__ import annotations

import base64
import json
import math
import os
import random
import secrets
import threading
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from stepcoder_trl.errors import SandboxError
from stepcoder_trl.executor.announce import announce, start_failure
from stepcoder_trl.executor.backend import HARMLESS_PROGRAM, HARMLESS_TESTS, BaseBackend, TestsLike
from stepcoder_trl.executor.checking import submit_checked
from stepcoder_trl.executor.remote.bundle import server_script
from stepcoder_trl.executor.remote.client import ServiceClient, TemporaryFailure, shorten
from stepcoder_trl.executor.remote.config import RemoteConfig
from stepcoder_trl.executor.verdict.judge import judge_reply, judge_test, worker_lost
from stepcoder_trl.executor.verdict.limits import Limits
from stepcoder_trl.executor.verdict.prepare import Job, prepare_job
from stepcoder_trl.executor.verdict.recent import RecentTests
from stepcoder_trl.executor.verdict.schema import Tests
from stepcoder_trl.executor.wire.frames import json_bytes
from stepcoder_trl.executor.wire.messages import Greeting, Infrastructure, RemoteRequest, Reply, Result, StartMessage
from stepcoder_trl.types import Execution, Outcome


_MAX_REPORT_BYTES = 256 * 2**20  # after decompression
_MALFORMED = (ValueError, LookupError, TypeError, RecursionError, zlib.error)
_MAX_LOSSES = 2
_MAX_WAIT_S = 60.0
_SERVER_MEMORY_BYTES = 2**30  # memory of the fork server, in addition to the program's


class _NoReport(Exception):
    """Raised if our script printed no report: the program, or the service, killed it."""


class RemoteExecutor(BaseBackend):
    """
    Executor that runs untrusted Python programs in a remote HTTP sandbox.

    Results equal those of [`CodeExecutor`] if the service has the same isolation layers. `layers` is what the service
    reports, and cannot be verified. Without seccomp and Landlock, a program can kill its fork server (`runtime_error`,
    message "worker lost"), or attach to it as a debugger and forge the report. Output of more than about one megabyte,
    compressed, is not returned (`runtime_error`).

    Args:
        config (`RemoteConfig` or `str`): Settings, or the address.

    Example:

    ```python
    >>> with RemoteExecutor("http://sandbox:8080") as executor:
    ...     executor.run("print(7)", {"type": "stdio", "inputs": [""], "outputs": ["7"]}).outcome
    <Outcome.PASSED: 'passed'>
    ```
    """

    def __init__(self, config: RemoteConfig | str) -> None:
        self.config = RemoteConfig(config) if isinstance(config, str) else config
        # The remote fork server gets no answers while it runs, so it cannot stop: see `_stopped_at_failure`.
        self._limits = replace(self.config, stop_on_first_failure=False)
        self._recent = RecentTests()
        self._closing = threading.Event()
        self._greeting: Greeting | None = None
        self._begin()

    def _begin(self) -> None:
        """Create the threads and connections of this process. A forked process cannot use those of its parent."""
        self._pid = os.getpid()
        self._client = ServiceClient(self.config.endpoint)
        self._threads = ThreadPoolExecutor(self.config.num_workers, thread_name_prefix="stepcoder-remote")

    def __reduce__(self) -> tuple[type[RemoteExecutor], tuple[RemoteConfig]]:
        """Pickle only the settings. A spawned process creates its own executor from them."""
        return type(self), (self.config,)

    @property
    def stops_on_first_failure(self) -> bool:
        """Return whether tests after the first failure are not run."""
        return self.config.stop_on_first_failure

    @property
    def timeout_s(self) -> float:
        """Return the default CPU seconds of one test."""
        return self.config.timeout_s

    def submit(self, program: str, tests: TestsLike) -> Future[Execution]:
        """Run a program in the background, see [`Backend`]."""
        parsed = self._recent.parse(tests)
        if parsed["type"] == "checker":
            return submit_checked(self._submit, program, parsed, self.config)
        return self._submit(program, parsed, self._limits)

    def _submit(self, program: str, tests: Tests, limits: Limits) -> Future[Execution]:
        job = prepare_job(program, tests, limits, examine=False)
        if self._closing.is_set():
            raise SandboxError("This executor is closed. Create a new one.")
        if self._pid != os.getpid():
            self._begin()
        return self._threads.submit(self._run, job)

    def close(self) -> None:
        """Cancel waiting programs and abort running requests. Closing twice is allowed."""
        self._closing.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.abort()
        self._threads.shutdown(wait=True)
        self._client.close()

    @property
    def layers(self) -> dict[str, bool]:
        """Return the isolation layers by name, `True` where the service reports the layer as active."""
        return dict(self._greeted()["layers"])

    @property
    def missing_layers(self) -> dict[str, str]:
        """Return the missing isolation layers, and what each would have prevented."""
        return dict(self._greeted()["missing"])

    def _greeted(self) -> Greeting:
        if self._greeting is None:
            self.run(HARMLESS_PROGRAM, HARMLESS_TESTS)
        assert self._greeting is not None  # every report begins with a greeting
        return self._greeting

    def _run(self, job: Job) -> Execution:
        losses = 0
        problem = ""
        for attempt in range(self.config.max_attempts):
            wait_s = random.uniform(0.5, 1.0) * min(self.config.backoff_s * 2 ** (attempt - 1), _MAX_WAIT_S)
            try:
                return self._judged(job, self._report(job))
            except _NoReport as error:
                problem = str(error)
                losses += 1
                if losses == _MAX_LOSSES and self._is_healthy():
                    return worker_lost(job.program, job.tests.judges, job.tests.header["is_traced"])
            except TemporaryFailure as error:
                problem = str(error)
                wait_s = min(error.wait_s or wait_s, _MAX_WAIT_S)
            if attempt + 1 < self.config.max_attempts and self._closing.wait(wait_s):
                raise SandboxError("This executor was closed before the program had run.")
        raise self._client.failure(f"{problem}, {self.config.max_attempts} times. Check that the service is up")

    def _is_healthy(self) -> bool:
        job = prepare_job(HARMLESS_PROGRAM, Tests.parse(HARMLESS_TESTS), self._limits)
        try:
            return self._judged(job, self._report(job)).outcome is Outcome.PASSED
        except (_NoReport, TemporaryFailure):
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
        if self._greeting is None:
            self._greeting = greeting
            announce(greeting["layers"], greeting["missing"], self.config.isolation, self.config.endpoint)
        if self.config.stop_on_first_failure:
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
            settings={"isolation": self.config.isolation}, job=base64.b64encode(job.message).decode()
        )
        request = json_bytes(message).decode("ascii")
        response = self._client.post(
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
            timeout_s=job.tests.deadline_s + self.config.queue_timeout_s,
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
        if not 0 <= float(cpu_s) < math.inf:
            raise ValueError("malformed time")
    return [greeting, reply]


def _stopped_at_failure(job: Job, reply: Reply) -> Reply:
    """Mark the tests after the first failure as not run."""
    passed = [judge_test(*one).outcome is Outcome.PASSED for one in zip(job.tests.judges, reply["tests"], strict=True)]
    kept = passed.index(False) + 1 if False in passed else len(passed)
    not_run: Result = {"timeout": True, "not_run": True, "cpu_s": 0.0}
    tests = reply["tests"][:kept] + [not_run] * (len(passed) - kept)
    return {**reply, "tests": tests, "ran": [None] * len(tests)}
