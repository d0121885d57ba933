"""Trainer that is killed while a program runs."""

import sys

from stepcoder_trl import CodeExecutor, ExecutorConfig


TESTS = {"type": "stdio", "inputs": [""], "outputs": [""]}

executor = CodeExecutor(ExecutorConfig(num_workers=1, timeout_s=60))
executor.run("pass", TESTS)
executor.submit("while True: pass", TESTS)
print("running", flush=True)
sys.stdin.read()
