from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


IN_GROUP = """
import atexit
from pathlib import Path

import torch


def threads():
    comms = Path("/proc/self/task").glob("*/comm")
    return sum("gloo" in comm.read_text() for comm in comms)


atexit.register(lambda: print(threads(), "threads at exit"))
torch.distributed.init_process_group("gloo", init_method="file://{file}", rank=0, world_size=1)
torch.distributed.all_reduce(torch.ones(1))
print("some" if threads() else "no", "threads before")
{leave}
"""
LEAVE = "from stepcoder_trl.evaluation.process_group import leave_gloo_at_exit\nleave_gloo_at_exit()"
JOIN = "from stepcoder_trl.evaluation.process_group import join_processes\njoin_processes()"


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
@pytest.mark.parametrize(("leave", "left"), [("", False), (LEAVE, True), (f"{LEAVE}\n{LEAVE}", True), (JOIN, True)])
def test_gloo_threads_end_before_interpreter_shuts_down(tmp_path: Path, leave: str, left: bool):
    program = IN_GROUP.format(file=tmp_path / "meeting", leave=leave)

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    before, at_exit = done.stdout.splitlines()
    assert before == "some threads before"
    assert (at_exit == "0 threads at exit") == left


def test_process_without_group_is_left_alone():
    program = f"{LEAVE}\nprint('done')"

    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "done\n"
