"""What the fork server asks the system about a process."""

import os
import subprocess
import sys

import pytest

from stepcoder_trl.executor.wire.system import PortableSystem, System
from tests.processes import ON_LINUX


@ON_LINUX
def test_open_files_without_a_name_are_counted(tmp_path):
    (tmp_path / "named").write_bytes(bytes(2**16))
    before = System().nameless_bytes(os.getpid(), str(tmp_path), 0)
    with open(tmp_path / "named", "rb"), open(tmp_path / "removed", "wb", buffering=0) as removed:
        removed.write(bytes(2**20))
        os.fsync(removed.fileno())
        named = System().nameless_bytes(os.getpid(), str(tmp_path), 0)
        os.unlink(tmp_path / "removed")
        nameless = System().nameless_bytes(os.getpid(), str(tmp_path), 0)

    assert named == before
    assert nameless - before >= 2**20


@ON_LINUX
def test_mapped_files_without_name_and_descriptor_are_counted(tmp_path):
    """Each may be as large as a file can be. Where the disk is memory, nothing else shows what they hold."""
    script = f"""
import ctypes, os
libc = ctypes.CDLL(None)
libc.mmap.restype, libc.mmap.argtypes = ctypes.c_void_p, [ctypes.c_void_p, *[ctypes.c_long] * 5]
for _ in range(3):
    file = os.open({str(tmp_path)!r}, os.O_TMPFILE | os.O_RDWR, 0o600)
    os.ftruncate(file, 2**20)
    maps = [libc.mmap(None, 4096, 3, 1, file, 4096 * page) for page in range(2)]
    os.close(file)
print(flush=True)
input()
"""
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        counted = System().nameless_bytes(process.pid, str(tmp_path), 1000)
        process.communicate(b"\n")

    assert counted == 3000


@ON_LINUX
def test_files_are_counted_after_the_first_thread_has_ended(tmp_path):
    script = f"""
import ctypes, os, threading, time
file = os.open({str(tmp_path)!r}, os.O_TMPFILE | os.O_RDWR, 0o600)
os.write(file, bytes(2**20))
os.fsync(file)
def go_on():
    while open("/proc/self/stat").read().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    print(flush=True)
    input()
    os._exit(0)
threading.Thread(target=go_on).start()
ctypes.CDLL(None).syscall(60 if os.uname().machine == "x86_64" else 93, 0)  # exit(2)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        counted = System().nameless_bytes(process.pid, str(tmp_path), 0)
        process.communicate(b"\n")

    assert counted >= 2**20


@pytest.mark.parametrize("system", [System(), PortableSystem()])
def test_files_of_a_process_that_has_ended_are_unknown(system, tmp_path):
    assert system.nameless_bytes(2**22 + 1, str(tmp_path), 0) == 0
