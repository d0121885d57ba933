"""
Sandbox: run untrusted programs under unit tests, and return their outcomes and the lines that ran.

Every failure, who raises it, who catches it, and what it becomes. A *message* is one of `wire/messages.py`.

    raised in        failure                               caught in, and what it becomes
    ---------------  ------------------------------------  ----------------------------------------------------------
    child            exception of the program              child: result `error` or `memory` -> `runtime_error` or
                                                           `memory_exceeded`
                     program does not compile              child: message `CompileError` -> `compile_error`
                     module level fails                    child: message `ModuleError` -> outcome of every test
                     `MissingFunction`, `codec.TooLarge`   child: result `error` -> `runtime_error`
                     soft time limit                       child: message `SoftLimit` -> `timeout`
                     no memory to describe a failure       child: message `OutOfMemory` -> `memory_exceeded`
                     any failure before it is confined     child: message `NotStarted` -> `ChildNotStarted`
                     examiner gone: `EOFError`             child: result `error`, which the server refuses as garbage
    examiner         `AssertionError` of a check           examiner: result `assertion_error` -> `failed`
                     other exception of a check            examiner: result `error` or `memory`, as in a child
                     `references.NotPlain`                 examiner: `TypeError` in the check
                     malformed answer                      examiner: `aborted` with `GARBAGE` -> `runtime_error`
                     child gone                            examiner: `aborted` with `GONE` -> by the child's death
    server: a child  a limit is exceeded                   supervise: soft signal, then SIGKILL -> `timeout`
                     `GARBAGE_ERRORS` of a report          supervise: SIGKILL -> `runtime_error`
                     it fills its folder or the disk       supervise: SIGKILL -> `runtime_error`
                     death while compiling                 reports: `compile_error`, or `memory_exceeded` without
                                                           memory to begin with
                     death by a signal                     reports: `runtime_error`, except SIGXCPU: `timeout`
                     SIGKILL by somebody else              reports: `KilledFromOutside`
                     others fill the disk                  reports: `DiskLost`
                     end without a report                  reports: output decides (stdio), else `runtime_error`;
                                                           the test runs once more for its lines
    server           `ChildNotStarted`, other `OSError`    main: message `Infrastructure` -> `SandboxError`
                     `KilledFromOutside`                   main: message `Infrastructure` -> `KilledError`
                     `IsolationUnavailable` at the start   main: message `Refusal` -> `IsolationError`, no retry
                     other `OSError`, `ImportError` there  main: message `Infrastructure` -> `SandboxError`
                     `ForkerLost`                          main: the server ends with `EXIT_KILLED`
                     `ExaminerLost`                        main: the server ends, with `EXIT_KILLED` if somebody else
                                                           killed the examiner, else -> `ServerLost`
                     a folder cannot be removed            main: the server ends after its reply -> new server
                     `EOFError`, `BrokenPipeError`         main: the caller is gone, so the server ends
    caller           malformed result                      verdict: `runtime_error`, "the program sent garbage"
                     a checker rejects or fails            checking: `failed`
                     disk full, program did not pass       verdict: `SandboxError`
                     `ServerLost`                          local: new server, job again; twice, while another program
                                                           passes -> `runtime_error`, "worker lost"
                     `KilledError`, server killed by       local: new server, job again; 50 times -> `SandboxError`
                     somebody else
                     `SandboxError`, `OSError`             local: new server, job again; three times, with pauses
                                                           -> `SandboxError`
                     `NoThreadError`                       local: the program's future raises it, a `SandboxError`
                     `TemporaryFailure`                    remote: request again; too often -> `SandboxError`
                     report missing or forged              remote: as `ServerLost`
                     `HostLost`, a node is silent          ray: job again on another node; five times ->
                                                           `SandboxError`
                     `SandboxError` of a node              ray: job again on another node; three times -> raised
                     no node for two minutes               ray: `SandboxError`
                     `ExecutorClosing`                     local: the program's future raises a `SandboxError`
                     executor is closed, new program       `SandboxError`
                     invalid tests or settings             `BadInputError`

Public names are loaded on first use. Fork servers start from this package and need none of them, and every page of
memory that a server has makes each fork slower.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from stepcoder_trl.executor.backend import Backend, BaseBackend
    from stepcoder_trl.executor.local.config import ExecutorConfig
    from stepcoder_trl.executor.local.executor import CodeExecutor
    from stepcoder_trl.executor.ray.executor import RayExecutor
    from stepcoder_trl.executor.remote.config import RemoteConfig
    from stepcoder_trl.executor.remote.executor import RemoteExecutor

_HOME = {
    "Backend": "backend",
    "BaseBackend": "backend",
    "CodeExecutor": "local.executor",
    "ExecutorConfig": "local.config",
    "RayExecutor": "ray.executor",
    "RemoteConfig": "remote.config",
    "RemoteExecutor": "remote.executor",
}

__all__ = [
    "Backend",
    "BaseBackend",
    "CodeExecutor",
    "ExecutorConfig",
    "RayExecutor",
    "RemoteConfig",
    "RemoteExecutor",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
