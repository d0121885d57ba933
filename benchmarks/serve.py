"""
Requests per second and core through HTTP, against the same programs in process and in an interpreter each.

    python benchmarks/serve.py --out docs/results/serve/serve.json

All ways run the same scripts, one after the other in each round, on the same workers. Figures are medians of the
rounds. CPU seconds are those of the whole process tree, the client included.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2

from stepcoder_trl import CodeExecutor, ExecutorConfig
from stepcoder_trl.executor import RemoteConfig, RemoteExecutor


WORKERS = 2
SCRIPT = "n = int(input())\nprint(sum(i * i for i in range(n)))\n# {0}\n"
TESTS = {"type": "stdio", "inputs": ["100"] * 15, "outputs": ["328350"] * 15}


def measure(run: Callable[[], Any], cpu_of: Callable[[], float], count: int) -> dict[str, float]:
    """Return requests per second, and CPU milliseconds of one."""
    wall, cpu = time.perf_counter(), cpu_of()
    run()
    wall, cpu = time.perf_counter() - wall, cpu_of() - cpu
    return {"per_second": count / wall, "cpu_ms": 1000 * cpu / count}


def cpu_of_tree(pid: int) -> float:
    """Return the CPU seconds of a process, its children and all that it has reaped."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    children = [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text(encoding="utf-8").split()
    ]
    return sum(map(int, text[11:15])) / os.sysconf("SC_CLK_TCK") + sum(map(cpu_of_tree, children))


def main() -> None:
    """Measure all ways in turns, print the medians and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    command = [sys.executable, "-m", "stepcoder_trl", "serve", "--port", "0", "--workers", str(WORKERS)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        found = re.search(r"http://\S+:\d+", server.stderr.readline())
        assert found is not None
        try:
            figures = compare(found[0], server.pid, arguments.rounds, arguments.requests)
        finally:
            server.terminate()
    for way, figure in figures.items():
        print(f"{way:24}{figure['per_second']:8.1f} /s {figure['cpu_ms']:8.1f} ms CPU")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        load = os.getloadavg()[0]
        result = {"workers": WORKERS, "requests": arguments.requests, "load": load, "ways": figures}
        arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def compare(url: str, server: int, rounds: int, count: int) -> dict[str, dict[str, float]]:
    """Return the median figures of each way."""
    scripts = [SCRIPT.format(number) for number in range(count)]
    bodies = [{"code": script, "language": "python", "stdin": "100", "run_timeout": 10} for script in scripts]

    def of_all() -> float:
        return cpu_of_tree(os.getpid())  # the server is a child

    def by_python(script: str) -> None:
        subprocess.run([sys.executable, "-c", script], input="100", text=True, capture_output=True, check=True)

    with (
        CodeExecutor(ExecutorConfig(num_workers=WORKERS)) as local,
        RemoteExecutor(RemoteConfig(url)) as remote,
        httpx2.Client(timeout=60) as client,
        ThreadPoolExecutor(2 * WORKERS) as threads,
        ThreadPoolExecutor(WORKERS) as pythons,
    ):

        def post(body: dict[str, Any]) -> None:
            assert client.post(f"{url}/run_code", json=body).json()["status"] == "Success"

        ways: dict[str, Callable[[], Any]] = {
            "/run_code": lambda: list(threads.map(post, bodies)),
            "python per request": lambda: list(pythons.map(by_python, scripts)),
            "in process, 15 tests": lambda: local.run_many(scripts, [TESTS] * count),
            "/v1/problems, 15 tests": lambda: remote.run_many(scripts, [TESTS] * count),
        }
        found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for number in range(rounds + 1):
            for way, run in ways.items():
                figure = measure(run, of_all, count)
                if number:  # the first round starts workers and connections
                    found[way].append(figure)
    return {
        way: {name: statistics.median(one[name] for one in figures) for name in figures[0]}
        for way, figures in found.items()
    }


if __name__ == "__main__":
    main()
