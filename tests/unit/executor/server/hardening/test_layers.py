"""Limits, sessions and the server's own state; each layer has its row in the docs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from stepcoder_trl.executor.server.hardening import threads
from stepcoder_trl.executor.server.hardening.layers import LAYERS, SOFT_SIGNAL
from stepcoder_trl.executor.server.hardening.threads import limit_for
from tests.unit.executor.server.hardening.conftest import NOBODY
from tests.unit.executor.server.hardening.probes import PROBE_SERVER, missing_layers, request_of, run_server


pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(sys.platform != "linux", reason="the layers are made for Linux"),
]

LIMIT_PROBES = {
    "memory": ("bytearray(600 * 2**20)", {"error": "MemoryError"}),
    "file size": ("open('big', 'wb', 0).write(bytes(2**20)); open('big', 'ab', 0).write(b'1')", {"error": "EFBIG"}),
    "sparse file": ("open('big', 'wb').truncate(2**21)", {"error": "EFBIG"}),
    "descriptors": ("while True: os.dup(0)", {"error": "EMFILE"}),
    "file size at a distance": ("os.pwrite(os.open('big', 66), b'1', 2**20)", {"error": "EFBIG"}),
    "space for a large file": ("os.posix_fallocate(os.open('big', 66), 0, 2**20 + 1)", {"error": "EFBIG"}),
    "file size by copying": (
        "source = os.open('/dev/zero', 0); os.sendfile(os.open('big', 66), source, None, 2**20)\n"
        "os.pwrite(os.open('big', 66), b'1', 2**20)",
        {"error": "EFBIG"},
    ),
    "memory in small pieces": ("pieces = []\nwhile True: pieces.append(bytearray(2**16))", {"error": "MemoryError"}),
    "shared memory": ("mmap.mmap(-1, 600 * 2**20)", {"error": "ENOMEM"}),
    "high descriptor": ("os.dup2(0, 64)", {"error": "EBADF"}),
}
ENDLESS_PROBES = {
    "endless loop": ("while True: pass", {"signal": "SIGXCPU"}),
    "endless loop that ignores the signal": (
        "signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
        {"signal": "SIGKILL"},
    ),
}
PROBES = {name: code for name, (code, _) in LIMIT_PROBES.items()}


HOG = """
threading.stack_size(2**15)
threads, ended = [], threading.Event()
try:
    while len(threads) < 3000:
        threads.append(threading.Thread(target=ended.wait)); threads[-1].start()
except RuntimeError:
    pass
value = len(threads) - 1
ended.set()
"""


@pytest.mark.parametrize(("processes", "fewest", "most"), [(None, 200, 520), (400, 200, 336)])
def test_threads_of_a_program_leave_room_for_neighbours(outside, processes, fewest, most):
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")

    answer = run_server({"hog": HOG}, outside, uid=NOBODY, isolation="auto", processes=processes)

    assert fewest <= answer["results"]["hog"]["value"] <= most


@pytest.mark.parametrize(
    ("counted", "growth", "allowed", "limit"),
    [
        (0, 50, 400, None),
        (50, 0, 2**22, 562),
        (50, 100, 2**22, 662),
        (50, -10, 2**22, 562),
        (50, 0, 400, 336),
        (9, 0, 40, 30),
    ],
)
def test_limit_of_threads_follows_the_user(counted, growth, allowed, limit):
    assert limit_for(counted, growth, allowed) == limit


@pytest.mark.parametrize("probe", LIMIT_PROBES)
def test_limit_holds(confined, probe):
    assert confined["results"][probe] == LIMIT_PROBES[probe][1]


def test_kernel_ends_an_endless_loop(outside):
    probes = {name: code for name, (code, _) in ENDLESS_PROBES.items()}

    results = run_server(probes, outside, isolation="none", cpu_s=1)["results"]

    assert results == {name: ENDLESS_PROBES[name][1] for name in probes}


def test_server_itself_is_confined(confined):
    server = confined["server"]

    assert set(server.pop("capabilities")) == {"0"}
    assert server == {"no_new_privs": "1", "dumpable": 0, "subreaper": 1}


def test_forker_is_confined_and_its_memory_is_not_counted(outside):
    if missing := missing_layers():
        pytest.skip(f"this machine lacks {missing}")
    probes = {"memory": "value = len(bytearray(400 * 2**20))", "too much memory": "bytearray(600 * 2**20)"}

    answer = run_server(probes, outside, forker=True)

    assert set(answer["server"].pop("capabilities")) == {"0"}
    assert answer["server"] == {"no_new_privs": "1", "dumpable": 0, "subreaper": 1}
    assert answer["results"] == {"memory": {"value": 400 * 2**20}, "too much memory": {"error": "MemoryError"}}


@pytest.mark.parametrize("forker", [False, True])
def test_child_dies_with_its_server(outside, forker):
    probe = "import sys; open('pid', 'w').write(str(os.getpid())); time.sleep(600)"
    with tempfile.TemporaryDirectory(prefix="scratch") as scratch:
        request = request_of({"sleep": probe}, scratch, outside, isolation="auto", forker=forker)
        with subprocess.Popen([sys.executable, "-c", PROBE_SERVER], stdin=subprocess.PIPE) as server:
            assert server.stdin is not None
            server.stdin.write(request.encode())
            server.stdin.close()
            pid = _wait_for(lambda: "".join(path.read_text() for path in Path(scratch).glob("*/pid")))
            server.kill()
        gone = _wait_for(lambda: not _is_running(int(pid)))

    assert gone


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _wait_for(condition: Any, deadline_s: float = 30) -> Any:
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError("waited in vain")


def test_soft_signal_is_the_last_real_time_signal_but_one():
    assert SOFT_SIGNAL == signal.SIGRTMAX - 1


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_layer_says_what_it_stops_and_how_to_get_it(layer):
    assert layer.stops
    assert layer.fix


def test_docs_have_a_row_per_layer():
    page = Path(__file__).parents[5].joinpath("docs", "sandbox.md").read_text(encoding="utf-8")
    table = page.partition("## Layers\n\n")[2].partition("\n\n")[0]
    rows = [tuple(cell.strip() for cell in line.split("|")[1:3]) for line in table.splitlines()[2:]]

    assert rows == [(layer.name, layer.stops) for layer in LAYERS]


@pytest.mark.parametrize(("left", "most"), [(9, 128), (400, 200), (10**6, 2048)])
def test_programs_of_root_leave_half_of_a_container(monkeypatch, left, most):
    monkeypatch.setattr(threads, "_left_in_container", lambda: left)

    assert threads.most_threads() == most
