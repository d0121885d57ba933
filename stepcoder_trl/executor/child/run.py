"""
Runs one program in a forked child, reports what happened over a pipe and ends.

Everything here shares its process with a hostile program. So it holds no expected output, its reports are claims that
the fork server and the trainer check, and what it needs after the program has started is bound before.
"""

from __future__ import annotations

import atexit
import builtins
import errno
import gc
import io
import mmap
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType, FrameType, ModuleType
from typing import Any, NoReturn

from stepcoder_trl.executor.child.answers import answer_questions
from stepcoder_trl.executor.child.state import Baseline, ModuleStates, names_in
from stepcoder_trl.executor.child.tracer import LineTracer, SharedLineTracer
from stepcoder_trl.executor.wire.codec import TooLarge, decode, encode
from stepcoder_trl.executor.wire.frames import Channel, frame, write_all
from stepcoder_trl.executor.wire.progress import Progress
from stepcoder_trl.executor.wire.raised import MESSAGE_LENGTH, MissingFunction, describe, is_of_the_test, message_of
from stepcoder_trl.parsing import compile_for_tracing


EXIT_REPORT_FAILED = 97
# Made before the fork, for children that have no memory left to make it.
_OUT_OF_MEMORY = frame({"memory": True})

_exit = os._exit
_read, _lseek, _dup2, _getpid = os.read, os.lseek, os.dup2, os.getpid
_exec = exec
_eval = eval
_compile = compile
_type = type
_isinstance = isinstance


@dataclass(frozen=True)
class ChildTask:
    """
    What one child does: the job, the test it starts with and the descriptors it owns.

    `stdin_fds` and `stdout_fds` hold one descriptor per test from `first` on for stdio jobs, one in all otherwise.
    `examiner` is where the questions of tests come from whose verdict is taken elsewhere.
    """

    job: dict[str, Any]
    first: int
    report_fd: int
    gate_fd: int | None
    stdin_fds: list[int]
    stdout_fds: list[int]
    soft_signal: int
    tracer: LineTracer | SharedLineTracer
    modules: ModuleStates
    progress: Progress
    examiner: Channel | None = None


def begin(task: ChildTask) -> Reporter:
    """Prepare to run; called before the process is confined, after which nobody can replace the signal's handler."""
    report = Reporter(task)
    report.heed_soft_limit()
    return report


def main(task: ChildTask, report: Reporter) -> NoReturn:
    """Run the tests from `task.first` on and end the process. Never returns."""
    try:
        gc.freeze()  # a collection would look at everything that the server made, and so copy it
        gc.enable()
        report.heed_exit()
        _run(task, report)
        report.send({"end": report.trace()})
        _exit(0)
    except MemoryError:
        report.out_of_memory()  # there is none if making it failed: the server concludes the same from the exit status
    finally:
        _exit(EXIT_REPORT_FAILED)


def rehearse(tracer: LineTracer, modules: ModuleStates, progress: Progress) -> None:
    """
    Run a program of our own the way children do, once, in the fork server.

    What Python prepares on first use (caches of types, specialized code) is inherited then; otherwise every child
    would prepare it again, on copies of the server's memory.
    """
    names = {"type": "call", "fn_name": "f", "preamble": "", "setup": "", "fresh_process_per_test": False}
    job = {**names, "program": "def f(x):\n    return [x]\n", "filename": tracer.filename, "tests": [encode([1.5])]}
    before = sys.modules["__main__"], sys.stdin, sys.__stdin__, sys.stdout, sys.__stdout__
    descriptors = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    try:
        report = Reporter(ChildTask(job, 0, null, None, [null], [null], 0, tracer, modules, progress))
        _run(report._task, report)
        report.send({"end": report.trace()})
    finally:
        os.close(null)
        tracer.pause()
    for descriptor, saved in enumerate(descriptors):
        os.dup2(saved, descriptor)
        os.close(saved)
    sys.modules["__main__"], sys.stdin, sys.__stdin__, sys.stdout, sys.__stdout__ = before  # type: ignore[misc]


class Reporter:
    """Child's end of the report pipe."""

    def __init__(self, task: ChildTask) -> None:
        self._fd = task.report_fd
        self._gate = task.gate_fd
        self._task = task
        self._busy = False
        self._traced = False
        self._sent: set[int] = set()
        self._held = b""
        self._reserve = mmap.mmap(-1, 2**20, mmap.MAP_PRIVATE)  # address space, never touched

    def heed_soft_limit(self) -> None:
        """Report and end at the soft time limit."""

        def on_soft_limit(number: int, where: FrameType | None) -> None:
            if not self._busy:
                self.send({"soft": self.trace()})
                _exit(0)

        signal.signal(self._task.soft_signal, on_soft_limit)

    def heed_exit(self) -> None:
        """Report before `os._exit`, which skips the interpreter."""

        def exit_with_report(status: int = 0) -> None:
            if not self._busy and _getpid() == own_pid:
                self.send({"exit": self.trace()})
            _exit(status)

        own_pid = _getpid()
        os._exit = exit_with_report  # type: ignore[assignment]
        sys.modules["posix"]._exit = exit_with_report  # type: ignore[attr-defined]

    def start_trace(self) -> None:
        self._task.tracer.start()
        self._traced = True

    def trace(self) -> list[int] | None:
        """Lines that ran, `None` if the trace was lost; empty before the program started."""
        return self._task.tracer.lines() if self._traced else []

    def send(self, message: dict[str, Any]) -> None:
        self._busy = True
        held, self._held = self._held, b""
        write_all(self._fd, held + frame(message))
        self._busy = False

    def test(self, index: int, is_last: bool, result: dict[str, Any]) -> None:
        """
        Report one test, and wait for leave to go on where the caller wants to look at it first.

        The last one is held back until the next report, with which it leaves: the server is woken once.
        """
        self._task.tracer.rest()
        lines = self.trace()
        if lines is not None:
            lines = [line for line in lines if line not in self._sent]
            self._sent.update(lines)
        message = {"test": index, "lines": lines, **result}
        if is_last and self._gate is None:
            self._held = frame(message)
            return
        self.send(message)
        if self._gate is not None and _read(self._gate, 1) != b"g":
            self.send({"end": self.trace()})
            _exit(0)
        self._task.tracer.wake()

    def out_of_memory(self) -> None:
        self._reserve.close()
        write_all(self._fd, self._held + _OUT_OF_MEMORY)
        _exit(0)


def _run(task: ChildTask, report: Reporter) -> None:
    job = task.job
    code = _compiled(job, report)
    if code is None:
        return
    task.progress.note("compiled")
    if job["type"] == "stdio":
        _run_stdio(task, report, code)
    else:
        _run_in_one_namespace(task, report, code)


def _compiled(job: dict[str, Any], report: Reporter) -> CodeType | None:
    """Code of the program, or `None` after reporting that it does not compile."""
    try:
        return compile_for_tracing(job["program"], job["filename"])
    except SyntaxError as error:
        message, line = f"{_type(error).__name__}: {error.msg}", error.lineno
    except Exception as error:  # ValueError, MemoryError, RecursionError, OverflowError: it cannot be compiled
        message, line = f"{_type(error).__name__}: {error}", None
    report.send({"compile_error": message[:MESSAGE_LENGTH], "line": line})
    return None


def _fresh_main(job: dict[str, Any]) -> ModuleType:
    module = ModuleType("__main__")
    module.__dict__.update(__builtins__=builtins, __file__=job["filename"])
    sys.modules["__main__"] = module
    if job["preamble"]:
        _exec(_compile(job["preamble"], job["filename"] + ".preamble", "exec", dont_inherit=True), module.__dict__)
    return module


# stdio: a fresh __main__ per test


def _run_stdio(task: ChildTask, report: Reporter, code: CodeType) -> None:
    baseline = Baseline()
    watch = task.modules.watch(names_in(code)) if len(task.stdin_fds) > 1 else None
    for offset, (stdin_fd, stdout_fd) in enumerate(zip(task.stdin_fds, task.stdout_fds, strict=True)):
        index = task.first + offset
        if offset:
            task.tracer.rest()
            baseline.restore_builtins()
            if watch is not None and watch.has_changed():
                return
            baseline.restore()
        _connect(stdin_fd, stdout_fd)
        failure = _run_script(task, report, code, first=offset == 0)
        needs_fresh_process = _finish_like_the_interpreter(baseline)
        is_last = needs_fresh_process or offset == len(task.stdin_fds) - 1
        report.test(index, is_last, failure or {"ended": True})
        if needs_fresh_process:
            return


def _run_script(task: ChildTask, report: Reporter, code: CodeType, first: bool) -> dict[str, Any] | None:
    try:
        module = _fresh_main(task.job)
        if first:
            report.start_trace()
        else:
            task.tracer.wake()
        _exec(code, module.__dict__)
        if task.job["fn_name"] is not None:
            _find_function(module, task.job["fn_name"])()
    except SystemExit:
        return None
    except BaseException as error:
        return dict(describe(error, task.job["filename"]))
    return None


def _connect(stdin_fd: int, stdout_fd: int) -> None:
    """Put the test's files at descriptors 0 and 1 and new text streams around them, UTF-8 whatever the locale."""
    _dup2(stdin_fd, 0)
    _dup2(stdout_fd, 1)
    raw_in, raw_out = io.FileIO(0, "r", closefd=False), io.FileIO(1, "w", closefd=False)
    raw_in.name, raw_out.name = "<stdin>", "<stdout>"
    stdin = io.TextIOWrapper(io.BufferedReader(raw_in), encoding="utf-8")
    stdout = io.TextIOWrapper(io.BufferedWriter(raw_out), encoding="utf-8")
    stdin.mode, stdout.mode = "r", "w"  # type: ignore[misc]
    sys.stdin = sys.__stdin__ = stdin  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = stdout  # type: ignore[misc]


def _finish_like_the_interpreter(baseline: Baseline) -> bool:
    """
    Join threads, run atexit handlers, flush, and destroy the module so that open files of the program are flushed.

    Returns:
        `bool`: Whether this process is too used up for another test.
    """
    unusual = baseline.has_threads_or_handlers()
    if unusual:
        _quietly(threading._shutdown)  # type: ignore[attr-defined]
        _quietly(atexit._run_exitfuncs)
    _flush()
    # Out of reach, not emptied: finalizers of the program's objects still see its names.
    sys.modules["__main__"] = ModuleType("__main__")
    _quietly(gc.collect)
    _flush()
    # A stream that the program put here owns its descriptor: it must be gone before the next test takes the number.
    sys.stdin = sys.__stdin__ = sys.stdout = sys.__stdout__ = None  # type: ignore[misc]
    return unusual


def _flush() -> None:
    for stream in (sys.stdout, sys.__stdout__):
        _quietly(lambda stream=stream: stream.flush())  # type: ignore[misc]


def _quietly(action: Callable[[], Any]) -> None:
    """Errors at the end of a program change nothing: the interpreter prints and ignores them too."""
    try:
        action()
    except BaseException:  # whatever the program's handlers raise, KeyboardInterrupt included
        pass


# call and assert: one namespace for all tests


def _run_in_one_namespace(task: ChildTask, report: Reporter, code: CodeType) -> None:
    _connect(task.stdin_fds[0], task.stdout_fds[0])
    job = task.job
    try:
        module = _fresh_main(job)
        report.start_trace()
        _exec(code, module.__dict__)
        if job["setup"]:
            _exec(_compile(job["setup"], "<setup>", "exec", dont_inherit=True), module.__dict__)
    except SystemExit:
        report.send({"module": {"error": "the program ended before its tests"}})
        return
    except BaseException as error:
        report.send({"module": describe(error, job["filename"])})
        return
    task.progress.note("ready")
    last = task.first + 1 if job["fresh_process_per_test"] else len(job["tests"])
    for index in range(task.first, last):
        _lseek(1, 0, os.SEEK_SET)
        try:
            result = _run_test(task, report, module, index)
        except SystemExit:
            result = {"error": "the program ended without an answer"}
        except BaseException as error:
            result = dict(describe(error, job["filename"]))
        _flush()
        report.test(index, index == last - 1, result)


def _run_test(task: ChildTask, report: Reporter, module: ModuleType, index: int) -> dict[str, Any]:
    test = task.job["tests"][index]
    if task.job["type"] == "call":
        return _run_call(task.job, module, test)
    if "candidates" in test:
        return _answer_examiner(task, report, module, index)
    return _run_assert(task.job, module, test)


def _answer_examiner(task: ChildTask, report: Reporter, module: ModuleType, index: int) -> dict[str, Any]:
    """Offer functions of the program to the examiner; the verdict is not ours to report."""
    expressions = task.job["tests"][index]["candidates"]
    functions = [_eval(_compile(text, "<test>", "eval", dont_inherit=True), module.__dict__) for text in expressions]
    assert task.examiner is not None
    report.send({"serving": index})
    answer_questions(task.examiner, functions, task.job["filename"], task.tracer)
    return {"served": True}


def _run_call(job: dict[str, Any], module: ModuleType, test: Any) -> dict[str, Any]:
    function = _find_function(module, job["fn_name"])
    return {"value": _encoded(function(*decode(test)))}


def _run_assert(job: dict[str, Any], module: ModuleType, test: dict[str, Any]) -> dict[str, Any]:
    if "code" in test:
        return _run_assert_inside(job, module, test["code"])
    values = []
    for expression in test["expressions"]:
        value = _eval(_compile(expression, "<test>", "eval", dont_inherit=True), module.__dict__)
        values.append(encode(bool(value)) if test["truth"] else _encoded(value))
    return {"value": values}


def _run_assert_inside(job: dict[str, Any], module: ModuleType, code: str) -> dict[str, Any]:
    try:
        _exec(_compile(code, "<test>", "exec", dont_inherit=True), module.__dict__)
    except AssertionError as error:
        if not is_of_the_test(error, job["filename"]):
            raise
        return {"asserted": message_of(error)}
    return {"held": True}


def _find_function(module: ModuleType, name: str) -> Callable[..., Any]:
    if name in module.__dict__:
        found: Callable[..., Any] = module.__dict__[name]
        return found
    solution = module.__dict__.get("Solution")
    if _isinstance(solution, type) and hasattr(solution, name):
        instance: Any = solution()  # type: ignore[misc]
        method: Callable[..., Any] = getattr(instance, name)
        return method
    raise MissingFunction(f"function `{name}` is not defined")


def _encoded(value: Any) -> Any:
    try:
        return encode(value)
    except TooLarge:
        raise OSError(errno.EFBIG, "returned value is too large") from None
