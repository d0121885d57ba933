"""
Record which lines of a program run. A recorder is made once before the fork and started in every child.

Until Python 3.11, coverage.py's C tracer fills a set of line numbers while the program runs. Then `sys.monitoring` is
as fast. A test compares the lines with those that coverage.py reports.
"""

from __future__ import annotations

import _thread
import contextlib
import importlib.machinery
import importlib.util
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import lru_cache
from types import CodeType, FrameType, ModuleType
from typing import Any

from stepcoder_trl.parsing import compile_for_tracing


_settrace, _gettrace, _getframe = sys.settrace, sys.gettrace, sys._getframe


class LineTracer(ABC):
    """
    Recorder of the lines of one file that run. Create it before the fork and start it in the child.

    A child may set `filename` to another file before the start.
    """

    def __init__(self, filename: str) -> None:
        self.filename = filename
        self._recorded: Callable[[], set[int]] = set  # a function, so that no attribute hands the lines to the program
        self._tampered = False
        self._is_paused = False  # recorders that cost nothing for other code go on

    def compile(self, program: str) -> CodeType:
        """Compile the program for this recorder. Raise one of `COMPILE_ERRORS` if it does not compile."""
        return compile_for_tracing(program, self.filename)

    def start(self) -> None:
        """Start recording in this thread, and in those that the program starts."""
        lines: set[int] = set()
        self._recorded = lambda: lines
        self._tampered = self._is_paused = False
        self._start_recording(lines)

    def lines(self) -> list[int] | None:
        """Return the lines that have run. `None` if the program replaced the tracer."""
        self._tampered |= not self._is_in_place()
        if self._tampered:
            return None
        return [line for line in set.copy(self._recorded()) if type(line) is int]

    def forget(self) -> None:
        """Begin again with an empty set of lines. Call it while the recorder is paused."""
        set.clear(self._recorded())

    def pause(self) -> None:
        """Stop recording in this thread until `resume`, while code runs that is not the program's."""
        self._is_paused = True

    def resume(self) -> None:
        """Record again after `pause`."""
        self._is_paused = False

    @abstractmethod
    def stop(self) -> None:
        """Stop recording and undo all changes that `start` made. `start` may be called again."""

    @abstractmethod
    def _start_recording(self, lines: set[int]) -> None:
        """Have each line of the file that runs added to `lines`."""

    @abstractmethod
    def _is_in_place(self) -> bool:
        """Return whether this recorder still sees all lines."""


class MonitoringTracer(LineTracer):
    """
    Recorder that uses `sys.monitoring`, from Python 3.12 on.

    Each line of a code object has one event and is switched off then. Code of other files has one event in all.
    Creation raises ImportError on earlier releases.
    """

    _TOOL, _NAME = 4, "stepcoder"  # not the tool of coverage.py, which the program may use

    def __init__(self, filename: str) -> None:
        super().__init__(filename)
        self._monitoring = _monitoring()
        events = self._monitoring.events
        self._start_event, self._line_event = events.PY_START, events.LINE
        self._codes: dict[int, CodeType] = {}  # of the file, as far as they were started. Equal ones are others
        self._callbacks: dict[int, Callable[[CodeType, int], object]] = {}
        if self._monitoring.get_tool(self._TOOL) is None:
            self._monitoring.use_tool_id(self._TOOL, self._NAME)

    def _start_recording(self, lines: set[int]) -> None:
        filename, tool, line_event = self.filename, self._TOOL, self._line_event
        note, set_local_events, disable = lines.add, self._monitoring.set_local_events, self._monitoring.DISABLE
        self._codes = codes = {}

        def on_start(code: CodeType, offset: int) -> object:
            if code.co_filename == filename:
                set_local_events(tool, code, line_event)
                codes[id(code)] = code
            return disable

        def on_line(code: CodeType, line: int) -> object:
            note(line)
            return disable

        self._callbacks = {self._start_event: on_start, line_event: on_line}
        for event, callback in self._callbacks.items():
            self._monitoring.register_callback(tool, event, callback)
        self._monitoring.set_events(tool, self._start_event)

    def forget(self) -> None:
        super().forget()
        self._monitoring.restart_events()

    def stop(self) -> None:
        self._monitoring.set_events(self._TOOL, 0)
        for event in self._callbacks:
            self._monitoring.register_callback(self._TOOL, event, None)

    def _is_in_place(self) -> bool:
        monitoring, tool = self._monitoring, self._TOOL
        return (
            monitoring.get_tool(tool) == self._NAME
            and monitoring.get_events(tool) == self._start_event
            and all(monitoring.get_local_events(tool, code) == self._line_event for code in self._codes.values())
            and all(monitoring.register_callback(tool, *pair) is pair[1] for pair in self._callbacks.items())
        )


def _monitoring() -> Any:
    if sys.version_info >= (3, 12):
        return sys.monitoring
    raise ImportError("sys.monitoring came with Python 3.12")


class _TraceFunction(LineTracer):
    """Recorder that is a trace function, and so can be replaced by `sys.settrace`."""

    def __init__(self, filename: str) -> None:
        super().__init__(filename)
        self._tracer: Any = None  # what `sys.gettrace` returns while this recorder is in place
        self._originals: list[tuple[ModuleType, str, Any]] = []

    @abstractmethod
    def _trace_main_thread(self) -> None:
        """Start recording in the main thread."""

    @abstractmethod
    def _trace_new_thread(self, frame: FrameType, event: str, argument: Any) -> Any:
        """Start recording in another thread, as a trace function for its first frame."""

    def _start_recording(self, lines: set[int]) -> None:
        self._trace_main_thread()
        self._tracer = _gettrace()
        threading.settrace(self._trace_new_thread)
        self._replace(sys, "settrace", self._watched(sys.settrace))
        self._replace(threading, "settrace", self._watched(threading.settrace))
        self._replace(sys, "gettrace", self._gettrace_of_program)
        for name in ("start_new_thread", "start_new"):
            self._replace(_thread, name, self._start_new_thread)

    def _replace(self, module: ModuleType, name: str, function: Callable[..., Any]) -> None:
        self._originals.append((module, name, getattr(module, name)))
        setattr(module, name, function)

    def _watched(self, original: Callable[[Any], None]) -> Callable[[Any], None]:
        """Return a function that records if the program itself, not a library, calls it, and calls the original."""

        def watched(function: Any) -> None:
            if _getframe(1).f_code.co_filename == self.filename:
                self._tampered = True
            original(function)

        return watched

    def _gettrace_of_program(self) -> Any:
        """Return the trace function that the program has set."""
        found = _gettrace()
        return None if self._is_ours(found) else found

    def _is_ours(self, function: Any) -> bool:
        return function is self._tracer

    def _start_new_thread(self, function: Any, arguments: Any, keywords: Any = None, /) -> int:
        """Start a thread that is traced. Those of `threading` have a hook for that."""

        def traced(*positional: Any, **named: Any) -> None:
            _settrace(self._trace_new_thread)
            function(*positional, **named)

        keywords = {} if keywords is None else keywords
        return _start_new_thread(traced if callable(function) else function, arguments, keywords)

    def _is_in_place(self) -> bool:
        return self._is_paused or _gettrace() is self._tracer

    def stop(self) -> None:
        threading.settrace(None)
        while self._originals:
            setattr(*self._originals.pop())
        _settrace(None)


_start_new_thread = _thread.start_new_thread


class CLineTracer(_TraceFunction):
    """
    Recorder that uses coverage.py's C tracer alone.

    The rest of coverage.py is as large as everything else in the fork server, and every page of the server's memory
    makes each fork slower. Creation raises ImportError if coverage.py has no C tracer, or settings unknown here.
    """

    def __init__(self, filename: str) -> None:
        super().__init__(filename)
        self._key = filename  # of the file in coverage.py's data
        self._module = _load_c_tracer()
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
        tracer.data, tracer.trace_arcs = {}, False
        tracer.file_tracers, tracer.should_trace_cache = {}, {}
        tracer.should_trace = lambda filename, frame: traced if filename == self.filename else untraced
        return tracer

    def _start_recording(self, lines: set[int]) -> None:
        self._own_tracer.data = {self._key: lines}
        super()._start_recording(lines)

    def _trace_main_thread(self) -> None:
        self._own_tracer.start()

    def _trace_new_thread(self, frame: FrameType, event: str, argument: Any) -> Any:
        _settrace(None)
        tracer = self._new_tracer()
        tracer.data = self._own_tracer.data
        trace = tracer.start()
        return trace(frame, event, argument)

    def _is_ours(self, function: Any) -> bool:
        return type(function) is self._module.CTracer  # each thread has its own

    def pause(self) -> None:
        if not self._is_paused:
            self._tampered |= not self._is_in_place()
            self._own_tracer.stop()
            super().pause()

    def resume(self) -> None:
        if self._is_paused:
            self._own_tracer.start()
            super().resume()

    def stop(self) -> None:
        self._own_tracer.stop()
        super().stop()


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


class PlainLineTracer(_TraceFunction):
    """Recorder without coverage.py, for machines that do not have it. It is slower."""

    def _start_recording(self, lines: set[int]) -> None:
        note, filename = lines.add, self.filename

        def on_line(frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
            if event == "line":
                note(frame.f_lineno)
            return on_line

        def on_call(frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
            return on_line if frame.f_code.co_filename == filename else None

        self._on_call = on_call
        super()._start_recording(lines)

    def _trace_main_thread(self) -> None:
        _settrace(self._on_call)

    def _trace_new_thread(self, frame: FrameType, event: str, argument: Any) -> Any:
        _settrace(self._on_call)
        return self._on_call(frame, event, argument)


class NoTracer(LineTracer):
    """Recorder that records nothing, for programs whose lines nobody reads."""

    def _start_recording(self, lines: set[int]) -> None:
        """Do nothing."""

    def _is_in_place(self) -> bool:
        return True

    def stop(self) -> None:
        """Do nothing."""


def line_tracer(filename: str) -> LineTracer:
    """Return the fastest recorder that works on this machine."""
    for kind in (MonitoringTracer, CLineTracer):
        with contextlib.suppress(ImportError):
            return kind(filename)
    return PlainLineTracer(filename)
