"""
An independent witness for probes: which regions of a program were entered, by the positions of the bytecode that ran.

Every instruction of the unchanged program is traced; a region was entered if one ran whose source position (PEP 657,
Python 3.11) lies in it. All data sets, with a report:

    STEPCODER_DATA=... python -m tests.probe_oracle [FILE ...] [--every N] [--timeout-s S]
"""

from __future__ import annotations

import argparse
import ast
import copy
import dis
import io
import json
import os
import random
import resource
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

from stepcoder_trl import CodeExecutor, Execution, ExecutorConfig, Outcome, Problem, load_problems
from stepcoder_trl.masking import executed_spans
from stepcoder_trl.parsing import is_passive, line_spans, parse
from stepcoder_trl.probes import find_regions, unexecuted_regions


FILENAME = "/nowhere/solution.py"
FILES = (
    *("humaneval.jsonl", "mbpp.jsonl", "apps_plus_valid.jsonl", "apps_plus_train.jsonl", "apps_sample.jsonl"),
    *("leetcode_v0.2.0_test.jsonl", "leetcode_v0.3.1_test.jsonl.gz", "leetcode_v0.2.0_train.jsonl.gz"),
)
Position = tuple[int, int, int, int]  # line, end line, column, end column, in bytes


# The witness


class OpcodeTracer:
    """Notes the position of every instruction of a file that runs, in all threads."""

    def __init__(self, filename: str = FILENAME) -> None:
        self._filename = filename
        self._ran: dict[CodeType, set[int]] = {}

    def __enter__(self) -> OpcodeTracer:
        threading.settrace(self._on_call)
        sys.settrace(self._on_call)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]

    def _on_call(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        if frame.f_code.co_filename != self._filename:
            return None
        ran = self._ran.setdefault(frame.f_code, set())
        frame.f_trace_opcodes, frame.f_trace_lines = True, False

        def on_opcode(frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
            if event == "opcode":
                ran.add(frame.f_lasti)
            return on_opcode

        return on_opcode

    def positions(self) -> set[Position]:
        """Positions of what ran, but for jumps, which have that of what they jump over."""
        found = set()
        for code, offsets in self._ran.items():
            positions = list(code.co_positions())
            names = {instruction.offset: instruction.opname for instruction in dis.get_instructions(code)}
            for offset in offsets:
                position = positions[offset // 2]
                if None not in position and not names[offset].startswith(("JUMP_", "RESUME")):
                    found.add(position)
        return found  # type: ignore[return-value]


def entered_regions(program: str, positions: Collection[Position]) -> set[int]:
    """Numbers of the regions in which one of the positions lies."""
    lines = [(start, program[start:end].encode()) for start, end in line_spans(program)]

    def offset(line: int, byte: int) -> int:
        start, text = lines[line - 1]
        return start + len(text[:byte].decode())

    spans = [(offset(line, first), offset(end_line, last)) for line, end_line, first, last in positions]
    regions = find_regions(program)
    return {
        number
        for number, (start, end) in enumerate(regions)
        if any(start <= first and last <= end and first < last for first, last in spans)
    }


def seldom_seen_regions(program: str) -> set[int]:
    """
    Numbers of the regions that may be entered without an instruction of their own: this witness can miss them.

    The compiler merges `continue` and `break` with the jump of their condition, folds constants into it, and makes
    nothing of docstrings, `global`, `nonlocal` and bare annotations.
    """
    return {
        number for number, (start, end) in enumerate(find_regions(program)) if _may_vanish(program[start:end].strip())
    }


def _may_vanish(text: str) -> bool:
    tree = parse(text)
    if tree is None:
        return False
    return all(
        is_passive(tree, tree.body, index) or not any(isinstance(part, ast.Name) for part in ast.walk(node))
        for index, node in enumerate(tree.body)
    )


# Running a problem's tests in a process of its own


def witnessed_regions(program: str, tests: dict[str, Any], timeout_s: float) -> set[int] | None:
    """Regions of a trusted program that its tests enter; `None` if that takes too long."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            resource.setrlimit(resource.RLIMIT_CPU, (int(timeout_s) + 1, int(timeout_s) + 2))
            signal.signal(signal.SIGXCPU, signal.SIG_DFL)
            with os.fdopen(write, "w") as answer:
                answer.write(json.dumps(sorted(_witness(program, tests))))
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    return set(json.loads(text)) if text else None


def _witness(program: str, tests: dict[str, Any]) -> set[int]:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    sys.stdout = sys.__stdout__ = open(1, "w", closefd=False)  # noqa: SIM115
    code = compile(program, FILENAME, "exec", dont_inherit=True, optimize=0)
    sys.argv = [FILENAME]
    random.seed(0)
    tracer = OpcodeTracer()
    {"stdio": _run_stdio, "call": _run_call, "assert": _run_assert}[tests["type"]](code, tests, tracer)
    return entered_regions(program, tracer.positions())


def _fresh_main(tests: dict[str, Any]) -> dict[str, Any]:
    sys.modules["__main__"] = module = ModuleType("__main__")
    exec(tests.get("preamble", ""), module.__dict__)
    return module.__dict__


def _run_stdio(code: CodeType, tests: dict[str, Any], tracer: OpcodeTracer) -> None:
    for text in tests["inputs"]:
        descriptor = os.memfd_create("stdin")
        os.write(descriptor, text.encode())
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.dup2(descriptor, 0)
        sys.stdin = sys.__stdin__ = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), encoding="utf-8")
        namespace = _fresh_main(tests)
        with tracer:
            _try(lambda namespace=namespace: exec(code, namespace))  # type: ignore[misc]
            if tests.get("fn_name"):
                _try(lambda namespace=namespace: namespace[tests["fn_name"]]())  # type: ignore[misc]


def _run_call(code: CodeType, tests: dict[str, Any], tracer: OpcodeTracer) -> None:
    namespace, name = _fresh_main(tests), tests["fn_name"]
    with tracer:
        exec(code, namespace)
        for arguments in tests["inputs"]:
            function = namespace[name] if name in namespace else getattr(namespace["Solution"](), name)
            _try(lambda function=function, arguments=arguments: function(*copy.deepcopy(arguments)))  # type: ignore[misc]


def _run_assert(code: CodeType, tests: dict[str, Any], tracer: OpcodeTracer) -> None:
    namespace = _fresh_main(tests)
    with tracer:
        exec(code, namespace)
        exec(tests.get("setup", ""), namespace)
        for statement in tests["asserts"]:
            _try(lambda statement=statement: exec(statement, namespace))  # type: ignore[misc]


def _try(action: Callable[[], Any]) -> None:
    try:
        action()
    except (Exception, SystemExit):
        pass


# Comparing


@dataclass(frozen=True)
class Comparison:
    """
    What both say of one program.

    Attributes:
        task_id (`str`): Problem.
        regions (`int`): Regions of the program.
        entered (`int`): Regions that were entered.
        missed (`tuple[str, ...]`): Text of the regions that the witness cannot be expected to see, and did not.
        differing (`tuple[str, ...]`): Text of the other regions of which they say different things.
        same_verdict (`bool`): Whether lines and expressions gave equal outcomes, messages and lines.
        witnessed (`bool`): Whether the witness came to an end.
    """

    task_id: str
    regions: int
    entered: int
    missed: tuple[str, ...]
    differing: tuple[str, ...]
    same_verdict: bool
    witnessed: bool


def compare(problems: Sequence[Problem], timeout_s: float) -> Iterator[Comparison]:
    """Run canonical solutions with lines, with expressions and under the witness."""
    programs = [problem.canonical_solution for problem in problems]
    tests = [problem.tests for problem in problems]
    by_lines, by_expressions = (
        _run_all(programs, tests, granularity, timeout_s) for granularity in ("lines", "expressions")
    )
    for problem, lines, expressions in zip(problems, by_lines, by_expressions, strict=True):
        same = verdict(lines) == verdict(expressions)
        slow = Outcome.TIMEOUT in (lines.outcome, expressions.outcome)
        witnessed = None if slow else witnessed_regions(problem.canonical_solution, problem.tests, 10 * timeout_s)
        yield _comparison(problem, expressions, witnessed, same or slow)


def _run_all(programs: list[str], tests: list[Any], granularity: Any, timeout_s: float) -> list[Execution]:
    config = ExecutorConfig(num_workers=1, timeout_s=timeout_s, granularity=granularity)
    with CodeExecutor(config) as executor:
        return executor.run_many(programs, [{**one, "timeout_s": timeout_s} for one in tests])


def verdict(execution: Execution) -> Any:
    """What must not depend on the granularity."""
    tests = [(test.outcome, test.message, test.error_line, test.trusted) for test in execution.tests]
    return execution.outcome, tests, execution.executed_lines, execution.kept_lines


def _comparison(problem: Problem, execution: Execution, witnessed: set[int] | None, same: bool) -> Comparison:
    program = problem.canonical_solution
    regions = find_regions(program)
    if witnessed is None:
        return Comparison(problem.task_id, len(regions), 0, (), (), same, witnessed=False)
    ran = {number for number in range(len(regions)) if _has_run(number, regions, execution)}
    missed = (ran - witnessed) & seldom_seen_regions(program)
    witnessed |= missed
    differing = [program[slice(*regions[number])] for number in ran ^ witnessed]
    skipped = unexecuted_regions(regions, witnessed)
    if skipped is None or executed_spans(program, execution.executed_lines, skipped) != execution.executed_spans:
        differing.append("spans")
    texts = tuple(program[slice(*regions[number])] for number in missed)
    return Comparison(problem.task_id, len(regions), len(ran), texts, tuple(differing), same, witnessed=True)


def _has_run(number: int, regions: Sequence[tuple[int, int]], execution: Execution) -> bool:
    """Whether a character of a region, but of none inside it, was executed."""
    start, end = regions[number]
    own = set(range(start, end))
    for other_start, other_end in regions:
        if (other_start, other_end) != (start, end) and start <= other_start and other_end <= end:
            own -= set(range(other_start, other_end))
    return any(own & set(range(lo, hi)) for lo, hi in execution.executed_spans or ())


def problems_of(path: Path, every: int = 1) -> list[Problem]:
    """Each n-th problem of a file that has a solution."""
    return [one for one in islice(load_problems(path), 0, None, every) if one.canonical_solution]


def main() -> int:
    """Compare and print; returns the number of files with a difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", default=FILES)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--timeout-s", type=float, default=3.0)
    arguments = parser.parse_args()
    bad = 0
    for name in arguments.files:
        found: Counter[str] = Counter()
        for one in compare(
            problems_of(Path(os.environ["STEPCODER_DATA"]) / name, arguments.every), arguments.timeout_s
        ):
            found["programs"] += 1
            found["too slow for the witness"] += not one.witnessed
            found["regions"] += one.regions * one.witnessed
            found["entered"] += one.entered
            found["missed by the witness"] += len(one.missed)
            found["differing regions"] += len(one.differing)
            found["differing verdicts"] += not one.same_verdict
            if one.missed or one.differing or not one.same_verdict:
                print(f"  {one}", flush=True)
        print(name, dict(found), flush=True)
        bad += bool(found["differing regions"] or found["differing verdicts"])
    return bad


if __name__ == "__main__":
    sys.exit(main())
