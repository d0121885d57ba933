"""Trainers that fork, and executors that go to another process."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import pytest

from stepcoder_trl import Outcome
from tests.integration.lifetime.script import LONG_S, MARKS, ONE, PRELUDE
from tests.processes import kill, soon, with_temporary_folder


pytestmark = MARKS


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
