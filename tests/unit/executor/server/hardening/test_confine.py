"""Layers that are in force, by isolation setting and system."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from stepcoder_trl.executor.server.hardening.confine import prepare
from stepcoder_trl.executor.server.hardening.layers import LAYERS
from tests.unit.executor.server.hardening.probes import run_server


pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(sys.platform != "linux", reason="the layers are made for Linux"),
]

PROBES: dict[str, str] = {}


def test_all_layers_are_in_force_under_strict(confined):
    assert confined["missing"] == {}
    assert set(confined["layers"].values()) == {True}


def test_strict_names_what_is_missing(outside):
    answer = run_server({}, outside, isolation="strict", landlock=False)

    assert answer["raised"] == "IsolationUnavailable"
    assert "`landlock`, which stops reading and changing files outside" in answer["message"]


def test_none_keeps_limits_and_session(outside):
    probes = {
        "read a file": "value = open(outside + '/token').read()",
        "memory": "bytearray(600 * 2**20)",
        "session": "value = os.getsid(0) == os.getpid()",
    }

    answer = run_server(probes, outside, isolation="none")

    assert [layer for layer, in_force in answer["layers"].items() if in_force] == ["rlimits", "session"]
    assert list(answer["results"].values()) == [{"value": "secret"}, {"error": "MemoryError"}, {"value": True}]


def test_other_systems_have_limits_and_sessions_only(tmp_path):
    code = "import ctypes, json, sys; sys.platform = 'darwin'; "
    code += "from stepcoder_trl.executor.server.hardening import confine; "
    code += f"p = confine.prepare(base={str(tmp_path)!r}, readable=[], isolation='auto'); print(json.dumps(p.layers))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == {layer.name: layer.name in ("rlimits", "session") for layer in LAYERS}


def test_unknown_isolation_is_refused(tmp_path):
    with pytest.raises(ValueError, match='`isolation` is \'some\', but must be "auto", "strict" or "none"'):
        prepare(base=str(tmp_path), readable=[], isolation="some")


def test_whole_file_system_is_not_readable(tmp_path):
    with pytest.raises(ValueError, match="root folder"):
        prepare(base=str(tmp_path), readable=["/usr/.."], isolation="none")
