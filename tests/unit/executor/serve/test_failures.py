"""What the service and its client do when something ends: a worker, a host, the service, or the client's patience."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import httpx2
import pytest

from stepcoder_trl.errors import IsolationError, SandboxError
from stepcoder_trl.executor import RemoteConfig, RemoteExecutor
from stepcoder_trl.executor.remote.service import RemoteService
from stepcoder_trl.executor.serve.config import ServeConfig
from stepcoder_trl.executor.serve.main import _listen, where_it_listens
from stepcoder_trl.executor.wire.problems import PROTOCOL, TOKEN_VARIABLE
from stepcoder_trl.types import Outcome
from tests.unit.executor.serve.conftest import Served


pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(sys.platform != "linux", reason="the sandbox isolates programs on Linux alone"),
]

SLEEPER = "import time\ntime.sleep(0.1)\nprint(int(input()) + {0})"


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def test_nothing_is_lost_or_scored_wrongly_when_a_worker_and_a_host_are_killed():
    """Every third program is wrong by design, so a result of another program would be noticed."""
    first, second = Served("--workers", "2"), Served("--workers", "2")
    count = 60
    programs = [SLEEPER.format(index if index % 3 else -1) for index in range(count)]
    tests = [{"type": "stdio", "inputs": ["1"], "outputs": [str(1 + index)]} for index in range(count)]
    try:
        with RemoteExecutor(RemoteConfig([first.url, second.url], backoff_s=0.05)) as executor:
            futures = [executor.submit(*one) for one in zip(programs, tests, strict=True)]
            futures[5].result(timeout=60)
            os.kill(children_of(second.process.pid)[0], signal.SIGKILL)
            futures[15].result(timeout=60)
            first.kill()
            outcomes = [future.result(timeout=60).outcome for future in futures]
            again = executor.run(programs[1], tests[1]).outcome
    finally:
        first.process.wait()
        assert first.process.stderr is not None
        first.process.stderr.close()
        assert second.stop() == 0

    assert outcomes == [Outcome.PASSED if index % 3 else Outcome.FAILED for index in range(count)]
    assert again is Outcome.PASSED


def test_stopped_service_ends_what_runs_and_gives_back_the_rest(served):
    """The client takes what waits to another host, and nothing is run twice."""
    stopped = Served("--workers", "1")
    tests = {"type": "stdio", "inputs": ["1"], "outputs": ["1"]}
    program = "import time\ntime.sleep(0.5)\nprint(input())"
    with RemoteExecutor(RemoteConfig([stopped.url, served.url], backoff_s=0.05)) as executor:
        futures = [executor.submit(program, tests) for _ in range(12)]
        futures[0].result(timeout=60)
        status = stopped.stop()
        outcomes = {future.result(timeout=60).outcome for future in futures}

    assert status == 0
    assert outcomes == {Outcome.PASSED}
    assert not Path(f"/proc/{stopped.process.pid}").exists()


def test_stopped_service_without_another_is_an_error_and_no_score():
    stopped = Served("--workers", "1")
    config = RemoteConfig(stopped.url, max_attempts=2, backoff_s=0.05)
    with RemoteExecutor(config) as executor:
        tests = {"type": "stdio", "inputs": [""], "outputs": ["1"]}
        program = "import time\ntime.sleep(2)\nprint(1)"
        futures = [executor.submit(program, tests)]
        while not futures[0].running():
            time.sleep(0.01)
        time.sleep(0.5)  # the service runs it, and each request after it waits there
        futures += [executor.submit(program, tests) for _ in range(3)]
        time.sleep(0.5)
        stopped.stop()

        assert futures[0].result(timeout=60).outcome is Outcome.PASSED
        with pytest.raises(SandboxError, match=stopped.url):
            futures[3].result(timeout=60)


def test_programs_that_run_longer_than_a_stopped_service_waits_are_given_back():
    service = Served("--workers", "2", "--drain-s", "0.2")
    program = "import time\ntime.sleep(9)\nprint(1)"
    tests = {"type": "stdio", "inputs": [""], "outputs": ["1"], "timeout_s": 20}
    requests = [
        ("/run_code", {"code": program, "language": "python"}),
        ("/v1/problems", {"problems": [{"program": program, "tests": tests}]}),
    ]
    answers: dict[str, httpx2.Response] = {}

    def post(path: str, body: dict[str, object]) -> None:
        answers[path] = httpx2.post(f"{service.url}{path}", json=body, timeout=60)

    threads = [threading.Thread(target=post, args=request) for request in requests]
    for thread in threads:
        thread.start()
    while "stepcoder_programs_running 2.0" not in httpx2.get(f"{service.url}/metrics").text:
        time.sleep(0.05)
    status = service.stop()
    for thread in threads:
        thread.join()

    assert status == 0
    assert answers["/run_code"].status_code == 504
    assert answers["/v1/problems"].json()["why"] == "stopping"
    assert "Traceback" not in "".join(service.announced)


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_port_in_use_is_one_line(host, shown):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        taken = socket.create_server((host, 0), family=family)
    except OSError as error:
        pytest.skip(f"this machine has no {host}: {error}")
    with taken:
        port = taken.getsockname()[1]
        with pytest.raises(SandboxError) as caught:
            _listen(ServeConfig(host=host, port=port))

    assert str(caught.value) == (
        f"{shown}:{port}: the service cannot listen there (Address already in use). "
        "Choose another `--host` or `--port`."
    )


def test_overload_is_504_which_clients_try_again():
    busy = Served("--workers", "1", "--max-waiting", "1")
    body = {"code": "import time\ntime.sleep(1)", "language": "python"}
    statuses: list[int] = []

    def post() -> None:
        statuses.append(httpx2.post(f"{busy.url}/run_code", json=body, timeout=60).status_code)

    try:
        threads = [threading.Thread(target=post) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with RemoteExecutor(RemoteConfig(busy.url, backoff_s=0.05)) as executor:
            tests = {"type": "stdio", "inputs": [""], "outputs": ["1"]}
            outcomes = {one.outcome for one in executor.run_many(["print(1)"] * 4, [tests] * 4)}
    finally:
        busy.stop()

    assert set(statuses) == {200, 504}
    assert outcomes == {Outcome.PASSED}


def test_program_is_not_run_for_a_client_that_is_gone(tmp_path):
    service = Served("--workers", "1")
    sleep = {"code": "import time\ntime.sleep(1.5)", "language": "python"}
    try:
        threads = [
            threading.Thread(target=lambda: httpx2.post(f"{service.url}/run_code", json=sleep, timeout=60)),
        ]
        threads[0].start()
        time.sleep(0.5)
        with pytest.raises(httpx2.ReadTimeout):
            httpx2.post(f"{service.url}/run_code", json=sleep, timeout=0.3)
        threads[0].join()
        text = httpx2.get(f"{service.url}/metrics").text
    finally:
        service.stop()

    assert 'stepcoder_programs_total{outcome="given_back",protocol="run_code"} 1.0' in text
    assert 'stepcoder_programs_total{outcome="passed",protocol="run_code"} 1.0' in text


def test_token_is_asked_for(monkeypatch):
    service = Served("--workers", "1", token="secret")
    tests = {"type": "stdio", "inputs": [""], "outputs": ["1"]}
    try:
        paths = ("/healthz", "/v1/ping", "/metrics", "/v1/service")
        statuses = [httpx2.get(f"{service.url}{path}").status_code for path in paths]
        refused = httpx2.post(f"{service.url}/run_code", json={"code": "", "language": "python"}).status_code
        monkeypatch.setenv(TOKEN_VARIABLE, "wrong")
        with RemoteExecutor(RemoteConfig(service.url, backoff_s=0.05)) as executor:
            with pytest.raises(SandboxError, match=TOKEN_VARIABLE):
                executor.run("print(1)", tests)
        monkeypatch.setenv(TOKEN_VARIABLE, "secret")
        with RemoteExecutor(RemoteConfig(service.url)) as executor:
            outcome = executor.run("print(1)", tests).outcome
    finally:
        service.stop()

    assert statuses == [200, 200, 401, 401]
    assert refused == 401
    assert outcome is Outcome.PASSED
    assert "secret" not in "".join(service.announced)


def test_service_that_lacks_a_layer_is_refused_where_all_are_asked_for(monkeypatch):
    answer = {
        "service": "stepcoder-trl",
        "protocol": PROTOCOL,
        "workers": 1,
        "max_programs": 1,
        "max_body_bytes": 1,
        "layers": {"seccomp": False},
        "missing": {"seccomp": "system calls"},
    }
    monkeypatch.setattr("stepcoder_trl.executor.remote.client.ServiceClient.probe", lambda self, path: (200, answer))

    with pytest.raises(IsolationError, match="seccomp"):
        RemoteService("http://sandbox", RemoteConfig("http://sandbox", isolation="strict")).connect()


def test_who_listens_to_others_says_so(served):
    private, public, guarded = (
        where_it_listens(ServeConfig(host=host, token=token), 8080)
        for host, token in (("127.0.0.1", ""), ("0.0.0.0", ""), ("::", "secret"))
    )

    assert "127.0.0.1" in served.announced[0]
    assert "Only this machine" in private[1]
    assert "WARNING" in public[1]
    assert TOKEN_VARIABLE in public[1]
    assert guarded[0] == "Serving the sandbox on http://[::]:8080."
    assert "with the token" in guarded[1]
