"""Programs reach the interpreter's files and their own folder, and no others."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from stepcoder_trl.executor.server.hardening.landlock import _outside
from stepcoder_trl.executor.server.hardening.layers import Seccomp
from tests.unit.executor.server.hardening.probes import OUTSIDE_PROBES, missing_layers, run_server


pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(sys.platform != "linux", reason="the layers are made for Linux"),
]

PROBES = {
    **OUTSIDE_PROBES,
    "read through a symbolic link": "os.symlink(outside + '/token', 'innocent'); open('innocent').read()",
    "read through a link": "os.link(outside + '/token', 'innocent')",
    "take a file over": "os.rename(outside + '/token', 'innocent')",
    "put a file outside": "open('mine', 'w').close(); os.rename('mine', outside + '/new')",
    "list the root folder": "os.listdir('/')",
    "read the list of users": "open('/etc/passwd').read()",
    "read the server's environment": "open(f'/proc/{os.getppid()}/environ', 'rb').read()",
    "read its own environment of old": "open('/proc/self/environ', 'rb').read()",
    "open the server's memory": "open(f'/proc/{os.getppid()}/mem', 'r+b')",
    "see the server's descriptors": "os.listdir(f'/proc/{os.getppid()}/fd')",
    "list the processes": "os.listdir('/proc')",
    "read a block device": "open('/dev/vda', 'rb').read(1)" if os.path.exists("/dev/vda") else "os.listdir('/dev')",
    "write to shared memory": "open('/dev/shm/left', 'w')",
    "write to the library": "open(os.path.dirname(os.__file__) + '/planted.py', 'w')",
    "write where other programs' files are": "open('/tmp/left', 'w')",
    "list the folders of other programs": "os.listdir(base)",
    "read another program": "open(base + '/another/solution').read()",
    "write beside its folder": "open('../planted', 'w')",
    "make a folder beside its own": "os.mkdir('../planted')",
    "write into another folder": "open(base + '/another/planted', 'w')",
    "remove another program": "os.unlink(base + '/another/solution')",
    "truncate another program": "os.truncate(base + '/another/solution', 0)",
    "move its folder away": "os.rename(os.getcwd(), base + '/planted')",
    "remove its folder": "os.rmdir(os.getcwd())",
    "put a file into another folder": "open('mine', 'w').close(); os.rename('mine', base + '/another/planted')",
    "link a file into another folder": "open('mine', 'w').close(); os.link('mine', base + '/another/planted')",
}


@pytest.mark.parametrize("probe", PROBES)
def test_file_outside_is_out_of_reach(confined, probe):
    # The file's own permissions may forbid it too.
    assert confined["results"][probe] in ({"error": "EACCES"}, {"error": "EXDEV"}, {"error": "EPERM"})


def test_child_without_a_folder_changes_no_file(outside):
    if missing := missing_layers():
        pytest.skip(f"this machine lacks {missing}")
    probes = {"write": "open('mine', 'w')", "write in the base": "open(base + '/planted', 'w')"}
    probes |= {"read in the base": "open(base + '/another/solution')"}

    results = run_server(probes, outside, folder=False)["results"]

    assert results == {name: {"error": "EACCES"} for name in probes}


@pytest.mark.parametrize(
    ("base", "paths", "highest"),
    [
        ("/tmp/base", ["/usr/lib/python3", "/tmp/venv/lib", "/etc/localtime"], ["/etc", "/tmp/venv", "/usr"]),
        ("/base", ["/usr/lib/python3", "/usr/share"], ["/usr"]),
        ("/a/b/base", ["/a/lib", "/a/b/lib/python3", "/a/b"], ["/a/b", "/a/b/lib", "/a/lib"]),
    ],
)
def test_few_folders_hold_all_that_is_readable(base, paths, highest, monkeypatch):
    monkeypatch.setattr(Path, "resolve", lambda path: path)

    assert _outside(base, paths) == highest


def test_nothing_outside_has_changed(confined):
    assert confined["outside unchanged"]


def test_files_are_out_of_reach_where_seccomp_is_missing(outside):
    if "landlock" in missing_layers():
        pytest.skip("this machine lacks Landlock")
    probes = {"unix socket": "socket.socket(socket.AF_UNIX)", "read a file": OUTSIDE_PROBES["read a file"]}

    answer = run_server(probes, outside, isolation="auto", seccomp=False)

    assert answer["missing"] == {"seccomp": f"{Seccomp.stops} (no table of system calls for riscv64)"}
    assert answer["results"] == {"unix socket": {"value": None}, "read a file": {"error": "EACCES"}}
