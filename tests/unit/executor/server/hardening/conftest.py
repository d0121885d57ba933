"""Folder that programs must not reach, and the results of a module's probes under all layers."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.executor.server.hardening.probes import Answer, Outside, missing_layers, run_server


NOBODY = 65534


@pytest.fixture(scope="module")
def outside() -> Iterator[Outside]:
    with tempfile.TemporaryDirectory(prefix="outside") as folder:
        path = Path(folder)
        (path / "token").write_text("secret")
        (path / "folder").mkdir()
        for entry in (path, path / "token", path / "folder"):
            entry.chmod(0o777)
        yield Outside(path)


@pytest.fixture(scope="module", params=["as it is", "as nobody"])
def confined(request: pytest.FixtureRequest, outside: Outside) -> Answer:
    """Results of the module's `PROBES` under all layers, once as the user of the tests and once as nobody."""
    if missing := missing_layers():
        pytest.skip(f"this machine lacks {missing}")
    uid = None
    if request.param == "as nobody":
        if os.geteuid() != 0:
            pytest.skip("only root can become another user")
        uid = NOBODY
    before = outside.state()
    answer = run_server(request.module.PROBES, outside, uid=uid)
    answer["outside unchanged"] = before == outside.state()
    return answer
