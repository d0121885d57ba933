"""Trainers that are killed while programs resist: no process and no folder is there soon after."""

from __future__ import annotations

import signal

import pytest

from tests.integration.lifetime.script import MARKS, READY_EXECUTOR
from tests.processes import kill, soon, with_temporary_folder


pytestmark = MARKS

WITHIN_S = 15.0  # a second where nothing else runs
PLANTS = """
import os, time
parent, start = os.getppid(), os.getcwd()
for number in range(40):
    os.makedirs(f".removed-{parent}-{number}/s/t")
for number in range(200):
    os.mkdir("deep")
    os.chdir("deep")
open("loot", "w").write("x")
os.chdir(start)
os.makedirs("locked/in")
os.chmod("locked/in", 0)
os.chmod("locked", 0)
number = 0
while True:
    number += 1
    os.makedirs(f"more{number % 300}/a/b", exist_ok=True)
    time.sleep(0.001)
"""
DEAF = """
import signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
while True:
    time.sleep(1)
"""
IN_A_CHECK = "def f(n):\n    while True:\n        pass\n"
CHECK = {"type": "assert", "setup": "def check(c):\n    assert c(1) == 1\n", "asserts": ["check(f)"], "timeout_s": 300}


@pytest.mark.parametrize(
    "job",
    [f"({PLANTS!r}, PATIENT)", f"({DEAF!r}, PATIENT)", f"({IN_A_CHECK!r}, {CHECK!r})"],
    ids=["plants folders", "deaf to signals", "in a check"],
)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_trainer_leaves_nothing(script, job, number):
    run = script(f"{READY_EXECUTOR}\nexecutor.run_many(*([part] * 8 for part in {job}))")
    assert run.line() == "ready"
    run.wait_for_program(2)
    assert not soon(lambda: run.process.poll() is not None, within_s=0.5)  # the programs have begun
    kill(run.process.pid, number)
    run.process.wait()

    assert soon(lambda: not with_temporary_folder(run.folder), WITHIN_S), with_temporary_folder(run.folder)
    assert soon(lambda: not list(run.folder.glob("stepcoder-*")), WITHIN_S), list(run.folder.rglob("*"))[:5]


@pytest.mark.parametrize("job", [f"({PLANTS!r}, PATIENT)", f"({IN_A_CHECK!r}, {CHECK!r})"], ids=["plants", "check"])
def test_killed_fork_servers_leave_nothing(script, job):
    """The servers are killed. Their trainer tidies up after them before it is killed, too."""
    run = script(f"""{READY_EXECUTOR}
import signal
from tests.processes import fork_servers
futures = [executor.submit(*{job}) for _ in range(2)]
time.sleep(0.5)
for pid in fork_servers():
    os.kill(pid, signal.SIGKILL)
time.sleep(2)
os.kill(os.getpid(), signal.SIGKILL)
""")
    run.process.wait()

    assert soon(lambda: not with_temporary_folder(run.folder), WITHIN_S), with_temporary_folder(run.folder)
    assert soon(lambda: not list(run.folder.glob("stepcoder-*")), WITHIN_S), list(run.folder.rglob("*"))[:5]


def test_fork_server_that_was_killed_leaves_no_folder_behind(script):
    """The trainer lives on, and removes what its killed servers left."""
    run = script(f"""{READY_EXECUTOR}
import signal, tempfile
from pathlib import Path
from tests.processes import fork_servers
for _ in range(3):
    future = executor.submit({PLANTS!r}, {{**ONE, "timeout_s": 1}})
    time.sleep(0.3)
    for pid in fork_servers():
        os.kill(pid, signal.SIGKILL)
    executor.run("print(1)", ONE)
executor.close()
print([str(path) for path in Path(tempfile.gettempdir()).glob("stepcoder-*")])
""")
    assert run.line() == "ready"
    assert run.end() == (0, "[]\n", "")
