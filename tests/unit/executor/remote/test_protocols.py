"""What our client sends, and how it reads refusals: no process, no network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from stepcoder_trl.errors import SandboxError
from stepcoder_trl.executor.remote.client import ServiceClient, TemporaryFailure
from stepcoder_trl.executor.remote.config import RemoteConfig
from stepcoder_trl.executor.remote.dispatch import Item
from stepcoder_trl.executor.remote.ours import OwnProtocol, Room
from stepcoder_trl.executor.remote.service import RemoteService
from stepcoder_trl.executor.verdict.limits import Limits
from stepcoder_trl.executor.verdict.schema import Tests


TESTS = Tests.parse({"type": "stdio", "inputs": [""], "outputs": ["1"]})


class Recorder(ServiceClient):
    """Client that records the sizes of its requests. Each program fails in the service."""

    def __init__(self) -> None:
        super().__init__("http://sandbox")
        self.sent: list[int] = []

    def post_for_lines(self, path: str, body: bytes, timeout_s: float) -> Iterator[dict[str, Any]]:
        programs = json.loads(body)["problems"]
        self.sent.append(len(programs))
        yield from ({"index": index, "error": "no", "why": "sandbox"} for index in range(len(programs)))


@pytest.fixture
def client() -> Iterator[Recorder]:
    one = Recorder()
    yield one
    one.close()


@pytest.mark.parametrize(
    ("workers", "programs", "lanes", "batch"),
    [(1, 2, 2, 1), (1, 4097, 3, 8), (16, 4112, 8, 8), (128, 4224, 8, 32), (2, 10, 3, 3), (1, 1, 1, 1)],
)
def test_requests_together_never_have_more_programs_than_a_service_takes(workers, programs, lanes, batch, client):
    protocol = OwnProtocol(client, Room(workers, programs, 2**26), Limits(), num_requests=8, silence_s=1.0)

    assert (protocol.lanes, protocol.max_batch) == (lanes, batch)
    assert lanes * batch <= programs


def test_requests_are_split_to_the_size_that_a_service_takes(client):
    protocol = OwnProtocol(client, Room(2, 4098, 2000), Limits(), num_requests=8, silence_s=1.0)
    items = [Item("#" * size, TESTS, None) for size in (1100, 1100, 3000, 10)]

    results = dict(protocol.run(items))

    assert client.sent == [1, 1, 1]
    assert isinstance(results[items[0]], TemporaryFailure)
    assert isinstance(results[items[2]], SandboxError)
    assert "but the service takes 2000. Start it with a larger `--max-body-mb`" in str(results[items[2]])
    assert len(results) == 4


@pytest.mark.parametrize(
    ("status", "headers", "is_busy", "wait_s"),
    [
        (429, {}, True, None),
        (429, {"Retry-After": "3"}, True, 3.0),
        (504, {"Retry-After": "1"}, True, 1.0),
        (504, {}, False, None),
        (503, {"Retry-After": "1"}, False, 1.0),
        (500, {}, False, None),
    ],
)
def test_overload_is_no_failure(status, headers, is_busy, wait_s):
    client = ServiceClient("http://sandbox")
    client._client = httpx2.Client(
        base_url="http://sandbox",
        transport=httpx2.MockTransport(lambda _: httpx2.Response(status, headers=headers, text="not now")),
    )

    with pytest.raises(TemporaryFailure, match=f"answered {status} .not now.") as caught:
        client.post("/run_code", {}, 1.0)

    client.close()
    assert (caught.value.is_busy, caught.value.wait_s) == (is_busy, wait_s)


def test_service_of_another_release_is_refused(monkeypatch):
    """The first release said neither how many programs nor how large requests it takes."""
    answer = {"service": "stepcoder-trl", "protocol": 1, "workers": 1, "layers": {}, "missing": {}}
    monkeypatch.setattr(ServiceClient, "probe", lambda self, path: (200, answer))

    with pytest.raises(SandboxError, match=r"another release .protocol 1, here 2.. Install the same release"):
        RemoteService("http://sandbox", RemoteConfig("http://sandbox")).connect()
