"""
Fork server: a small, warm interpreter that forks one child per program, watches it and reports to the trainer.

It is started fresh (never forked from the trainer), preloads what programs usually import, warms coverage.py, prepares
the hardening and then serves jobs one at a time over two inherited descriptors. CPU time is read from outside, by the
child's own clock, so that no program can move it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import itertools
import math
import mmap
import os
import random
import select
import signal
import sys
import time
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from stepcoder_trl.executor.child import run as child
from stepcoder_trl.executor.child.state import ModuleStates
from stepcoder_trl.executor.child.tracer import SharedLineTracer, line_tracer
from stepcoder_trl.executor.server.clock import Clock
from stepcoder_trl.executor.server.examination import Examination
from stepcoder_trl.executor.server.examiner import MEMORY_BYTES, Examiner, ExaminerLost
from stepcoder_trl.executor.server.hardening.prepare import Hardening, IsolationUnavailable, prepare
from stepcoder_trl.executor.wire import scratch
from stepcoder_trl.executor.wire.frames import READ_BYTES, FrameBuffer, frame, read_frame, write_all
from stepcoder_trl.executor.wire.progress import Progress
from stepcoder_trl.executor.wire.system import PortableSystem, System, is_portable


PRELOADED = (
    *("abc", "array", "ast", "base64", "bisect", "cmath", "collections", "collections.abc", "contextlib", "copy"),
    *("dataclasses", "datetime", "decimal", "enum", "fractions", "functools", "hashlib", "heapq", "io", "itertools"),
    *("json", "math", "numbers", "operator", "os", "queue", "random", "re", "string", "struct", "sys", "textwrap"),
    *("threading", "time", "traceback", "types", "typing", "warnings"),
)
# Rare, and every page of memory that the server has makes a fork slower: loaded once a program names them.
LOADED_ON_MENTION = (
    *("asyncio", "calendar", "concurrent.futures", "csv", "logging", "numpy", "pprint", "statistics", "tempfile"),
    "unicodedata",
)
SOFT_LIMIT_GRACE_S = 0.25
STARVED_GRACE_S = 10.0  # the same for a program that the machine keeps waiting
POLL_S = 0.25
JOBS_PER_COLLECTION = 512
TESTS_PER_CHILD = 128  # stdio tests hold two descriptors each
MAX_SCRATCH_BYTES = 256 * 2**20
_FRAME_SLACK = 65_536
_ERROR_CLAIMS = frozenset({"error", "memory", "line"})
_STDIO_CLAIMS = _ERROR_CLAIMS | {"ended"}
_VALUE_CLAIMS = _ERROR_CLAIMS | {"value", "held", "asserted"}
_MAX_CPU_S = 2**31


class _Server:
    def __init__(self, settings: dict[str, Any], requests: int, replies: int, checks: int | None) -> None:
        self.scratch: str = settings["scratch"]
        self.filename = os.path.join(self.scratch, "solution.py")
        self.requests = os.fdopen(requests, "rb", buffering=2**20)
        self.replies = replies
        portable = settings.get("portable", is_portable())
        self.system = PortableSystem() if portable else System()
        self.checks = checks  # file that only an examiner reads
        self.examiner: Examiner | None = None
        _preload()
        os.chdir(self.scratch)
        sys.path.insert(0, self.scratch)
        sys.argv = [self.filename]
        _raise_soft_limits()
        self.tracer = line_tracer(self.filename)
        self.hardening: Hardening = prepare(
            scratch=self.scratch, readable=_readable_paths(), isolation=settings["isolation"], portable=portable
        )
        self.modules = ModuleStates()
        self.progress = Progress()
        child.rehearse(self.tracer, self.modules, self.progress)
        gc.collect()
        gc.freeze()

    def serve(self) -> None:
        """Serve jobs until the trainer is gone."""
        try:
            self.send({"layers": self.hardening.layers, "missing": self.hardening.missing})
            self._serve()
        except (EOFError, BrokenPipeError):
            self.leave()

    def _serve(self) -> None:
        gc.disable()  # a collection in the child would touch, and so copy, every page it inherited
        for served in itertools.count(1):
            job = read_frame(self.requests)
            try:
                reply = _Run(self, job).reply()
            except BrokenPipeError:
                raise
            except OSError as error:
                reply = {"infrastructure": f"{type(error).__name__}: {error}"}
            except ExaminerLost:  # the trainer sees a lost worker
                self.leave()
                return
            self.send(reply)
            if served % JOBS_PER_COLLECTION == 0:
                gc.unfreeze()
                gc.collect()
                gc.freeze()

    def leave(self) -> None:
        """Remove the scratch folder: a trainer that was killed cannot."""
        self.end_examiner()
        os.chdir("/")
        scratch.remove(self.scratch)

    def send(self, message: dict[str, Any]) -> None:
        write_all(self.replies, frame(message))

    def running_examiner(self) -> Examiner:
        if self.examiner is None:
            assert self.checks is not None
            self.examiner = Examiner(
                self.checks, self.scratch, self.confine_examiner, close=(self.replies, self.requests.fileno())
            )
        return self.examiner

    def confine_examiner(self) -> None:
        self.hardening.enter_child(
            memory_limit_bytes=MEMORY_BYTES, cpu_limit_s=_MAX_CPU_S, file_limit_bytes=2**20, open_files=64
        )

    def end_examiner(self) -> None:
        if self.examiner is not None:
            self.examiner.kill()
            self.examiner = None

    def close_in_child(self) -> None:
        """Close what a program must not have."""
        os.close(self.replies)
        os.close(self.requests.fileno())
        if self.checks is not None:
            os.close(self.checks)
        if self.examiner is not None:
            self.examiner.close()

    def bury(self, pid: int) -> tuple[int, float]:
        return _bury(self.system, pid, spared=() if self.examiner is None else (self.examiner.pid,))


class _Run:
    """One job: as many children as its tests need."""

    def __init__(self, server: _Server, job: dict[str, Any]) -> None:
        self.server = server
        self.job = job
        job["filename"] = server.filename
        self.results: list[dict[str, Any] | None] = [None] * len(job["tests"])
        self.lines: set[int] = set()
        self.lines_known = True
        self.kept_bytes = 0  # of what the program wrote and reported, in all
        self.recovery_cpu_s = 0.0
        self.cpu_s = 0.0
        self.repeated = False
        self.alone = job["fresh_process_per_test"]
        self.wall_deadline = time.monotonic() + job["program_wall_s"]
        self.hard_deadline = time.monotonic() + job["hard_wall_s"]
        self.not_plain = False  # whether a test turned out to need the program's process

    def reply(self) -> dict[str, Any]:
        for name in LOADED_ON_MENTION:
            if name not in sys.modules and name in self.job["program"]:
                with contextlib.suppress(ImportError):
                    importlib.import_module(name)
                    _seed_generators()
                self.server.modules = ModuleStates()
                gc.freeze()
        following = 0
        while following < len(self.results):
            if self.cpu_s >= self.job["program_cpu_s"] or time.monotonic() >= self.wall_deadline:
                self.fill(following, {"timeout": True, "unrun": True})
                break
            if self.has_too_much:
                self.fill(following, {"error": self.too_much})
                break
            following = _Child(self, following).run()
            if self.not_plain:
                break
        if self.not_plain:
            return {"not_plain": True}
        lines = sorted(self.lines) if self.lines_known else None
        return {"tests": self.results, "lines": lines, "cpu_s": self.cpu_s}

    @property
    def has_too_much(self) -> bool:
        """Whether this process and the trainer would have to hold more of the program than they should."""
        return self.kept_bytes > int(self.job["max_kept_bytes"])

    @property
    def too_much(self) -> str:
        return f"wrote or returned more than {self.job['max_kept_bytes']} bytes in all tests together"

    def fill(self, first: int, result: dict[str, Any]) -> None:
        """Give every test from `first` on this result."""
        for index in range(first, len(self.results)):
            self.results[index] = {**result, "cpu_s": 0.0}

    def add_lines(self, lines: Any) -> None:
        if isinstance(lines, list) and all(type(line) is int for line in lines):
            self.lines.update(lines)
        else:
            self.lines_known = False


class _Child:
    """One forked child, from the test `first` on; `run` returns the next test that has no result."""

    def __init__(self, run: _Run, first: int, shared: mmap.mmap | None = None) -> None:
        self.run_state, self.job, self.first, self.shared = run, run.job, first, shared
        self.server = run.server
        self.phase = "compile"
        self.next = first
        self.ended = False  # whether the child said how it ended and what it traced
        self.expired = False
        self.killed = False
        self.examination = Examination(
            self.server.running_examiner() if self.job["checks_bytes"] else None,
            self.server.end_examiner,
            self.job["checks_bytes"],
            self.max_frame_bytes,
        )
        stdio = self.job["type"] == "stdio"
        alone = shared is not None or run.alone
        count = 1 if alone else min(TESTS_PER_CHILD, len(self.job["tests"]) - first)
        self.last = first + count if stdio or alone else len(self.job["tests"])
        inputs = [test["input"] for test in self.job["tests"][first : self.last]] if stdio else [""]
        self.stdin_fds = [self.server.system.memory_file("stdin", text) for text in inputs]
        self.stdout_fds = [self.server.system.memory_file("stdout") for _ in inputs]

    def run(self) -> int:
        try:
            pid, reports, gate = self.fork()
            try:
                self.watch(pid, reports, gate)
            finally:
                os.close(reports)
                os.close(gate)
                self.examination.close()
            if self.ended and not self.expired and self.first < self.next < self.last:
                self.run_state.alone = True  # it left state for which the next test needs a process of its own
            return self.next
        finally:
            for descriptor in (*self.stdin_fds, *self.stdout_fds):
                os.close(descriptor)
            scratch.empty(self.server.scratch)

    def fork(self) -> tuple[int, int, int]:
        report_read, report_write = os.pipe()
        gate_read, gate_write = os.pipe()
        task = child.ChildTask(
            job=self.job if self.shared is None else {**self.job, "fresh_process_per_test": True},
            first=self.first,
            report_fd=report_write,
            gate_fd=gate_read if self.job["gated"] and self.shared is None else None,
            stdin_fds=self.stdin_fds,
            stdout_fds=self.stdout_fds,
            soft_signal=self.server.hardening.soft_signal,
            modules=self.server.modules,
            progress=self.server.progress,
            tracer=self.server.tracer if self.shared is None else SharedLineTracer(self.server.filename, self.shared),
            examiner=self.examination.connect(),
        )
        self.server.progress.clear()
        try:
            pid = os.fork()
        except OSError:
            for descriptor in (report_read, report_write, gate_read, gate_write):
                os.close(descriptor)
            self.examination.close()
            raise
        if pid == 0:
            try:
                os.close(report_read)
                os.close(gate_write)
                self.examination.close_in_child()
                self.server.close_in_child()
                report = child.begin(task)
                self.server.hardening.enter_child(
                    memory_limit_bytes=self.job["memory_limit_bytes"],
                    cpu_limit_s=math.ceil(min(self.job["program_cpu_s"], _MAX_CPU_S)) + 2,
                    file_limit_bytes=self.job["max_output_bytes"] + 1,
                    open_files=2 * len(self.stdin_fds) + 64,
                )
            except BaseException as error:
                with contextlib.suppress(OSError):
                    os.write(report_write, frame({"not_started": f"{type(error).__name__}: {error}"}))
                os._exit(1)
            child.main(task, report)
        os.close(report_write)
        os.close(gate_read)
        self.examination.leave_to_child()
        return pid, report_read, gate_write

    def watch(self, pid: int, reports: int, gate: int) -> None:
        job, run = self.job, self.run_state
        clock = Clock(
            self.server.system,
            pid,
            cpu_limit_s=job["timeout_s"],
            wall_limit_s=job["wall_s"],
            program_cpu_s=job["program_cpu_s"] - run.cpu_s,
            program_wall_deadline=run.wall_deadline,
            hard_deadline=run.hard_deadline,
            waited_elsewhere_s=self.examination.waited_s,
        )
        began = time.monotonic()
        clock.begin()
        buffer = FrameBuffer(self.max_frame_bytes)
        poll = select.poll()
        exit_fd = self.server.system.exit_descriptor(pid, reports)
        poll.register(reports, select.POLLIN)
        poll.register(exit_fd, self.server.system.exit_event)
        poll.register(self.server.requests.fileno(), 0)  # hang-up only: the trainer is gone
        self.examination.watch_for_end(poll)
        kill_at: float | None = None
        waited_before = 0.0
        open_reports, alive, garbage = True, True, False
        look_at = time.monotonic() + POLL_S  # when to measure the scratch folder
        try:
            while (open_reports or alive or self.examination.is_under_way) and not self.is_over:
                self.catch_up(clock)
                left = self.left_s(clock) if kill_at is None else kill_at - time.monotonic()
                if left <= 0:
                    if kill_at is None:
                        self.expired = True
                        kill_at = time.monotonic() + SOFT_LIMIT_GRACE_S
                        waited_before = clock.waited_s()
                        _signal(pid, self.server.hardening.soft_signal)
                    elif not self.killed or self.examination.is_under_way:
                        waited = min(clock.waited_s() - waited_before, STARVED_GRACE_S)
                        if kill_at + waited > time.monotonic():
                            kill_at, waited_before = kill_at + waited, waited_before + waited
                            continue
                        self.killed = True
                        _signal(pid, signal.SIGKILL)
                        self.examination.stop(poll)
                        kill_at = time.monotonic() + 3600
                    continue
                for descriptor, _event in poll.poll(max(1, math.ceil(min(left, POLL_S) * 1000))):
                    if descriptor == self.server.requests.fileno():  # the trainer is gone: take the child along
                        self.server.bury(pid)
                        self.server.leave()
                        os._exit(0)
                    elif self.examination.is_descriptor(descriptor):
                        self.examination.hear()
                    elif descriptor == exit_fd:
                        alive = False
                        poll.unregister(exit_fd)
                    elif not (data := os.read(reports, READ_BYTES)):
                        open_reports = False
                        poll.unregister(reports)
                    elif not garbage:
                        try:
                            self.catch_up(clock)
                            self.count_reported(len(data))
                            for message in buffer.feed(data):
                                self.take(message, clock, gate)
                        except (OverflowError, ValueError, RecursionError, TypeError, KeyError, AttributeError):
                            garbage = self.killed = True
                            _signal(pid, signal.SIGKILL)
                if garbage or not alive or not open_reports:
                    self.examination.watch_for_verdict(poll)
                if garbage and self.examination.is_under_way and kill_at is None:
                    # Time for the examiner to see that its program is gone.
                    kill_at, waited_before = time.monotonic() + SOFT_LIMIT_GRACE_S, clock.waited_s()
                if not alive and open_reports and not any(fd == reports for fd, _ in poll.poll(0)):
                    break  # a descendant may hold the pipe open
                if time.monotonic() >= look_at:
                    look_at = time.monotonic() + POLL_S
                    if not garbage and not self.killed and _overfull(self.server.scratch):
                        garbage = self.killed = True
                        _signal(pid, signal.SIGKILL)
        finally:
            self.catch_up(clock)
            os.close(exit_fd)
            if time.monotonic() - began > 1.0:
                run.wall_deadline += clock.waited_s()
            status, cpu_s = self.server.bury(pid)
            self.examination.settle(wait_s=SOFT_LIMIT_GRACE_S)
            run.not_plain |= self.examination.was_not_plain
            repeat = self.was_killed_from_outside(status) and not run.repeated
            if repeat:
                run.repeated = True
                run.wall_deadline += time.monotonic() - began
                self.next = self.first
            elif self.shared is None:
                run.cpu_s += cpu_s
            else:
                run.recovery_cpu_s += cpu_s
        if self.shared is None and not repeat and not run.not_plain:
            self.conclude(status, garbage, clock, cpu_s)

    @property
    def is_over(self) -> bool:
        """Whether the child has said all that it had to say: it is not waited for, but ended."""
        return self.ended and self.phase != "exit" and not self.expired and self.first < self.next

    def catch_up(self, clock: Clock) -> None:
        """Move on to the phase that the child has come to."""
        if self.shared is not None or self.phase not in ("compile", "module"):
            return
        if self.phase == "compile" and (moment := self.server.progress.moment("compiled")):
            self.phase = "module"
            if self.job["type"] == "stdio":
                self.phase = "test"
                clock.begin_then(*moment)
        if self.phase == "module" and (moment := self.server.progress.moment("ready")):
            self.phase = "test"
            clock.begin_then(*moment)

    def take(self, message: dict[str, Any], clock: Clock, gate: int) -> None:
        """Digest one report; anything out of order raises and counts as garbage."""
        run = self.run_state
        if "serving" in message and not self.ended:
            self.begin_examination(message["serving"])
        if self.shared is not None or self.ended:
            return
        if "not_started" in message and self.phase == "compile":  # no line of the program has run yet
            raise Infrastructure(str(message["not_started"]))
        if "serving" in message:
            pass
        elif "test" in message:
            self.take_test(message, clock)
            if self.job["gated"]:
                answer = b"g" if self.may_go_on() else b"s"
                with contextlib.suppress(BrokenPipeError):
                    os.write(gate, answer)
                clock.begin()
        elif "compile_error" in message:
            line = message["line"]
            run.fill(0, {"compile_error": str(message["compile_error"]), "line": line})
            self.next, self.ended = len(run.results), True
        elif "module" in message and self.phase == "module":
            run.fill(self.next, _checked_claims(message["module"], _ERROR_CLAIMS))
            run.results[self.next]["cpu_s"] = clock.begin()  # type: ignore[index]
            self.next = len(run.results)
        elif "end" in message or "soft" in message or "exit" in message:
            (lines,) = message.values()
            run.add_lines(lines)
            self.ended = True
            self.phase = "exit" if "exit" in message else self.phase
        elif "memory" in message and self.next < self.last:
            self.finish_test({"memory": "MemoryError"}, clock.begin())
        else:
            raise ValueError("unknown report")

    def take_test(self, message: dict[str, Any], clock: Clock) -> None:
        if message["test"] != self.next or self.phase != "test" or self.next >= self.last:
            raise ValueError("report out of order")
        claims = {key: value for key, value in message.items() if key not in ("test", "lines")}
        if "candidates" in self.job["tests"][self.next]:
            claims = dict(self.examined_claims(claims))
        claims = _checked_claims(claims, _STDIO_CLAIMS if self.job["type"] == "stdio" else _VALUE_CLAIMS)
        self.run_state.add_lines(message["lines"])
        self.finish_test(claims, clock.begin())

    # Tests whose verdict an examiner takes

    @property
    def max_frame_bytes(self) -> int:
        return int(self.job["max_output_bytes"] * 2 + _FRAME_SLACK)

    def left_s(self, clock: Clock) -> float:
        left = clock.left_s()
        if self.examination.is_under_way:
            left = min(left, self.job["timeout_s"] - self.examination.cpu_s())
        return left

    def begin_examination(self, index: Any) -> None:
        expected = self.first if self.shared is not None else self.next
        in_order = index == expected < self.last and (self.shared is not None or self.phase == "test")
        if not in_order or "candidates" not in self.job["tests"][index]:
            raise ValueError("report out of order")
        self.examination.begin(index)

    def examined_claims(self, claims: dict[str, Any]) -> dict[str, Any]:
        """What the examiner found, once the program says that it has answered; or what kept it from that."""
        if self.examination.is_under_way:
            self.examination.hear()
        verdict = self.examination.verdict
        if claims.keys() <= _ERROR_CLAIMS and not self.examination.is_under_way and verdict is None:
            return claims
        if claims != {"served": True} or verdict is None or self.examination.lost:
            raise ValueError("report out of order")
        return dict(verdict)

    def may_go_on(self) -> bool:
        """Ask the trainer about the test that was finished last; if it says no, the others are not run."""
        run = self.run_state
        self.server.send({"test": self.next - 1, "result": run.results[self.next - 1]})
        if read_frame(self.server.requests) == "go":
            return True
        run.fill(self.next, {"unrun": True})
        self.next = len(run.results)
        return False

    def count_reported(self, size: int) -> None:
        if self.phase != "compile":
            self.run_state.kept_bytes += size
            if self.run_state.has_too_much:
                raise OverflowError("too much in all")

    def finish_test(self, result: dict[str, Any], cpu_s: float) -> None:
        """Store the next test's result, with its output for stdio tests."""
        stdio = self.job["type"] == "stdio"
        descriptor = self.stdout_fds[self.next - self.first if stdio else 0]
        size = os.fstat(descriptor).st_size
        if stdio and "ended" in result:
            self.run_state.kept_bytes += size
        if size > self.job["max_output_bytes"]:
            result = {"error": f"wrote more than {self.job['max_output_bytes']} bytes to standard output"}
        elif self.run_state.has_too_much:
            result = {"error": self.run_state.too_much}
        elif stdio and "ended" in result:
            data = os.pread(descriptor, size, 0)
            # As JSON text, an escaped byte would be six characters.
            result = {"output": data.decode()} if data.isascii() else {"base64": b64encode(data).decode()}
        if not stdio:
            os.ftruncate(descriptor, 0)  # what one test writes is not charged to the next
        self.run_state.results[self.next] = {**result, "cpu_s": cpu_s}
        self.next += 1
        self.examination.verdict = None

    def conclude(self, status: int, garbage: bool, clock: Clock, cpu_s: float) -> None:
        """Give the test at which the child died its result, and recover the lines it could not report."""
        run = self.run_state
        used = max(cpu_s - clock.cpu_start, 0.0)
        died_at = self.next
        if self.next < self.last and not self.is_over:
            result = self.result_of_death(status, garbage)
            if self.phase == "compile" and "broken" in result:
                run.fill(0, {"memory": "no memory to begin with"})
                self.next, self.ended = len(run.results), True
            elif self.phase == "compile" and "timeout" not in result:
                result = {"compile_error": f"the compiler died: {result.get('error', '')}", "line": None}
                run.fill(0, result)
                self.next, self.ended = len(run.results), True
            elif self.phase in ("compile", "module") and self.job["type"] != "stdio":
                run.fill(self.next, result)
                run.results[self.next]["cpu_s"] = used  # type: ignore[index]
                self.next = len(run.results)
            else:
                self.finish_test(result, used)
                if self.job["gated"]:
                    self.may_go_on()
        if not self.ended:
            self.recover(min(died_at, len(run.results) - 1))

    def was_killed_from_outside(self, status: int) -> bool:
        """
        Whether the child was killed by someone else, as a system short of memory does, or by itself.

        Nobody can tell which: the run is repeated once, and what happens then is the program's doing.
        """
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        return killed and not self.killed and not self.expired and not self.ended and self.shared is None

    def result_of_death(self, status: int, garbage: bool) -> dict[str, Any]:
        if garbage:
            return {"error": "the program sent garbage or wrote too much"}
        verdict = self.examination.verdict
        if verdict is not None and not self.examination.lost and not self.expired:
            return dict(verdict)  # what it does after its last answer changes nothing
        if self.expired or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
            return {"timeout": True}
        if os.WIFSIGNALED(status):
            return {"error": f"killed by {_signal_name(os.WTERMSIG(status))}"}
        if os.WEXITSTATUS(status) == child.EXIT_REPORT_FAILED:
            return {"error": "the program broke its process", "broken": True}
        if self.job["type"] == "stdio":
            return {"ended": True}
        return {"error": "the program ended without an answer"}

    def recover(self, index: int) -> None:
        """Run the test once more, its lines going to shared memory, as long as the program's budget allows it."""
        run = self.run_state
        if run.recovery_cpu_s >= self.job["program_cpu_s"] or time.monotonic() >= run.hard_deadline:
            run.lines_known = False
            return
        count = self.job["program"].count("\n") + self.job["program"].count("\r") + 2
        with mmap.mmap(-1, count + 1) as shared:
            deadline, run.wall_deadline = run.wall_deadline, time.monotonic() + self.job["wall_s"]
            cpu_s, run.cpu_s = run.cpu_s, 0.0
            try:
                _Child(run, index, shared).run()
            finally:
                run.wall_deadline, run.cpu_s = deadline, cpu_s
            lines = [line for line, ran in enumerate(shared[:]) if ran]
        run.add_lines(lines if lines else None)


class Infrastructure(OSError):
    """A child could not be started: ours to mend, not the program's outcome."""


def _checked_claims(claims: dict[str, Any], allowed: frozenset[str]) -> dict[str, Any]:
    if not claims or not claims.keys() <= allowed:
        raise ValueError("unknown claim")
    return claims


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no names of their own
        return f"signal {number}"


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _bury(system: System, pid: int, spared: Sequence[int]) -> tuple[int, float]:
    """
    Kill what is left of a child and of everything it started, the spared children of ours excepted.

    Returns its wait status and CPU seconds.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    _signal(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    while True:
        try:
            found, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if found == 0:  # adopted from the child, in a session of its own
            strays = [stray for stray in system.children() if stray not in spared]
            if not strays:
                break
            for stray in strays:
                _signal(stray, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(stray, 0)
    return status, usage.ru_utime + usage.ru_stime


def _overfull(folder: str) -> bool:
    return scratch.size_of(folder, MAX_SCRATCH_BYTES) > MAX_SCRATCH_BYTES


def _preload() -> None:
    for name in PRELOADED:
        importlib.import_module(name)
    _seed_generators()


def _seed_generators() -> None:
    """Give programs that draw without a seed the same numbers on every worker."""
    seed = int(os.environ.get("PYTHONHASHSEED", "0"))  # one number decides all that may differ between runs
    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed)


def _raise_soft_limits() -> None:
    """As many descriptors as allowed for the tests' files; a main stack that deep recursion needs."""
    import resource

    with contextlib.suppress(ValueError):  # macOS takes no infinity
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    _, hard = resource.getrlimit(resource.RLIMIT_STACK)
    # Set after exec: 128 MiB of address space are kept free below the main stack, and threads keep their default.
    wanted = 120 * 2**20
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with contextlib.suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_STACK, (soft, hard))


def _readable_paths() -> list[str]:
    """Where the interpreter and its libraries live."""
    paths = {sys.prefix, sys.base_prefix, sys.exec_prefix, os.path.dirname(os.path.realpath(sys.executable))}
    paths.update(path for path in sys.path if os.path.isabs(path))
    return sorted(path for path in paths if os.path.exists(path))


def main(requests: int, replies: int, checks: int | None = None) -> None:
    """Serve until the trainer closes its end. Called in a fresh interpreter by the pool."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        settings = read_frame(os.fdopen(os.dup(requests), "rb", buffering=0))
    except EOFError:  # the trainer is gone; this folder is the one it made for us
        scratch.remove(os.getcwd())
        return
    try:
        server = _Server(settings, requests, replies, checks)
    except (OSError, ImportError, IsolationUnavailable) as error:
        answer: dict[str, Any] = {"infrastructure": f"{type(error).__name__}: {error}"}
        if isinstance(error, IsolationUnavailable) and error.missing:
            answer["refused"] = error.missing
        os.write(replies, frame(answer))
        return
    server.serve()
