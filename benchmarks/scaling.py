"""
Time of a training step's programs on 1 to 64 hosts: a simulation with measured service times.

    python benchmarks/scaling.py measure --out docs/results/scaling/measured.json     # STEPCODER_DATA, minutes
    python benchmarks/scaling.py simulate docs/results/scaling/measured.json --out docs/results/scaling

`measure` runs solutions of HumanEval and APPS+ and endless loops through a `CodeExecutor` with one worker, each three
times, and keeps the shortest wall time: the machine may be busy. With Ray installed it also measures what a message
and a program in it cost the process that gives programs out.

`simulate` draws the programs of a step from these times: groups of samples of one problem, of which a share are
endless loops. One process gives them to hosts, one message at a time. A message costs its time, an answer as much. The
policies differ in who gets the next message, how many programs are in it, and in which order programs wait. A batch is
answered as a whole. `least busy` is what `RayExecutor` does: its functions are called here.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import math
import os
import platform
import random
import statistics
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal

from stepcoder_trl.executor.ray.policy import has_room, least_busy


ENDLESS = "while True:\n    pass\n"
HOSTS = (1, 2, 4, 8, 16, 32, 64)
REPEATS = 3
SCENARIOS = ("no endless loops", "long tail", "slow host", "dead host")


# Model


@dataclass(frozen=True)
class Host:
    """Host: workers, speed relative to the measured machine, and the second in which it dies."""

    workers: int
    speed: float = 1.0
    dies_s: float = math.inf


@dataclass(frozen=True)
class Costs:
    """
    Seconds that giving out programs takes.

    Attributes:
        message_s (`float`): Of the giving process for a message, and for its answer.
        latency_s (`float`): On the way, in each direction.
        detect_s (`float`): From the death of a host to the moment in which it is known.
    """

    message_s: float
    latency_s: float = 0.001
    detect_s: float = 1.0


@dataclass(frozen=True)
class Policy:
    """
    How programs are given out.

    Attributes:
        push (`bool`): All programs are given at once, in turn; else a host gets more while it has room.
        batch (`int` or `"guided"`): Programs in a message.
        longest_first (`bool`): Those of the problem with the longest expected time come first.
    """

    push: bool = False
    batch: int | Literal["guided"] = 1
    longest_first: bool = False


def guided_size(num_waiting: int, num_workers: int) -> int:
    """Return the programs of a guided batch: many while much waits, and single ones at the end."""
    return min(64, max(1, num_waiting // (8 * num_workers)))


POLICIES: dict[str, Policy] = {
    "round robin": Policy(push=True),
    "least busy": Policy(),
    "longest first": Policy(longest_first=True),
    "batches of 64": Policy(batch=64),
    "guided": Policy(batch="guided"),
    "guided, longest first": Policy(batch="guided", longest_first=True),
}


@dataclass(frozen=True)
class Program:
    """Program: its seconds on a worker, and the seconds that its problem lets expect."""

    service_s: float
    expected_s: float


@dataclass(eq=False)
class _Batch:
    host: int
    programs: list[int]
    left: int


@dataclass(eq=False)
class _State:
    """A host while it runs."""

    idle: int
    alive: bool = True
    known: bool = True  # as alive, to the giving process
    queue: deque[tuple[int, _Batch]] = field(default_factory=deque)
    load: int = 0
    batches: set[_Batch] = field(default_factory=set)


@dataclass(frozen=True)
class Step:
    """Result: seconds of the step, how often each program ended, and messages sent."""

    seconds: float
    runs: tuple[int, ...]
    messages: int


class Simulation:
    """One step's programs on hosts."""

    def __init__(self, programs: Sequence[Program], hosts: Sequence[Host], policy: Policy, costs: Costs) -> None:
        self.programs, self.hosts, self.policy, self.costs = programs, hosts, policy, costs
        order = range(len(programs))
        if policy.longest_first:
            order = sorted(order, key=lambda one: -programs[one].expected_s)  # type: ignore[assignment]
        self._waiting = deque(order)
        self._states = [_State(host.workers) for host in hosts]
        self._turn = itertools.cycle(range(len(hosts)))
        self._runs = [0] * len(programs)
        self._inbox: deque[_Batch] = deque()  # answers that the giving process has not read
        self._busy, self._ended_s = False, 0.0
        self._messages = self._settled = 0
        self._events: list[tuple[float, int, Any, tuple[Any, ...]]] = []
        self._numbers = itertools.count()

    def run(self) -> Step:
        """Run until each program has a result."""
        for number, host in enumerate(self.hosts):
            if math.isfinite(host.dies_s):
                self._at(host.dies_s, self._die, number)
        self._next(0.0)
        while self._settled < len(self.programs):
            now_s, _, handle, arguments = heapq.heappop(self._events)
            handle(now_s, *arguments)
        return Step(self._ended_s, tuple(self._runs), self._messages)

    def _at(self, when_s: float, handle: Any, *arguments: Any) -> None:
        heapq.heappush(self._events, (when_s, next(self._numbers), handle, arguments))

    def _next(self, now_s: float) -> None:
        """Let the giving process read an answer, or else send a message, if it is not busy and there is one."""
        if self._busy:
            return
        if self._inbox:
            self._settle(self._inbox.popleft())
            self._ended_s = now_s + self.costs.message_s
            self._work(now_s, self.costs.message_s)
        elif self._waiting and (chosen := self._choose()) is not None:
            self._send(now_s, *chosen)

    def _work(self, now_s: float, seconds: float) -> None:
        self._busy = True
        self._at(now_s + seconds, self._rest)

    def _rest(self, now_s: float) -> None:
        self._busy = False
        self._next(now_s)

    def _send(self, now_s: float, number: int, size: int) -> None:
        programs = [self._waiting.popleft() for _ in range(min(size, len(self._waiting)))]
        batch = _Batch(number, programs, len(programs))
        state = self._states[number]
        state.load += len(programs)
        state.batches.add(batch)
        self._messages += 1
        seconds = self.costs.message_s
        self._at(now_s + seconds + self.costs.latency_s, self._arrive, batch)
        self._work(now_s, seconds)

    def _choose(self) -> tuple[int, int] | None:
        """Return the next host and the number of programs that it gets."""
        known = [number for number, state in enumerate(self._states) if state.known]
        if self.policy.push:
            number = next(one for one in self._turn if self._states[one].known)
            return number, 1
        total = sum(self.hosts[number].workers for number in known)
        size = guided_size(len(self._waiting), total) if self.policy.batch == "guided" else self.policy.batch
        index = least_busy((self._states[one].load, self.hosts[one].workers) for one in known)
        if index is None:
            return None
        state, workers = self._states[known[index]], self.hosts[known[index]].workers
        if not has_room(state.load - size + 1, workers):  # a batch may be larger than the room
            return None
        return known[index], size

    def _arrive(self, now_s: float, batch: _Batch) -> None:
        state = self._states[batch.host]
        state.queue.extend((program, batch) for program in batch.programs)
        self._start(now_s, batch.host)

    def _start(self, now_s: float, number: int) -> None:
        state, host = self._states[number], self.hosts[number]
        while state.alive and state.idle and state.queue:
            program, batch = state.queue.popleft()
            state.idle -= 1
            self._at(now_s + self.programs[program].service_s / host.speed, self._end, number, program, batch)

    def _end(self, now_s: float, number: int, program: int, batch: _Batch) -> None:
        state = self._states[number]
        if not state.alive:
            return
        state.idle += 1
        batch.left -= 1
        if not batch.left:
            self._at(now_s + self.costs.latency_s, self._answer, batch)
        self._start(now_s, number)

    def _answer(self, now_s: float, batch: _Batch) -> None:
        self._inbox.append(batch)
        self._next(now_s)

    def _settle(self, batch: _Batch) -> None:
        """Note the results of a batch, unless its host was given up."""
        state = self._states[batch.host]
        if batch not in state.batches:
            return
        state.batches.remove(batch)
        state.load -= len(batch.programs)
        for program in batch.programs:
            self._runs[program] += 1
        self._settled += len(batch.programs)

    def _die(self, now_s: float, number: int) -> None:
        self._states[number].alive = False
        self._at(now_s + self.costs.detect_s, self._lose, number)

    def _lose(self, now_s: float, number: int) -> None:
        """Let the programs of a dead host wait again, before all others."""
        state = self._states[number]
        state.known = False
        lost = [program for batch in state.batches for program in batch.programs]
        state.batches.clear()
        self._waiting.extendleft(sorted(lost, reverse=True))
        self._next(now_s)


# Programs and hosts of a step


def draw_step(
    problems: Sequence[float], endless_s: float, share: float, groups: int, size: int, seed: int
) -> list[Program]:
    """Return the programs of a step: `groups` problems, `size` samples of each, of which a share are endless loops."""
    generator = random.Random(seed)
    chosen = [generator.choice(problems) for _ in range(groups)]
    return [
        Program(endless_s if generator.random() < share else service_s, service_s)
        for service_s in chosen
        for _ in range(size)
    ]


def ideal_s(programs: Iterable[Program], hosts: Sequence[Host]) -> float:
    """Return a lower limit of the step: the work shared by all workers, or the longest program."""
    services = [program.service_s for program in programs]
    return max(sum(services) / sum(host.workers * host.speed for host in hosts), max(services))


def scenario(name: str, count: int, workers: int, half_s: float) -> list[Host]:
    """Return the hosts of a scenario. A dead host dies after `half_s`, and a slow one has a quarter of the speed."""
    hosts = [Host(workers)] * count
    if name == "slow host":
        hosts[-1] = Host(workers, speed=0.25)
    if name == "dead host":
        hosts[-1] = Host(workers, dies_s=half_s)
    return hosts


def simulate(measured: dict[str, Any], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row per scenario, number of hosts and policy, with the median seconds of the step."""
    problems = [*measured["humaneval"], *measured["apps_plus"]]
    costs = Costs(measured["message_s"] / 2)  # half for the message, half for its answer
    rows = []
    for name in SCENARIOS:
        share = arguments.endless if name == "long tail" else 0.0
        for count in HOSTS:
            if name == "dead host" and count == 1:
                continue
            steps: dict[str, list[Step]] = {title: [] for title in POLICIES}
            limits = []
            for seed in range(REPEATS):
                programs = draw_step(problems, measured["endless_s"], share, arguments.groups, arguments.size, seed)
                plain = ideal_s(programs, [Host(arguments.workers)] * count)
                hosts = scenario(name, count, arguments.workers, plain / 2)
                limits.append(ideal_s(programs, hosts))
                for title, rule in POLICIES.items():
                    steps[title].append(Simulation(programs, hosts, rule, costs).run())
            for title, found in steps.items():
                assert all(set(one.runs) == {1} for one in found)  # nothing lost, nothing counted twice
                seconds = statistics.median(one.seconds for one in found)
                row = {"scenario": name, "hosts": count, "policy": title, "seconds": round(seconds, 4)}
                rows.append({**row, "limit_s": round(statistics.median(limits), 4), "messages": found[0].messages})
    return rows


# Measurement


def measure() -> dict[str, Any]:
    """Return service times in seconds, by source, and the costs of messages."""
    from stepcoder_trl import CodeExecutor, ExecutorConfig, load_problems

    data = Path(os.environ["STEPCODER_DATA"])
    found: dict[str, Any] = {}
    with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
        for name, file in (("humaneval", "humaneval.jsonl"), ("apps_plus", "apps_plus_valid.jsonl")):
            problems = [one for one in load_problems(data / file) if one.canonical_solution]
            found[name] = [_shortest(executor, one.canonical_solution, one.parsed_tests) for one in problems]
        found["endless_s"] = _shortest(executor, ENDLESS, problems[0].parsed_tests, repeats=1)
    made_with = {"date": date.today().isoformat(), "python": platform.python_version(), "cores": os.cpu_count()}
    return {**found, "message_s": _message_s(), "made_with": made_with}


def _shortest(executor: Any, program: str, tests: Any, repeats: int = 3) -> float:
    times = []
    for _ in range(repeats):
        begun_s = time.perf_counter()
        executor.run(program, tests)
        times.append(time.perf_counter() - begun_s)
    return round(min(times), 5)


def _message_s() -> float:
    """Return the CPU seconds of this process for a program that it gives to a Ray actor, answer included."""
    from stepcoder_trl.executor import RayExecutor

    count, tests = 2000, {"type": "stdio", "inputs": [""], "outputs": [""]}
    with RayExecutor() as executor:
        executor.run("", tests)
        begun_s = time.process_time()
        executor.run_many([""] * count, [tests] * count)
        return round((time.process_time() - begun_s) / count, 6)


# Report


def report(rows: Sequence[dict[str, Any]], measured: dict[str, Any], arguments: argparse.Namespace) -> str:
    """Return the page with the tables."""
    services = [*measured["humaneval"], *measured["apps_plus"]]
    count = arguments.groups * arguments.size
    lines = [
        "# Simulated step time against hosts",
        "",
        "    python benchmarks/scaling.py measure --out docs/results/scaling/measured.json",
        "    python benchmarks/scaling.py simulate docs/results/scaling/measured.json --out docs/results/scaling",
        "",
        "![Simulated step time against hosts](steps.svg)",
        "",
        "This page is written by the second command. No cluster was used: service times and the costs of messages are",
        "measured on one machine, the rest is a model, which `benchmarks/scaling.py` describes.",
        "",
        f"A step has {count:,} programs: {arguments.groups} problems with {arguments.size} samples each. A host has "
        f"{arguments.workers} workers.",
        f"Measured on {measured['made_with']['date']}: {len(services)} solutions of HumanEval and APPS+ take",
        f"{statistics.median(services) * 1e3:.1f} ms each (median), {statistics.fmean(services) * 1e3:.1f} ms (mean),",
        f"at most {max(services):.2f} s. An endless loop under several tests takes {measured['endless_s']:.1f} s.",
        f"A program costs the sending process {measured['message_s'] * 1000:.2f} ms, its answer included.",
        "Figures are seconds from the first program to the last result, medians of "
        f'{REPEATS} draws. "limit" is the work shared by all',
        "workers, or the longest program if that is longer.",
    ]
    for name in dict.fromkeys(row["scenario"] for row in rows):
        chosen = [row for row in rows if row["scenario"] == name]
        counts = list(dict.fromkeys(row["hosts"] for row in chosen))
        lines += ["", f"## {name.capitalize()}", "", f"| policy | {' | '.join(map(str, counts))} |"]
        lines += [f"|---|{'---:|' * len(counts)}"]
        for title in POLICIES:
            cells = [f"{row['seconds']:.2f}" for row in chosen if row["policy"] == title]
            lines.append(f"| {title} | {' | '.join(cells)} |")
        limits = {row["hosts"]: f"{row['limit_s']:.2f}" for row in chosen}
        lines.append(f"| *limit* | {' | '.join(limits.values())} |")
    return "\n".join(lines) + "\n"


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Plot the step time against hosts, one panel per scenario."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row["scenario"] for row in rows))
    figure = Figure(figsize=(9, 7), layout="constrained")
    panels = figure.subplots(2, 2).ravel()
    for panel, name in zip(panels, names, strict=True):
        chosen = [row for row in rows if row["scenario"] == name]
        for title in POLICIES:
            points = [(row["hosts"], row["seconds"]) for row in chosen if row["policy"] == title]
            panel.plot(*zip(*points, strict=True), label=title, marker=".")
        limits = sorted({(row["hosts"], row["limit_s"]) for row in chosen})
        panel.plot(*zip(*limits, strict=True), label="limit", color="black", linestyle=":")
        panel.set(xscale="log", yscale="log", title=name, xlabel="hosts", ylabel="seconds of a step")
        panel.set_xticks(HOSTS, list(map(str, HOSTS)))
        panel.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), ncols=4, fontsize="small", loc="outside lower center")
    figure.savefig(path)


def parse_arguments() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("measure").add_argument("--out", type=Path, required=True)
    simulation = verbs.add_parser("simulate")
    simulation.add_argument("measured", type=Path)
    simulation.add_argument("--out", type=Path, required=True)
    simulation.add_argument("--groups", type=int, default=512)
    simulation.add_argument("--size", type=int, default=16, help="samples of a problem")
    simulation.add_argument("--workers", type=int, default=16, help="of a host")
    simulation.add_argument("--endless", type=float, default=0.01, help="share of endless loops in the long tail")
    return parser.parse_args()


def main() -> None:
    """Measure, or simulate and write table, figures and picture."""
    arguments = parse_arguments()
    if arguments.verb == "measure":
        arguments.out.write_text(json.dumps(measure()) + "\n", encoding="ascii")
        return
    measured = json.loads(arguments.measured.read_text(encoding="ascii"))
    rows = simulate(measured, arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "simulated.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="ascii")
    (arguments.out / "README.md").write_text(report(rows, measured, arguments), encoding="utf-8")
    plot(rows, arguments.out / "steps.svg")


if __name__ == "__main__":
    main()
