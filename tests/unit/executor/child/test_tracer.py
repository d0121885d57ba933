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
assert "coverage" not in sys.modules
"""
PUBLIC = """
import json, sys
import coverage
recorder = coverage.Coverage(data_file=None, config_file=False, include=["/nowhere/solution.py"])
code = compile(sys.argv[1], "/nowhere/solution.py", "exec")
recorder.start()
exec(code, {})
recorder.stop()
print(json.dumps(sorted(recorder.get_data().lines("/nowhere/solution.py") or [])))
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
tamper = "sys.monitoring.set_events(4, 0)" if sys.version_info >= (3, 12) else "sys.settrace(None)"
source = f"import sys\\ndef f(x):\\n    if x:\\n        {tamper}\\n    return x\\n"
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


@pytest.mark.parametrize("start", ["_thread.start_new_thread", "_thread.start_new"])
def test_threads_of_the_low_level_module_are_traced(start):
    source = (
        "import _thread\ndone = _thread.allocate_lock()\ndone.acquire()\ndef f(a, b=0):\n    if a + b:\n"
        "        a = 1\n    done.release()\n"
        f"{start}(f, (1,), {{'b': 2}})\ndone.acquire()\n{start}(f, (0,))\ndone.acquire()\n"
    )

    assert _printed(LIVE, source) == [*range(1, 12)]


def test_thread_with_wrong_arguments_is_refused():
    source = (
        "import _thread\nfor wrong in ((1, ()), (len, 1), (len, (), 1), ()):\n    try:\n"
        "        _thread.start_new_thread(*wrong)\n    except TypeError:\n        pass\n    else:\n        x = 1\n"
    )

    assert _printed(LIVE, source) == [*range(1, 7)]


def test_program_sees_no_trace_function():
    source = "import sys\nx = 1\nif sys.gettrace():\n    x = 2\nif sys._getframe().f_trace is sys:\n    x = 3\n"

    assert _printed(LIVE, source) == [1, 2, 3, 5]


TAMPERED = """
import json, sys
from stepcoder_trl.executor.child.tracer import line_tracer
tracer = line_tracer("/nowhere/solution.py")
tracer.start()
exec(compile(sys.argv[1], tracer.filename, "exec"), {})
lost = tracer.lines() is None
print(json.dumps([lost, tracer.lines() is None]))
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with Python 3.12")
@pytest.mark.parametrize(
    "tamper",
    [
        "m.set_events(4, 0)",
        "m.set_events(4, m.events.LINE)",
        "m.set_local_events(4, sys._getframe().f_code, 0)",
        "m.register_callback(4, m.events.LINE, None)",
        "m.register_callback(4, m.events.PY_START, lambda *a: None)",
        "m.free_tool_id(4)",
    ],
)
def test_monitoring_that_the_program_switched_off_is_noticed(tamper):
    assert _printed(TAMPERED, f"import sys\nm = sys.monitoring\n{tamper}\nx = 1\n") == [True, True]
