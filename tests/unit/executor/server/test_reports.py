"""Test reports that a program forges or makes too long."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stepcoder_trl import Outcome
from stepcoder_trl.executor.server.child_process import Exit
from stepcoder_trl.executor.server.fork_server import Job
from stepcoder_trl.executor.server.job import _OnlyExaminations
from stepcoder_trl.executor.server.reports import JobState, ProgramPhase, Reports
from stepcoder_trl.executor.server.supervise import Misuse
from stepcoder_trl.executor.verdict import prepare
from stepcoder_trl.executor.wire.codec import encode
from stepcoder_trl.executor.wire.frames import json_bytes
from tests.unit.executor.samples import DOUBLE, SUCCESSOR, outcomes


pytestmark = pytest.mark.sandbox
FORGE = (Path(__file__).parent / "programs" / "forge_reports.py").read_text()


@pytest.mark.parametrize(
    "claims",
    [
        "send({'test': 0, 'lines': [], 'result': {'ended': True}})\n"
        "send({'test': 1, 'lines': [], 'result': {'not_run': True}})\n"
        "send({'end': []})",
        "send({'test': 0, 'lines': [], 'result': {'value': '6'}})\n"
        "send({'test': 1, 'lines': [], 'result': {'value': '8'}})",
        "send({'not_started': 'boo'})",
        "send({'infrastructure': 'boo'})",
        "send({'tests': [{'output': '6'}, {'output': '8'}], 'lines': [], 'cpu_s': 0})",
        "send({'end': []}); send({'module_error': {'not_run': True}})",
        "send({'module_error': {'output': '6'}})",
        "send([]); send(None); send({'test': [], 'lines': 3})",
    ],
)
def test_forged_report_gives_runtime_error(fast_executor, claims):
    program = FORGE + "print(6, flush=True)\n" + claims + "\nend()\n"

    execution = fast_executor.run(program, DOUBLE)

    assert execution.outcome is Outcome.RUNTIME_ERROR
    assert "worker lost" not in [test.message for test in execution.tests]


@pytest.mark.parametrize("tests", [DOUBLE, SUCCESSOR], ids=["stdio", "call"])
def test_forged_memory_report_after_last_test_is_ignored(fast_executor, tests):
    execution = fast_executor.run(FORGE + "for _ in range(9): send({'out_of_memory': True})\n", tests)

    assert execution.outcome in (Outcome.MEMORY_EXCEEDED, Outcome.RUNTIME_ERROR)
    assert "worker lost" not in [test.message for test in execution.tests]


def test_nothing_counts_after_a_memory_report(fast_executor):
    tests = {"type": "call", "fn_name": "f", "inputs": [[0], [1], [2]], "outputs": [1, 2, 3]}
    forged = "send({'out_of_memory': True}); send({'test': 2, 'lines': [], 'result': {'error': 'x'}})"
    program = FORGE + f"def f(x):\n    if x == 1:\n        {forged}; end()\n    return x + 1\n"

    assert outcomes(fast_executor.run(program, tests)) == ["passed", "memory_exceeded", "passed"]


def test_output_of_one_test_does_not_count_for_the_next(fast_executor):
    tests = {"type": "call", "fn_name": "f", "inputs": [[0], [1], [2]], "outputs": [1, 1, 1]}
    program = "import sys\ndef f(x):\n    if x == 0:\n        sys.stdout.write('x' * 17 * 2**20)\n    return 1\n"

    assert outcomes(fast_executor.run(program, tests)) == ["runtime_error", "passed", "passed"]


def test_output_of_all_tests_together_is_limited(fast_executor):
    tests = {"type": "stdio", "inputs": [""] * 8, "outputs": ["x"] * 8}
    program = "import sys\nsys.stdout.write('x' * 15 * 2**20)\n"

    execution = fast_executor.run(program, tests)

    assert outcomes(execution) == ["failed"] * 4 + ["runtime_error"] * 4
    assert execution.tests[-1].message == "wrote or returned more than 67108864 bytes in all tests together"
    assert execution.executed_lines == {1, 2}


def test_handler_of_soft_limit_cannot_be_replaced(fast_executor):
    if not fast_executor.layers["seccomp"]:
        pytest.skip("seccomp keeps the handler, and this machine has none")
    program = (
        "import signal\ndef f(x):\n    number = signal.SIGRTMAX - 1\n    try:\n"
        "        signal.signal(number, signal.SIG_IGN)\n    except OSError:\n        return x + 1\n"
    )

    assert fast_executor.run(program, SUCCESSOR).outcome is Outcome.PASSED


def _state() -> JobState:
    header: Any = {"type": "call", "examined": [], "fresh_process_per_test": False, "program_wall_s": 9.0}
    header |= {"hard_wall_s": 9.0, "max_kept_bytes": 2**30}
    return JobState(Job(header, b"pass\n", b"", [b""] * 3))


def test_long_claims_are_not_repeated_for_every_test():
    state = _state()
    unused: Any = None
    reports = Reports(unused, state, unused, unused, unused, range(3))
    claim: Any = {"compile_error": "x" * 10**6, "line": "y" * 10**6}

    reports.receive(claim)

    assert len(str(state.reply())) < 2000


def test_lines_that_a_program_does_not_have_are_not_kept():
    state = _state()

    state.add_lines(list(range(1, 10**5)))

    assert state.reply()["lines"] is None


def test_small_objects_in_a_value_count_more_than_their_text():
    state, unused = _state(), cast(Any, None)
    reports = Reports(unused, state, unused, unused, unused, range(3))
    reports._phase = ProgramPhase.TESTS

    reports.count(b'["ab","cd"]')

    assert state.kept_bytes == (11 + 16 + 4 * 16 + 8) * 3 // 4


@pytest.mark.parametrize("value", [(), (1, 2), ("a", "b"), {}, {"a": 1}, {"a": "b"}, [[]], "", 1.5])
def test_right_answers_of_any_size_may_be_kept(value):
    state, unused = _state(), cast(Any, None)
    reports = Reports(unused, state, unused, unused, unused, range(3))
    reports._phase = ProgramPhase.TESTS
    answer = [value] * 1000

    reports.count(json_bytes({"test": 0, "lines": [1], "result": {"value": encode(answer)}}))

    assert state.kept_bytes < prepare._KEPT_PER_BYTE * len(json.dumps(answer, separators=(",", ":")))


def test_output_that_is_no_text_is_garbage(fast_executor):
    tests = {"type": "stdio", "inputs": [""], "outputs": ["['a']"]}
    program = (
        "import json, os, struct, sys\nframe = sys._getframe()\n"
        "while 'task' not in frame.f_locals:\n    frame = frame.f_back\n"
        "report = json.dumps({'test': 0, 'lines': [], 'result': {'output': ['a']}}).encode()\n"
        "os.write(frame.f_locals['task'].streams.report, struct.pack('<I', len(report)) + report)\n"
    )

    assert outcomes(fast_executor.run(program, tests)) == ["runtime_error"]


def test_reports_of_a_run_for_its_lines_are_counted():
    state, unused = _state(), cast(Any, None)
    state.job.header["max_kept_bytes"] = 1000
    listener = _OnlyExaminations(state, 0, unused)

    listener.count(b'"a",' * 10)
    with pytest.raises(OverflowError):
        listener.count(b'"a",' * 30)


@pytest.mark.parametrize("filled_disk", [False, True])
def test_disk_that_the_program_has_filled_is_no_excuse(filled_disk):
    state, nothing = _state(), SimpleNamespace()
    server: Any = SimpleNamespace(
        beginning=SimpleNamespace(moment=lambda step: (0.1, 1.0)),
        hardening=SimpleNamespace(layers={"seccomp": True}),
    )
    clock: Any = SimpleNamespace(cpu_start=0.0, begin=lambda: 0.0)
    supervision: Any = SimpleNamespace(expired=False, misuse=Misuse.WROTE_TOO_MUCH, lost_disk=False, has_killed=True)
    reports = Reports(server, state, cast(Any, nothing), clock, cast(Any, SimpleNamespace(verdict=None)), range(1))
    reports._phase = ProgramPhase.TESTS
    state.job.header.update(timeout_s=3.0, program_cpu_s=15.0, waits_for_verdicts=False)

    reports.conclude(Exit(9, 0.1, 0.0, filled_disk, disk_full=True), supervision)

    assert state.reply()["disk_full"] is not filled_disk


def test_time_of_compilation_is_reported():
    execution_header = _state()
    server: Any = SimpleNamespace(beginning=SimpleNamespace(moment=lambda step: (0.75, 1.0)))
    server.claims = SimpleNamespace(moment=lambda step: None)
    unused: Any = None

    Reports(server, execution_header, unused, unused, unused, range(3)).read_progress()

    assert execution_header.reply()["compile_s"] == 0.75
