"""Test the log of the layers in force, and the error for a missing layer."""

from __future__ import annotations

import logging
import sys

import pytest

from stepcoder_trl.errors import IsolationError
from stepcoder_trl.executor import CodeExecutor, ExecutorConfig, announce
from stepcoder_trl.executor.local import server_process
from stepcoder_trl.executor.server.hardening.layers import LAYERS
from stepcoder_trl.types import Outcome


PROGRAM, TESTS = "print(7)", {"type": "stdio", "inputs": [""], "outputs": ["7"]}
WITHOUT_LANDLOCK = """
from stepcoder_trl.executor.server.hardening import landlock
def none(): raise OSError(38, "no such call")
landlock.kernel_version = none
"""
pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(sys.platform != "linux", reason="the fork server is made for Linux"),
]


@pytest.fixture(autouse=True)
def nothing_logged(monkeypatch, caplog):
    monkeypatch.setattr(announce, "_announced", {})
    caplog.set_level(logging.INFO, "stepcoder_trl.executor")


@pytest.fixture
def without_landlock(monkeypatch):
    original = server_process._bootstrap
    path = f"import sys; sys.path.insert(0, {str(server_process.Path(server_process.__file__).parents[3])!r})\n"
    monkeypatch.setattr(
        server_process, "_bootstrap", lambda *fds: path + WITHOUT_LANDLOCK + "sys.path.pop(0)\n" + original(*fds)
    )


def logged(caplog):
    return [(record.levelname, record.getMessage()) for record in caplog.records if "Sandbox" in record.getMessage()]


def test_complete_sandbox_gives_no_warning(caplog):
    names = [layer.name for layer in LAYERS]

    announce.announce(dict.fromkeys(names, True), {}, "auto")

    ((level, message),) = logged(caplog)
    assert level == "INFO"
    assert message.count("\n") == 0
    assert all(name in message for name in names)


def test_layers_are_logged_once_per_place(caplog):
    for where in ("", "", "http://there", "http://there"):
        announce.announce({"rlimits": True}, {}, "auto", where)

    assert [message.split(":")[0] for _, message in logged(caplog)] == ["Sandbox", "Sandbox at http"]


def test_warning_names_missing_layer_and_what_it_stops(caplog, without_landlock):
    for _ in range(2):
        with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
            assert executor.run(PROGRAM, TESTS).outcome is Outcome.PASSED
            assert executor.layers["landlock"] is False

    ((level, message),) = logged(caplog)
    assert level == "WARNING"
    assert (
        "Missing: landlock, against reading and changing files outside the program's own folder (no such call)"
        in message
    )
    assert "seccomp" in message.split("Missing")[0]


def test_strict_error_names_layer_and_fix(without_landlock):
    with CodeExecutor(ExecutorConfig(num_workers=1, isolation="strict")) as executor:
        with pytest.raises(IsolationError, match=r"`landlock`, against reading .*: use Linux 5\.13 or newer"):
            executor.run(PROGRAM, TESTS)


def test_isolation_none_gives_warning(caplog):
    with CodeExecutor(ExecutorConfig(num_workers=1, isolation="none")) as executor:
        executor.run(PROGRAM, TESTS)

    ((level, message),) = logged(caplog)
    assert level == "WARNING"
    assert "isolation is off" in message
