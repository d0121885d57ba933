"""
CPU seconds that granularity `expressions` costs beside `lines`, on the canonical solutions of a file of problems.

    python benchmarks/granularity.py humaneval.jsonl --rounds 7

Both run in turn, on one worker each; the fork servers, their children and this process count. Prints milliseconds per
program, medians over the rounds, and their ratio.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import Any

from stepcoder_trl import CodeExecutor, ExecutorConfig, load_problems


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", help="file that `load_problems` reads")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    problems = [one for one in load_problems(arguments.problems) if one.canonical_solution]
    programs, tests = [one.canonical_solution for one in problems], [one.tests for one in problems]
    choices: tuple[Any, ...] = ("lines", "expressions")
    executors = {choice: CodeExecutor(ExecutorConfig(num_workers=1, granularity=choice)) for choice in choices}
    costs: dict[str, list[float]] = {choice: [] for choice in choices}
    for executor in executors.values():
        executor.run_many(programs, tests)  # warm
    for _ in range(arguments.rounds):
        for choice, executor in executors.items():
            before = _cpu_s()
            executor.run_many(programs, tests)
            costs[choice].append(1000 * (_cpu_s() - before) / len(programs))
    for executor in executors.values():
        executor.close()
    lines, expressions = (statistics.median(costs[choice]) for choice in choices)
    print(f"lines {lines:.2f} ms, expressions {expressions:.2f} ms per program; ratio {expressions / lines:.2f}")


def _cpu_s() -> float:
    """CPU seconds of this process, of the fork servers and of the children that those have waited for."""
    ticks = 0
    for listing in Path("/proc/self/task").glob("*/children"):
        for pid in listing.read_text().split():
            ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
