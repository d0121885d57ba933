"""Programs reach the interpreter's files and the scratch folder, and no others."""

from __future__ import annotations

import os
import sys

import pytest

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
}


@pytest.mark.parametrize("probe", PROBES)
def test_file_outside_is_out_of_reach(confined, probe):
    # The file's own permissions may forbid it too.
    assert confined["results"][probe] in ({"error": "EACCES"}, {"error": "EXDEV"}, {"error": "EPERM"})


def test_nothing_outside_has_changed(confined):
    assert confined["outside unchanged"]


def test_files_are_out_of_reach_where_seccomp_is_missing(outside):
    if "landlock" in missing_layers():
        pytest.skip("this machine lacks Landlock")
    probes = {"unix socket": "socket.socket(socket.AF_UNIX)", "read a file": OUTSIDE_PROBES["read a file"]}

    answer = run_server(probes, outside, isolation="auto", seccomp=False)

    assert answer["missing"] == {"seccomp": f"{Seccomp.stops} (no table of system calls for riscv64)"}
    assert answer["results"] == {"unix socket": {"value": None}, "read a file": {"error": "EACCES"}}
