"""
Messages between the processes of the executor, and the constants that both sides must agree on.

    caller ---- Settings, JobMessage, GO or STOP -----------> fork server ---- ExaminationRequest ---> examiner
    caller <--- Greeting, TestAnnounced, Reply, failures ---- fork server <--- Verdict ----------------- examiner

    fork server ---- ChildJob, CHILD_GO or CHILD_STOP ----> child ---- Answer ----> examiner
    fork server <--- ChildReport -------------------------- child <--- Question --- examiner

The forker, which forks the children, gets none of these: `server/forker.py` has its commands.

Messages are JSON, see `frames.py`, but for jobs, see `jobs.py`, and for questions, see `conversation.py`. Values in
them are encoded by `codec.py` and `objects.py`. A type says what an honest sender sends. A child shares its process
with a hostile program, so its receivers check every message.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict, final


Tree = Any  # JSON tree that `codec.encode` or `objects.Writer` makes of a value
Lines = list[int] | None  # numbers of lines that ran; `None` if the trace was lost


# Results of tests. Whoever sends one sends some of these keys, and each receiver checks them.


class Result(TypedDict, total=False):
    """Result of one test. It has exactly one of the keys in the first three groups."""

    error: str  # the program failed, and how
    memory: str  # the program used too much memory

    output: str  # what a stdio test printed, as text, or as bytes in `base64`
    base64: str
    value: Tree  # value of a call, or of the expression of an assert
    passed: bool  # from the examiner, or from a child for a test that runs with the program, as is the next
    assertion_error: str  # message of a failed test
    answered: bool  # the child answered all questions of the examiner; from a child only
    aborted: str  # the examiner stopped: `GONE` or `GARBAGE`; from the examiner only

    compile_error: str  # from the fork server only, as is all that follows
    timeout: bool

    not_run: bool  # because a limit was exceeded or an earlier test failed
    line: int | None  # of the program, or of the setup with `assertion_error`, where it failed; from a child, too
    cpu_s: float


# Caller -> fork server


class Settings(TypedDict):
    """First message to a fork server."""

    folder: str  # each program gets a folder of its own in it
    isolation: str  # "auto", "strict" or "none"
    portable: bool  # whether to use only what every POSIX system has


class ExaminedTest(TypedDict):
    """Expressions for the functions of the program that the examiner calls."""

    candidates: list[str]


@final
class SplitTest(TypedDict):
    """Expression of an assert, whose value the caller compares."""

    expression: str
    truth: bool  # whether only the truth value is sent
    elements: bool  # whether an object is sent as the list of its elements


@final
class InsideTest(TypedDict):
    """Statement that runs with the program."""

    code: str


AssertTest = ExaminedTest | SplitTest | InsideTest


class JobMessage(TypedDict):
    """
    Header of a job. `jobs.py` says which parts follow.

    No part holds an expected value, except in tests that run with the program.
    """

    part_bytes: list[int]  # size of each part
    type: Literal["stdio", "call", "assert"]
    examined: list[int]  # indices of the tests that the examiner judges
    checks_bytes: int  # size of the checks in the examiner's file; 0 if no test needs the examiner
    timeout_s: float  # CPU seconds of one test, as wall seconds in `wall_s`
    wall_s: float
    program_cpu_s: float  # CPU seconds of all tests together, as wall seconds in `program_wall_s`
    program_wall_s: float
    hard_wall_s: float  # of the whole job, even if the machine is too busy to run it
    memory_limit_bytes: int  # address space on top of the fork server's own
    max_output_bytes: int  # standard output of one test
    max_kept_bytes: int  # all outputs and reports together
    waits_for_verdicts: bool  # whether the child waits after each test until the caller has judged it
    fresh_process_per_test: bool
    is_traced: bool


class CodeAround(TypedDict):
    """Code that surrounds the program, and the name of its function: the second part of a job."""

    fn_name: str | None  # function that a call test calls, or that a stdio test calls after the program
    preamble: str  # code that runs before the program, untraced
    setup: str  # code that runs after the program, before the first assert


class RemoteRequest(TypedDict):
    """Request to run one job on another machine, see `once.py`. The replies are those to a local job."""

    settings: dict[Literal["isolation"], str]  # that machine finds the other settings by itself
    job: str  # the message of the job, as base64


GO, STOP = "go", "stop"  # the caller's answer to `TestAnnounced`
STARVED_WALL_FACTOR = 4.0  # a program may take this many times its wall limit if the machine is too busy to run it


# Fork server -> caller


@final
class Greeting(TypedDict):
    """First message of a fork server: layers in force, and for each missing layer what it would have stopped."""

    layers: dict[str, bool]
    missing: dict[str, str]


@final
class Infrastructure(TypedDict):
    """Failure of the sandbox, instead of a `Greeting` or a `Reply`."""

    infrastructure: str
    killed: bool  # whether somebody else killed a process of the sandbox


@final
class Refusal(TypedDict):
    """The fork server did not start, because `isolation` is `"strict"` and these layers are missing."""

    infrastructure: str
    refused: dict[str, str]


@final
class TestAnnounced(TypedDict):
    """Result of one test, sent before the next one runs. The caller answers `GO` or `STOP`."""

    test: int
    result: Result | None


@final
class Reply(TypedDict):
    """Results of all tests, the lines that ran in any of them and in each, and the program's CPU seconds."""

    tests: list[Result | None]
    lines: Lines
    ran: list[str | None]  # for each test a set of lines, see `line_sets.py`. `None`: unknown
    cpu_s: float
    compile_s: float  # CPU seconds that its compilation took, which no program can forge
    disk_full: bool  # whether the disk was full when a child of the job ended


StartMessage = Greeting | Infrastructure | Refusal
JobAnswer = TestAnnounced | Infrastructure | Reply


# Fork server -> child


class ChildJob(TypedDict):
    """Header of a child's job. The parts are those of the job that it needs: program, code around it, its tests."""

    part_bytes: list[int]  # size of each part
    type: Literal["stdio", "call", "assert"]
    first: int  # index of the first test
    folder: str  # current folder of the program
    memory_limit_bytes: int
    cpu_limit_s: int
    file_limit_bytes: int
    max_output_bytes: int
    waits_for_verdicts: bool
    is_traced: bool
    is_examined: bool  # whether the examiner asks about the tests
    shares_lines: bool  # whether a memory file for the lines follows the message
    has_home: bool  # whether the environment names the folder as home and for temporary files


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
    """Result of one test, the lines that no earlier report has, and all lines that ran for this test."""

    test: int
    lines: Lines
    ran: str | None  # a set of lines, see `line_sets.py`. `None`: unknown, or the module has too many lines
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
EXIT_KILLED = 98  # exit status of a fork server, one of whose processes somebody else has killed


# Fork server <-> examiner


class ExaminationRequest(TypedDict):
    """Request to examine one test. The pipes of a new child are sent with it."""

    test: int  # index
    size: int  # of the checks in the file
    max_bytes: int  # of an answer


Verdict = Result  # one of `passed`, `assertion_error`, `error`, `memory` and `aborted`

# Reasons in `aborted`
GARBAGE = "garbage"  # the child sent what no honest child sends
GONE = "gone"  # the child has ended


# Examiner <-> child


class Question(TypedDict):
    """Question of the examiner."""

    id: int  # from 0
    function: int | str  # index of a candidate, or name of an operation such as "len"
    arguments: Tree  # list of the positional arguments, and dict of the named ones
    shared: bool  # whether the check may look at the arguments later, so that changes must be sent back


class Raised(TypedDict):
    """Exception of a program. What cannot be sent is `None`."""

    name: str  # of its class
    classes: list[str]  # dotted names of classes of Python and of pure modules from which it is derived, nearest first
    is_known: bool  # whether its class is the first of them
    arguments: Tree | None
    attributes: Tree | None
    class_names: list[str] | None  # what the program's own classes define, special names left out
    text: str | None


class Answer(TypedDict, total=False):
    """Answer of a child: the returned value, or the exception."""

    to: int  # number of the question
    value: Tree
    changed: Tree  # arguments after the call, if they differ
    raised: Raised
    claims: Result  # description of the exception, as in a report


OVER = "over"  # the examiner's last message about a test


# Caller -> examiner, through a file that no other process reads


class Check(TypedDict):
    """One test in the checks file."""

    statement: str  # calls functions of the program by the names that `candidate_name` gives
    candidates: int  # number of these functions
    shares_arguments: bool  # whether the check may look at arguments after a call


class Checks(TypedDict):
    """Content of the checks file. `tests` maps the index of a test, as text, to its check."""

    preamble: str
    setup: str
    tests: dict[str, Check]


EQUAL_NAME = "_equal_with_tolerance"  # of a function in the examiner's code


def candidate_name(number: int) -> str:
    """Return the name of a program's function in the examiner's code."""
    return f"_candidate_{number}"
