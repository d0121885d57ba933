"""The executor as callers see it: outcomes, lines, order, failures of ours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig, Outcome, SandboxError
from stepcoder_trl.errors import BadInputError


pytestmark = pytest.mark.sandbox
DOUBLE = {"type": "stdio", "inputs": ["3\n", "4\n"], "outputs": ["6\n", "8"]}
SUCCESSOR = {"type": "call", "fn_name": "f", "inputs": [[1], [2]], "outputs": [2, 3]}


@pytest.fixture(scope="module")
def executor():
    with CodeExecutor(ExecutorConfig(num_workers=2, timeout_s=1.0)) as executor:
        yield executor


def outcomes(execution):
    return [test.outcome.value for test in execution.tests]


@pytest.mark.parametrize(
    "program",
    [
        "print(2 * int(input()))",
        "import sys\nprint(2 * int(sys.stdin.buffer.read()))\nsys.exit(1)",
        "import os\nprint(2 * int(open(0).read()), flush=True)\nos._exit(3)",
        "import threading\nn = int(input())\nthreading.Thread(target=lambda: print(2 * n)).start()",
        "import atexit\nn = int(input())\natexit.register(lambda: print(2 * n))",
        "n = int(input())\nout = open(1, 'w')\nout.write(str(2 * n))",
        "import builtins, sys\nbuiltins.input = sys.stdin.readline\nprint(2 * int(input()))",
        "import sys\nsys.setrecursionlimit(10**6)\ndef g(n): return n and 1 + g(n - 1)\ng(20000)\n"
        "print(2 * int(input()))",
        "from concurrent.futures import ThreadPoolExecutor\np = ThreadPoolExecutor()\n"
        "print(2 * p.submit(int, input()).result())",
        "def main():\n    print(2 * int(input()))\nif __name__ == '__main__':\n    main()",
        "import resource\nresource.setrlimit(resource.RLIMIT_STACK, resource.getrlimit(resource.RLIMIT_STACK))\n"
        "print(2 * int(input()))",
        "import tempfile\nwith tempfile.TemporaryFile('w+') as f:\n    f.write(input())\n"
        "    f.seek(0)\n    print(2 * int(f.read()))",
        "import pickle\nclass A: pass\npickle.loads(pickle.dumps(A()))\nprint(2 * int(input()))",
    ],
)
def test_right_programs_pass(executor, program):
    assert executor.run(program, DOUBLE).outcome is Outcome.PASSED


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("print(3 * int(input()))", "failed"),
        ("", "failed"),
        ("1 / 0", "runtime_error"),
        ("raise KeyboardInterrupt", "runtime_error"),
        ("class E(Exception):\n    def __str__(self):\n        while True: pass\nraise E()", "runtime_error"),
        ("import ctypes\nctypes.string_at(0)", "runtime_error"),
        ("eval('1 +')", "runtime_error"),
        ("while True: print('x' * 1000)", "runtime_error"),
        ("while True: pass", "timeout"),
        ("while True:\n    try:\n        while True: pass\n    except BaseException: pass", "timeout"),
        ("import time\ntime.sleep(100)", "timeout"),
        ("x = [0] * 10**9", "memory_exceeded"),
        ("raise MemoryError", "memory_exceeded"),
        ("def f(:", "compile_error"),
        ("  x = 1\n y = 2", "compile_error"),
        ("x = 1\0", "compile_error"),
        ("x = '\ud800'", "compile_error"),
        ("(" * 5000 + ")" * 5000, "compile_error"),
    ],
)
def test_wrong_programs_get_their_class(executor, program, expected):
    assert outcomes(executor.run(program, DOUBLE)) == [expected, expected]


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("def f(x): return x + 1", ["passed", "passed"]),
        ("class Solution:\n    def f(self, x): return x + 1", ["passed", "passed"]),
        ("def f(x): return x + 1 if x > 1 else None", ["failed", "passed"]),
        ("def f(x):\n    while x == 1: pass\n    return x + 1", ["timeout", "passed"]),
        ("import os\ndef f(x): return os._exit(0) if x == 1 else x + 1", ["runtime_error", "passed"]),
        ("import sys\ndef f(x): sys.exit(0)", ["runtime_error", "runtime_error"]),
        ("import sys\nsys.exit(0)", ["runtime_error", "runtime_error"]),
        ("x = 1", ["runtime_error", "runtime_error"]),
        ("class E:\n    def __eq__(self, o): return True\ndef f(x): return E()", ["failed", "failed"]),
        ("class I(int):\n    def __eq__(self, o): return True\ndef f(x): return I()", ["failed", "failed"]),
        ("def f(x): return (i for i in [x])", ["failed", "failed"]),
    ],
)
def test_calls_share_a_process_until_it_dies(executor, program, expected):
    assert outcomes(executor.run(program, SUCCESSOR)) == expected


def test_arguments_are_fresh_copies(executor):
    tests = {"type": "call", "fn_name": "f", "inputs": [[[1]], [[1]]], "outputs": [[1, 2], [1, 2]]}

    assert executor.run("def f(x):\n    x.append(2)\n    return x", tests).outcome is Outcome.PASSED


def test_asserts_run_in_order_after_the_setup(executor):
    tests = {
        "type": "assert",
        "setup": "box = [f(0)]",
        "asserts": ["box.append(5)", "assert box == [1, 5]", "assert f(1) == 3"],
    }

    execution = executor.run("def f(x): return x + 1", tests)

    assert outcomes(execution) == ["passed", "passed", "failed"]
    assert [test.trusted for test in execution.tests] == [False, True, True]


def test_a_failed_assertion_of_the_programs_own_is_a_runtime_error(executor):
    tests = {"type": "assert", "setup": "", "asserts": ["f(1)", "x = f(0)\nassert x == 2"]}

    execution = executor.run("def f(x):\n    assert x == 0\n    return x", tests)

    assert outcomes(execution) == ["runtime_error", "failed"]


@pytest.mark.parametrize(
    ("program", "lines"),
    [
        ("n = int(input())\nif n > 9:\n    print(1)\nelse:\n    print(2 * n)\n", {1, 2, 4, 5}),
        ("n = int(input())\n1 / 0\nprint(n)\n", {1, 2}),
        ("n = int(input())\nwhile n:\n    pass\nprint(n)\n", {1, 2, 3}),
        ("import os\nn = int(input())\nos._exit(0)\nprint(n)\n", {1, 2, 3}),
        ("import sys\nn = int(input())\nsys.exit()\nprint(n)\n", {1, 2, 3}),
        ("import ctypes\nn = int(input())\nctypes.string_at(0)\nprint(n)\n", {1, 2, 3}),
        ("import os, signal\nn = int(input())\nos.kill(os.getpid(), signal.SIGKILL)\nprint(n)\n", {1, 2, 3}),
        (
            "import threading\ndef f():\n    print(2 * n)\nn = int(input())\nthreading.Thread(target=f).start()\n",
            {1, 2, 3, 4, 5},
        ),
    ],
)
def test_what_ran_before_the_end_is_known(executor, program, lines):
    execution = executor.run(program, DOUBLE)

    assert execution.executed_lines == lines
    assert execution.kept_lines == lines


@pytest.mark.parametrize(
    "program", ["def f(:\n    pass\n", "import sys\nsys.settrace(None)\nprint(2 * int(input()))\n"]
)
def test_without_a_trace_all_lines_are_kept(executor, program):
    if "settrace" in program and hasattr(__import__("sys"), "monitoring"):
        pytest.skip("sys.monitoring does not go through sys.settrace")
    execution = executor.run(program, DOUBLE)

    assert execution.executed_lines == frozenset()
    assert execution.kept_lines == set(range(1, program.count("\n") + 1))
    assert execution.trace_lost == ("settrace" in program)


FORGE = """
import json, os, signal, struct
def send(message):
    data = json.dumps(message).encode()
    for fd in range(3, 200):
        try:
            os.write(fd, struct.pack("<I", len(data)) + data)
        except OSError:
            pass
"""


@pytest.mark.parametrize(
    "claims",
    [
        "send({'test': 0, 'lines': [], 'ended': True})\n"
        "send({'test': 1, 'lines': [], 'unrun': True})\n"
        "send({'end': []})",
        "send({'test': 0, 'lines': [], 'output': '6'})\nsend({'test': 1, 'lines': [], 'output': '8'})",
        "send({'not_started': 'boo'})",
        "send({'infrastructure': 'boo'})",
        "send({'tests': [{'output': '6'}, {'output': '8'}], 'lines': [], 'cpu_s': 0})",
        "send({'end': []}); send({'module': {'unrun': True}})",
        "send({'module': {'output': '6'}})",
        "send([]); send(None); send({'test': [], 'lines': 3})",
    ],
)
def test_forged_reports_neither_pass_nor_look_like_our_failure(executor, claims):
    program = FORGE + "print(6, flush=True)\n" + claims + "\nos.kill(os.getpid(), signal.SIGKILL)\n"

    execution = executor.run(program, DOUBLE)

    assert execution.outcome is Outcome.RUNTIME_ERROR
    assert "worker lost" not in [test.message for test in execution.tests]


@pytest.mark.parametrize("tests", [DOUBLE, SUCCESSOR], ids=["stdio", "call"])
def test_claims_to_be_out_of_memory_beyond_the_last_test_do_not_reach_the_server(executor, tests):
    execution = executor.run(FORGE + "for _ in range(9): send({'memory': True})\n", tests)

    assert execution.outcome in (Outcome.MEMORY_EXCEEDED, Outcome.RUNTIME_ERROR)
    assert "worker lost" not in [test.message for test in execution.tests]


def test_lines_of_earlier_tests_survive_a_later_crash(executor):
    tests = {"type": "stdio", "inputs": ["0", "1", "2"], "outputs": ["a", "", "b"]}
    program = (
        "n = int(input())\nif n == 0:\n    print('a')\nelif n == 1:\n    import ctypes\n    ctypes.string_at(0)\n"
        "else:\n    print('b')\n"
    )

    execution = executor.run(program, tests)

    assert outcomes(execution) == ["passed", "runtime_error", "passed"]
    assert execution.executed_lines == set(range(1, 9))


def test_a_flood_of_one_test_is_not_charged_to_the_next(executor):
    tests = {"type": "call", "fn_name": "f", "inputs": [[0], [1], [2]], "outputs": [1, 1, 1]}
    program = "import sys\ndef f(x):\n    if x == 0:\n        sys.stdout.write('x' * 17 * 2**20)\n    return 1\n"

    assert outcomes(executor.run(program, tests)) == ["runtime_error", "passed", "passed"]


def test_all_tests_together_may_not_write_without_end(executor):
    tests = {"type": "stdio", "inputs": [""] * 8, "outputs": ["x"] * 8}
    program = "import sys\nsys.stdout.write('x' * 15 * 2**20)\n"

    execution = executor.run(program, tests)

    assert outcomes(execution) == ["failed"] * 4 + ["runtime_error"] * 4
    assert execution.tests[-1].message == "wrote or returned more than 67108864 bytes in all tests together"
    assert execution.executed_lines == {1, 2}


def test_a_tracer_switched_off_and_on_again_is_noticed(executor):
    if sys.version_info >= (3, 12):
        pytest.skip("sys.monitoring does not go through sys.settrace")
    program = "import sys\nt = sys.gettrace()\nsys.settrace(None)\nx = 1\nsys.settrace(t)\nif x == 2:\n    print(1)\n"

    assert executor.run(program, DOUBLE).kept_lines == set(range(1, 8))


@pytest.mark.parametrize("death", ["while True: pass", "import os, signal\n    os.kill(os.getpid(), signal.SIGKILL)"])
def test_stopping_at_the_first_failure_counts_deaths(death):
    tests = {"type": "stdio", "inputs": ["0", "1", "2"], "outputs": ["0", "1", "2"]}
    program = f"n = int(input())\nif n == 0:\n    {death}\nprint(n)\n"
    with CodeExecutor(ExecutorConfig(num_workers=1, timeout_s=0.5, stop_on_first_failure=True)) as executor:
        execution = executor.run(program, tests)

    assert [test.message for test in execution.tests[1:]] == ["not run", "not run"]
    assert execution.outcome is not Outcome.PASSED


def test_a_rows_own_limit_beats_the_default(executor):
    tests = {**DOUBLE, "timeout_s": 0.2}

    started = time.monotonic()
    execution = executor.run("while True: pass", tests)

    assert execution.outcome is Outcome.TIMEOUT
    assert all(0.15 < test.time_s < 0.9 for test in execution.tests)
    assert time.monotonic() - started < 5


def test_tests_that_are_not_reached_take_the_last_outcome():
    tests = {"type": "stdio", "inputs": ["1"] * 6, "outputs": ["1"] * 6}
    with CodeExecutor(ExecutorConfig(num_workers=1, timeout_s=0.3, program_timeout_s=0.7)) as executor:
        execution = executor.run("while True: pass", tests)

    assert outcomes(execution) == ["timeout"] * 6
    assert execution.tests[-1].message == "not run"


def test_stopping_at_the_first_failure_does_not_run_the_rest():
    tests = {"type": "stdio", "inputs": ["1", "2", "3"], "outputs": ["1", "0", "3"]}
    program = "n = int(input())\nif n == 3:\n    n = 3\nprint(n)\n"
    with CodeExecutor(ExecutorConfig(num_workers=1, stop_on_first_failure=True)) as executor:
        execution = executor.run(program, tests)

    assert outcomes(execution) == ["passed", "failed", "failed"]
    assert execution.tests[2].message == "not run"
    assert 3 not in execution.executed_lines


def test_results_keep_the_order_of_the_programs(executor):
    programs = [f"import time\ntime.sleep({(i % 3) / 50})\nprint({i})" for i in range(30)]
    tests = [{"type": "stdio", "inputs": [""], "outputs": [str(i)]} for i in range(30)]

    assert {e.outcome for e in executor.run_many(programs, tests)} == {Outcome.PASSED}


def test_nothing_stays_in_the_scratch_folder(executor):
    tests = {"type": "stdio", "inputs": [""], "outputs": ["[]"]}
    executor.run_many(
        ["import os\nos.makedirs('a/b')\nopen('a/b/c', 'w').write('x')\nos.chmod('a', 0)"] * 2, [tests] * 2
    )

    execution = executor.run("import os\nprint(os.listdir('.'))", tests)

    assert execution.outcome is Outcome.PASSED


def test_the_trainers_environment_is_not_passed_on(executor, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    tests = {"type": "stdio", "inputs": [""], "outputs": ["None"]}
    with CodeExecutor(ExecutorConfig(num_workers=1)) as fresh:
        assert fresh.run("import os\nprint(os.environ.get('HF_TOKEN'))", tests).outcome is Outcome.PASSED


def worker_pids():
    """Fork servers of this process."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as stat:
                    parent = int(stat.read().rsplit(")", 1)[1].split()[1])
                with open(f"/proc/{entry}/cmdline") as line:
                    if parent == os.getpid() and "executor.server" in line.read():
                        found.append(int(entry))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def test_killed_workers_lose_no_result_and_keep_the_order():
    programs = [f"import time\ntime.sleep(0.02)\nprint({i})" for i in range(60)]
    tests = [{"type": "stdio", "inputs": [""], "outputs": [str(i)]} for i in range(60)]
    before = set(worker_pids())
    with CodeExecutor(ExecutorConfig(num_workers=2)) as executor:
        futures = [executor.submit(p, t) for p, t in zip(programs, tests, strict=True)]
        futures[10].result()
        for pid in set(worker_pids()) - before:
            os.kill(pid, signal.SIGKILL)
        results = [future.result() for future in futures]

    assert [r.outcome for r in results] == [Outcome.PASSED] * 60


def test_closing_ends_every_process_and_may_be_repeated():
    before = set(worker_pids())
    executor = CodeExecutor(ExecutorConfig(num_workers=2))
    executor.run("print(1)", {"type": "stdio", "inputs": [""], "outputs": ["1"]})
    executor.close()
    executor.close()

    assert set(worker_pids()) == before
    with pytest.raises(SandboxError, match="closed"):
        executor.run("print(1)", DOUBLE)


def test_a_worker_that_cannot_start_is_our_failure_not_an_outcome(monkeypatch):
    monkeypatch.setattr("stepcoder_trl.executor.local.server_process._bootstrap", lambda *_: "raise SystemExit")
    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        (result,) = executor.run_many(["print(1)"], [DOUBLE], on_error="return")
        with pytest.raises(SandboxError):
            executor.run("print(1)", DOUBLE)

    assert isinstance(result, SandboxError)


def test_threads_may_share_an_executor(executor):
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(executor.run("print(2 * int(input()))", DOUBLE).outcome))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == [Outcome.PASSED] * 8


def test_a_killed_trainer_leaves_no_process_and_no_folder(tmp_path):
    script = (
        "import os, sys, signal\n"
        "from stepcoder_trl import CodeExecutor, ExecutorConfig\n"
        "executor = CodeExecutor(ExecutorConfig(num_workers=1, timeout_s=60))\n"
        "executor.run('pass', {'type': 'stdio', 'inputs': [''], 'outputs': ['']})\n"
        "executor.submit('while True: pass', {'type': 'stdio', 'inputs': [''], 'outputs': ['']})\n"
        "print(os.getpid(), flush=True)\n"
        "sys.stdin.read()\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    trainer = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    trainer.stdout.readline()
    assert any(tmp_path.iterdir())

    trainer.kill()
    trainer.communicate()

    deadline = time.monotonic() + 20
    while (processes_with(str(tmp_path)) or any(tmp_path.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_with(str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def processes_with(folder):
    """Processes whose temporary folder lies in this one."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and folder in (entry / "environ").read_text(errors="replace"):
                found.append(entry.name)
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_workers": 0}, "num_workers"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"memory_limit_bytes": 512}, "512 \\* 2\\*\\*20"),
        ({"isolation": "off"}, "isolation"),
        ({"float_tolerance": -1.0}, "float_tolerance"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(BadInputError, match=message):
        ExecutorConfig(**settings)


def test_memory_is_released_after_each_program(executor):
    def resident():
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in (os.getpid(), *worker_pids())]
        return sum(pages) * os.sysconf("SC_PAGE_SIZE")

    executor.run_many(["print('x' * 10**6)"] * 20, [DOUBLE] * 20)
    before = resident()
    executor.run_many(["print('x' * 10**6)"] * 200, [DOUBLE] * 200)

    assert resident() - before < 30 * 2**20


def test_the_handler_of_the_soft_limit_cannot_be_replaced(executor):
    if not executor.layers["seccomp"]:
        pytest.skip("seccomp keeps the handler, and this machine has none")
    program = (
        "import signal\ndef f(x):\n    number = signal.SIGRTMAX - 1\n    try:\n"
        "        signal.signal(number, signal.SIG_IGN)\n    except OSError:\n        return x + 1\n"
    )

    assert executor.run(program, SUCCESSOR).outcome is Outcome.PASSED


OUTPUT_OF_BYTES = """
import re
from stepcoder_trl import CodeExecutor, ExecutorConfig

program = "import sys\\nsys.stdout.buffer.write(b'\\\\xff' * (2**24 - 1))\\n"
with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
    execution = executor.run(program, {"type": "stdio", "inputs": [""], "outputs": ["x"]})
peak_kib = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]
print(execution.outcome.value, int(peak_kib) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_output_that_is_no_text_does_not_fill_the_trainers_memory():
    done = subprocess.run([sys.executable, "-c", OUTPUT_OF_BYTES], capture_output=True, text=True, check=True)

    outcome, peak_mib = done.stdout.split()
    assert outcome == "failed"
    assert int(peak_mib) < 160  # of 16 MiB of output; escaped in JSON they took more than 210
