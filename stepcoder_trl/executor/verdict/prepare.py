"""
Prepare tests and programs for a fork server.

The message to the server holds the inputs of the tests. It never holds their expected outputs: these stay in the
judges, on this side.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.executor.verdict.asserts import Split, split_assert, with_tolerance
from stepcoder_trl.executor.verdict.checkers import runs_texts
from stepcoder_trl.executor.verdict.examinable import has_plain_arguments, plan_check, share_names
from stepcoder_trl.executor.verdict.judge import (
    Judge,
    Untrusted,
    judge_examined,
    judge_printed,
    judge_returned,
    judge_split_assert,
    judge_stdout,
)
from stepcoder_trl.executor.verdict.limits import (
    MAX_MEMORY_LIMIT_BYTES,
    MIN_KEPT_BYTES,
    MIN_OUTPUT_BYTES,
    SERVER_SLACK_S,
    WALL_PER_CPU,
    Limits,
    program_seconds,
)
from stepcoder_trl.executor.verdict.plain_calls import PlainCalls
from stepcoder_trl.executor.verdict.remembering import Sharing, sharing_of
from stepcoder_trl.executor.verdict.schema import Tests
from stepcoder_trl.executor.verdict.setups import (
    divided_setup,
    names_bound_by_module,
    names_made_by_module,
    rebound_by,
)
from stepcoder_trl.executor.wire.codec import encode
from stepcoder_trl.executor.wire.equality import DEFAULT_TOLERANCE, Tolerance
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
from stepcoder_trl.parsing import any_digits


# Of returned values: their parts count more than their text, and a tuple is sent with its tag.
_KEPT_PER_BYTE = 24


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
    called: str | None = None  # function that call tests call
    sharing: Sharing = Sharing.NOTHING


@dataclass(frozen=True)
class Job:
    """One program to run."""

    program: str
    tests: PreparedTests

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

    Raises:
        BadInputError: If their code is nested so deeply that it cannot be judged.
    """
    key = (limits, examine)
    prepared = tests.prepared.get(key)
    if prepared is None:
        try:
            prepared = tests.prepared[key] = _prepare_tests(tests, limits, examine)
        except RecursionError:
            raise BadInputError("`tests` holds code that is nested too deeply. Flatten it or drop the row.") from None
    return Job(program, prepared)


@any_digits()
def _prepare_tests(tests: Tests, limits: Limits, examine: bool) -> PreparedTests:
    """Separate what the program's process may see of the tests from what it must not see."""
    timeout_s = float(tests.get("timeout_s", limits.timeout_s))
    memory_limit_bytes = int(tests.get("memory_limit_bytes", limits.memory_limit_bytes))
    memory_limit_bytes = min(memory_limit_bytes, MAX_MEMORY_LIMIT_BYTES)
    is_marked = tests.get("trusted") is False or (tests["type"] == "checker" and runs_texts(tests["checker"]))
    setup, checks, output_bytes, kept_bytes = "", b"", [0], 0
    examined: list[int] = []
    judges: list[Judge]
    if tests["type"] in ("stdio", "checker"):
        payload = [text_bytes(text) for text in tests["inputs"]]
        options = (tests.get("float_tolerance", limits.float_tolerance), limits.keep_outputs)
        judges = [partial(judge_stdout, text, *options) for text in tests["outputs"]]
        judges = [judge_printed] * len(judges) if tests["type"] == "checker" else judges
        output_bytes = [len(text_bytes(text)) for text in tests["outputs"]]
    elif tests["type"] == "call":
        payload = [json_bytes(encode(list(arguments))) for arguments in tests["inputs"]]
        given = tests.get("float_tolerance", limits.float_tolerance)
        tolerance = DEFAULT_TOLERANCE if given is None else Tolerance(given, given)
        kept_bytes = _KEPT_PER_BYTE * sum(len(json_bytes(encode(value))) for value in tests["outputs"])
        judges = [partial(judge_returned, value, tolerance, limits.keep_outputs) for value in tests["outputs"]]
    else:
        asserts, judges, checks, setup = (
            _prepare_asserts_inside(tests) if is_marked else _prepare_asserts(tests, examine)
        )
        examined = [index for index, test in enumerate(asserts) if "candidates" in test]
        payload = [json_bytes(test) for test in asserts]
    if is_marked:
        judges = [Untrusted(judge) for judge in judges]
    program_s = program_seconds(limits.program_timeout_s, timeout_s, len(judges))
    # This covers all that may happen for one program: a busy machine, a repetition after a kill, a run for the lines.
    hard_wall_s = STARVED_WALL_FACTOR * WALL_PER_CPU * (program_s + timeout_s)
    around = CodeAround(fn_name=tests.get("fn_name"), preamble=tests.get("preamble", ""), setup=setup)
    parts = [compact(around), *payload]
    header: JobMessage = {
        "part_bytes": [],
        "type": "stdio" if tests["type"] == "checker" else tests["type"],
        "examined": examined,
        "checks_bytes": len(checks),
        "timeout_s": timeout_s,
        "wall_s": WALL_PER_CPU * timeout_s,
        "program_cpu_s": program_s,
        "program_wall_s": WALL_PER_CPU * program_s,
        "hard_wall_s": hard_wall_s,
        "memory_limit_bytes": memory_limit_bytes,
        # A power of two: the program can read this limit, and it must not tell the length of what is expected.
        "max_output_bytes": max(MIN_OUTPUT_BYTES, 1 << (2 * max(output_bytes)).bit_length()),
        "max_kept_bytes": max(MIN_KEPT_BYTES, kept_bytes or 2 * sum(output_bytes)),
        "waits_for_verdicts": limits.stop_on_first_failure,
        "fresh_process_per_test": limits.fresh_process_per_test,
        "is_traced": limits.trace,
    }
    return PreparedTests(
        header=header,
        part_bytes=tuple(map(len, parts)),
        parts=b"".join(parts),
        judges=tuple(judges),
        memory_limit_bytes=memory_limit_bytes,
        deadline_s=hard_wall_s + SERVER_SLACK_S,
        checks=checks,
        called=tests["fn_name"] if tests["type"] == "call" else None,
        sharing=sharing_of(tests, len(judges), limits.fresh_process_per_test),
    )


class _Asserts(NamedTuple):
    """Asserts, prepared."""

    payload: list[AssertTest]  # what the program's process sees of each
    judges: list[Judge]
    checks: bytes  # message to the examiner, empty if it is not needed
    setup: str  # for the program's process


def _prepare_asserts(tests: Tests, examine: bool) -> _Asserts:
    """
    Decide from the text of each assert where it is judged.

    Its expression runs with the program and is compared here; or it runs in the examiner; or all of it runs with the
    program. What needs the setup in the program's process takes all that the setup expects there, too. So no test of
    such a row is trusted.
    """
    preamble, source = tests.get("preamble", ""), tests["setup"]
    setup = divided_setup(source)
    own_names, own_made = names_bound_by_module(preamble), names_made_by_module(preamble)
    known = setup.bound | own_names
    rebound = rebound_by(source) | rebound_by(preamble)
    plain_calls = PlainCalls(known, setup.made | own_made)
    # Every examined test runs in the examiner, so a later test would not find a name that it binds.
    examine = examine and not share_names(tuple(tests["asserts"]))
    payload: list[AssertTest] = []
    judges: list[Judge] = []
    examined: dict[str, Check] = {}
    asked: dict[int, tuple[str, ...]] = {}  # functions of the program that each examined test calls
    expressions: list[str] = []  # that need the setup
    shown = hidden = False  # whether a whole test needs it with the program, or in the examiner
    for number, statement in enumerate(tests["asserts"]):
        split = split_assert(statement, rebound)
        needs_setup = setup.is_needed_by(statement if split is None else split.expression)
        is_plain = split is not None and plain_calls.is_plain(split.expression) and not split.asks_answer
        planned = None
        if examine and (needs_setup or not is_plain) and (split is None or _can_be_sent(split, needs_setup, known)):
            planned = plan_check(statement, source, preamble)
        if planned is not None:
            payload.append(ExaminedTest(candidates=list(planned.candidates)))
            judge: Judge = partial(judge_examined, statement=statement, setup=source)
            judges.append(Untrusted(judge) if planned.uses_preamble else judge)
            examined[str(number)] = Check(
                statement=with_tolerance(planned.statement) if split and split.tolerates else planned.statement,
                candidates=len(planned.candidates),
                shares_arguments=planned.shares_arguments,
            )
            asked[number] = planned.candidates
            hidden |= setup.is_needed_by(statement)
        elif split is None or (needs_setup and split.truth):
            payload.append(InsideTest(code=statement))
            judges.append(Untrusted(partial(judge_examined, statement=statement)))
            shown |= needs_setup
        else:
            payload.append(SplitTest(expression=split.expression, truth=split.truth, elements=split.asks_elements))
            judge = partial(judge_split_assert, split, statement)
            judges.append(judge if is_plain or (needs_setup and not split.asks_answer) else Untrusted(judge))
            expressions += [split.expression] if needs_setup else []
    sharing = [number for number in asked if setup.is_needed_by(tests["asserts"][number])]
    if not setup.keeps_nothing and len({name for number in sharing for name in asked[number]}) > 1:
        for number in sharing:  # the setup may keep results of one function for another
            judges[number] = Untrusted(judges[number])
    checks = json_bytes(Checks(preamble=preamble, setup=source, tests=examined)) if examined else b""
    if not (shown or expressions):
        return _Asserts(payload, judges, checks, setup.harmless)
    if shown or hidden or not setup.builds_arguments_of(expressions, own_names, own_made):
        judges = [Untrusted(judge) for judge in judges]
    return _Asserts(payload, judges, checks, setup.code)


def _can_be_sent(split: Split, needs_setup: bool, known: frozenset[str]) -> bool:
    """Return whether a split assert can run in the examiner."""
    return needs_setup or split.asks_answer or has_plain_arguments(split.expression, known)


def _prepare_asserts_inside(tests: Tests) -> _Asserts:
    """Prepare the asserts of a row that is marked as untrusted: all run with the program."""
    payload: list[AssertTest] = [InsideTest(code=statement) for statement in tests["asserts"]]
    judges: list[Judge] = [partial(judge_examined, statement=statement) for statement in tests["asserts"]]
    return _Asserts(payload, judges, b"", tests["setup"])
