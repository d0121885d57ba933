"""Our protocol: whole problems, through our client."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from typing import Any

import httpx2
import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig
from stepcoder_trl.errors import SandboxError
from stepcoder_trl.executor import RemoteConfig, RemoteExecutor
from stepcoder_trl.executor.selftest import load, run_selftest
from stepcoder_trl.executor.wire import problems as wire
from stepcoder_trl.executor.wire.codec import Unserializable
from stepcoder_trl.types import Execution, Outcome, TestResult
from tests.unit.executor.serve.conftest import Served


pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(sys.platform != "linux", reason="the sandbox isolates programs on Linux alone"),
]

SQUARE = "def f(x):\n    if x < 0:\n        return 0\n    return x * x\n"
SQUARE_TESTS = {"type": "call", "fn_name": "f", "inputs": [[2], [3]], "outputs": [4, 9]}
HELLO_TESTS = {"type": "stdio", "inputs": ["a", "b"], "outputs": ["a", "b"]}
PROGRAMS: list[tuple[str, dict[str, Any]]] = [
    (SQUARE, SQUARE_TESTS),
    (SQUARE, {**SQUARE_TESTS, "outputs": [5, 9]}),
    (SQUARE, {"type": "assert", "setup": "", "asserts": ["assert f(2) == 5", "assert f(-1) == 0", "check(f)"]}),
    ("def f(x): return x", {**SQUARE_TESTS, "inputs": [[10**5000]], "outputs": [10**5000]}),
    ("def f(x): return x", {**SQUARE_TESTS, "inputs": [[{"a": [None, 1.5, "\ud800"]}]], "outputs": [0]}),
    ("print(input())\nraise KeyError('x')\n", HELLO_TESTS),
    ("import sys\nprint(input())\nsys.exit(3)\n", HELLO_TESTS),
    ("print(input()", HELLO_TESTS),
    ("print('\ud800')", HELLO_TESTS),
    ("while True: pass", {**HELLO_TESTS, "timeout_s": 0.3}),
    ("print(bytearray(10**12))", HELLO_TESTS),
    (
        "print(input())",
        {
            "type": "checker",
            **{k: HELLO_TESTS[k] for k in ("inputs", "outputs")},
            "checker": ("def check(input, expected, output):\n    return output.strip() == 'a'\n"),
        },
    ),
    (
        "def add(a, b):\n    return a + b\n",
        {"type": "unittest", "code": "def test_add():\n    assert add(1, 2) == 3\n"},
    ),
]


def untimed(execution: Execution) -> Execution:
    """Return an execution without its seconds, which differ from run to run."""
    tests = tuple(dataclasses.replace(test, time_s=0.0) for test in execution.tests)
    return dataclasses.replace(execution, tests=tests, time_s=0.0)


@pytest.fixture(scope="module")
def remote(served: Served) -> Any:
    with RemoteExecutor(RemoteConfig(served.url, timeout_s=1.0, backoff_s=0.05)) as executor:
        yield executor


def test_executions_are_those_of_the_process(remote, fast_executor):
    programs, tests = zip(*PROGRAMS, strict=True)

    here, there = fast_executor.run_many(programs, tests), remote.run_many(programs, tests)

    assert [untimed(one) for one in there] == [untimed(one) for one in here]


@pytest.mark.parametrize(
    "change",
    [
        {"stop_on_first_failure": True},
        {"trace": False},
        {"keep_outputs": True},
        {"float_tolerance": 0.5},
        {"fresh_process_per_test": True},
        {"memory_limit_bytes": 2**26, "program_timeout_s": 1.5},
    ],
)
def test_limits_travel(served, change):
    programs = ["print(float(input()) + 0.25)\nbytearray(2**26)", "print(input())", "import sys\nprint(1)\nsys.x = 1"]
    tests = {"type": "stdio", "inputs": ["1", "2"], "outputs": ["7", "2"]}
    with CodeExecutor(ExecutorConfig(num_workers=1, timeout_s=1.0, **change)) as executor:
        here = executor.run_many(programs, [tests] * 3)

    with RemoteExecutor(RemoteConfig(served.url, timeout_s=1.0, **change)) as executor:
        there = executor.run_many(programs, [tests] * 3)

    assert [untimed(one) for one in there] == [untimed(one) for one in here]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"timeout_s": 1000.0},
            "refused the request .*1000.* Ask for less, or .* larger `--max-timeout-s`",
        ),
        ({"isolation": "none"}, "has no effect here: .* Leave it out, or start it with `--isolation none`"),
    ],
)
def test_limits_that_the_service_refuses_are_named_with_the_fix(served, change, words):
    with (
        RemoteExecutor(RemoteConfig(served.url, **change)) as executor,
        pytest.raises(SandboxError, match=words) as no,
    ):
        executor.run("print(1)", {"type": "stdio", "inputs": [""], "outputs": ["1"]})

    assert "address" not in str(no.value)


def test_selftest_passes_through_the_service(served, tmp_path):
    """Hostile and correct programs get their outcomes, messages and lines; all of them by `selftest --backend-url`."""
    cases = [case for kind in ("hostile", "correct") for case in load(kind)]
    names = [case.name for case in cases if not case.requirements.needs_own_worker][::60]
    with RemoteExecutor(RemoteConfig(served.url, num_workers=2)) as executor:
        report = run_selftest(executor, names, at_once=2)

    assert report.ok, report.findings
    assert len(names) > 5
    assert report.layers["seccomp"]


def test_any_execution_survives_json():
    tests = (
        TestResult(Outcome.PASSED, 0.5, output={("a", 1): {2.5, None}}),
        TestResult(Outcome.FAILED, 0.25, "wrong", 3, trusted=False, output=[Unserializable("Point")]),
        TestResult(Outcome.TIMEOUT),
    )
    execution = Execution(
        Outcome.TIMEOUT, tests, frozenset({1, 2}), frozenset({1, 2, 3}), 0.75, False, trace_lost=True
    )

    found = wire.execution_from_json(json.loads(json.dumps(wire.execution_to_json(execution))))

    assert repr(found) == repr(execution)


@pytest.mark.parametrize("given", [{}, {"tests": None}, {"tests": [{"outcome": "odd"}]}, {"tests": [], "colour": 1}])
def test_malformed_execution_raises(given):
    with pytest.raises(ValueError, match=r"malformed|odd"):
        wire.execution_from_json(given)


def test_tests_of_others_are_plain_json():
    assert wire.tests_from_json(SQUARE_TESTS) == SQUARE_TESTS
    assert wire.tests_from_json(json.loads(json.dumps(wire.tests_to_json(SQUARE_TESTS)))) == SQUARE_TESTS


def post(served: Served, body: Any) -> httpx2.Response:
    return httpx2.post(f"{served.url}/v1/problems", json=body, timeout=60)


def test_each_program_gets_a_line_whatever_the_others_are(served):
    body = {
        "tests": [HELLO_TESTS],
        "limits": {"timeout_s": 1.0},
        "problems": [
            {"program": "print(input())", "tests": 0},
            {"program": "print(input())", "tests": 1},
            {"program": "print(input())", "tests": {"type": "odd"}},
            {"program": "print(input())", "tests": json.dumps(HELLO_TESTS), "limits": {"trace": False}},
            {"program": 7, "tests": 0},
            {"program": "", "tests": 0, "limits": {"timeout_s": 1e9}},
            {"program": "", "tests": {**HELLO_TESTS, "memory_limit_bytes": 2**60}},
            {"program": "", "tests": 0, "limits": {"isolation": "none"}},
            {"program": "", "tests": 0, "limits": {"trace": 1}},
        ],
    }

    lines = [json.loads(line) for line in post(served, body).text.split("\n") if line]

    by_index = {line["index"]: line for line in lines}
    assert len(lines) == len(by_index) == len(body["problems"])
    assert by_index[0]["execution"]["outcome"] == by_index[3]["execution"]["outcome"] == "passed"
    assert by_index[0]["execution"]["executed_lines"] == [1]
    assert {line["why"] for index, line in by_index.items() if index not in (0, 3)} == {"bad_input"}
    assert "`limits.isolation`" in by_index[7]["error"]


def test_result_is_sent_before_slower_ones_end(served):
    slow = {"program": "import time\ntime.sleep(2)\nprint(input())", "tests": 0}
    body = {"tests": [HELLO_TESTS], "problems": [slow, {"program": "print(input())", "tests": 0}]}
    arrivals = []
    with httpx2.stream("POST", f"{served.url}/v1/problems", json=body, timeout=60) as answer:
        for line in answer.iter_lines():
            arrivals.append((json.loads(line)["index"], time.monotonic()))

    assert [index for index, _ in arrivals] == [1, 0]
    assert arrivals[1][1] - arrivals[0][1] > 1


@pytest.mark.parametrize(
    "body", [[], {}, {"problems": 1}, {"problems": [], "limits": 3}, {"problems": [], "tests": 3}]
)
def test_malformed_request_is_refused(served, body):
    answer = post(served, body)

    assert answer.status_code == 422
    assert answer.json()["detail"].endswith(".")


def test_body_that_is_no_json_is_refused(served):
    answer = httpx2.post(f"{served.url}/v1/problems", content=b"{", headers={"Content-Type": "application/json"})

    assert (answer.status_code, "not JSON" in answer.text) == (400, True)


def test_counters_are_read_by_prometheus(served):
    post(served, {"problems": [{"program": "print(input())", "tests": HELLO_TESTS}]})

    answer = httpx2.get(f"{served.url}/metrics")

    assert answer.headers["content-type"].startswith("text/plain")
    counters = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#"))
    assert float(counters['stepcoder_programs_total{outcome="passed",protocol="problems"}']) >= 1
    assert counters["stepcoder_workers"] == "2.0"
    assert counters["stepcoder_programs_waiting"] == "0.0"
