"""Start processes that run programs with the trainer's executor: `START_METHOD`."""

from __future__ import annotations

import multiprocessing
import sys
from typing import Any

from stepcoder_trl import CodeExecutor, ExecutorConfig
from tests.integration.lifetime.script import LONG_S, ONE


def work(executor: CodeExecutor, results: Any) -> None:
    results.put(executor.run("print(1)", ONE).outcome.value)


def main(method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    executor, results = CodeExecutor(ExecutorConfig(num_workers=2)), context.Queue()
    executor.run("print(1)", ONE)
    slow = executor.submit("import time\ntime.sleep(1)\nprint(1)", ONE)
    workers = [context.Process(target=work, args=(executor, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    print(sorted(results.get(timeout=LONG_S) for worker in workers))
    for worker in workers:
        worker.join()
        print(worker.exitcode)
    print(slow.result().outcome.value, executor.run("print(1)", ONE).outcome.value)
    executor.close()


if __name__ == "__main__":
    main(sys.argv[1])
