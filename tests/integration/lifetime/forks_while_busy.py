"""Fork twelve times while threads run programs. Print the exit status of each fork."""

from __future__ import annotations

import os
import signal
import threading

from stepcoder_trl import CodeExecutor, ExecutorConfig, Outcome
from tests.integration.lifetime.script import LONG_S, ONE


def main() -> None:
    executor = CodeExecutor(ExecutorConfig(num_workers=2))
    stop = threading.Event()

    def keep_busy() -> None:
        while not stop.is_set():
            assert executor.run("print(1)", ONE).outcome is Outcome.PASSED

    threads = [threading.Thread(target=keep_busy) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(12):
        pid = os.fork()
        if pid == 0:
            signal.alarm(LONG_S)  # ends this process if it hangs
            passed = number % 3 or executor.run("print(1)", ONE).outcome is Outcome.PASSED
            if number % 2:
                executor.close()
            os._exit(0 if passed else 1)
        print(os.waitpid(pid, 0)[1])
    stop.set()
    for thread in threads:
        thread.join()
    executor.close()


if __name__ == "__main__":
    main()
