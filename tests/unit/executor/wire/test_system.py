"""What the fork server asks the system about a process."""

import os

import pytest

from stepcoder_trl.executor.wire.system import PortableSystem, System
from tests.processes import ON_LINUX


@ON_LINUX
def test_open_files_without_a_name_are_counted(tmp_path):
    (tmp_path / "named").write_bytes(bytes(2**16))
    before = System().nameless_bytes(os.getpid(), str(tmp_path))
    with open(tmp_path / "named", "rb"), open(tmp_path / "removed", "wb", buffering=0) as removed:
        removed.write(bytes(2**20))
        os.fsync(removed.fileno())
        named = System().nameless_bytes(os.getpid(), str(tmp_path))
        os.unlink(tmp_path / "removed")
        nameless = System().nameless_bytes(os.getpid(), str(tmp_path))

    assert named == before
    assert nameless - before >= 2**20


@pytest.mark.parametrize("system", [System(), PortableSystem()])
def test_files_of_a_process_that_has_ended_are_unknown(system, tmp_path):
    assert system.nameless_bytes(2**22 + 1, str(tmp_path)) == 0
