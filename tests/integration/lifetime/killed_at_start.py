"""Start two servers and end by SIGKILL after a pause: `PAUSE_S`."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from stepcoder_trl import CodeExecutor, ExecutorConfig
from tests.integration.lifetime.programs import PATIENT, SLEEPER


def servers() -> list[str]:
    """Return the process ids of the fork servers that have begun to run."""
    lists = [path.read_text().split() for path in Path("/proc/self/task").glob("*/children")]
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pids in lists for pid in pids}
    return [pid for pid, command in commands.items() if b"executor.server" in command]


def main(pause_s: float) -> None:
    executor = CodeExecutor(ExecutorConfig(num_workers=2))
    for _ in range(4):
        executor.submit(SLEEPER, PATIENT)
    # A scratch folder without a server would stay behind: wait until both servers have begun.
    while len(servers()) < 2:
        pass
    time.sleep(pause_s)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(float(sys.argv[1]))
