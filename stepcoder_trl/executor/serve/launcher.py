"""
Run a script as `python solution.py` would, inside the sandbox.

The program of each request (`run_code.py`) loads this file, compiled, and calls `_launch`. So this code is as
untrusted as the script that shares its process: the script can only forge what it may print anyway.

Standard input holds a header with this file and the script, then what the script reads. Standard output gets what the
script prints, then a mark and a report as JSON. The environment names the folder of the script as home and for
temporary files.
"""

from __future__ import annotations

import atexit
import base64
import builtins
import json
import os
import sys
import threading
import time
import traceback
from types import ModuleType
from typing import Any


def _launch(header: dict[str, Any], stdin: bytes) -> None:
    script = header["script"]
    os.ftruncate(0, 0)
    os.lseek(0, 0, os.SEEK_SET)
    _write(0, stdin)
    os.lseek(0, 0, os.SEEK_SET)
    folder = os.getcwd()
    os.environ["HOME"] = os.environ["TMPDIR"] = folder
    path = os.path.join(folder, _unpack(header["files"], script))
    report = _Report(header, folder)
    sys.argv = [path]
    try:
        code = compile(script, path, "exec", dont_inherit=True)
        module = ModuleType("__main__")
        module.__dict__.update(__file__=path, __builtins__=builtins)
        sys.modules["__main__"] = module
        exec(code, module.__dict__)
        status = 0
    except SystemExit as error:
        status = _exit_status(error.code)
    except BaseException as error:
        trace = error.__traceback__.tb_next if error.__traceback__ is not None else None
        traceback.print_exception(type(error), error, trace)
        status = 1
    report.send(status)


def _unpack(files: dict[str, str], script: str) -> str:
    """Write the files of the request and the script. Return the script's name."""
    if os.path.exists("solution.py"):  # the sandbox has put this launcher there
        os.unlink("solution.py")
    for name, content in files.items():
        above = os.path.dirname(name)
        if above:
            os.makedirs(above, exist_ok=True)
        with open(name, "wb") as file:
            file.write(base64.b64decode(content))
    own_name = "__main__.py" if "solution.py" in files else "solution.py"
    with open(own_name, "w", encoding="utf-8", errors="surrogatepass", newline="") as file:
        file.write(script)
    return own_name


class _Report:
    """Report of a script: standard error, exit status, seconds and files."""

    def __init__(self, header: dict[str, Any], folder: str) -> None:
        self.header, self.folder, self.pid = header, folder, os.getpid()
        self.began = time.monotonic()
        self.out = os.dup(1)
        name = header["mark"]
        self.err = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        os.unlink(name)
        os.dup2(self.err, 2)
        self.leave: Any = os._exit
        os._exit = self.exit  # type: ignore[assignment]

    def exit(self, status: int = 0) -> None:
        """Report before `os._exit`."""
        if os.getpid() == self.pid:
            self.write(status)
        self.leave(status)

    def send(self, status: int) -> None:
        """Report as the interpreter ends: after threads and exit handlers."""
        interpreter: Any = threading  # its end is private
        for action in (interpreter._shutdown, atexit._run_exitfuncs, lambda: sys.stdout.flush()):
            try:
                action()
            except BaseException as error:
                traceback.print_exception(type(error), error, error.__traceback__)
        os._exit = self.leave
        self.write(status)

    def write(self, status: int) -> None:
        seconds = time.monotonic() - self.began
        size, kept = os.fstat(self.err).st_size, self.header["max_error_bytes"]
        stderr = os.pread(self.err, min(size, kept), max(0, size - kept))
        files, too_large = self.files()
        report = {
            "status": status & 0xFF,
            "seconds": seconds,
            "stderr": stderr.decode("utf-8", "replace"),
            "files": files,
            "too_large": too_large,
        }
        os.lseek(self.out, 0, os.SEEK_END)
        _write(self.out, (self.header["mark"] + json.dumps(report)).encode("ascii"))

    def files(self) -> tuple[dict[str, str], list[str]]:
        """Return the files to fetch by name, and the names of those for which there is no room."""
        found, too_large, left = {}, [], self.header["max_fetched_bytes"]
        for name in self.header["fetch_files"]:
            path = os.path.join(self.folder, name)
            if not os.path.isfile(path):
                continue
            left -= os.path.getsize(path)
            if left < 0:
                too_large.append(name)
                break
            with open(path, "rb") as file:
                found[name] = base64.b64encode(file.read()).decode("ascii")
        return found, too_large


def _exit_status(code: Any) -> int:
    """Return the exit status of `sys.exit(code)`."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code
    print(code, file=sys.stderr)
    return 1


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
