"""Servers that die, trainers that fork, stop, are interrupted or killed: no result lost, nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import random
import select
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig, Outcome, SandboxError
from stepcoder_trl.executor.local import executor as pool
from tests.processes import descendants, kill, parent_of, soon, with_temporary_folder


pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(sys.platform != "linux", reason="the fork server is made for Linux"),
]
LONG_S = 60  # no correct wait in this file comes near it
SLEEPER = "import time\ntime.sleep(1000)\n"
ONE = {"type": "stdio", "inputs": [""], "outputs": ["1"]}
PATIENT = {**ONE, "timeout_s": 300}
PRELUDE = f"""
import multiprocessing, os, signal, sys, threading, time
from stepcoder_trl import CodeExecutor, ExecutorConfig, Outcome, SandboxError
ONE, PATIENT, SLEEPER = {ONE!r}, {PATIENT!r}, {SLEEPER!r}
"""


def prints(number: int, pause_s: float = 0.0) -> tuple[str, dict[str, Any]]:
    """Program that prints a number, with its tests: no other program passes them."""
    tests = {"type": "stdio", "inputs": ["a", "b"], "outputs": [f"a{number}", f"b{number}"]}
    return f"import time\ntime.sleep({pause_s})\nprint(input() + '{number}')\n", tests


@pytest.fixture
def executor() -> Iterator[CodeExecutor]:
    with CodeExecutor(ExecutorConfig(num_workers=2)) as executor:
        yield executor


@pytest.fixture
def nothing_left() -> Iterator[None]:
    before = descendants()
    descriptors = len(os.listdir("/proc/self/fd"))
    yield
    gc.collect()
    assert soon(lambda: descendants() == before), (before, descendants())
    assert len(os.listdir("/proc/self/fd")) <= descriptors


class Script:
    """Python script in a session and a temporary folder of its own."""

    def __init__(self, folder: Path, text: str, *options: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, *options, *([] if "-i" in options else ["-c", PRELUDE + text])],
            env={**os.environ, "TMPDIR": str(folder), "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        if "-i" in options:
            assert self.process.stdin is not None
            self.process.stdin.write(PRELUDE + text)

    def line(self) -> str:
        """Next line of the script's output."""
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], LONG_S)[0]
        return str(self.process.stdout.readline().strip())

    def wait_for_program(self, count: int = 1) -> None:
        """Wait until servers run programs: children of children."""
        mine = self.process.pid
        assert soon(lambda: sum(parent_of(pid) != mine for pid in descendants(mine)) >= count)

    def end(self) -> tuple[int, str, str]:
        """Exit status, output and errors of a script that ends by itself, without leaving anything."""
        output, errors = self.process.communicate(timeout=LONG_S)
        self.assert_nothing_left()
        return self.process.returncode, output, errors

    def assert_nothing_left(self) -> None:
        assert soon(lambda: not with_temporary_folder(self.folder)), with_temporary_folder(self.folder)
        # multiprocessing keeps folders of its own
        assert soon(lambda: not list(self.folder.glob("stepcoder-*"))), list(self.folder.iterdir())


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Any]:
    started: list[Script] = []

    def start(text: str, *options: str) -> Script:
        started.append(Script(tmp_path, text, *options))
        return started[-1]

    yield start
    for one in started:
        kill(one.process.pid)
        one.process.communicate()


# --- servers and programs that someone kills


def test_random_killings_lose_no_result_double_none_and_keep_the_order(nothing_left):
    count, killings, dice = 240, 24, random.Random(5)
    programs, tests = zip(*(prints(number, dice.choice([0, 0.01, 0.03])) for number in range(count)), strict=True)
    done: Counter[int] = Counter()
    robbed: set[int] = set()  # servers whose program was killed: the second time it would count against a program
    others = set(descendants())
    with CodeExecutor(ExecutorConfig(num_workers=3)) as executor:
        futures = [executor.submit(program, test) for program, test in zip(programs, tests, strict=True)]
        for number, future in enumerate(futures):
            future.add_done_callback(lambda _, number=number: done.update([number]))
        while killings and done.total() < count:
            seen = done.total()
            victim = dice.choice([pid for pid in descendants() if pid not in others] or [0])
            owner = parent_of(victim) if victim else None
            if owner is not None and owner not in robbed:
                if owner != os.getpid():
                    robbed.add(owner)
                kill(victim)
                killings -= 1
            assert soon(lambda seen=seen: done.total() > seen or done.total() == count)
        executions = [future.result(LONG_S) for future in futures]

    assert killings < 12
    wrong = [(number, e) for number, e in enumerate(executions) if e.outcome is not Outcome.PASSED]
    assert wrong == []
    assert done == Counter(range(count))


def test_a_program_killed_from_outside_runs_again_with_all_its_tests(executor, tmp_path):
    tests = {"type": "assert", "setup": "box = []", "asserts": [f"box.append({i})" for i in range(3)], "timeout_s": 60}
    tests["asserts"] += ["f()", "assert box == [0, 1, 2]"]
    future = executor.submit("import time\ndef f():\n    time.sleep(2)\n", tests)
    before = set(descendants())
    assert soon(lambda: [pid for pid in descendants() if parent_of(pid) != os.getpid()] or set(descendants()) - before)
    assert soon(lambda: any(parent_of(pid) in descendants() for pid in descendants()))
    for pid in descendants():
        if parent_of(pid) in descendants():
            kill(pid)

    assert future.result(LONG_S).outcome is Outcome.PASSED


def test_a_program_that_kills_itself_is_at_fault(executor):
    program = "import os, signal\nx = 1\nos.kill(os.getpid(), signal.SIGKILL)\nprint(1)\n"

    execution = executor.run(program, ONE)

    assert execution.outcome is Outcome.RUNTIME_ERROR
    assert execution.tests[0].message == "killed by SIGKILL"
    assert execution.executed_lines == {1, 2, 3}


def test_servers_that_are_always_killed_are_our_failure(monkeypatch, nothing_left):
    suicide = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    monkeypatch.setattr(pool, "_bootstrap", lambda *_: suicide)
    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        with pytest.raises(SandboxError, match="could not be executed"):
            executor.run("print(1)", ONE)


@pytest.mark.parametrize("size", [10, 1_000_000], ids=["small job", "job larger than a pipe"])
def test_a_stopped_server_is_replaced(monkeypatch, nothing_left, size):
    monkeypatch.setattr("stepcoder_trl.executor.verdict.judge.SERVER_SLACK_S", 0.0)
    tests = {**ONE, "inputs": ["x" * size], "timeout_s": 0.1}
    others = set(descendants())
    with CodeExecutor(ExecutorConfig(num_workers=1, program_timeout_s=0.1)) as executor:
        executor.run("print(1)", ONE)
        (server,) = set(descendants()) - others
        kill(server, signal.SIGSTOP)

        execution = executor.run("print(1)", tests)

    assert execution.outcome is Outcome.PASSED
    assert not Path(f"/proc/{server}").exists()


# --- trainers that fork


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_process_of_the_trainers_gets_servers_of_its_own(script, tmp_path, method):
    text = f"""
def work(executor, results):
    results.put(executor.run("print(1)", ONE).outcome.value)

def main():
    context = multiprocessing.get_context({method!r})
    executor, results = CodeExecutor(ExecutorConfig(num_workers=2)), context.Queue()
    executor.run("print(1)", ONE)
    slow = executor.submit("import time\\ntime.sleep(1)\\nprint(1)", ONE)
    workers = [context.Process(target=work, args=(executor, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    print(sorted(results.get(timeout={LONG_S}) for worker in workers))
    for worker in workers:
        worker.join()
        print(worker.exitcode)
    print(slow.result().outcome.value, executor.run("print(1)", ONE).outcome.value)
    executor.close()

if __name__ == "__main__":
    main()
"""
    path = tmp_path / "trainer.py"  # spawn and forkserver import it
    path.write_text(PRELUDE + text)
    run = script(f"import runpy\nrunpy.run_path({str(path)!r}, run_name='__main__')" if method == "fork" else "")
    if method != "fork":
        run.process.communicate()
        run.process = subprocess.Popen(
            [sys.executable, str(path)],
            env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONWARNINGS": "ignore"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    status, output, errors = run.end()

    assert (status, errors) == (0, "")
    assert output.splitlines() == ["['passed', 'passed']", "0", "0", "passed passed"]


def test_a_fork_at_any_moment_is_safe(script):
    run = script(f"""
executor = CodeExecutor(ExecutorConfig(num_workers=2))
stop = threading.Event()

def keep_busy():
    while not stop.is_set():
        assert executor.run("print(1)", ONE).outcome is Outcome.PASSED

threads = [threading.Thread(target=keep_busy) for _ in range(3)]
for thread in threads:
    thread.start()
for number in range(12):
    pid = os.fork()
    if pid == 0:
        signal.alarm({LONG_S})  # ends this process if it hangs
        passed = number % 3 or executor.run("print(1)", ONE).outcome is Outcome.PASSED
        if number % 2:
            executor.close()
        os._exit(0 if passed else 1)
    print(os.waitpid(pid, 0)[1])
stop.set()
for thread in threads:
    thread.join()
executor.close()
""")

    status, output, errors = run.end()

    assert (status, errors) == (0, "")
    assert output.split() == ["0"] * 12


def test_servers_end_with_the_trainer_even_if_a_forked_process_lives_on(script, tmp_path):
    run = script("""
executor = CodeExecutor(ExecutorConfig(num_workers=2))
executor.run("print(1)", ONE)
executor.submit(SLEEPER, PATIENT)
if os.fork() == 0:
    print("child", os.getpid(), flush=True)
    time.sleep(1000)
time.sleep(1000)
""")
    child = int(run.line().split()[1])
    try:
        run.wait_for_program()
        run.process.kill()
        run.process.wait()

        assert soon(lambda: with_temporary_folder(tmp_path) == [child])
        assert soon(lambda: list(tmp_path.iterdir()) == [])
    finally:
        kill(child)


def test_an_executor_can_be_sent_to_another_process(executor):
    executor.run("print(1)", ONE)

    with pickle.loads(pickle.dumps(executor)) as copy:
        assert copy.config == executor.config
        assert copy.run("print(1)", ONE).outcome is Outcome.PASSED


# --- threads, event loops, interactive interpreters


def test_many_threads_share_an_executor(executor):
    results: dict[int, list[Any]] = {}

    def work(number: int) -> None:
        programs, tests = zip(*(prints(100 * number + i) for i in range(5)), strict=True)
        results[number] = [execution.outcome for execution in executor.run_many(programs, tests)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == dict.fromkeys(range(16), [Outcome.PASSED] * 5)


def test_it_runs_inside_a_running_event_loop(executor):
    async def main() -> list[Outcome]:
        blocking = executor.run("print(1)", ONE)
        futures = [asyncio.wrap_future(executor.submit("print(1)", ONE)) for _ in range(4)]
        return [execution.outcome for execution in (blocking, *await asyncio.gather(*futures))]

    assert asyncio.run(main()) == [Outcome.PASSED] * 5


def test_it_runs_in_an_interactive_interpreter(script):
    run = script(
        """
executor = CodeExecutor(ExecutorConfig(num_workers=1))
print("__file__" in globals(), executor.run("print(1)", ONE).outcome.value)

exit()
""",
        "-i",
        "-q",
    )

    status, output, _ = run.end()

    assert (status, output.split()) == (0, ["False", "passed"])


def test_no_signal_handler_is_installed(executor):
    def handlers() -> dict[int, Any]:
        return {number: signal.getsignal(number) for number in signal.valid_signals()}

    before = handlers()
    with CodeExecutor(ExecutorConfig(num_workers=1)) as other:
        other.run("print(1)", ONE)
        during = handlers()

    assert during == before
    assert handlers() == before


# --- interrupted and killed trainers

MANY_SLEEPERS = """
executor = CodeExecutor(ExecutorConfig(num_workers=2))
executor.run("print(1)", ONE)
print("ready", flush=True)
"""


@pytest.mark.parametrize("closing", ["with executor:", "try:"])
def test_control_c_comes_out_at_once_and_ends_everything(script, closing):
    finish = "" if closing.startswith("with") else "finally:\n        executor.close()"
    run = script(f"""{MANY_SLEEPERS}
try:
    {closing}
        executor.run_many([SLEEPER] * 50, [PATIENT] * 50)
    {finish}
except KeyboardInterrupt:
    print("interrupted", flush=True)
""")
    assert run.line() == "ready"
    run.wait_for_program(2)
    os.killpg(run.process.pid, signal.SIGINT)  # as a terminal does

    assert run.end() == (0, "interrupted\n", "")


def test_after_control_c_the_executor_is_still_good(script):
    run = script(f"""{MANY_SLEEPERS}
try:
    executor.run_many(["import time\\ntime.sleep(2)"] * 50, [PATIENT] * 50)
except KeyboardInterrupt:
    print(executor.run("print(1)", ONE).outcome.value)
""")
    assert run.line() == "ready"
    run.wait_for_program(2)
    os.killpg(run.process.pid, signal.SIGINT)

    assert run.end() == (0, "passed\n", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_a_killed_trainer_leaves_nothing(script, number):
    run = script(f"{MANY_SLEEPERS}\nexecutor.run_many([SLEEPER] * 50, [PATIENT] * 50)")
    assert run.line() == "ready"
    run.wait_for_program(2)
    kill(run.process.pid, number)

    assert run.end() == (-number, "", "")


@pytest.mark.parametrize("pause_s", [0.0, 0.02, 0.05, 0.1, 0.2, 0.4])
def test_a_trainer_killed_while_its_servers_start_leaves_nothing(script, pause_s):
    # Both servers must have begun: a folder that was made for one that is not there yet is nobody's.
    run = script(f"""
import glob, pathlib

def servers():
    lists = [pathlib.Path(path).read_text().split() for path in glob.glob("/proc/self/task/*/children")]
    commands = {{pid: pathlib.Path(f"/proc/{{pid}}/cmdline").read_bytes() for pids in lists for pid in pids}}
    return [pid for pid, command in commands.items() if b"executor.server" in command]

executor = CodeExecutor(ExecutorConfig(num_workers=2))
futures = [executor.submit(SLEEPER, PATIENT) for _ in range(4)]
while len(servers()) < 2:
    pass
time.sleep({pause_s})
os.kill(os.getpid(), signal.SIGKILL)
""")

    assert run.end() == (-signal.SIGKILL, "", "")


# --- closing


def test_closing_with_work_queued_ends_at_once(nothing_left):
    executor = CodeExecutor(ExecutorConfig(num_workers=2))
    futures = [executor.submit(SLEEPER, PATIENT) for _ in range(20)]
    mine = os.getpid()
    assert soon(lambda: sum(parent_of(pid) != mine for pid in descendants()) >= 2)
    started = time.monotonic()
    executor.close()
    executor.close()

    assert time.monotonic() - started < LONG_S
    kinds = Counter(type(future.exception()) if not future.cancelled() else CancelledError for future in futures)
    assert kinds == {SandboxError: 2, CancelledError: 18}
    with pytest.raises(SandboxError, match="closed"):
        executor.submit("print(1)", ONE)


def test_closing_from_another_thread_wakes_who_waits(nothing_left):
    executor = CodeExecutor(ExecutorConfig(num_workers=1))
    executor.run("print(1)", ONE)
    closers = [threading.Timer(0.2, executor.close) for _ in range(3)]
    for closer in closers:
        closer.start()

    results = executor.run_many([SLEEPER] * 3, [PATIENT] * 3, on_error="return")
    for closer in closers:
        closer.join()

    assert [type(result) for result in results] == [SandboxError] * 3


def test_closing_from_a_callback_does_not_lock(nothing_left):
    executor = CodeExecutor(ExecutorConfig(num_workers=2))
    closed = threading.Event()
    future = executor.submit("import time\ntime.sleep(0.2)", ONE)
    future.add_done_callback(lambda _: (executor.close(), closed.set()))

    assert closed.wait(LONG_S)
    executor.close()


def test_submitting_while_closing_leaves_no_future_waiting(nothing_left):
    for _ in range(10):
        executor = CodeExecutor(ExecutorConfig(num_workers=1))
        futures = []

        def submit(executor=executor, futures=futures):
            for _ in range(1000):
                try:
                    futures.append(executor.submit("print(1)", ONE))
                except SandboxError:
                    return

        thread = threading.Thread(target=submit)
        thread.start()
        executor.close()
        thread.join()
        assert soon(lambda futures=futures: all(future.done() for future in futures))


def test_a_failing_callback_does_not_stop_the_worker():
    def fail(future: Any) -> None:
        raise SystemExit

    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        executor.submit("print(1)", ONE).add_done_callback(fail)

        assert executor.submit("print(1)", ONE).result(LONG_S).outcome is Outcome.PASSED


def test_leaving_by_an_exception_closes(nothing_left):
    def leave(executor: CodeExecutor) -> None:
        with executor:
            executor.submit(SLEEPER, PATIENT)
            raise KeyError

    executor = CodeExecutor(ExecutorConfig(num_workers=1))
    with pytest.raises(KeyError):
        leave(executor)

    with pytest.raises(SandboxError, match="closed"):
        executor.run("print(1)", ONE)


@pytest.mark.parametrize(
    "ending",
    [
        "",
        "sys.exit(3)",
        "raise SystemExit(3)",
        "executor = None",
        "import atexit\natexit.register(lambda: executor.close())",
        "threading.Thread(target=lambda: time.sleep(0.3)).start()",
    ],
)
def test_an_interpreter_ends_without_closing(script, ending):
    run = script(f"{MANY_SLEEPERS}\nfutures = [executor.submit(SLEEPER, PATIENT) for _ in range(9)]\n{ending}\n")
    expected = 3 if "3)" in ending and "Thread" not in ending else 0

    # A thrown-away executor finishes its work first, but never keeps the interpreter from ending.
    assert run.end() == (expected, "ready\n", "")


def test_an_executor_nobody_holds_runs_its_programs_and_ends(nothing_left):
    future = CodeExecutor(ExecutorConfig(num_workers=1)).submit("print(1)", ONE)

    assert future.result(LONG_S).outcome is Outcome.PASSED


def test_a_collected_executor_ends_its_servers(nothing_left):
    before = descendants()
    executor = CodeExecutor(ExecutorConfig(num_workers=2))
    cycle = [executor]
    cycle.append(cycle)  # type: ignore[arg-type]
    executor.run("print(1)", ONE)
    assert descendants() != before

    del executor, cycle
    gc.collect()

    assert soon(lambda: descendants() == before)
