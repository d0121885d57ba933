"""
Run one program in a forked child, and report the results of its tests over a pipe.

This code shares its process with a hostile program. So it holds no expected output, the fork server and the caller
check its reports, and functions that it needs after the program has started are bound before.
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
from stepcoder_trl.executor.child.tracer import LineTracer
from stepcoder_trl.executor.wire.codec import TooLarge, decode, encode
from stepcoder_trl.executor.wire.frames import Channel, frame, write_all
from stepcoder_trl.executor.wire.messages import (
    CHILD_GO,
    EXIT_REPORT_FAILED,
    ChildReport,
    InsideTest,
    JobMessage,
    Result,
    SplitTest,
    TestReport,
    Tree,
)
from stepcoder_trl.executor.wire.progress import Progress
from stepcoder_trl.executor.wire.raised import MESSAGE_LENGTH, MissingFunction, describe, is_of_the_test, message_of
from stepcoder_trl.parsing import compile_for_tracing


# Made before the fork, for children that have no memory left to make it.
_OUT_OF_MEMORY = frame({"out_of_memory": True})

_exit = os._exit
_read, _lseek, _dup2, _getpid = os.read, os.lseek, os.dup2, os.getpid
_exec = exec
_eval = eval
_compile = compile
_type = type
_isinstance = isinstance


@dataclass(frozen=True)
class ChildTask:
    """Task of one child."""

    job: JobMessage
    filename: str  # the program is compiled under this path
    first: int  # index of the first test
    report_fd: int
    gate_fd: int | None  # the answer to each report arrives here, if the child must wait for it
    stdin_fds: list[int]  # of the tests from `first` on for stdio jobs, else one
    stdout_fds: list[int]
    soft_signal: int
    tracer: LineTracer
    modules: ModuleStates  # before the program runs
    progress: Progress
    examiner: Channel | None = None


def begin(task: ChildTask) -> Reporter:
    """Install the handler of the soft limit. Call it before the process is confined: then it cannot be replaced."""
    report = Reporter(task)
    report.handle_soft_limit()
    return report


def main(task: ChildTask, report: Reporter) -> NoReturn:
    """Run the tests from `task.first` on, and end the process."""
    try:
        gc.freeze()  # a collection would touch, and so copy, all objects of the server
        gc.enable()
        report.replace_exit()
        _run(task, report)
        report.send({"end": report.trace()})
        _exit(0)
    except MemoryError:
        report.out_of_memory()  # if `report` is missing, the server learns the same from the exit status
    finally:
        _exit(EXIT_REPORT_FAILED)


def rehearse(tracer: LineTracer, modules: ModuleStates, progress: Progress) -> None:
    """
    Run a small program in the fork server, as children do.

    Python prepares caches of types and specialized code on first use. After a rehearsal, children inherit them.
    """
    job = JobMessage(
        program="def f(x):\n    return [x]\n",
        type="call",
        fn_name="f",
        preamble="",
        setup="",
        tests=[encode([1.5])],
        checks_bytes=0,
        timeout_s=1.0,
        wall_s=1.0,
        program_cpu_s=1.0,
        program_wall_s=1.0,
        hard_wall_s=1.0,
        memory_limit_bytes=2**20,
        max_output_bytes=2**20,
        max_kept_bytes=2**20,
        waits_for_verdicts=False,
        fresh_process_per_test=False,
    )
    before = sys.modules["__main__"], sys.stdin, sys.__stdin__, sys.stdout, sys.__stdout__
    descriptors = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    try:
        report = Reporter(ChildTask(job, tracer.filename, 0, null, None, [null], [null], 0, tracer, modules, progress))
        _run(report._task, report)
        report.send({"end": report.trace()})
    finally:
        os.close(null)
        tracer.stop()
    for descriptor, saved in enumerate(descriptors):
        os.dup2(saved, descriptor)
        os.close(saved)
    sys.modules["__main__"], sys.stdin, sys.__stdin__, sys.stdout, sys.__stdout__ = before  # type: ignore[misc]


class Reporter:
    """Sender of a child's reports."""

    def __init__(self, task: ChildTask) -> None:
        self._fd = task.report_fd
        self._gate = task.gate_fd
        self._task = task
        self._busy = False
        self._traced = False
        self._sent: set[int] = set()
        self._held = b""
        self._reserve = mmap.mmap(-1, 2**20, mmap.MAP_PRIVATE)  # address space, never touched

    def handle_soft_limit(self) -> None:
        """Report and end at the soft time limit."""

        def on_soft_limit(number: int, where: FrameType | None) -> None:
            if not self._busy:
                self.send({"soft_limit": self.trace()})
                _exit(0)

        signal.signal(self._task.soft_signal, on_soft_limit)

    def replace_exit(self) -> None:
        """Report before `os._exit`, which skips the interpreter."""

        def exit_with_report(status: int = 0) -> None:
            if not self._busy and _getpid() == own_pid:
                self.send({"exit": self.trace()})
            _exit(status)

        own_pid = _getpid()
        os._exit = exit_with_report  # type: ignore[assignment]
        sys.modules["posix"]._exit = exit_with_report  # type: ignore[attr-defined]

    def start_trace(self) -> None:
        """Start to record lines."""
        self._task.tracer.start()
        self._traced = True

    def trace(self) -> list[int] | None:
        """Return the lines that ran. `None` if the trace was lost. Empty before the program has started."""
        return self._task.tracer.lines() if self._traced else []

    def send(self, message: ChildReport) -> None:
        """Send a report, after the one that was held back."""
        self._busy = True
        held, self._held = self._held, b""
        write_all(self._fd, held + frame(message))
        self._busy = False

    def test(self, index: int, is_last: bool, result: Result) -> None:
        """
        Report one test. If the job says so, wait until the caller has judged it.

        The last test's report is held back and sent with the next report, so that the server is woken only once.
        """
        self._task.tracer.pause()
        lines = self.trace()
        if lines is not None:
            lines = [line for line in lines if line not in self._sent]
            self._sent.update(lines)
        message: TestReport = {"test": index, "lines": lines, "result": result}
        if is_last and self._gate is None:
            self._held = frame(message)
            return
        self.send(message)
        if self._gate is not None and _read(self._gate, 1) != CHILD_GO:
            self.send({"end": self.trace()})
            _exit(0)
        self._task.tracer.resume()

    def out_of_memory(self) -> None:
        """Report that no memory is left, and end."""
        self._reserve.close()
        write_all(self._fd, self._held + _OUT_OF_MEMORY)
        _exit(0)


def _run(task: ChildTask, report: Reporter) -> None:
    job = task.job
    code = _compiled(task, report)
    if code is None:
        return
    task.progress.note("compiled")
    if job["type"] == "stdio":
        _run_stdio(task, report, code)
    else:
        _run_in_one_namespace(task, report, code)


def _compiled(task: ChildTask, report: Reporter) -> CodeType | None:
    """Compile the program. If this fails, report the error and return `None`."""
    try:
        return compile_for_tracing(task.job["program"], task.filename)
    except SyntaxError as error:
        message, line = f"{_type(error).__name__}: {error.msg}", error.lineno
    except Exception as error:  # ValueError, MemoryError, RecursionError, OverflowError: it cannot be compiled
        message, line = f"{_type(error).__name__}: {error}", None
    report.send({"compile_error": message[:MESSAGE_LENGTH], "line": line})
    return None


def _fresh_main(task: ChildTask) -> ModuleType:
    module = ModuleType("__main__")
    module.__dict__.update(__builtins__=builtins, __file__=task.filename)
    sys.modules["__main__"] = module
    if preamble := task.job["preamble"]:
        _exec(_compile(preamble, task.filename + ".preamble", "exec", dont_inherit=True), module.__dict__)
    return module


# stdio: a fresh __main__ per test


def _run_stdio(task: ChildTask, report: Reporter, code: CodeType) -> None:
    baseline = Baseline()
    watch = task.modules.watch(names_in(code)) if len(task.stdin_fds) > 1 else None
    for offset, (stdin_fd, stdout_fd) in enumerate(zip(task.stdin_fds, task.stdout_fds, strict=True)):
        index = task.first + offset
        if offset:
            task.tracer.pause()
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


def _run_script(task: ChildTask, report: Reporter, code: CodeType, first: bool) -> Result | None:
    try:
        module = _fresh_main(task)
        if first:
            report.start_trace()
        else:
            task.tracer.resume()
        _exec(code, module.__dict__)
        if (name := task.job["fn_name"]) is not None:
            _find_function(module, name)()
    except SystemExit:
        return None
    except BaseException as error:
        return describe(error, task.filename)
    return None


def _connect(stdin_fd: int, stdout_fd: int) -> None:
    """Put the test's files at descriptors 0 and 1, and open new text streams on them, UTF-8 in every locale."""
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
    Join threads, run exit handlers, flush the streams, and destroy the module, which flushes the program's files.

    Return whether the next test needs a new process.
    """
    unusual = baseline.has_threads_or_handlers()
    if unusual:
        _quietly(threading._shutdown)  # type: ignore[attr-defined]
        _quietly(atexit._run_exitfuncs)
    _flush()
    # Not emptied: finalizers of the program's objects still need its names.
    sys.modules["__main__"] = ModuleType("__main__")
    _quietly(gc.collect)
    _flush()
    # A stream that the program put here owns a descriptor, and must close it before the next test uses the number.
    sys.stdin = sys.__stdin__ = sys.stdout = sys.__stdout__ = None  # type: ignore[misc]
    return unusual


def _flush() -> None:
    for stream in (sys.stdout, sys.__stdout__):
        _quietly(lambda stream=stream: stream.flush())  # type: ignore[misc]


def _quietly(action: Callable[[], Any]) -> None:
    """Call a function and ignore its errors, as the interpreter does at the end of a program."""
    try:
        action()
    except BaseException:  # whatever the program's handlers raise, KeyboardInterrupt included
        pass


# call and assert: one namespace for all tests


def _run_in_one_namespace(task: ChildTask, report: Reporter, code: CodeType) -> None:
    _connect(task.stdin_fds[0], task.stdout_fds[0])
    job = task.job
    try:
        module = _fresh_main(task)
        report.start_trace()
        _exec(code, module.__dict__)
        if job["setup"]:
            _exec(_compile(job["setup"], "<setup>", "exec", dont_inherit=True), module.__dict__)
    except SystemExit:
        report.send({"module_error": {"error": "the program ended before its tests"}})
        return
    except BaseException as error:
        report.send({"module_error": describe(error, task.filename)})
        return
    task.progress.note("ready")
    result: Result
    last = task.first + 1 if job["fresh_process_per_test"] else len(job["tests"])
    for index in range(task.first, last):
        _lseek(1, 0, os.SEEK_SET)
        try:
            result = _run_test(task, report, module, index)
        except SystemExit:
            result = {"error": "the program ended without an answer"}
        except BaseException as error:
            result = describe(error, task.filename)
        _flush()
        report.test(index, index == last - 1, result)


def _run_test(task: ChildTask, report: Reporter, module: ModuleType, index: int) -> Result:
    test = task.job["tests"][index]
    if task.job["type"] == "call":
        return _run_call(task.job, module, test)
    if "candidates" in test:
        return _answer_examiner(task, report, module, index)
    return _run_assert(task, module, test)


def _answer_examiner(task: ChildTask, report: Reporter, module: ModuleType, index: int) -> Result:
    """Let the examiner call functions of the program. The examiner reports the verdict."""
    expressions = task.job["tests"][index]["candidates"]
    functions = [_eval(_compile(text, "<test>", "eval", dont_inherit=True), module.__dict__) for text in expressions]
    assert task.examiner is not None
    report.send({"examine": index})
    answer_questions(task.examiner, functions, task.filename, task.tracer)
    return {"answered": True}


def _run_call(job: JobMessage, module: ModuleType, test: Tree) -> Result:
    function = _find_function(module, str(job["fn_name"]))
    return {"value": _encoded(function(*decode(test)))}


def _run_assert(task: ChildTask, module: ModuleType, test: SplitTest | InsideTest) -> Result:
    if "code" in test:
        return _run_assert_inside(task, module, test["code"])
    value = _eval(_compile(test["expression"], "<test>", "eval", dont_inherit=True), module.__dict__)
    return {"value": encode(bool(value)) if test["truth"] else _encoded(value)}


def _run_assert_inside(task: ChildTask, module: ModuleType, code: str) -> Result:
    try:
        _exec(_compile(code, "<test>", "exec", dont_inherit=True), module.__dict__)
    except AssertionError as error:
        if not is_of_the_test(error, task.filename):
            raise
        return {"assertion_error": message_of(error)}
    return {"passed": True}


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
