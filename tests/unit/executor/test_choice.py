"""The option `executor`: which executor is made, and what is refused before anything runs."""

from __future__ import annotations

import sys

import httpx2
import pytest

from stepcoder_trl.errors import BadInputError, SandboxError
from stepcoder_trl.executor import CodeExecutor, ExecutorConfig, RemoteExecutor
from stepcoder_trl.executor.choice import ExecutorChoice
from stepcoder_trl.executor.remote.config import RemoteConfig
from stepcoder_trl.executor.remote.probe import refusals


URL = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("executor", "urls", "made"),
    [
        (None, (), CodeExecutor),
        ("local", (), CodeExecutor),
        (None, (URL,), RemoteExecutor),
        ("remote", (URL,), RemoteExecutor),
    ],
)
def test_the_option_names_an_executor(executor, urls, made):
    with ExecutorChoice(executor=executor, urls=urls).open() as backend:
        assert type(backend) is made


def test_a_remote_executor_gets_limits_and_number_of_workers():
    config = ExecutorConfig(num_workers=3, timeout_s=0.7, trace=False)

    with ExecutorChoice(config, urls=(URL,)).open() as backend:
        found = backend.config

    assert (found.num_workers, found.timeout_s, found.trace) == (3, 0.7, False)


def test_a_remote_executor_has_its_own_number_of_workers_where_none_is_given():
    with ExecutorChoice(urls=(URL,)).open() as backend, RemoteExecutor(URL) as plain:
        assert backend.config == plain.config


@pytest.mark.parametrize(
    ("executor", "urls", "message"),
    [
        ("remote", (), "`executor_urls` is missing"),
        ("local", (URL,), "no use for `executor_urls`"),
        ("ray", (URL,), "no use for `executor_urls`"),
        ("remotely", (), "must be one of local, remote, ray"),
        (None, ("sandbox:8080",), "must be an address"),
    ],
)
def test_contradictions_are_refused_in_one_line(executor, urls, message):
    with pytest.raises(BadInputError, match=message) as refused:
        ExecutorChoice(executor=executor, urls=urls)

    assert "\n" not in str(refused.value)


def test_a_host_that_does_not_answer_is_named(monkeypatch, caplog):
    found = {"http://a": "", "http://b": "refused"}
    monkeypatch.setattr("stepcoder_trl.executor.remote.probe.refusals", lambda config: found)
    choice = ExecutorChoice(urls=tuple(found))

    choice.probe()
    found["http://a"] = "refused, too"

    assert [record.message for record in caplog.records] == [
        "No sandbox can be used at http://b (refused). The other hosts get all programs."
    ]
    with pytest.raises(SandboxError, match=r"at http://a \(refused, too\), http://b \(refused\)\. Run `stepcoder"):
        choice.probe()
    ExecutorChoice().probe()


def test_hosts_are_asked_without_running_a_program():
    with pytest.raises(SandboxError, match=rf"{URL} \(the request failed \(ConnectError.*refused"):
        ExecutorChoice(urls=(URL,)).probe()


@pytest.mark.parametrize(
    ("status", "headers", "refusal"),
    [(429, {}, ""), (504, {"Retry-After": "1"}, ""), (504, {}, "the service answered 504"), (200, {}, "")],
)
def test_a_host_that_is_busy_can_be_used(status, headers, refusal, monkeypatch):
    def connection(**settings):
        answer = httpx2.Response(status, headers=headers, text="")
        return plain(base_url=URL, transport=httpx2.MockTransport(lambda request: answer))

    plain = httpx2.Client
    monkeypatch.setattr(httpx2, "Client", connection)

    assert refusals(RemoteConfig(URL)) == {URL: refusal}


def test_a_missing_package_is_named_before_anything_runs(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed

    with pytest.raises(BadInputError, match=r"pip install 'stepcoder-trl\[ray\]'"):
        ExecutorChoice(executor="ray")
