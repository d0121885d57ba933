"""
SandboxFusion's `POST /run_code`: one Python script, its standard input and files; its output and files come back.

Interface: https://bytedance.github.io/SandboxFusion/docs/api/run-code-run-code-post
"""

from __future__ import annotations

import base64
import binascii
import json
import marshal
import math
import re
import secrets
import signal
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.executor.verdict.limits import MIN_MEMORY_LIMIT_BYTES, Limits
from stepcoder_trl.executor.verdict.prepare import Job, prepare_job
from stepcoder_trl.executor.verdict.schema import Tests
from stepcoder_trl.jsonl import shown
from stepcoder_trl.types import Execution, Outcome, TestResult


MAX_ERROR_BYTES = 2**20  # of standard error that are returned: the last ones
MAX_FETCHED_BYTES = 8 * 2**20  # of all files together
_MAX_FILES = 1000
_MOST = 1e9  # of a number: mebibytes or seconds beyond any machine
_PYTHON = ("python", "python3")
# The program of each request. All that differs is in its standard input, which is not compiled.
_PROGRAM = """\
import base64, json, marshal, os
size, _, rest = os.pread(0, os.fstat(0).st_size, 0).partition(b"\\n")
header, stdin = json.loads(rest[: int(size)]), rest[int(size) :]
del rest
exec(marshal.loads(base64.b64decode(header["launcher"])))
_launch(header, stdin)
"""
_KILLED = re.compile(r"killed by (SIG\w+)")


@dataclass(frozen=True)
class RunRequest:
    """Request of a client, checked."""

    code: str
    language: str = "python"
    stdin: str = ""
    compile_timeout_s: float = 10.0
    run_timeout_s: float = 10.0
    memory_limit_bytes: int | None = None  # `None`: the service's default
    files: dict[str, str] = field(default_factory=dict)  # base64, by path
    fetch_files: tuple[str, ...] = ()

    @property
    def is_python(self) -> bool:
        """Return whether the script is in a language that this sandbox runs."""
        return self.language in _PYTHON


@dataclass(frozen=True)
class RunJob:
    """Script on its way to the executor, and the mark in front of its report."""

    job: Job
    mark: str


def parse_request(body: Any) -> RunRequest:
    """Check the body of a request. Fields that SandboxFusion does not know are ignored. Raise a `BadInputError`."""
    if not isinstance(body, dict):
        raise BadInputError(f"the body is {shown(body)}, but must be an object with `code` and `language`")
    memory = _number(body, "memory_limit_MB", -1)
    return RunRequest(
        code=_text(body, "code"),
        language=_text(body, "language"),
        stdin=_text(body, "stdin", ""),
        compile_timeout_s=_seconds(body, "compile_timeout"),
        run_timeout_s=_seconds(body, "run_timeout"),
        memory_limit_bytes=max(int(memory * 2**20), MIN_MEMORY_LIMIT_BYTES) if memory > 0 else None,
        files=_files(body),
        fetch_files=tuple(_path(name) for name in _fetched(body)),
    )


def prepare_run(request: RunRequest, limits: Limits) -> RunJob:
    """Return the job of a request. `limits` are those of its time and memory."""
    mark = secrets.token_hex(16)
    header = json.dumps(
        {
            "launcher": _launcher(),
            "script": request.code,
            "mark": mark,
            "files": request.files,
            "fetch_files": request.fetch_files,
            "max_error_bytes": MAX_ERROR_BYTES,
            "max_fetched_bytes": MAX_FETCHED_BYTES,
        }
    )
    # What a checker would get is kept as it is, and compared with nothing.
    stdin = f"{len(header)}\n{header}{request.stdin}"
    tests = Tests({"type": "checker", "checker": "", "inputs": [stdin], "outputs": [""]})
    job = prepare_job(_PROGRAM, tests, limits)
    # A sleeping script gets the wall seconds that its client asked for: it waits no longer for an answer.
    header_of_job = job.tests.header.copy()
    header_of_job["wall_s"] = header_of_job["program_wall_s"] = limits.timeout_s
    return RunJob(replace(job, tests=replace(job.tests, header=header_of_job)), mark)


def answer(request: RunRequest, run: RunJob, execution: Execution, pod: str) -> dict[str, Any]:
    """Return the answer to a request whose script has run."""
    (test,) = execution.tests
    stdout, found, report = (test.output or "").rpartition(run.mark)
    if found:
        try:
            return _reported(stdout, json.loads(report), pod)
        except (ValueError, KeyError, TypeError):
            pass  # the script has written to its own report
    stdout = test.output or ""
    if test.outcome is Outcome.TIMEOUT:
        return _response("Failed", _result("TimeLimitExceeded", request.run_timeout_s, None, stdout, ""), pod)
    stderr = f"{test.message}\n" if test.message else ""
    return _response("Failed", _result("Finished", test.time_s, _status_of_death(test), stdout, stderr), pod)


def outcome_of(answer: dict[str, Any], execution: Execution) -> Outcome:
    """Return the outcome of a script. The program that ran it passes also where the script failed."""
    if answer["status"] == "Success":
        return Outcome.PASSED
    return Outcome.RUNTIME_ERROR if execution.outcome is Outcome.PASSED else execution.outcome


def sandbox_error(message: str, pod: str) -> dict[str, Any]:
    """Return the answer to a request that could not be run."""
    return {**_response("SandboxError", None, pod), "message": message}


def _reported(stdout: str, report: dict[str, Any], pod: str) -> dict[str, Any]:
    if report["too_large"]:
        return sandbox_error(
            f"The file {report['too_large'][0]!r} cannot be fetched: files may have {MAX_FETCHED_BYTES} bytes in all.",
            pod,
        )
    status, seconds = int(report["status"]), float(report["seconds"])
    if not 0 <= seconds < math.inf:
        raise ValueError("no number of seconds")
    result = _result("Finished", seconds, status, stdout, str(report["stderr"]))
    files = {str(name): str(content) for name, content in report["files"].items()}
    return {**_response("Failed" if status else "Success", result, pod), "files": files}


def _response(status: str, run_result: dict[str, Any] | None, pod: str) -> dict[str, Any]:
    return {
        "status": status,
        "message": "",
        "compile_result": None,  # Python has no step of its own: its compile errors are failed runs
        "run_result": run_result,
        "executor_pod_name": pod,
        "files": {},
    }


def _result(status: str, seconds: float, return_code: int | None, stdout: str, stderr: str) -> dict[str, Any]:
    return {
        "status": status,
        "execution_time": seconds,
        "return_code": return_code,
        "stdout": _printable(stdout),
        "stderr": stderr,
    }


def _printable(text: str) -> str:
    """Return a text with a mark for each byte that is not UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _status_of_death(test: TestResult) -> int:
    """Return the exit status of a script that ended without a report, as `subprocess` counts it."""
    killed = _KILLED.search(test.message)
    return -signal.Signals[killed[1]].value if killed and killed[1] in signal.Signals.__members__ else 1


@lru_cache(maxsize=1)
def _launcher() -> str:
    """Return `launcher.py`, compiled: the sandbox runs the same Python, and need not compile it for each script."""
    source = Path(__file__).with_name("launcher.py").read_bytes()
    code = compile(source, "launcher.py", "exec", dont_inherit=True, optimize=2)
    return base64.b64encode(marshal.dumps(code)).decode("ascii")


# Fields of a request


def _text(body: dict[str, Any], name: str, default: str | None = None) -> str:
    value = body.get(name)
    if value is None:
        value = default
    if not isinstance(value, str):
        raise BadInputError(f"`{name}` is {shown(value)}, but must be a str")
    return value


def _number(body: dict[str, Any], name: str, default: float) -> float:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < _MOST:
        raise BadInputError(f"`{name}` is {shown(value)}, but must be a number below {_MOST:g}")
    return float(value)


def _seconds(body: dict[str, Any], name: str) -> float:
    value = _number(body, name, 10.0)
    if value <= 0:
        raise BadInputError(f"`{name}` is {shown(value)}, but must be a number of seconds above 0")
    return value


def _files(body: dict[str, Any]) -> dict[str, str]:
    given = body.get("files") or {}
    if not isinstance(given, dict) or len(given) > _MAX_FILES:
        raise BadInputError(f"`files` must be an object of at most {_MAX_FILES} paths and contents in base64")
    files = {}
    for name, content in given.items():
        if content is None:
            continue
        try:
            base64.b64decode(content, validate=True)
        except (TypeError, ValueError, binascii.Error):
            raise BadInputError(f"`files[{name!r}]` is not base64") from None
        files[_path(name)] = content
    return files


def _fetched(body: dict[str, Any]) -> list[Any]:
    given = body.get("fetch_files") or []
    if not isinstance(given, list) or len(given) > _MAX_FILES:
        raise BadInputError(f"`fetch_files` must be a list of at most {_MAX_FILES} paths")
    return given


def _path(name: Any) -> str:
    """Return a path below the folder of the script."""
    if not isinstance(name, str) or not name or "\0" in name or not name.isprintable():
        raise BadInputError(f"{shown(name)} is not a path")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise BadInputError(f"the path {name!r} does not lie in the folder of the script")
    return str(path)
