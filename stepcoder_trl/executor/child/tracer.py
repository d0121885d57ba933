"""
Record which lines of a program run, with coverage.py. It is set up once in the fork server and started in every child.

coverage.py's C tracer fills a set of line numbers while the program runs. From Python 3.12 on, its `sys.monitoring`
core does the same. The set is private to coverage.py. So we pass our own set before the start, and a test compares it
with the public `get_data()`.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.machinery
import importlib.util
import mmap
import os
import sys
import threading
from collections.abc import Callable
from functools import lru_cache
from types import FrameType, ModuleType
from typing import Any


class LineTracer:
    """
    Recorder of the lines of one file that run. Create it before the fork and start it in the child.

    Its name must not start with `<`, because coverage.py ignores such code. A child may set `filename` to another file
    before the start.
    """

    def __init__(self, filename: str) -> None:
        self.filename = filename
        self._key = filename  # of the file in coverage.py's data
        self._lines: set[int] = set()
        self._tracer: Any = None
        self._tampered = False
        self._c_tracer: Any = None  # the installed tracer, if it is the one in C
        self._is_paused = False
        self._originals: dict[tuple[str, ModuleType], Any] = {}
        self._set_up()

    def _set_up(self) -> None:
        # From Python 3.12 on, `sys.monitoring` is faster than the C tracer.
        os.environ["COVERAGE_CORE"] = "sysmon" if sys.version_info >= (3, 12) else "ctrace"
        from coverage import Coverage

        self._coverage = Coverage(data_file=None, config_file=False, include=[self.filename], messages=False)
        self._coverage.start()
        atexit.unregister(self._coverage._atexit)
        exec(compile("def f():\n    return 1\nf()\n", self.filename, "exec"), {})
        self._coverage._collector.pause()  # a child only has to resume
        self._decide_traced_file()

    def _decide_traced_file(self) -> None:
        """
        Decide once that this file is traced and no other is.

        Otherwise coverage.py would examine every file whose code runs, in each child, with functions of `os` that the
        program may have replaced.
        """
        collector = self._coverage._collector
        traced = collector.should_trace_cache[self.filename]
        untraced = collector.should_trace(__file__, sys._getframe())
        collector.should_trace_cache.clear()
        collector.should_trace = lambda filename, frame: traced if filename == self.filename else untraced

    def start(self) -> None:
        """Start recording in this thread, and in those that the program starts."""
        self._lines = set()
        self._start_recording()
        self._tracer = self._installed()
        self._c_tracer = self._tracer if type(self._tracer).__name__ == "CTracer" else None
        self._is_paused = False
        self._tampered = False
        self._watch("settrace", sys)
        self._watch("settrace", threading)

    def _watch(self, name: str, module: ModuleType) -> None:
        """Record if the program itself, not a library, calls a function that replaces tracers."""
        original = self._originals[name, module] = getattr(module, name)

        def watched(function: Any) -> None:
            if sys._getframe(1).f_code.co_filename == self.filename:
                self._tampered = True
            original(function)

        setattr(module, name, watched)

    def lines(self) -> list[int] | None:
        """Return the lines that have run. `None` if the program replaced the tracer."""
        in_place = self._is_paused or self._installed() is self._tracer
        if self._tampered or not in_place or type(self._lines) is not set:
            return None
        return [line for line in set.copy(self._lines) if type(line) is int]

    def pause(self) -> None:
        """Stop recording in this thread until `resume`, while code runs that is not the program's."""
        if self._c_tracer is not None and not self._is_paused:
            self._tampered |= self._installed() is not self._tracer
            self._is_paused = True
            self._c_tracer.stop()

    def resume(self) -> None:
        """Record again after `pause`."""
        if self._c_tracer is not None and self._is_paused:
            self._c_tracer.start()
            self._is_paused = False

    def stop(self) -> None:
        """Stop recording and undo all changes that `start` made. `start` may be called again."""
        self._stop_recording()
        for (name, module), original in self._originals.items():
            setattr(module, name, original)

    def _start_recording(self) -> None:
        collector = self._coverage._collector
        collector.data.clear()
        collector.data[self._key] = self._lines
        collector.resume()

    def _stop_recording(self) -> None:
        self._coverage._collector.pause()

    def _installed(self) -> Any:
        if sys.version_info >= (3, 12):
            return sys.monitoring.get_tool(sys.monitoring.COVERAGE_ID)
        return sys.gettrace()


class CLineTracer(LineTracer):
    """
    Recorder that uses coverage.py's C tracer alone.

    The rest of coverage.py is as large as everything else in the fork server, and every page of the server's memory
    makes each fork slower. Creation raises ImportError if coverage.py has no C tracer, or settings unknown here.
    """

    def _set_up(self) -> None:
        self._module = _load_c_tracer()
        self._data: dict[str, set[int]] = {}
        self._own_tracer = self._new_tracer()

    def _new_tracer(self) -> Any:
        """Return a tracer for one thread."""
        traced, untraced = (self._module.CFileDisposition() for _ in range(2))
        for disposition, trace in ((traced, True), (untraced, False)):
            disposition.original_filename = disposition.canonical_filename = disposition.source_filename = self._key
            disposition.trace, disposition.reason = trace, ""
            disposition.file_tracer, disposition.has_dynamic_filename = None, False
        tracer = self._module.CTracer()
        for name in ("concur_id_func", "should_start_context", "switch_context"):
            setattr(tracer, name, None)
        for name in ("warn", "disable_plugin", "check_include"):
            setattr(tracer, name, _do_nothing)
        # Called for each call of the program. A function in Python is slower, and fails at the limit of recursion:
        # then the C tracer misses the end of a call, and counts lines of other files until Python 3.10.
        tracer.lock_data = tracer.unlock_data = tuple
        tracer.data, tracer.trace_arcs = self._data, False
        tracer.file_tracers, tracer.should_trace_cache = {}, {}
        tracer.should_trace = lambda filename, frame: traced if filename == self.filename else untraced
        return tracer

    def _start_recording(self) -> None:
        self._data.clear()
        self._data[self._key] = self._lines
        self._own_tracer.start()
        threading.settrace(self._trace_new_thread)

    def _trace_new_thread(self, frame: FrameType, event: str, argument: Any) -> Any:
        sys.settrace(None)
        trace = self._new_tracer().start()
        return trace(frame, event, argument)

    def _stop_recording(self) -> None:
        self._own_tracer.stop()
        threading.settrace(None)


_C_TRACER_SETTINGS = frozenset(
    (
        *("check_include", "concur_id_func", "data", "disable_plugin", "file_tracers", "lock_data", "unlock_data"),
        *("should_start_context", "should_trace", "should_trace_cache", "switch_context", "trace_arcs", "warn"),
    )
)
_C_TRACER_METHODS = frozenset(("activity", "reset_activity", "get_stats", "start", "stop"))


@lru_cache(maxsize=1)  # the library can be loaded once
def _load_c_tracer() -> ModuleType:
    """Load `coverage.tracer` alone. Programs that import coverage.py get its tracer in Python."""
    package = importlib.machinery.PathFinder.find_spec("coverage")
    places = package.submodule_search_locations if package is not None else None
    spec = importlib.machinery.PathFinder.find_spec("coverage.tracer", places) if places else None
    if sys.version_info >= (3, 12) or spec is None or spec.loader is None:
        raise ImportError("coverage.py has no C tracer here")
    known = sys.modules.get(spec.name)
    module = importlib.util.module_from_spec(spec) if known is None else known
    if known is None:
        spec.loader.exec_module(module)
        sys.modules[spec.name] = None  # type: ignore[assignment]
    names = {name for name in dir(module.CTracer) if name[0] != "_"}
    if names - _C_TRACER_METHODS != _C_TRACER_SETTINGS:  # a setting that is missing would crash it
        raise ImportError("coverage.py's C tracer has settings that are not known here")
    return module


def _do_nothing(*arguments: Any) -> None:
    pass


class PlainLineTracer(LineTracer):
    """Recorder without coverage.py, for machines that do not have it. It is slower."""

    def _set_up(self) -> None:
        """Nothing to set up."""

    def _start_recording(self) -> None:
        note = self._lines.add

        def on_line(frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
            if event == "line":
                note(frame.f_lineno)
            return on_line

        self._trace_with(on_line)

    def _trace_with(self, on_line: Callable[..., Any]) -> None:
        """Trace the file in this thread, and in those that the program starts."""
        filename = self.filename

        def on_call(frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
            return on_line if frame.f_code.co_filename == filename else None

        threading.settrace(on_call)
        sys.settrace(on_call)

    def _stop_recording(self) -> None:
        threading.settrace(None)
        sys.settrace(None)

    def _installed(self) -> Any:
        return sys.gettrace()


class NoTracer(LineTracer):
    """Recorder that records nothing, for programs whose lines nobody reads."""

    def _set_up(self) -> None:
        """Nothing to set up."""

    def start(self) -> None:
        """Do nothing."""

    def lines(self) -> list[int] | None:
        """Return an empty list."""
        return []


def line_tracer(filename: str) -> LineTracer:
    """Return the fastest recorder that works on this machine."""
    for kind in (CLineTracer, LineTracer):
        with contextlib.suppress(ImportError):
            return kind(filename)
    return PlainLineTracer(filename)


class SharedLineTracer(PlainLineTracer):
    """
    Recorder that writes to memory shared with the fork server, where the lines outlive a killed child.

    Byte `i` is set when line `i` runs. It is used to run a test again whose child died without a report.
    """

    def __init__(self, filename: str, memory: mmap.mmap) -> None:
        super().__init__(filename)
        self._memory = memory

    def start(self) -> None:
        memory, size = self._memory, len(self._memory)

        def on_line(frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
            if event == "line" and frame.f_lineno < size:
                memory[frame.f_lineno] = 1
            return on_line

        self._trace_with(on_line)

    def lines(self) -> list[int] | None:
        """Return `None`. The fork server reads the shared memory."""
        return None
