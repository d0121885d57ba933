"""Requests that are refused, and errors of the service itself: no process, no network."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from stepcoder_trl.cli.main import main
from stepcoder_trl.errors import BadInputError


pytest.importorskip("starlette", reason="the extra `serve` is not installed")
httpx2 = pytest.importorskip("httpx2", reason="the extra `serve` is not installed")

from stepcoder_trl.executor.serve.app import make_app  # noqa: E402
from stepcoder_trl.executor.serve.config import ServeConfig  # noqa: E402
from stepcoder_trl.executor.serve.service import SandboxService  # noqa: E402
from stepcoder_trl.executor.verdict.limits import Limits  # noqa: E402
from stepcoder_trl.executor.verdict.schema import Tests  # noqa: E402


HELLO_TESTS = {"type": "stdio", "inputs": ["a"], "outputs": ["a"]}
SMALL = ServeConfig(max_body_bytes=1000, max_bodies_bytes=1500, max_waiting=2)


def make_service(config: ServeConfig = SMALL) -> SandboxService:
    """Return a service whose sandbox is not started."""
    service = SandboxService(config)
    service.workers, service.max_programs = 2, 4
    return service


def with_client(service: SandboxService, talk: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
    async def run() -> Any:
        transport = httpx2.ASGITransport(make_app(service), raise_app_exceptions=True)
        async with httpx2.AsyncClient(transport=transport, base_url="http://sandbox", timeout=10) as client:
            return await talk(client)

    return asyncio.run(run())


def problems(count: int) -> dict[str, Any]:
    return {"problems": [{"program": "", "tests": 0}] * count, "tests": [HELLO_TESTS]}


def test_bodies_of_all_requests_together_are_bounded():
    """The second request has room for its body alone, but not beside the first one, which is not answered yet."""
    service = make_service()
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def body() -> Any:
        yield b" " * 100
        arrived.set()
        await go_on.wait()
        yield json.dumps({"problems": []}).encode()

    async def talk(client: Any) -> Any:
        headers = {"Content-Type": "application/json"}
        first = asyncio.ensure_future(client.post("/v1/problems", content=body(), headers=headers))
        await arrived.wait()
        second = await client.post("/v1/problems", content=b" " * 501, headers=headers)
        small = await client.get("/v1/ping")
        go_on.set()
        return await first, second, small, await client.post("/v1/problems", json=problems(0))

    first, second, small, after = with_client(service, talk)

    assert [one.status_code for one in (first, second, small, after)] == [200, 504, 200, 200]
    assert second.headers["Retry-After"] == "1"
    assert "1000 bytes, of 1500" in second.json()["detail"]
    assert 'stepcoder_requests_total{path="/v1/problems",status="504"} 1.0' in service.metrics.text().decode()


def test_too_large_body_is_refused_before_it_is_read():
    def never() -> Any:
        raise AssertionError("the body was read")

    async def app_call() -> list[Any]:
        sent = []
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/elsewhere",
            "query_string": b"",
            "headers": [(b"content-length", b"1001")],
        }

        async def send(message: Any) -> None:
            sent.append(message)

        await make_app(make_service())(scope, never, send)
        return sent

    sent = asyncio.run(app_call())

    assert sent[0]["status"] == 413
    assert "`--max-body-mb`" in json.loads(sent[1]["body"])["detail"]


@pytest.mark.parametrize(("count", "status"), [(5, 413), (4, 200)])
def test_request_that_never_has_room_is_not_told_to_come_again(count, status, monkeypatch):
    async def run(self: SandboxService, asked: Any) -> Any:
        raise BadInputError("not run here")

    monkeypatch.setattr(SandboxService, "run_problem", run)

    answer = with_client(make_service(), lambda client: client.post("/v1/problems", json=problems(count)))

    assert answer.status_code == status
    if status == 413:
        assert answer.json()["detail"].startswith("The request has 5 programs, but this service takes 4 at a time.")
        assert "Retry-After" not in answer.headers


def test_unexpected_error_of_one_program_is_its_line_and_no_outcome(monkeypatch, caplog):
    async def run(self: SandboxService, asked: Any) -> Any:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(SandboxService, "run_problem", run)

    with caplog.at_level(logging.ERROR):
        answer = with_client(make_service(), lambda client: client.post("/v1/problems", json=problems(3)))

    lines = [json.loads(line) for line in answer.text.split("\n") if line]
    assert sorted(line["index"] for line in lines) == [0, 1, 2]
    assert {line["why"] for line in lines} == {"sandbox"}
    assert all("ZeroDivisionError" in line["error"] and "execution" not in line for line in lines)
    assert caplog.text.count("ZeroDivisionError: a defect") == 1


@pytest.mark.parametrize(
    ("path", "part"), [("/v1/problems", "parse_problems"), ("/run_code", "run_code.parse_request")]
)
def test_unexpected_error_of_a_request_is_500_and_the_service_goes_on(path, part, monkeypatch, caplog):
    def fail(*_: Any) -> Any:
        raise ZeroDivisionError("a defect")

    async def talk(client: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(f"stepcoder_trl.executor.serve.app.{part}", fail)
            failed = await client.post(path, json=problems(1))
        return failed, await client.get("/healthz")

    with caplog.at_level(logging.ERROR):
        failed, health = with_client(make_service(), talk)

    assert failed.status_code == 500
    assert "ZeroDivisionError" in failed.json()["detail"]
    assert "\n" not in failed.text
    assert health.status_code == 200
    assert caplog.text.count("ZeroDivisionError: a defect") == 1


@pytest.mark.parametrize(
    "limits",
    [
        {"program_timeout_s": 3601},
        {"program_timeout_s": math.nan},
        {"memory_limit_bytes": math.nan},
        {"memory_limit_bytes": math.inf},
        {"timeout_s": 301},
        {"timeout_s": None},
        {"float_tolerance": True},
    ],
)
def test_limits_beyond_those_of_the_service_are_refused(limits):
    with pytest.raises(BadInputError):
        make_service(ServeConfig()).bounds.limits(limits, Limits())


@pytest.mark.parametrize("tests", [{"timeout_s": 301}, {"memory_limit_bytes": 2**40}])
def test_limits_of_tests_are_bounded_in_every_form(tests):
    """Tests may come as JSON text, too."""

    async def talk(client: Any) -> Any:
        given = {**HELLO_TESTS, **tests}
        body = {"problems": [{"program": "", "tests": one} for one in (given, json.dumps(given))]}
        return await client.post("/v1/problems", json=body)

    answer = with_client(make_service(ServeConfig()), talk)

    assert [json.loads(line)["why"] for line in answer.text.split("\n") if line] == ["bad_input"] * 2


@pytest.mark.parametrize(
    ("program_timeout_s", "count", "expected"),
    [(math.inf, 2, math.inf), (math.inf, 20, 3600.0), (None, 20, None), (7.0, 20, 7.0)],
)
def test_program_without_a_limit_has_that_of_the_service(program_timeout_s, count, expected):
    tests = Tests.parse({"type": "stdio", "inputs": [""] * count, "outputs": [""] * count})
    limits = Limits(timeout_s=300.0, program_timeout_s=program_timeout_s)

    assert make_service(ServeConfig()).bounds.of_tests(tests, limits).program_timeout_s == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"max_bodies_bytes": 10 * 2**20},
            "`--max-bodies-mb` is 10 MiB, but must be at least `--max-body-mb`, which is 64.",
        ),
        (
            {"max_timeout_s": 4000.0, "max_program_timeout_s": 3600.0},
            "`--max-program-timeout-s` is 3600 seconds, but must be at least `--max-timeout-s`, which is 4000.",
        ),
        (
            {"max_memory_bytes": 100 * 2**20},
            "`--max-memory-mb` is 100 MiB, but must be at least `--memory-mb`, which is 512.",
        ),
    ],
)
def test_limits_that_contradict_each_other_are_refused(change, words):
    with pytest.raises(BadInputError, match=words):
        ServeConfig(**change)


@pytest.mark.parametrize(
    ("flags", "bodies_mb", "program_s"),
    [
        ([], 512, 3600),
        (["--max-body-mb", "1024", "--max-timeout-s", "7200"], 1024, 7200),
        (["--max-bodies-mb", "100", "--max-program-timeout-s", "400"], 100, 400),
    ],
)
def test_limits_of_all_together_are_at_least_those_of_one(flags, bodies_mb, program_s, monkeypatch):
    configs: list[ServeConfig] = []
    monkeypatch.setattr("stepcoder_trl.executor.serve.main.serve", lambda config, announce: configs.append(config))

    with pytest.raises(SystemExit) as end:
        main(["serve", *flags])

    bounds = SandboxService(configs[0]).bounds
    assert end.value.code == 0
    assert (configs[0].bodies_bytes, bounds.max_program_timeout_s) == (bodies_mb * 2**20, program_s)
