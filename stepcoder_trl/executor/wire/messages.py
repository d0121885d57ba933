"""
Messages between the processes of the executor, and the constants that both sides must agree on.

    caller ---- Settings, JobMessage, GO or STOP -----------> fork server ---- ExaminationRequest ---> examiner
    caller <--- Greeting, TestAnnounced, Reply, failures ---- fork server <--- Verdict ----------------- examiner

    fork server <--- ChildReport --- child (process of the program) ---- Answer ------> examiner
    fork server ---- CHILD_GO -----> child                          <--- Question ----- examiner

Messages are JSON, see `frames.py`. Values in them are encoded by `codec.py` and `objects.py`. A type says what an
honest sender sends. A child shares its process with a hostile program, so its receivers check every message.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict, final


Tree = Any  # JSON tree that `codec.encode` or `objects.Writer` makes of a value
Lines = list[int] | None  # numbers of lines that ran; `None` if the trace was lost


# Results of tests. Whoever sends one sends some of these keys, and each receiver checks them.


class Result(TypedDict, total=False):
    """
    Result of one test. It has exactly one of the keys in the first three groups.

    Attributes:
        error (`str`): The program failed, and how.
        memory (`str`): The program used too much memory.

        ended (`bool`): A stdio test ended. Its output decides. From a child only.
        value (`Tree`): Encoded value of a call, or encoded values of the expressions of an assert.
        passed (`bool`): The test passed. From the examiner, or from a child for a test that runs with the program.
        assertion_error (`str`): The test failed, with this message. From the same senders.
        answered (`bool`): The child answered all questions of the examiner. From a child only.
        aborted (`str`): The examiner stopped: `GONE`, `GARBAGE` or `UNEXAMINABLE`. From the examiner only.

        output (`str`), base64 (`str`): Output of a stdio test, as text or as bytes. From the fork server only, as are:
        compile_error (`str`): The program does not compile.
        timeout (`bool`): A time limit was exceeded.

        not_run (`bool`): The test was not run, because a limit was exceeded or an earlier test failed.
        line (`int` or `None`): Line of the program where it failed.
        cpu_s (`float`): CPU seconds of the test, measured by the fork server.
    """

    error: str
    memory: str
    ended: bool
    value: Tree
    passed: bool
    assertion_error: str
    answered: bool
    aborted: str
    output: str
    base64: str
    compile_error: str
    timeout: bool
    not_run: bool
    line: int | None
    cpu_s: float


# Caller -> fork server


class Settings(TypedDict):
    """
    First message to a fork server.

    Attributes:
        scratch (`str`): Folder that programs may write to.
        isolation (`str`): `"auto"`, `"strict"` or `"none"`.
        portable (`bool`): Whether to use only what every POSIX system has.
    """

    scratch: str
    isolation: str
    portable: bool


class StdioTest(TypedDict):
    """Standard input of a test."""

    input: str


class ExaminedTest(TypedDict):
    """Expressions for the functions of the program that the examiner calls."""

    candidates: list[str]


@final
class SplitTest(TypedDict):
    """Expressions of an assert, whose values the caller compares. `truth`: only their truth values are sent."""

    expressions: list[str]
    truth: bool


@final
class InsideTest(TypedDict):
    """Statement that runs with the program."""

    code: str


class JobMessage(TypedDict):
    """
    One program with its tests. It holds no expected value, except in tests that run with the program.

    Attributes:
        program (`str`): Source text.
        type (`str`): `"stdio"`, `"call"` or `"assert"`.
        fn_name (`str` or `None`): Function that a call test calls, or that a stdio test calls after the program.
        preamble (`str`): Code that runs before the program, untraced.
        setup (`str`): Code that runs after the program, before the first assert.
        tests (`list`):
            `StdioTest`, encoded arguments of a call, or one of `ExaminedTest`, `SplitTest` and `InsideTest`.
        checks_bytes (`int`): Size of the checks in the examiner's file. 0 if no test needs the examiner.
        timeout_s, wall_s (`float`): CPU and wall seconds of one test.
        program_cpu_s, program_wall_s (`float`): CPU and wall seconds of all tests together.
        hard_wall_s (`float`): Wall seconds of the whole job, even if the machine is too busy to run it.
        memory_limit_bytes (`int`): Address space on top of the fork server's own.
        max_output_bytes (`int`): Maximum size of the standard output of one test.
        max_kept_bytes (`int`): Maximum size of all outputs and reports together.
        waits_for_verdicts (`bool`): Whether the child waits after each test until the caller has judged it.
        fresh_process_per_test (`bool`): Whether each test gets a child of its own.
    """

    program: str
    type: Literal["stdio", "call", "assert"]
    fn_name: str | None
    preamble: str
    setup: str
    tests: list[Any]
    checks_bytes: int
    timeout_s: float
    wall_s: float
    program_cpu_s: float
    program_wall_s: float
    hard_wall_s: float
    memory_limit_bytes: int
    max_output_bytes: int
    max_kept_bytes: int
    waits_for_verdicts: bool
    fresh_process_per_test: bool


class RemoteSettings(TypedDict):
    """Settings for a fork server on another machine, which finds the others by itself."""

    isolation: str


class RemoteRequest(TypedDict):
    """Request to run one job on another machine, see `once.py`. The replies are those to a local job."""

    settings: RemoteSettings
    job: JobMessage


GO, STOP = "go", "stop"  # the caller's answer to `TestAnnounced`
STARVED_WALL_FACTOR = 4.0  # a program may take this many times its wall limit if the machine is too busy to run it


# Fork server -> caller


class Greeting(TypedDict):
    """First message of a fork server: layers in force, and for each missing layer what it would have stopped."""

    layers: dict[str, bool]
    missing: dict[str, str]


class Infrastructure(TypedDict):
    """Failure of the sandbox, instead of a `Greeting` or a `Reply`."""

    infrastructure: str


class Refusal(Infrastructure):
    """The fork server did not start, because `isolation` is `"strict"` and these layers are missing."""

    refused: dict[str, str]


class TestAnnounced(TypedDict):
    """Result of one test, sent before the next one runs. The caller answers `GO` or `STOP`."""

    test: int
    result: Result | None


class Reply(TypedDict):
    """Results of all tests, the lines that ran in any of them, and the program's CPU seconds."""

    tests: list[Result | None]
    lines: Lines
    cpu_s: float


class Unexaminable(TypedDict):
    """The examiner cannot send the arguments of a test. The caller sends the job again, without checks."""

    unexaminable: bool


# Child -> fork server


@final
class NotStarted(TypedDict):
    """The child failed before it ran any code of the program."""

    not_started: str


@final
class CompileError(TypedDict):
    """The program does not compile."""

    compile_error: str
    line: int | None


@final
class ModuleError(TypedDict):
    """The module level failed in a call or assert job, so no test can run."""

    module_error: Result


@final
class ReadyForExaminer(TypedDict):
    """The child is ready to answer the examiner's questions about this test."""

    examine: int


@final
class TestReport(TypedDict):
    """Result of one test, and the lines that no earlier report has."""

    test: int
    lines: Lines
    result: Result


@final
class End(TypedDict):
    """The child has run its tests."""

    end: Lines


@final
class SoftLimit(TypedDict):
    """The child got the signal of the soft time limit, and ends."""

    soft_limit: Lines


@final
class HardExit(TypedDict):
    """The program called `os._exit`."""

    exit: Lines


@final
class OutOfMemory(TypedDict):
    """The child has no memory left to describe the failure."""

    out_of_memory: bool


ChildReport = (
    NotStarted | CompileError | ModuleError | ReadyForExaminer | TestReport | End | SoftLimit | HardExit | OutOfMemory
)

# Fork server -> child: one byte after each test of a job with `waits_for_verdicts`
CHILD_GO, CHILD_STOP = b"g", b"s"

EXIT_REPORT_FAILED = 97  # exit status of a child that could not report


# Fork server <-> examiner


class ExaminationRequest(TypedDict):
    """
    Request to examine one test. The pipes of a new child are sent with it.

    Attributes:
        test (`int`): Index of the test.
        size (`int`): Size of the checks in the file.
        max_bytes (`int`): Maximum size of an answer.
    """

    test: int
    size: int
    max_bytes: int


Verdict = Result  # one of `passed`, `assertion_error`, `error`, `memory` and `aborted`

UNEXAMINABLE = "unexaminable"  # reasons in `aborted`: the arguments of a test cannot be sent,
GARBAGE = "garbage"  # the child sent what no honest child sends,
GONE = "gone"  # the child has ended


# Examiner <-> child


class Question(TypedDict):
    """
    Question of the examiner.

    Attributes:
        id (`int`): Number of the question, from 0.
        function (`int` or `str`): Index of a candidate, or name of an operation such as `"len"`.
        arguments (`Tree`): Encoded list of the positional arguments, and dict of the named ones.
        shared (`bool`): Whether the check may look at the arguments later, so that changes must be sent back.
    """

    id: int
    function: int | str
    arguments: Tree
    shared: bool


class Answer(TypedDict, total=False):
    """
    Answer of a child.

    Attributes:
        to (`int`): Number of the question.
        value (`Tree`): Returned value.
        changed (`Tree`): Arguments after the call, if they differ.
        raised (`tuple`): Instead of a value: nearest builtin class of the exception, and its arguments.
        claims (`Result`): Description of the exception, as in a report.
    """

    to: int
    value: Tree
    changed: Tree
    raised: tuple[str, list[Any]]
    claims: Result


OVER = "over"  # the examiner's last message about a test


# Caller -> examiner, through a file that no other process reads


class Check(TypedDict):
    """
    One test in the checks file.

    Attributes:
        statement (`str`): Code of the test. It calls functions by the names that `candidate_name` gives.
        candidates (`int`): Number of these functions.
        shares_arguments (`bool`): Whether the check may look at arguments after a call.
        may_fall_back (`bool`): Whether the test may run with the program if a value cannot be sent.
    """

    statement: str
    candidates: int
    shares_arguments: bool
    may_fall_back: bool


class Checks(TypedDict):
    """Content of the checks file. `tests` maps the index of a test, as text, to its check."""

    preamble: str
    setup: str
    tests: dict[str, Check]


def candidate_name(number: int) -> str:
    """Return the name of a program's function in the examiner's code."""
    return f"_candidate_{number}"
