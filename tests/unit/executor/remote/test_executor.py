"""Test the remote backend against a small server with the same interface."""

from __future__ import annotations

import json
import os
import pickle
import random
import sys
import threading
from collections.abc import Iterator

import pytest

from stepcoder_trl.cli.main import main
from stepcoder_trl.errors import BadInputError, SandboxError
from stepcoder_trl.executor.remote.bundle import server_script
from stepcoder_trl.executor.remote.config import RemoteConfig
from stepcoder_trl.executor.remote.executor import RemoteExecutor
from stepcoder_trl.executor.remote.fusion import _unpacked
from stepcoder_trl.executor.selftest import load, run_selftest
from stepcoder_trl.executor.server.once import MAX_REPORT_CHARACTERS, report_text
from stepcoder_trl.executor.verdict import prepare
from stepcoder_trl.executor.wire.problems import TOKEN_VARIABLE
from stepcoder_trl.types import Outcome
from tests.unit.executor.remote.run_code_server import RunCodeServer


pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(sys.platform != "linux", reason="the server under test runs the fork server"),
]

SQUARE = "def f(x):\n    if x < 0:\n        return 0\n    return x * x\n"
SQUARE_TESTS = {"type": "call", "fn_name": "f", "inputs": [[2], [3]], "outputs": [4, 9]}
HELLO_TESTS = {"type": "stdio", "inputs": ["", ""], "outputs": ["secret-1\n", "secret-2\n"]}


@pytest.fixture(scope="module")
def service() -> Iterator[RunCodeServer]:
    service = RunCodeServer()
    yield service
    service.stop()


@pytest.fixture
def remote(service: RunCodeServer) -> Iterator[RemoteExecutor]:
    service.script.clear()
    service.requests.clear()
    with RemoteExecutor(RemoteConfig(service.url, num_workers=2, max_attempts=3, backoff_s=0.01)) as executor:
        yield executor
    service.script.clear()


@pytest.mark.parametrize(
    ("program", "tests"),
    [
        (SQUARE, SQUARE_TESTS),
        (SQUARE, {"type": "assert", "setup": "", "asserts": ["assert f(2) == 5", "assert f(-1) == 0"]}),
        ("print(input())\nraise KeyError('x')\n", {"type": "stdio", "inputs": ["a"], "outputs": ["a"]}),
        (
            "import sys\nif 0:\n    print()\nprint(1)\nsys.exit(3)\n",
            {"type": "stdio", "inputs": [""], "outputs": ["1"]},
        ),
        ("def f(:\n", SQUARE_TESTS),
        ("def f(x):\n    while True:\n        pass\n", {**SQUARE_TESTS, "timeout_s": 0.3}),
        ("def f(x):\n    return bytearray(10**12)\n", SQUARE_TESTS),
        ("import os\ndef f(x):\n    os._exit(0)\n", SQUARE_TESTS),
        ("def f(x):\n    return [\u00e4\n", SQUARE_TESTS),
        ("print('\\ud800')\n", HELLO_TESTS),
    ],
)
def test_remote_results_equal_local_results(remote, executor, program, tests):
    there, here = remote.run(program, tests), executor.run(program, tests)

    assert there.outcome is here.outcome
    assert [test.outcome for test in there.tests] == [test.outcome for test in here.tests]
    assert [test.trusted for test in there.tests] == [test.trusted for test in here.tests]
    assert there.executed_lines == here.executed_lines
    assert there.kept_lines == here.kept_lines


def test_expected_outputs_are_not_sent(remote, service):
    remote.run("print('hello')", HELLO_TESTS)
    remote.run(SQUARE, {**SQUARE_TESTS, "outputs": [271828, 271828]})

    sent = json.dumps(service.requests)
    assert "secret" not in sent
    assert "271828" not in sent


def test_corpus_gets_expected_outcomes(remote):
    # Without an examiner, a check runs with the program, which may read what it expects. Its pass is untrusted.
    cases = [case for kind in ("hostile", "correct") for case in load(kind) if "setup" not in case.tests]
    # Services return about one megabyte of output.
    names = ["temporary_files", *(case.name for case in cases[::90] if "large_output" not in case.name)]

    report = run_selftest(remote, names, at_once=2)

    assert report.ok, report.findings
    assert "leftovers" not in report.checked


def test_layers_are_reported_by_service(remote, executor):
    assert remote.layers == executor.layers
    assert remote.missing_layers == executor.missing_layers


def test_tests_after_first_failure_count_as_not_run(service):
    config = RemoteConfig(service.url, stop_on_first_failure=True)
    with RemoteExecutor(config) as executor:
        execution = executor.run(SQUARE, {**SQUARE_TESTS, "inputs": [[2], [3], [4]], "outputs": [4, 0, 16]})

    assert [test.outcome for test in execution.tests] == [Outcome.PASSED, Outcome.FAILED, Outcome.FAILED]
    assert execution.tests[2].message == "not run"


@pytest.mark.parametrize(
    "trouble", [503, 429, 500, "garbage", "list", "drop", "sandbox_error", "no_report", "cut", "disk_full"]
)
def test_temporary_failure_is_retried(remote, service, trouble):
    service.script += [trouble]

    assert remote.run(SQUARE, SQUARE_TESTS).outcome is Outcome.PASSED
    assert len(service.requests) == 2


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (503, "answered 503 .not now., 3 times"),
        ("garbage", "is not JSON"),
        ("list", "not a JSON object"),
        ("drop", "the request failed"),
        ("sandbox_error", "out of pods"),
        (404, "answered 404 .*Check the address"),
        (401, TOKEN_VARIABLE),
    ],
)
def test_permanent_failure_raises_and_names_address(remote, service, trouble, words):
    service.script += [trouble] * 4

    with pytest.raises(SandboxError, match=words) as caught:
        remote.run(SQUARE, SQUARE_TESTS)

    assert f"{service.url}/run_code" in str(caught.value)


def test_program_without_report_is_worker_lost_if_others_pass(remote, service):
    service.script += ["no_report", "cut"]  # then the canary runs

    execution = remote.run(SQUARE, SQUARE_TESTS)

    assert execution.outcome is Outcome.RUNTIME_ERROR
    assert {test.message for test in execution.tests} == {"worker lost"}
    assert execution.kept_lines == {1, 2, 3, 4}


def test_service_without_any_report_raises(remote, service):
    service.script += ["no_report"] * 5

    with pytest.raises(SandboxError, match="there was no report"):
        remote.run(SQUARE, SQUARE_TESTS)


def test_hanging_service_times_out(service, monkeypatch):
    monkeypatch.setattr(prepare, "SERVER_SLACK_S", 0.0)
    service.script += ["hang"] * 2
    config = RemoteConfig(service.url, timeout_s=0.001, max_attempts=2, backoff_s=0.01, queue_timeout_s=0.1)

    with RemoteExecutor(config) as executor, pytest.raises(SandboxError, match=r"the request failed .*2 times"):
        executor.run(SQUARE, SQUARE_TESTS)


def test_close_aborts_running_requests(remote, service):
    service.script += ["hang"] * 2
    futures = [remote.submit(SQUARE, SQUARE_TESTS) for _ in range(5)]
    arrived = threading.Event()
    while len(service.requests) < 2:
        arrived.wait(0.01)

    remote.close()
    remote.close()

    assert all(future.done() for future in futures)
    assert all(future.cancelled() or isinstance(future.exception(), SandboxError) for future in futures)
    with pytest.raises(SandboxError, match="closed"):
        remote.submit(SQUARE, SQUARE_TESTS)


def test_connection_is_reused(service):
    before = service.connections
    with RemoteExecutor(RemoteConfig(service.url, num_workers=1)) as executor:
        executor.run_many([SQUARE] * 3, [SQUARE_TESTS] * 3)

    assert service.connections == before + 1


def test_forked_process_opens_new_connections(remote):
    remote.run(SQUARE, SQUARE_TESTS)

    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if remote.run(SQUARE, SQUARE_TESTS).outcome is Outcome.PASSED else 2
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)

    assert status == 0
    assert remote.run(SQUARE, SQUARE_TESTS).outcome is Outcome.PASSED


def test_pickled_executor_has_same_settings(remote):
    with pickle.loads(pickle.dumps(remote)) as copy:
        assert copy.config == remote.config


def test_token_is_read_from_environment(remote, service, monkeypatch):
    monkeypatch.setenv(TOKEN_VARIABLE, "abc")

    remote.run(SQUARE, SQUARE_TESTS)

    assert service.headers[-1]["Authorization"] == "Bearer abc"


def test_unreachable_service_raises_and_names_address():
    with RemoteExecutor(RemoteConfig("http://127.0.0.1:9", max_attempts=2, backoff_s=0.01)) as executor:
        with pytest.raises(SandboxError, match=r"http://127.0.0.1:9/run_code: the request failed .*refused"):
            executor.run(SQUARE, SQUARE_TESTS)


@pytest.mark.parametrize("url", ["sandbox", "ftp://sandbox", "http://", "http://sandbox:99999", "http://[::1"])
def test_invalid_address_raises(url):
    with pytest.raises(BadInputError, match="http://sandbox:8080"):
        RemoteConfig(url)


def test_positional_settings_have_a_fixed_order():
    config = RemoteConfig("http://sandbox", 1, 2.0, 3.0, 2**30, "none", True, 0.5, True, False, False, 4, 0.25, 5.0)

    assert config == RemoteConfig(
        url="http://sandbox",
        num_workers=1,
        timeout_s=2.0,
        program_timeout_s=3.0,
        memory_limit_bytes=2**30,
        isolation="none",
        stop_on_first_failure=True,
        float_tolerance=0.5,
        fresh_process_per_test=True,
        trace=False,
        keep_outputs=False,
        max_attempts=4,
        backoff_s=0.25,
        queue_timeout_s=5.0,
    )


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{}],
        [{"layers": {}, "missing": {}}],
        [{"layers": {}, "missing": {}}, {"tests": [{}], "lines": [1], "cpu_s": 0}],
        [{"layers": {}, "missing": {}}, {"tests": [{}, {}], "lines": ["1"], "cpu_s": 0}],
        [{"layers": {}, "missing": {}}, {"tests": [{}, {}], "lines": [1], "cpu_s": -1}],
        [{"layers": {}, "missing": {}}, {"tests": [{}, {}], "lines": [1], "cpu_s": "x"}],
        [{"layers": {}, "missing": {}}, [1]],
    ],
)
def test_malformed_report_raises(messages):
    with pytest.raises((ValueError, KeyError, TypeError, IndexError)):
        _unpacked(report_text(messages), 2)


def test_too_long_report_drops_longest_output():
    noise = random.Random(0).randbytes(MAX_REPORT_CHARACTERS).hex()
    messages = [{}, {"tests": [{"output": "7", "cpu_s": 0.5}, {"output": noise, "cpu_s": 0.25}]}]

    text = report_text(messages)

    assert len(text) <= MAX_REPORT_CHARACTERS
    assert messages[1]["tests"][0] == {"output": "7", "cpu_s": 0.5}
    assert messages[1]["tests"][1]["cpu_s"] == 0.25
    assert "more than the remote sandbox" in messages[1]["tests"][1]["error"]


def test_script_is_small_ascii():
    script = server_script()

    assert script.isascii()
    assert len(script) < 120_000  # Linux takes up to 131,072 bytes as one argument


def test_selftest_command_tests_service(service, tmp_path):
    out = tmp_path / "report.json"

    with pytest.raises(SystemExit) as end:
        main(["selftest", "--backend-url", service.url, "--only", "call_long_integers", "--out", str(out)])

    assert end.value.code == 0
    assert json.loads(out.read_text())["checked"] == ["outcomes", "messages", "lines"]


def test_execute_command_uses_service(service, tmp_path):
    rows, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows.write_text(json.dumps({"id": 1, "program": SQUARE, "tests": SQUARE_TESTS}) + "\n")
    service.requests.clear()

    with pytest.raises(SystemExit) as end:
        main(["execute", str(rows), "--out", str(out), "--backend-url", service.url])

    assert end.value.code == 0
    assert json.loads(out.read_text())["outcome"] == "passed"
    assert len(service.requests) == 1
