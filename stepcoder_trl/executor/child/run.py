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
import json
import os
import sys
import threading
from collections.abc import Callable
from types import CodeType, ModuleType
from typing import Any, NoReturn

from stepcoder_trl.executor.child.answers import answer_questions
from stepcoder_trl.executor.child.between_tests import FolderState
from stepcoder_trl.executor.child.called import CallWatch
from stepcoder_trl.executor.child.interpreter import hide_frames
from stepcoder_trl.executor.child.reporter import Reporter
from stepcoder_trl.executor.child.state import Baseline, names_in
from stepcoder_trl.executor.child.task import ChildTask, open_text_streams
from stepcoder_trl.executor.wire.codec import TooLarge, decode, encode, is_opaque
from stepcoder_trl.executor.wire.frames import write_all
from stepcoder_trl.executor.wire.messages import (
    EXIT_REPORT_FAILED,
    InsideTest,
    Result,
    SplitTest,
    Tree,
)
from stepcoder_trl.executor.wire.raised import MissingFunction, describe, is_of_the_test, message_of
from stepcoder_trl.executor.wire.text import one_line


_FRAMES_OF_A_TEST = 4  # from `_run_in_one_namespace` to `answers._answer`

_exit = os._exit
_lseek, _ftruncate, _dup2 = os.lseek, os.ftruncate, os.dup2
_exec = exec
_eval = eval
_compile = compile
_type = type
_isinstance = isinstance
_callable = callable


def begin(task: ChildTask) -> Reporter:
    """Prepare the reports. Call it before the process is confined."""
    report = Reporter(task)
    task.inherited.soft_limit.end = report.end_at_soft_limit
    return report


def main(task: ChildTask, report: Reporter) -> NoReturn:
    """Run the tests from `task.first` on, and end the process."""
    try:
        gc.enable()
        if not task.job["waits_for_verdicts"]:
            os.close(task.streams.connection)  # reports are the program's only way to the fork server
        report.replace_exit()
        run(task, report)
        report.send({"end": report.trace()})
        _exit(0)
    except MemoryError:
        report.out_of_memory()  # if `report` is missing, the server learns the same from the exit status
    finally:
        _exit(EXIT_REPORT_FAILED)


def run(task: ChildTask, report: Reporter) -> None:
    """Compile the program and run its tests."""
    code = _compiled(task, report)
    if code is None:
        return
    task.inherited.beginning.note("compiled")
    task.inherited.beginning.close()  # so that the program cannot change it
    if task.job["type"] == "stdio":
        _run_stdio(task, report, code)
    else:
        _run_in_one_namespace(task, report, code)


def _compiled(task: ChildTask, report: Reporter) -> CodeType | None:
    """Compile the program. If this fails, report the error and return `None`."""
    try:
        return task.tracer.compile(task.program)
    except SyntaxError as error:
        message, line = f"{_type(error).__name__}: {error.msg}", error.lineno
    except Exception as error:  # ValueError, MemoryError, RecursionError, OverflowError: it cannot be compiled
        message, line = f"{_type(error).__name__}: {error}", None
    report.send({"compile_error": one_line(message), "line": line})
    return None


def _fresh_main(task: ChildTask) -> ModuleType:
    module = ModuleType("__main__")
    module.__dict__.update(__builtins__=builtins, __file__=task.filename)
    sys.modules["__main__"] = module
    if preamble := task.around["preamble"]:
        _exec(_compile(preamble, task.filename + ".preamble", "exec", dont_inherit=True), module.__dict__)
    return module


# stdio: a fresh __main__ per test


def _run_stdio(task: ChildTask, report: Reporter, code: CodeType) -> None:
    baseline = Baseline()
    watch = task.inherited.modules.watch(names_in(code)) if len(task.tests) > 1 else None
    folder = FolderState(task.job["folder"]) if len(task.tests) > 1 else None
    for offset, text in enumerate(task.tests):
        if offset:
            task.tracer.pause()
            baseline.restore_builtins()
            if watch is not None and watch.has_changed():
                return
            baseline.restore()
            if folder is not None and not folder.restore():
                return
        _connect(task, text)
        failure = _run_script(task, report, code, first=offset == 0)
        needs_fresh_process = _finish_like_the_interpreter(baseline)
        is_last = needs_fresh_process or offset == len(task.tests) - 1
        report.test(task.job["first"] + offset, is_last, failure or report.output())
        if needs_fresh_process:
            return


def _run_script(task: ChildTask, report: Reporter, code: CodeType, first: bool) -> Result | None:
    try:
        module = _fresh_main(task)
        if first:
            report.start_trace()
        else:
            task.tracer.resume()
        hide_frames()
        if (name := task.around["fn_name"]) is None:
            _exec(code, module.__dict__)
        else:
            _run_function(task, code, module, name)
    except SystemExit:
        return None
    except BaseException as error:
        return describe(error, task.filename)
    return None


def _run_function(task: ChildTask, code: CodeType, module: ModuleType, name: str) -> None:
    """Run a program and then its function, unless the program has called it by itself."""
    watch = CallWatch(task.program, task.filename, name)
    watch.start()
    try:
        _exec(code, module.__dict__)
    finally:
        watch.stop()
    function = _find_function(module, name)
    if not watch.has_begun(function):
        function()


def _connect(task: ChildTask, text: bytes) -> None:
    """Fill standard input, empty standard output, and take new text streams."""
    for descriptor, source in enumerate((task.streams.stdin, task.streams.stdout)):
        _ftruncate(source, 0)
        _lseek(source, 0, os.SEEK_SET)
        _dup2(source, descriptor)
    if text:
        write_all(0, text)
        _lseek(0, 0, os.SEEK_SET)
    prepared = task.inherited.text_streams
    stdin, stdout = prepared.pop() if prepared else open_text_streams()
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
    _connect(task, b"")
    tests = [json.loads(test) for test in task.tests]  # before the program can replace `loads`
    try:
        module = _fresh_main(task)
        report.start_trace()
        hide_frames(deeper=_FRAMES_OF_A_TEST)
        _exec(code, module.__dict__)
        if setup := task.around["setup"]:
            _exec(_compile(setup, "<setup>", "exec", dont_inherit=True), module.__dict__)
    except SystemExit:
        report.send({"module_error": {"error": "the program ended before its tests"}})
        return
    except BaseException as error:
        report.send({"module_error": describe(error, task.filename)})
        return
    report.keep_module_lines()
    task.inherited.claims.note("ready")
    folder = FolderState(task.job["folder"]) if len(tests) > 1 else None
    result: Result
    for offset, test in enumerate(tests):
        index = task.job["first"] + offset
        if offset and folder is not None and not folder.restore():
            return
        try:
            result = _run_test(task, report, module, index, test)
        except SystemExit:
            result = {"error": "the program ended without an answer"}
        except BaseException as error:
            result = describe(error, task.filename)
        _flush()
        report.test(index, offset == len(tests) - 1, report.drop_output() or result)


def _run_test(task: ChildTask, report: Reporter, module: ModuleType, index: int, test: Any) -> Result:
    if task.job["type"] == "call":
        return _run_call(task, module, test)
    if "candidates" in test:
        return _answer_examiner(task, report, module, index, test["candidates"])
    return _run_assert(task, module, test)


def _answer_examiner(
    task: ChildTask, report: Reporter, module: ModuleType, index: int, expressions: list[str]
) -> Result:
    """Let the examiner call functions of the program. The examiner reports the verdict."""
    functions = [_eval(_compile(text, "<test>", "eval", dont_inherit=True), module.__dict__) for text in expressions]
    assert task.examiner is not None
    report.send({"examine": index})
    answer_questions(task.examiner, functions, task.filename, task.tracer)
    return {"answered": True}


def _run_call(task: ChildTask, module: ModuleType, test: Tree) -> Result:
    function = _find_function(module, str(task.around["fn_name"]))
    return {"value": _encoded(function(*decode(test)))}


def _run_assert(task: ChildTask, module: ModuleType, test: SplitTest | InsideTest) -> Result:
    if "code" in test:
        return _run_assert_inside(task, module, test["code"])
    value = _eval(_compile(test["expression"], "<test>", "eval", dont_inherit=True), module.__dict__)
    if test["truth"]:
        return {"value": encode(bool(value))}
    tree = _encoded(value)
    return {"value": _encoded([*value]) if test["elements"] and is_opaque(tree) else tree}


def _run_assert_inside(task: ChildTask, module: ModuleType, code: str) -> Result:
    try:
        _exec(_compile(code, "<test>", "exec", dont_inherit=True), module.__dict__)
    except AssertionError as error:
        if not is_of_the_test(error, task.filename):
            raise
        return {"assertion_error": message_of(error)}
    return {"passed": True}


def _find_function(module: ModuleType, name: str) -> Callable[..., Any]:
    found: Any = module.__dict__.get(name)
    if _callable(found):
        return found
    solution = module.__dict__.get("Solution")
    if _isinstance(solution, type) and hasattr(solution, name):
        instance: Any = solution()  # type: ignore[misc]
        method: Callable[..., Any] = getattr(instance, name)
        return method
    if name in module.__dict__:
        return found  # type: ignore[no-any-return]
    raise MissingFunction(f"function `{name}` is not defined")


def _encoded(value: Any) -> Any:
    try:
        return encode(value)
    except TooLarge:
        raise OSError(errno.EFBIG, "returned value is too large") from None
