"""
Fork server of the tests: prepares the layers, runs each probe in a forked child and prints what became of it.

Standard input holds the request as JSON (see `request_of` in ../hardening/probes.py). A probe is Python code. It sees
the modules imported here, `base`, `outside`, `syscall` and `handled`, and may leave a `value`.
"""

# ruff: noqa: F401 (the probes use these modules)
import asyncio
import concurrent.futures.thread
import ctypes
import errno
import fcntl
import json
import mmap
import os
import platform
import resource
import secrets
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import zoneinfo
from collections.abc import Callable
from typing import Any

from stepcoder_trl.executor.server.hardening import landlock
from stepcoder_trl.executor.server.hardening.confine import Hardening, prepare
from stepcoder_trl.executor.server.hardening.layers import SOFT_SIGNAL
from stepcoder_trl.executor.server.hardening.readable import readable_paths
from stepcoder_trl.executor.server.hardening.syscalls import this_architecture


PR_GET_DUMPABLE, PR_GET_CHILD_SUBREAPER = 3, 37

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.argtypes = [ctypes.c_long] * 7


def syscall(call: str | int, *arguments: int) -> int:
    """Make a system call by name or number."""
    number = call if isinstance(call, int) else this_architecture().numbers[call]
    value: int = libc.syscall(number, *arguments, *[0] * (6 - len(arguments)))
    if value < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return value


def become(uid: int) -> None:
    """Change the user and group of this process."""
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)


def no_landlock() -> int:
    raise OSError(errno.ENOSYS, "Function not implemented")


def take_away(request: dict[str, Any]) -> None:
    """Make layers missing that the request does not want."""
    if not request["landlock"]:
        landlock.kernel_version = no_landlock
    if not request["seccomp"]:
        platform.machine = lambda: "riscv64"


def answer_in_child(hardening: Hardening, request: dict[str, Any], code: str) -> dict[str, Any]:
    """Put the layers on and run a probe."""
    handled: list[bool] = []
    names = {"base": request["scratch"], "handled": handled, "outside": request["outside"], **globals()}
    folder = os.path.join(request["scratch"], secrets.token_hex(8))
    os.mkdir(folder)
    os.chdir(folder)
    os.environ["TMPDIR"] = folder
    if "handled" in code:
        signal.signal(hardening.soft_signal, lambda *_: handled.append(True))
    try:
        hardening.enter_child(
            folder=folder if request["folder"] else "",
            memory_limit_bytes=512 * 2**20,
            cpu_limit_s=request["cpu_s"],
            file_limit_bytes=2**20,
            open_files=64,
        )
        exec(code, names)
    except OSError as error:
        return {"error": errno.errorcode.get(error.errno, str(error))}
    except BaseException as error:
        return {"error": type(error).__name__}
    return {"value": names.get("value")}


def run(hardening: Hardening, request: dict[str, Any], code: str) -> dict[str, Any]:
    """Run a probe in a child."""
    report, report_end = os.pipe()
    stdin, stdout = os.memfd_create("stdin"), os.memfd_create("stdout")
    os.write(stdin, b"first\nsecond\n")
    os.lseek(stdin, 0, os.SEEK_SET)
    pid = os.fork()
    if pid == 0:
        os.dup2(stdin, 0)
        os.dup2(stdout, 1)
        os.write(report_end, json.dumps(answer_in_child(hardening, request, code)).encode())
        os._exit(0)
    os.close(report_end)
    with open(report, "rb") as stream:
        text = stream.read()
    _, status = os.waitpid(pid, 0)
    written = os.pread(stdout, 1000, 0)
    os.close(stdin)
    os.close(stdout)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return {"signal": signal.Signals(number).name if number < 32 else number}
    answer: dict[str, Any] = json.loads(text)
    return {**answer, "stdout": written.decode()} if written else answer


def own_state() -> dict[str, Any]:
    """Properties of this process that the layers have changed."""
    with open("/proc/self/status") as lines:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in lines if ":\t" in line)
    subreaper = ctypes.c_int()
    libc.prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(subreaper), 0, 0, 0)
    return {
        "capabilities": status["CapPrm"] + status["CapEff"],
        "no_new_privs": status["NoNewPrivs"],
        "dumpable": libc.prctl(PR_GET_DUMPABLE, 0, 0, 0, 0),
        "subreaper": subreaper.value,
    }


def main() -> None:
    request = json.load(sys.stdin)
    scratch = request["scratch"]
    if request["uid"] is not None:
        become(request["uid"])
    if request["processes"] is not None:
        resource.setrlimit(resource.RLIMIT_NPROC, (request["processes"],) * 2)
    take_away(request)
    os.mkdir(os.path.join(scratch, "another"))
    with open(os.path.join(scratch, "another", "solution"), "w") as solution:
        solution.write("secret")
    try:
        hardening = prepare(base=scratch, readable=readable_paths(), isolation=request["isolation"])
    except Exception as error:
        print(json.dumps({"raised": type(error).__name__, "message": str(error)}))
        return
    if request["forker"]:
        in_fork(lambda: answer_all(hardening, request))
    else:
        answer_all(hardening, request)


def answer_all(hardening: Hardening, request: dict[str, Any]) -> None:
    """Run all probes, and print what became of them."""
    if request["forker"]:
        hardening.become_forker()
        request["library"] = bytearray(2**30)  # as if it loaded a large library afterwards
    results = {name: run(hardening, request, code) for name, code in request["probes"].items()}
    answer = {"layers": hardening.layers, "missing": hardening.missing, "server": own_state(), "results": results}
    print(json.dumps(answer), flush=True)


def in_fork(action: Callable[[], object]) -> None:
    pid = os.fork()
    if pid == 0:
        action()
        os._exit(0)
    os.waitpid(pid, 0)


main()
