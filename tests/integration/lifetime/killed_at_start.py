"""Start two servers and end by SIGKILL after a pause: `PAUSE_S`."""

from __future__ import annotations

import os
import signal
import sys
import time

from stepcoder_trl import CodeExecutor, ExecutorConfig
from tests.integration.lifetime.script import PATIENT, SLEEPER
from tests.processes import fork_servers


def main(pause_s: float) -> None:
    executor = CodeExecutor(ExecutorConfig(num_workers=2))
    for _ in range(4):
        executor.submit(SLEEPER, PATIENT)
    # A scratch folder without a server would stay behind: wait until both servers have begun.
    while len(fork_servers()) < 2:
        pass
    time.sleep(pause_s)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(float(sys.argv[1]))
