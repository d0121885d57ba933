"""Lines from coverage.py's live set equal those of its public interface."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


# In an interpreter of its own: pytest may itself be traced.
SCRIPT = """
import json, sys
from stepcoder_trl.executor.tracer import LineTracer
source = sys.argv[1]
tracer = LineTracer("/nowhere/solution.py")
code = compile(source, tracer.filename, "exec")
tracer.start()
exec(code, {})
lines = tracer.stop()
print(json.dumps([sorted(lines), sorted(tracer._coverage.get_data().lines(tracer.filename) or [])]))
"""


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("x = 1\nif x > 2:\n    x = 3\nelse:\n    x = 4\n", [1, 2, 5]),
        (
            "def f(n):\n    for i in range(n):\n        if i > 5:\n            return i\n    return 0\nf(3)\n",
            [1, 2, 3, 5, 6],
        ),
        (
            "import threading\ndef f():\n    return 1\nt = threading.Thread(target=f)\nt.start()\nt.join()\n",
            [1, 2, 3, 4, 5, 6],
        ),
    ],
)
def test_live_lines_are_those_that_coverage_reports(source, lines):
    answer = subprocess.run([sys.executable, "-c", SCRIPT, source], capture_output=True, text=True, check=True)

    live, public = json.loads(answer.stdout)
    assert live == lines
    assert public == lines
