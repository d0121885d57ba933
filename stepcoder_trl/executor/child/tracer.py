"""
Tells which lines of a program ran: coverage.py, warmed once in the fork server and started in every child.

coverage.py's C tracer fills a plain set of line numbers while the program runs; from Python 3.12 on its
`sys.monitoring` core does the same. The set is private to coverage.py, so it is handed in by us before the start and
checked by a test against the public `get_data()`.
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
    Collects the line events of one file. Create it before forking, use it in the child.

    Args:
        filename (`str`):
            Absolute path the program is compiled under. The file need not exist; coverage.py ignores code whose name
            starts with `<`.
    """

    def __init__(self, filename: str) -> None:
        self.filename = filename
        self._lines: set[int] = set()
        self._tracer: Any = None
        self._tampered = False
        self._switch: Any = None  # coverage.py's C tracer
        self._rests = False
        self._originals: dict[tuple[str, ModuleType], Any] = {}
        self._set_up()

    def _set_up(self) -> None:
        # The C tracer before 3.12; from there on `sys.settrace` is slow and sys.monitoring is not.
        os.environ["COVERAGE_CORE"] = "sysmon" if sys.version_info >= (3, 12) else "ctrace"
        from coverage import Coverage

        self._coverage = Coverage(data_file=None, config_file=False, include=[self.filename], messages=False)
        self._warm_up()
        self._know_files()

    def _warm_up(self) -> None:
        self._coverage.start()
        atexit.unregister(self._coverage._atexit)
        exec(compile("def f():\n    return 1\nf()\n", self.filename, "exec"), {})
        self._coverage._collector.pause()  # a child only has to resume

    def _know_files(self) -> None:
        """
        Decide for good that this file is traced and no other is.

        coverage.py would look at every file whose code runs, in every child anew and with functions of `os` that the
        program may have replaced.
        """
        collector = self._coverage._collector
        traced = collector.should_trace_cache[self.filename]
        untraced = collector.should_trace(__file__, sys._getframe())
        collector.should_trace_cache.clear()
        collector.should_trace = lambda filename, frame: traced if filename == self.filename else untraced

    def start(self) -> None:
        """Start to collect, in this thread and in those the program starts."""
        self._lines = set()
        self._resume()
        self._tracer = self._installed()
        self._switch = self._tracer if type(self._tracer).__name__ == "CTracer" else None
        self._rests = False
        self._tampered = False
        self._watch("settrace", sys)
        self._watch("settrace", threading)

    def _watch(self, name: str, module: ModuleType) -> None:
        """Note when the program itself, not a library, calls a function that replaces tracers."""
        original = self._originals[name, module] = getattr(module, name)

        def watched(function: Any) -> None:
            if sys._getframe(1).f_code.co_filename == self.filename:
                self._tampered = True
            original(function)

        setattr(module, name, watched)

    def lines(self) -> list[int] | None:
        """Lines that ran so far; `None` if the program replaced the tracer."""
        in_place = self._rests or self._installed() is self._tracer
        if self._tampered or not in_place or type(self._lines) is not set:
            return None
        return [line for line in set.copy(self._lines) if type(line) is int]

    def rest(self) -> None:
        """Leave this thread alone until `wake`: what runs meanwhile is not the program's."""
        if self._switch is not None and not self._rests:
            self._tampered |= self._installed() is not self._tracer
            self._rests = True
            self._switch.stop()

    def wake(self) -> None:
        """Collect again."""
        if self._switch is not None and self._rests:
            self._switch.start()
            self._rests = False

    def pause(self) -> None:
        """Stop to collect, as if nothing had been; `start` may follow."""
        self._pause()
        for (name, module), original in self._originals.items():
            setattr(module, name, original)

    def _resume(self) -> None:
        collector = self._coverage._collector
        collector.data.clear()
        collector.data[self.filename] = self._lines
        collector.resume()

    def _pause(self) -> None:
        self._coverage._collector.pause()

    def stop(self) -> list[int] | None:
        """Stop and return `lines()`."""
        lines = self.lines()
        self.pause()
        return lines

    def _installed(self) -> Any:
        if sys.version_info >= (3, 12):
            return sys.monitoring.get_tool(sys.monitoring.COVERAGE_ID)
        return sys.gettrace()


class CLineTracer(LineTracer):
    """
    coverage.py's C tracer without the rest of coverage.py, which is as large as everything else in the fork server.

    Every page of memory that the server has makes each of its forks slower.

    Raises:
        ImportError: Where coverage.py has no C tracer, or one whose settings are not known here.
    """

    def _set_up(self) -> None:
        self._module = _load_c_tracer()
        self._data: dict[str, set[int]] = {}
        self._own_tracer = self._new_tracer()

    def _new_tracer(self) -> Any:
        """Tracer of one thread."""
        traced, untraced = (self._module.CFileDisposition() for _ in range(2))
        for disposition, trace in ((traced, True), (untraced, False)):
            disposition.original_filename = disposition.canonical_filename = disposition.source_filename = (
                self.filename
            )
            disposition.trace, disposition.reason = trace, ""
            disposition.file_tracer, disposition.has_dynamic_filename = None, False
        tracer = self._module.CTracer()
        for name in ("concur_id_func", "should_start_context", "switch_context"):
            setattr(tracer, name, None)
        for name in ("lock_data", "unlock_data", "warn", "disable_plugin", "check_include"):
            setattr(tracer, name, _do_nothing)
        tracer.data, tracer.trace_arcs = self._data, False
        tracer.file_tracers, tracer.should_trace_cache = {}, {}
        tracer.should_trace = lambda filename, frame: traced if filename == self.filename else untraced
        return tracer

    def _resume(self) -> None:
        self._data.clear()
        self._data[self.filename] = self._lines
        self._own_tracer.start()
        threading.settrace(self._trace_new_thread)

    def _trace_new_thread(self, frame: FrameType, event: str, argument: Any) -> Any:
        sys.settrace(None)
        trace = self._new_tracer().start()
        return trace(frame, event, argument)

    def _pause(self) -> None:
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
    """Module `coverage.tracer` alone, in C. Programs that import coverage.py get it with a tracer in Python."""
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
    if names - _C_TRACER_METHODS != _C_TRACER_SETTINGS:  # one that is not set would crash it
        raise ImportError("coverage.py's C tracer has settings that are not known here")
    return module


def _do_nothing(*arguments: Any) -> None:
    pass


class PlainLineTracer(LineTracer):
    """Collects the same lines without coverage.py: slower, for machines that do not have it."""

    def _set_up(self) -> None:
        """There is nothing to prepare."""

    def _resume(self) -> None:
        filename, note = self.filename, self._lines.add

        def on_line(frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
            if event == "line":
                note(frame.f_lineno)
            return on_line

        def on_call(frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
            return on_line if frame.f_code.co_filename == filename else None

        threading.settrace(on_call)
        sys.settrace(on_call)

    def _pause(self) -> None:
        threading.settrace(None)
        sys.settrace(None)

    def _installed(self) -> Any:
        return sys.gettrace()


def line_tracer(filename: str) -> LineTracer:
    """Tracer for this machine, warmed: coverage.py's where it is installed."""
    for kind in (CLineTracer, LineTracer):
        with contextlib.suppress(ImportError):
            return kind(filename)
    return PlainLineTracer(filename)


class SharedLineTracer:
    """
    Collects line events into memory shared with the fork server, where they outlive a killed child.

    Slower than [`LineTracer`]; used to run once more a test whose child died without a word.

    Args:
        filename (`str`): Path the program is compiled under.
        memory (`mmap.mmap`): Shared and zeroed; byte `i` is set when line `i` runs.
    """

    def __init__(self, filename: str, memory: mmap.mmap) -> None:
        self.filename = filename
        self._memory = memory

    def start(self) -> None:
        """Start to collect, in this thread and in those the program starts."""
        filename, memory, size = self.filename, self._memory, len(self._memory)

        def on_line(frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
            if event == "line" and frame.f_lineno < size:
                memory[frame.f_lineno] = 1
            return on_line

        def on_call(frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
            return on_line if frame.f_code.co_filename == filename else None

        threading.settrace(on_call)
        sys.settrace(on_call)

    def lines(self) -> list[int] | None:
        """Nothing: the fork server reads the shared memory."""
        return None

    def rest(self) -> None:
        """Nothing: its functions see no more of other code than its calls."""

    def wake(self) -> None:
        """Nothing."""
