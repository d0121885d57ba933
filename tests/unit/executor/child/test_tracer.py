"""Test the recorder of lines against coverage.py's public interface."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


# Each script runs in a new interpreter, because pytest may itself be traced.
LIVE = """
import json, sys
from stepcoder_trl.executor.child.tracer import line_tracer
tracer = line_tracer("/nowhere/solution.py")
code = compile(sys.argv[1], tracer.filename, "exec")
tracer.start()
exec(code, {})
print(json.dumps(sorted(tracer.lines())))
tracer.stop()
assert sys.gettrace() is None
assert sys.version_info >= (3, 12) or "coverage" not in sys.modules  # the C tracer is there alone
"""
PUBLIC = """
import json, sys
from stepcoder_trl.executor.child.tracer import LineTracer
tracer = LineTracer("/nowhere/solution.py")
code = compile(sys.argv[1], tracer.filename, "exec")
tracer.start()
exec(code, {})
lines = sorted(tracer.lines())
tracer.stop()
public = sorted(tracer._coverage.get_data().lines(tracer.filename) or [])
assert lines == public, (lines, public)
print(json.dumps(public))
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
def test_lines_equal_those_that_coverage_reports(source, lines):
    assert _printed(LIVE, source) == lines
    assert _printed(PUBLIC, source) == lines


WITH_COVERAGE = """
import json, warnings
from stepcoder_trl.executor.child.tracer import line_tracer
line_tracer("/nowhere/solution.py")
warnings.simplefilter("ignore")  # coverage.py says that its C tracer is not to be had
import coverage
own = coverage.Coverage(data_file=None, include=["/nowhere/other.py"])
own.start()
exec(compile("x = 1\\n", "/nowhere/other.py", "exec"))
own.stop()
print(json.dumps(own.get_data().lines("/nowhere/other.py")))
"""


def test_program_can_use_coverage():
    assert _printed(WITH_COVERAGE) == [1]


def _printed(script, source=""):
    answer = subprocess.run([sys.executable, "-c", script, source], capture_output=True, text=True, check=True)
    return json.loads(answer.stdout)


PAUSED = """
import json, sys
from stepcoder_trl.executor.child.tracer import line_tracer
tracer = line_tracer("/nowhere/solution.py")
names = {}
tracer.start()
source = "import sys\\ndef f(x):\\n    if x:\\n        sys.settrace(None)\\n    return x\\n"
exec(compile(source, tracer.filename, "exec"), names)
tracer.pause()
tracer.pause()
paused = tracer.lines()
tracer.resume()
names["f"](0)
resumed = tracer.lines()
names["f"](1)
tracer.pause()
tracer.resume()
print(json.dumps([sorted(paused), sorted(resumed), tracer.lines()]))
"""


def test_paused_tracer_keeps_lines_and_detects_replacement():
    paused, resumed, after_tampering = _printed(PAUSED)

    assert paused == [1, 2]
    assert resumed == [1, 2, 3, 5]
    assert after_tampering is None
