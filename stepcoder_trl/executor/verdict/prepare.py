"""
Prepare tests and programs for a fork server.

The message to the server holds the inputs of the tests. It never holds their expected outputs: these stay in the
judges, on this side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from stepcoder_trl.executor.verdict.asserts import split_assert
from stepcoder_trl.executor.verdict.examinable import binds_names, functions_of, plan_check, root_name
from stepcoder_trl.executor.verdict.judge import (
    Judge,
    judge_assert_inside,
    judge_examined,
    judge_returned,
    judge_split_assert,
    judge_stdout,
)
from stepcoder_trl.executor.verdict.limits import (
    MAX_MEMORY_LIMIT_BYTES,
    MIN_KEPT_BYTES,
    MIN_OUTPUT_BYTES,
    SERVER_SLACK_S,
    TESTS_PER_PROGRAM_LIMIT,
    WALL_PER_CPU,
    Limits,
)
from stepcoder_trl.executor.verdict.schema import Tests
from stepcoder_trl.executor.wire.codec import encode
from stepcoder_trl.executor.wire.frames import json_bytes
from stepcoder_trl.executor.wire.jobs import compact, joined, text_bytes
from stepcoder_trl.executor.wire.messages import (
    STARVED_WALL_FACTOR,
    AssertTest,
    Check,
    Checks,
    CodeAround,
    ExaminedTest,
    InsideTest,
    JobMessage,
    SplitTest,
)


@dataclass(frozen=True)
class PreparedTests:
    """Everything about a job that does not depend on the program."""

    header: JobMessage  # without the sizes of the parts
    part_bytes: tuple[int, ...]  # sizes of the parts but the program
    parts: bytes
    judges: tuple[Judge, ...]  # one per test
    memory_limit_bytes: int
    deadline_s: float  # wall seconds after which a server that has not answered counts as lost
    checks: bytes  # message to the examiner, which the program's process must not see; empty if no test needs one


@dataclass(frozen=True)
class Job:
    """One program to run. `without_examiner` returns the same job with all tests that cannot be split run inside."""

    program: str
    tests: PreparedTests
    without_examiner: Callable[[], Job]

    @property
    def message(self) -> bytes:
        """Return the message to the fork server. The tests are encoded once for all programs."""
        program = text_bytes(self.program)
        return joined(self.tests.header, (len(program), *self.tests.part_bytes), program + self.tests.parts)


def prepare_job(program: str, tests: Tests, limits: Limits, examine: bool = True) -> Job:
    """
    Prepare a program and its tests. The tests are prepared for the first program and kept for the next ones.

    `timeout_s` and `memory_limit_bytes` of the tests take precedence over `limits`. `examine` says whether there is
    an examiner.
    """
    key = (limits, examine)
    prepared = tests.prepared.get(key)
    if prepared is None:
        prepared = tests.prepared[key] = _prepare_tests(tests, limits, examine)
    return Job(program, prepared, partial(prepare_job, program, tests, limits, examine=False))


def _prepare_tests(tests: Tests, limits: Limits, examine: bool) -> PreparedTests:
    """Separate what the program's process may see of the tests from what it must not see."""
    timeout_s = float(tests.get("timeout_s", limits.timeout_s))
    program_s = limits.program_timeout_s
    program_s = TESTS_PER_PROGRAM_LIMIT * timeout_s if program_s is None else max(program_s, timeout_s)
    # This covers all that may happen for one program: a busy machine, a repetition after a kill, a run for the lines.
    hard_wall_s = STARVED_WALL_FACTOR * WALL_PER_CPU * (program_s + timeout_s)
    memory_limit_bytes = int(tests.get("memory_limit_bytes", limits.memory_limit_bytes))
    memory_limit_bytes = min(memory_limit_bytes, MAX_MEMORY_LIMIT_BYTES)
    setup, checks, output_bytes = "", b"", [0]
    examined: list[int] = []
    judges: list[Judge]
    if tests["type"] == "stdio":
        payload = [text_bytes(text) for text in tests["inputs"]]
        options = (limits.float_tolerance, limits.keep_outputs)
        judges = [partial(judge_stdout, text, *options) for text in tests["outputs"]]
        output_bytes = [len(text.encode("utf-8", "surrogatepass")) for text in tests["outputs"]]
    elif tests["type"] == "call":
        payload = [json_bytes(encode(list(arguments))) for arguments in tests["inputs"]]
        judges = [partial(judge_returned, value, limits.keep_outputs) for value in tests["outputs"]]
    else:
        asserts, judges, checks, setup = _prepare_asserts(tests, examine)
        examined = [index for index, test in enumerate(asserts) if "candidates" in test]
        payload = [json_bytes(test) for test in asserts]
    around = CodeAround(fn_name=tests.get("fn_name"), preamble=tests.get("preamble", ""), setup=setup)
    parts = [compact(around), *payload]
    header: JobMessage = {
        "part_bytes": [],
        "type": tests["type"],
        "examined": examined,
        "checks_bytes": len(checks),
        "timeout_s": timeout_s,
        "wall_s": WALL_PER_CPU * timeout_s,
        "program_cpu_s": program_s,
        "program_wall_s": WALL_PER_CPU * program_s,
        "hard_wall_s": hard_wall_s,
        "memory_limit_bytes": memory_limit_bytes,
        "max_output_bytes": max(MIN_OUTPUT_BYTES, 2 * max(output_bytes)),
        "max_kept_bytes": max(MIN_KEPT_BYTES, 2 * sum(output_bytes)),
        "waits_for_verdicts": limits.stop_on_first_failure,
        "fresh_process_per_test": limits.fresh_process_per_test,
    }
    return PreparedTests(
        header=header,
        part_bytes=tuple(map(len, parts)),
        parts=b"".join(parts),
        judges=tuple(judges),
        memory_limit_bytes=memory_limit_bytes,
        deadline_s=hard_wall_s + SERVER_SLACK_S,
        checks=checks,
    )


def _prepare_asserts(tests: Tests, examine: bool) -> tuple[list[AssertTest], list[Judge], bytes, str]:
    """Return what the program's process sees of each assert, the judges, the examiner's message and the setup."""
    setup, preamble = tests["setup"], tests.get("preamble", "")
    # Every examined test runs in the examiner, so a later test would not find a name that it binds.
    examine = examine and not any(map(binds_names, tests["asserts"]))
    payload: list[AssertTest] = []
    judges: list[Judge] = []
    examined: dict[str, Check] = {}
    for number, statement in enumerate(tests["asserts"]):
        split = split_assert(statement)
        asks_setup = split is not None and root_name(split.expression) in functions_of(setup)
        planned = plan_check(statement, setup, preamble) if examine and (split is None or asks_setup) else None
        if planned is not None:
            payload.append(ExaminedTest(candidates=list(planned.candidates)))
            judges.append(judge_examined)
            examined[str(number)] = Check(
                statement=planned.statement,
                candidates=len(planned.candidates),
                shares_arguments=planned.shares_arguments,
                may_fall_back=planned.may_fall_back,
            )
        elif split is None or (asks_setup and split.truth):
            payload.append(InsideTest(code=statement))
            judges.append(judge_assert_inside)
        else:
            payload.append(SplitTest(expression=split.expression, truth=split.truth))
            judges.append(partial(judge_split_assert, split))
    checks = json_bytes(Checks(preamble=preamble, setup=setup, tests=examined)) if examined else b""
    # A setup may hold expected values. A program whose tests are all examined does not need it.
    return payload, judges, checks, setup if len(examined) < len(payload) else ""
