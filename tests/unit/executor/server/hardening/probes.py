"""
Runs probes in children of a fresh interpreter: the layers that are tested must not confine pytest itself.

A probe is a few lines of Python that run in a child of their own. One fork server runs a whole table of them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


Answer = dict[str, Any]

PROBE_SERVER = Path(__file__).with_name("programs").joinpath("probe_server.py").read_text(encoding="utf-8")
OUTSIDE_PROBES = {
    "read a file": "open(outside + '/token').read()",
    "list a folder": "os.listdir(outside)",
    "write a file": "open(outside + '/new', 'w')",
    "overwrite a file": "open(outside + '/token', 'w')",
    "append to a file": "open(outside + '/token', 'a')",
    "truncate a file": "os.truncate(outside + '/token', 0)",
    "delete a file": "os.unlink(outside + '/token')",
    "delete a folder": "os.rmdir(outside + '/folder')",
    "make a folder": "os.mkdir(outside + '/new')",
    "make a fifo": "os.mkfifo(outside + '/new')",
    "rename a file": "os.rename(outside + '/token', outside + '/new')",
    "link to a new name": "os.link(outside + '/token', outside + '/new')",
    "make a symbolic link": "os.symlink('/etc', outside + '/new')",
}


@dataclasses.dataclass(frozen=True)
class Outside:
    """Folder that the programs must not reach, and what it looked like before."""

    path: Path

    def state(self) -> dict[str, tuple[int, int, int]]:
        found = {}
        for path in [self.path, *self.path.iterdir()]:
            status = path.stat()
            found[path.name] = status.st_mode, status.st_size, status.st_mtime_ns
        return found


def request_of(
    probes: dict[str, str],
    scratch: str,
    outside: Outside,
    *,
    isolation: str = "strict",
    uid: int | None = None,
    landlock: bool = True,
    seccomp: bool = True,
    cpu_s: int = 10,
    forker: bool = False,
    folder: bool = True,
    processes: int | None = None,
) -> str:
    """
    Request to the fork server of the tests, as JSON.

    `forker`: a fork of the server forks the children. `folder`: a child has a folder of its own. `processes`: as
    many may the user have.
    """
    request = {
        "probes": probes,
        "scratch": scratch,
        "outside": str(outside.path),
        "isolation": isolation,
        "uid": uid,
        "landlock": landlock,
        "seccomp": seccomp,
        "cpu_s": cpu_s,
        "forker": forker,
        "folder": folder,
        "processes": processes,
    }
    return json.dumps(request)


def run_server(probes: dict[str, str], outside: Outside, *, uid: int | None = None, **settings: Any) -> Answer:
    """Run the probes, each in a child, under one fork server with these settings of `request_of`."""
    with tempfile.TemporaryDirectory(prefix="scratch") as scratch:
        if uid is not None:
            os.chown(scratch, uid, uid)
        request = request_of(probes, scratch, outside, uid=uid, **settings)
        command = [sys.executable, "-c", PROBE_SERVER]
        done = subprocess.run(command, input=request, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    answer: Answer = json.loads(done.stdout)
    return answer


@functools.cache
def missing_layers() -> dict[str, str]:
    """Layers that this machine lacks."""
    with tempfile.TemporaryDirectory() as folder:
        missing: dict[str, str] = run_server({}, Outside(Path(folder)), isolation="auto")["missing"]
    return missing
