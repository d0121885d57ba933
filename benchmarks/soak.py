"""
Endurance of the executor: run many programs, some of them hostile, in one executor in one process.

    python benchmarks/soak.py --out soak.json --kills 100           # 200,000 programs
    python benchmarks/soak.py --programs 1500 --kills 100           # a short run; the tests have a shorter one
    python benchmarks/soak.py --minutes 20                          # as many as fit, at most `--programs`

Every program's outcome is checked. After a warm-up the process must not grow by more than 20 MiB, and must not open
more descriptors. Before memory is measured, the allocator gives its free pages back to the system: it keeps those of
large outputs for reuse, which is no growth. `resident` has the sizes before that. The process starts again with the C
library's allocator, because Python's own keeps 1 MiB for one small object in it: after syntax trees of large programs
that looked like a growth of up to 70 MiB, of which 2 were in use. At the end no process and no scratch folder may be
left. `--kills` sends SIGKILL to random processes of the executor while programs run: to fork servers, forkers,
examiners and programs by turns. Even then no result may be lost, wrong or out of order. The result is written after
every batch. If `--out` names the file of an earlier run, that run continues.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from stepcoder_trl import CodeExecutor, ExecutorConfig, Outcome, SandboxError
from stepcoder_trl.executor.selftest.corpus import load
from stepcoder_trl.executor.selftest.leftovers import (
    children_of_ours,
    descendants,
    num_descriptors,
    resident_bytes,
    settled_bytes,
)
from stepcoder_trl.executor.wire.system import EXAMINER_NAME, FORKER_NAME
from stepcoder_trl.jsonl import write_json


LAST_PROGRAMS = 16  # more than a cache of programs holds
BATCH = 500
WORKERS = 2
HOSTILE_SHARE = 0.05
CHECK_SHARE = 0.05
MAX_WARM_UP_PROGRAMS = 1000
QUICK_S = 0.2
KINDS = ("forge_", "leak_", "scratch_", "check_", "trace_")  # mostly quick, though they may also time out
MAX_GROWTH_BYTES = 20 * 2**20
Sample = tuple[str, dict[str, Any], frozenset[str], str]  # program, tests, expected outcomes, name


def correct_program(draw: random.Random) -> Sample:
    """Return a new program with a call or stdin test, or seldom a check, that it passes."""
    first, second = draw.randrange(10**9), draw.randrange(1, 10**6)
    if draw.random() < CHECK_SHARE:
        setup = f"def check(candidate):\n    assert candidate({first}) == {first + second}\n"
        tests = {"type": "assert", "setup": setup, "asserts": ["check(f)"]}
        return f"def f(x):\n    return x + {second}\n", tests, frozenset({"passed"}), "check"
    if draw.random() < 0.5:
        program = f"def f(x):\n    if x > {first}:\n        return x\n    return [x % {second}, {{'k': str(x)}}]\n"
        tests = {"type": "call", "fn_name": "f", "inputs": [[first]], "outputs": [[first % second, {"k": str(first)}]]}
        return program, tests, frozenset({"passed"}), "call"
    program = f"import sys\nfor line in sys.stdin:\n    print(int(line) * {second})\n"
    inputs = [f"{first + step}\n{step}\n" for step in range(3)]
    outputs = [f"{(first + step) * second}\n{step * second}\n" for step in range(3)]
    return program, {"type": "stdio", "inputs": inputs, "outputs": outputs}, frozenset({"passed"}), "stdio"


def quick_hostile_programs(executor: CodeExecutor) -> list[Sample]:
    """
    Run the hostile programs of the corpus once. Return those that take less than a fifth of a second.

    Programs that fill the disk or count on companions are left out.
    """
    cases = [case for case in load("hostile") if "timeout" not in case.expected or case.name.startswith(KINDS)]
    cases = [case for case in cases if not case.requirements.needs_own_worker]
    samples = [(case.program, case.tests, case.expected, case.name) for case in cases]
    executions = executor.run_many([sample[0] for sample in samples], [sample[1] for sample in samples])
    return [
        sample
        for sample, done in zip(samples, executions, strict=True)
        if done.time_s < QUICK_S and done.outcome is not Outcome.TIMEOUT
    ]


class Killer:
    """
    Kills a random process of the executor after every `every` results. Each kind is the victim by turns.

    No process is killed before everything that ran at the last killing has ended: a program whose worker is lost twice
    would be scored.
    """

    def __init__(self, every: int, seed: int) -> None:
        self.every, self.draw, self.results = every, random.Random(seed), 0
        self.kills: Counter[str] = Counter()
        self.kinds = itertools.cycle(("fork server", "forker", "examiner", "program"))
        self.lock = threading.Lock()

    def on_result(self, future: object) -> None:
        """Count a result. Any thread may call this."""
        with self.lock:
            self.results += 1
            if self.results % self.every:
                return
            kind = next(self.kinds)
            victims = sorted(pid for pid, name in processes() if name == kind)
            if victims:
                with suppress(ProcessLookupError):
                    os.kill(self.draw.choice(victims), signal.SIGKILL)
                    self.kills[kind] += 1


def processes() -> Iterator[tuple[int, str]]:
    """Yield the processes of this process's executors, and what each is."""
    for server in children_of_ours():
        yield server, "fork server"
        for helper in descendants(server):
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                status = Path(f"/proc/{helper}/stat").read_text()
                name, _, rest = status.partition("(")[2].rpartition(")")
                if int(rest.split()[1]) != server:
                    yield helper, "program"
                else:
                    yield helper, {EXAMINER_NAME: "examiner", FORKER_NAME: "forker"}.get(name, "program")


def soak(
    programs: int,
    programs_between_kills: int | None,
    seed: int,
    after_batch: Callable[[dict[str, Any]], None],
    minutes: float = math.inf,
) -> dict[str, Any]:
    """
    Run programs, for so many minutes at most, and watch the memory and descriptors of this process.

    Return counts, `wrong` outcomes (name, outcome, message), growth, and leftovers. `after_batch` gets the result so
    far.
    """
    draw = random.Random(seed)
    began = time.monotonic()
    result: dict[str, Any] = {"programs": 0, "hostile": 0, "kills": {}, "outcomes": {}, "wrong": []}
    result |= {"resident": [], "memory": []}
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        usual, tempfile.tempdir = tempfile.tempdir, folder
        try:
            with CodeExecutor(ExecutorConfig(num_workers=WORKERS)) as executor:
                hostile = quick_hostile_programs(executor)
                _run_batch(executor, [correct_program(draw) for _ in range(min(programs // 2, MAX_WARM_UP_PROGRAMS))])
                memory, descriptors = _settled_bytes(executor, draw), num_descriptors()
                killer = Killer(programs_between_kills, seed) if programs_between_kills else None
                while result["programs"] < programs and time.monotonic() < began + 60 * minutes:
                    count = min(BATCH, programs - result["programs"])
                    batch = [
                        draw.choice(hostile) if draw.random() < HOSTILE_SHARE else correct_program(draw)
                        for _ in range(count)
                    ]
                    for sample, outcome, message in _run_batch(executor, batch, killer):
                        outcomes[outcome] += 1
                        result["hostile"] += sample[3] not in ("call", "stdio", "check")
                        if outcome not in sample[2]:
                            result["wrong"].append([sample[3], outcome, message])
                    result["programs"] += count
                    result["outcomes"] = dict(outcomes)
                    result["kills"] = dict(killer.kills) if killer else {}
                    result["resident"].append([result["programs"], resident_bytes()])
                    result["memory"].append([result["programs"], _settled_bytes(executor, draw)])
                    result["growth_bytes"] = result["memory"][-1][1] - memory
                    result["growth_descriptors"] = num_descriptors() - descriptors
                    result["seconds"] = time.monotonic() - began
                    after_batch(result)
            result["processes_left"] = descendants()
            result["folders_left"] = sorted(path.name for path in Path(folder).glob("stepcoder-*"))
        finally:
            tempfile.tempdir = usual
    return result


def _settled_bytes(executor: CodeExecutor, draw: random.Random) -> int:
    """Return the memory after some small programs: caches of the last programs hold no large ones then."""
    _run_batch(executor, [correct_program(draw) for _ in range(LAST_PROGRAMS)])
    return settled_bytes()


def _run_batch(
    executor: CodeExecutor, batch: list[Sample], killer: Killer | None = None
) -> list[tuple[Sample, str, str]]:
    """Return the outcome and the first message of each program, in order."""
    futures = [executor.submit(sample[0], sample[1]) for sample in batch]
    if killer is not None:
        for future in futures:
            future.add_done_callback(killer.on_result)
    found = []
    for sample, future in zip(batch, futures, strict=True):
        try:
            done = future.result()
        except SandboxError as error:
            found.append((sample, "error", str(error)))
        else:
            found.append((sample, done.outcome.value, next((test.message for test in done.tests if test.message), "")))
    return found


def problems(result: dict[str, Any]) -> list[str]:
    """List what is wrong with a run."""
    growth = result["growth_bytes"]
    found = [f"{name}: {outcome} ({message})" for name, outcome, message in result["wrong"]]
    if growth > MAX_GROWTH_BYTES:
        found.append(f"memory grew by {growth / 2**20:.1f} MiB")
    if result["growth_descriptors"] > 0 and not result["kills"]:
        found.append(f"{result['growth_descriptors']} more descriptors than at the start")
    if result.get("processes_left"):
        found.append(f"processes left: {result['processes_left']}")
    if result.get("folders_left"):
        found.append(f"folders left: {result['folders_left']}")
    return found


def main() -> int:
    """Run the programs, show progress and write JSON."""
    if os.environ.get("PYTHONMALLOC") != "malloc":
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "PYTHONMALLOC": "malloc"})
    from rich.progress import Progress

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=200_000, help="number of programs (200000)")
    parser.add_argument("--kills", type=int, metavar="N", help="kill a process after every N programs (at least 20)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="start no batch after so many minutes")
    parser.add_argument("--out", type=Path, help="JSON file, written after every batch; an earlier run is continued")
    arguments = parser.parse_args()
    earlier = json.loads(arguments.out.read_text()) if arguments.out and arguments.out.exists() else {"legs": []}
    done = sum(leg["programs"] for leg in earlier["legs"])
    legs = earlier["legs"]

    def write(result: dict[str, Any]) -> None:
        if arguments.out:
            write_json(arguments.out, {"programs_wanted": arguments.programs, "legs": [*legs, result]}, indent=None)

    with Progress() as bar:
        task = bar.add_task("programs", total=arguments.programs, completed=done)

        def after_batch(result: dict[str, Any]) -> None:
            bar.update(task, completed=done + result["programs"])
            write(result)

        result = soak(max(arguments.programs - done, 0), arguments.kills, len(legs), after_batch, arguments.minutes)
    write(result)
    found = [problem for leg in [*legs, result] if leg["programs"] for problem in problems(leg)]
    growth = result.get("growth_bytes", 0)
    print("\n".join(found) or f"{done + result['programs']} programs, growth {growth} bytes: passed")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
