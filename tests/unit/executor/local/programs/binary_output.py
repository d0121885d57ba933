"""Run a program that prints 16 MiB of bytes that are not text. Print its outcome and the peak memory in MiB."""

import re
from pathlib import Path

from stepcoder_trl import CodeExecutor, ExecutorConfig


PROGRAM = "import sys\nsys.stdout.buffer.write(b'\\xff' * (2**24 - 1))\n"

with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
    execution = executor.run(PROGRAM, {"type": "stdio", "inputs": [""], "outputs": ["x"]})
peak_kib = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]
print(execution.outcome.value, int(peak_kib) // 1024)
