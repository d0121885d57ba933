"""Full disks, and few descriptors and processes: the machine's faults are never scored."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.lifetime.script import ROOT
from tests.ordinary_user import interpreter_for_all
from tests.processes import ON_LINUX


pytestmark = [pytest.mark.sandbox, ON_LINUX]

USER = 54_321  # has no other process
START = """
import collections, os, resource, sys, threading, time
from stepcoder_trl import CodeExecutor, ExecutorConfig, SandboxError

def outcome(future):
    try:
        return future.result().outcome.value
    except SandboxError:
        return "SandboxError"

def outcomes(executor, program, tests, count):
    return collections.Counter(map(outcome, [executor.submit(program, tests) for _ in range(count)]))

def prints(count):
    inputs = [f"{number}\\n" for number in range(count)]
    return {"type": "stdio", "inputs": inputs, "outputs": [f"{2 * number}\\n" for number in range(count)]}

DOUBLE = "print(2 * int(input()))"
WRITES = '''
n = int(input())
with open("numbers.txt", "w") as file:
    file.write("x" * 200_000)
with open("numbers.txt") as file:
    print(2 * n if len(file.read()) == 200_000 else "lost")
'''

def fill(folder):
    number = 0
    while True:
        try:
            with open(os.path.join(folder, f"filler{number}"), "wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
        except OSError:
            return
        number += 1

def free(folder):
    for name in os.listdir(folder):
        if name.startswith("filler"):
            os.unlink(os.path.join(folder, name))
"""


def run(script: str, *python: str, folder: Path, user: int | None = None) -> str:
    """Run a script after `START`, and return what it prints. `python` is the command that starts an interpreter."""
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(folder), "HOME": str(folder), "PYTHONWARNINGS": "ignore"}
    if user is None:
        environment["PYTHONPATH"] = str(ROOT)
    else:
        environment["LD_LIBRARY_PATH"] = str(Path(python[0]).parents[1] / "lib")
    command = [*(python or [sys.executable]), "-c", START + script]
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, timeout=240, user=user)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def small_disk() -> list[str]:
    """First words of a command that sees a file system of 8 MB at /mnt."""
    words = ["unshare", "--mount"] if os.getuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    mount = 'mount -t tmpfs -o size=8m tmpfs /mnt && exec "$@"'
    command = [*words, "sh", "-c", mount, "sh"]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("this user cannot mount a file system in a namespace of its own")
    return command


def test_full_disk_is_never_scored(small_disk):
    found = run(
        """
with CodeExecutor(ExecutorConfig(num_workers=2)) as executor:
    print(dict(outcomes(executor, WRITES, prints(2), 4)))
    fill("/mnt")
    print(dict(outcomes(executor, WRITES, prints(2), 10)), dict(outcomes(executor, DOUBLE, prints(2), 10)))
    free("/mnt")
    print(dict(outcomes(executor, WRITES, prints(2), 10)))
""",
        *small_disk,
        sys.executable,
        folder=Path("/mnt"),
    )

    before, full, after = found.splitlines()
    assert before == "{'passed': 4}"
    assert set(full.replace("'", " ").split()) & {"failed", "runtime_error", "timeout", "compile_error"} == set(), full
    assert after == "{'passed': 10}"


def test_program_passes_once_there_is_space_again(small_disk):
    found = run(
        """
with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
    outcomes(executor, WRITES, prints(2), 1)
    fill("/mnt")
    timer = threading.Timer(0.3, free, ["/mnt"])
    timer.start()
    first = outcomes(executor, WRITES, prints(2), 1)
    timer.join()
    print(*first, *outcomes(executor, WRITES, prints(2), 1))
""",
        *small_disk,
        sys.executable,
        folder=Path("/mnt"),
    )

    assert found.split() in (["passed", "passed"], ["SandboxError", "passed"])


def test_disk_that_is_full_from_the_start_is_never_scored(small_disk):
    found = run(
        """
fill("/mnt")
with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
    print(*{**outcomes(executor, WRITES, prints(1), 2), **outcomes(executor, DOUBLE, prints(1), 2)})
""",
        *small_disk,
        sys.executable,
        folder=Path("/mnt"),
    )

    assert set(found.split()) <= {"passed", "SandboxError"}


def test_program_that_fills_a_small_disk_itself_harms_nobody(small_disk):
    """Nobody can tell whether the program is greedy or the disk too small. Both have no space left."""
    found = run(
        """
greedy = "while True:\\n    open('x', 'ab').write(bytes(2**20))\\n"
with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
    print(*outcomes(executor, greedy, prints(1), 2), *outcomes(executor, WRITES, prints(1), 2))
""",
        *small_disk,
        sys.executable,
        folder=Path("/mnt"),
    )

    assert found.split() in (["runtime_error", "passed"], ["SandboxError", "passed"])


@pytest.mark.parametrize("descriptors", [64, 128])
def test_few_descriptors_are_never_scored(tmp_path, descriptors):
    found = run(
        f"""
resource.setrlimit(resource.RLIMIT_NOFILE, ({descriptors}, {descriptors}))
with CodeExecutor(ExecutorConfig(num_workers=2)) as executor:
    print(*outcomes(executor, DOUBLE, prints(5), 6))
    print(*outcomes(executor, DOUBLE, prints(200), 2))
""",
        folder=tmp_path,
    )

    few, many = found.splitlines()
    assert few == "passed"
    assert set(many.split()) <= {"passed", "SandboxError"}


def test_descriptors_used_up_by_others_are_never_scored(tmp_path):
    found = run(
        """
resource.setrlimit(resource.RLIMIT_NOFILE, (96, 96))
with CodeExecutor(ExecutorConfig(num_workers=2)) as executor:
    first = outcomes(executor, DOUBLE, prints(3), 4)
    taken = []
    try:
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    used_up = outcomes(executor, DOUBLE, prints(3), 4)
    for descriptor in taken:
        os.close(descriptor)
    print(*first, *outcomes(executor, DOUBLE, prints(3), 4))
    print(*used_up)
""",
        folder=tmp_path,
    )

    with_space, used_up = found.splitlines()
    assert with_space == "passed passed"
    assert set(used_up.split()) <= {"passed", "SandboxError"}


@pytest.fixture(scope="module")
def ordinary() -> Iterator[tuple[str, Path]]:
    """Interpreter that an ordinary user can run, and a folder of this user."""
    if os.getuid():
        pytest.skip("needs root, to run as a user without other processes")
    with tempfile.TemporaryDirectory(prefix="ordinary-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "tmp").mkdir()
        os.chown(folder / "tmp", USER, USER)
        yield interpreter_for_all(folder), folder / "tmp"


@pytest.mark.parametrize("processes", [1, 2, 3, 5, 12, 20])
def test_few_processes_are_never_scored(ordinary, processes):
    python, folder = ordinary
    found = run(
        f"""
resource.setrlimit(resource.RLIMIT_NPROC, ({processes}, {processes}))
with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
    print(*outcomes(executor, DOUBLE, prints(2), 3))
""",
        python,
        folder=folder,
        user=USER,
    )

    assert set(found.split()) <= ({"passed"} if processes >= 12 else {"passed", "SandboxError"})


@pytest.mark.parametrize("processes", [400, 1000])
def test_threads_of_one_program_leave_processes_for_its_neighbours(ordinary, processes):
    python, folder = ordinary
    found = run(
        f"""
GREEDY = '''
import threading
threading.stack_size(32 * 1024)
stop = threading.Event()
try:
    while True:
        threading.Thread(target=stop.wait, args=(2,), daemon=True).start()
except RuntimeError:
    stop.wait(2)
'''
resource.setrlimit(resource.RLIMIT_NPROC, ({processes}, {processes}))
with CodeExecutor(ExecutorConfig(num_workers=2)) as executor:
    outcomes(executor, DOUBLE, prints(1), 2)
    greedy = executor.submit(GREEDY, {{**prints(1), "timeout_s": 5}})
    time.sleep(0.5)
    print(*outcomes(executor, DOUBLE, prints(2), 20), flush=True)
    outcome(greedy)
""",
        python,
        folder=folder,
        user=USER,
    )

    assert found.split() == ["passed"]
