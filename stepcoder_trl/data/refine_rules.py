"""
Rules that refine APPS into APPS+. Each rule is a pure function and has a reason code.

A row has several solutions. Each solution was run several times against the tests. The rules decide which solutions
are correct, which expected outputs are wrong, and which rows are dropped.

Paper: StepCoder (arXiv:2402.01391), section 4.1.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from stepcoder_trl.data.problems import Problem
from stepcoder_trl.executor.verdict.compare import stdout_matches, values_match
from stepcoder_trl.metrics import line_overlaps
from stepcoder_trl.parsing import line_spans, parse
from stepcoder_trl.types import Execution, Outcome


# Reason codes of dropped rows
MALFORMED = "malformed"
NO_SOLUTION = "no_solution"
NO_TESTS = "no_tests"
DOES_NOT_COMPILE = "does_not_compile"
MISSING_LIBRARY = "missing_library"
API_MISUSE = "api_misuse"
NONDETERMINISTIC = "nondeterministic"
RUNTIME_ERROR = "runtime_error"
TOO_SLOW = "too_slow"
TOO_MUCH_MEMORY = "too_much_memory"
WRONG_OUTPUT = "wrong_output"
ORDER = "order"
LETTER_CASE = "letter_case"
SEVERAL_ANSWERS = "several_answers"
SOLUTIONS_DISAGREE = "solutions_disagree"
HARD_CODED = "hard_coded"
DUPLICATE = "duplicate"
CONTAMINATED = "contaminated"
NOT_RUN = "not_run"
# Reason codes of corrected expected outputs
WHITE_SPACE = "white_space"
FLOAT_FORMAT = "float_format"
CORRECTED_OUTPUT = "corrected_output"
# Reason codes of notes
IRRELEVANT_CODE = "irrelevant_code"
EXTENDED_TESTS = "extended_tests"
BAD_SOLUTIONS = "bad_solutions"

RULES: dict[str, str] = {
    MALFORMED: "the row cannot be read",
    NO_SOLUTION: "there is no canonical solution",
    NO_TESTS: "there is no input or no output",
    DOES_NOT_COMPILE: "no solution compiles",
    MISSING_LIBRARY: "the solutions need a library that is not installed",
    API_MISUSE: "the solutions use a name that a module does not have, or no longer has",
    NONDETERMINISTIC: "the answers of a solution differ from run to run",
    RUNTIME_ERROR: "the solutions end with an error",
    TOO_SLOW: "the solutions exceed the time limit",
    TOO_MUCH_MEMORY: "the solutions exceed the memory limit",
    WRONG_OUTPUT: "the only solution that runs gives a wrong answer",
    ORDER: "the solutions give the expected parts in a different order",
    LETTER_CASE: "the solutions give the expected words in different letter case",
    SEVERAL_ANSWERS: "the statement allows several answers; dropped if the solutions differ",
    SOLUTIONS_DISAGREE: "the solutions give different answers, and none is the expected one",
    HARD_CODED: "the solutions do not read their input",
    DUPLICATE: "an earlier row has the same problem",
    CONTAMINATED: "a benchmark has the statement, the solution, or most lines of it",
    NOT_RUN: "the sandbox failed to run the solutions; run the command again to retry",
    WHITE_SPACE: "the expected output had different white space",
    FLOAT_FORMAT: "the expected output wrote the same numbers with different digits",
    CORRECTED_OUTPUT: "the solutions agree on an output that differs from the expected one",
    IRRELEVANT_CODE: "the tests never execute a large part of the solution",
    EXTENDED_TESTS: "tests were added; the solutions agree on their outputs",
    BAD_SOLUTIONS: "some solutions were discarded; their defects are counted",
}

MAX_DIGITS = 18  # longer numbers are changed digit by digit
IRRELEVANT_SHARE = 0.3  # a solution with a larger share of unexecuted lines gets a note
MIN_LINES = 4  # of solutions whose share of common lines counts: in shorter ones common lines prove nothing


@dataclass(frozen=True)
class RuleFinding:
    """Finding of a rule in a row."""

    rule: str  # reason code
    action: Literal["drop", "repair", "note"]
    detail: str = ""  # such as the test and the number of solutions


Observations = Sequence[Execution]  # all runs of one solution, with outputs


# Rules on one solution


def solution_defect(runs: Observations) -> str | None:
    """Return the reason code of a solution that crashes, exceeds a limit or varies between runs, else `None`."""
    for run in runs:
        for test in run.tests:
            code = _test_defect(test.outcome, test.message)
            if code is not None:
                return code
    outputs = [[(test.outcome, test.output) for test in run.tests] for run in runs]
    return NONDETERMINISTIC if any(other != outputs[0] for other in outputs[1:]) else None


def _test_defect(outcome: Outcome, message: str) -> str | None:
    if outcome is Outcome.RUNTIME_ERROR:
        if re.match(r"ModuleNotFoundError\b", message):
            return MISSING_LIBRARY
        if re.match(r"(ImportError: cannot import name|AttributeError: module )", message):
            return API_MISUSE
        return RUNTIME_ERROR
    return {
        Outcome.COMPILE_ERROR: DOES_NOT_COMPILE,
        Outcome.TIMEOUT: TOO_SLOW,
        Outcome.MEMORY_EXCEEDED: TOO_MUCH_MEMORY,
    }.get(outcome)


_INPUT_NAMES = frozenset({"input", "open", "eval", "exec", "sys", "os", "fileinput"})


def is_hard_coded(program: str, tests: dict[str, Any]) -> bool:
    """Return whether a program never reads its input although a test has one."""
    if tests["type"] != "stdio" or not any(text.strip() for text in tests["inputs"]):
        return False
    tree = parse(program)
    return tree is not None and not any(_names_of(node) & _INPUT_NAMES for node in ast.walk(tree))


def _names_of(node: ast.AST) -> set[str]:
    """Return the names that a node reads, or the top-level modules that it imports."""
    if isinstance(node, ast.Name):
        return {node.id}
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {(node.module or "").partition(".")[0]}
    return set()


def shortest(programs: Sequence[str]) -> str:
    """Return the shortest program, not counting comments and white space. Ties go to the first in text order."""
    return min(programs, key=lambda program: (_code_length(program), program))


def _code_length(program: str) -> int:
    tree = parse(program)
    return len(ast.unparse(tree)) if tree is not None else len(program)


def unexecuted_share(program: str, run: Execution) -> float:
    """Return the share of code lines that ran in no test."""
    lines = [program[start:end] for start, end in line_spans(program)]
    code = [number for number, line in enumerate(lines, 1) if line.strip() and not line.lstrip().startswith("#")]
    return sum(number not in run.executed_lines for number in code) / len(code) if code else 0.0


# Rules on answers

_ASKED = r"(print|output|return|display|report|give|find|produce)"
_SEVERAL_ANSWERS = re.compile(
    rf"(?<!not )(?<!n't )\b{_ASKED}( out)? (any|(an |one )?arbitrary)\b(?! (other|more|extra|additional|spaces?)\b)"
    r"|\bany (valid|correct|possible|suitable|optimal) (answer|solution|output)s?\b"
    r"|\b(any|all|each|either)\b[^.\n]{0,40}\baccepted\b"
    r"|\b(print|output|return|report|list|display|give)\w*\b[^.\n]{0,60}\bin any order\b"
    r"|\b(answer|solution|output)s? (is|are|may be|might be) not (necessarily )?unique\b",
    re.IGNORECASE,
)


def words_of_several_answers(statement: str) -> str:
    """Return the words by which a problem statement allows several answers, or an empty text."""
    found = _SEVERAL_ANSWERS.search(statement)
    return found[0] if found else ""


def answers_match(kind: str, actual: Any, expected: Any) -> bool:
    """Return whether an answer is the expected one, compared as tests of this type do."""
    if kind == "stdio":
        return stdout_matches(str(actual), str(expected))
    return bool(values_match(actual, expected))


def mismatch(kind: str, actual: Any, expected: Any) -> str | None:
    """Return the reason code of the difference between an answer and the expected one, or `None` if they match."""
    if answers_match(kind, actual, expected):
        return None
    if kind == "stdio":
        words, wanted = str(actual).split(), str(expected).split()
        if words == wanted:
            return WHITE_SPACE
        if _same_numbers(words, wanted):
            return FLOAT_FORMAT
        if [word.casefold() for word in words] == [word.casefold() for word in wanted]:
            return LETTER_CASE
        return ORDER if sorted(words) == sorted(wanted) else WRONG_OUTPUT
    are_lists = isinstance(actual, list) and isinstance(expected, (list, tuple))
    return ORDER if are_lists and sorted(map(repr, actual)) == sorted(map(repr, expected)) else WRONG_OUTPUT


def _same_numbers(actual: list[str], expected: list[str]) -> bool:
    """Return whether words differ only in how floats are written. Integers must be equal, whatever their size."""
    return len(actual) == len(expected) and all(
        a == b or (not (_is_integer(a) and _is_integer(b)) and stdout_matches(a, b, 1e-6))
        for a, b in zip(actual, expected, strict=True)
    )


def _is_integer(word: str) -> bool:
    return re.fullmatch(r"[+-]?\d+", word) is not None


def _consensus(kind: str, answers: Sequence[Any]) -> tuple[Any, int]:
    """Return the most frequent answer and its number of votes. Ties go to the first answer."""
    groups: list[list[Any]] = []
    for answer in answers:
        for group in groups:
            if answers_match(kind, answer, group[0]):
                group.append(answer)
                break
        else:
            groups.append([answer])
    best = max(groups, key=len)
    return best[0], len(best)


# One row


@dataclass(frozen=True)
class Refined:
    """Row after refinement."""

    problem: Problem | None  # `None` if dropped
    findings: tuple[RuleFinding, ...]
    correct: tuple[str, ...] = ()  # solutions that pass the repaired tests and read their input
    unexecuted: float | None = None  # share of the canonical solution's code lines that no test executes


def refine_row(problem: Problem, solutions: Sequence[str], observed: Sequence[Observations]) -> Refined:
    """Apply the rules to a problem, given its distinct solutions and all runs of each."""
    if not solutions:
        return _dropped([], NO_SOLUTION)
    defects = [solution_defect(runs) for runs in observed]
    findings: list[RuleFinding] = []
    running = [number for number, defect in enumerate(defects) if defect is None]
    if not running:
        code = Counter(defect for defect in defects if defect is not None).most_common(1)[0][0]
        return _dropped([], code, _counts(defects))
    repaired, repairs = _repaired(problem, [observed[number][0] for number in running])
    findings += repairs
    if repaired is None:
        return Refined(None, tuple(findings))
    passing = [number for number in running if _passes_tests(repaired, observed[number][0])]
    wrong = len(running) - len(passing)
    words = words_of_several_answers(_statement_of(problem))
    if wrong and words:
        return _dropped(findings, SEVERAL_ANSWERS, f"{wrong} of {len(running)} solutions differ; {words!r}")
    if not passing:
        return _dropped(findings, WRONG_OUTPUT if len(running) == 1 else SOLUTIONS_DISAGREE)
    if wrong or len(running) < len(defects):
        findings.append(RuleFinding(BAD_SOLUTIONS, "note", _counts([*defects, *[WRONG_OUTPUT] * wrong])))
    correct = tuple(solutions[number] for number in passing if not is_hard_coded(solutions[number], repaired.tests))
    if not correct:
        return _dropped(findings, HARD_CODED)
    if words:
        findings.append(RuleFinding(SEVERAL_ANSWERS, "note", repr(words)))
    canonical = shortest(correct)
    unexecuted = unexecuted_share(canonical, observed[solutions.index(canonical)][0])
    if unexecuted > IRRELEVANT_SHARE:
        findings.append(RuleFinding(IRRELEVANT_CODE, "note", f"{unexecuted:.0%} of the lines"))
    return Refined(replace(repaired, canonical_solution=canonical), tuple(findings), correct, unexecuted)


def _dropped(findings: Sequence[RuleFinding], code: str, detail: str = "") -> Refined:
    return Refined(None, (*findings, RuleFinding(code, "drop", detail)))


def _counts(defects: Sequence[str | None]) -> str:
    counts = Counter(defect for defect in defects if defect is not None)
    return ", ".join(f"{code} {count}" for code, count in sorted(counts.items()))


def _statement_of(problem: Problem) -> str:
    """Return the prompt of a problem as text."""
    if isinstance(problem.prompt, str):
        return problem.prompt
    return "\n".join(message["content"] for message in problem.prompt)


def _repaired(problem: Problem, runs: Sequence[Execution]) -> tuple[Problem | None, list[RuleFinding]]:
    """Correct expected outputs on which the solutions agree. Return `None` and the reason if the row is dropped."""
    tests = problem.tests
    if tests["type"] in ("assert", "checker"):  # no answer is compared with an expected one
        return problem, []
    outputs, findings = list(tests["outputs"]), []
    words = words_of_several_answers(_statement_of(problem))
    for index, expected in enumerate(outputs):
        answers = [run.tests[index].output for run in runs]
        kinds = [mismatch(tests["type"], answer, expected) for answer in answers]
        if None in kinds:
            continue  # at least one solution gives the expected answer
        answer, votes = _consensus(tests["type"], answers)
        kind = mismatch(tests["type"], answer, expected)
        where = f"test {index}, {votes} of {len(answers)} solutions"
        if kind in (WHITE_SPACE, FLOAT_FORMAT):
            findings.append(RuleFinding(kind, "repair", where))
        elif words:
            return None, [*findings, RuleFinding(SEVERAL_ANSWERS, "drop", f"{where}; {words!r}")]
        elif kind in (ORDER, LETTER_CASE):
            return None, [*findings, RuleFinding(kind, "drop", where)]
        elif votes >= 2 and 2 * votes > len(answers):
            findings.append(RuleFinding(CORRECTED_OUTPUT, "repair", where))
        else:
            code = WRONG_OUTPUT if len(answers) == 1 else SOLUTIONS_DISAGREE
            return None, [*findings, RuleFinding(code, "drop", where)]
        outputs[index] = answer
    return (replace(problem, tests={**tests, "outputs": outputs}) if findings else problem), findings


def _passes_tests(problem: Problem, run: Execution) -> bool:
    if problem.tests["type"] in ("assert", "checker"):
        return run.outcome is Outcome.PASSED
    return all(
        answers_match(problem.tests["type"], test.output, expected)
        for test, expected in zip(run.tests, problem.tests["outputs"], strict=True)
    )


# Rules across rows


def duplicates(problems: Sequence[Problem]) -> dict[int, str]:
    """
    Return the `task_id` of the earlier row by index of each row that repeats an earlier prompt.

    Letter case, punctuation and white space do not count.
    """
    seen: dict[tuple[str, str], str] = {}
    found: dict[int, str] = {}
    for index, problem in enumerate(problems):
        earlier = seen.setdefault(_task_of(problem), problem.task_id)
        if earlier != problem.task_id:
            found[index] = earlier
    return found


def _task_of(problem: Problem) -> tuple[str, str]:
    """Return statement and starter code in a form that is equal for problems that ask for the same."""
    # Operators distinguish tasks, but at the beginning of a line they are bullets and headings.
    text = re.sub(r"^[ \t*#-]+", "", _statement_of(problem).lower(), flags=re.MULTILINE)
    return re.sub(r"[\s.,;:!?'\"`()\[\]_]+", " ", text).strip(), problem.starter_code.strip()


def contaminated(problems: Sequence[Problem], benchmark: Sequence[Problem], max_share: float) -> dict[int, str]:
    """
    Return what each row has in common with a benchmark, by index of the row, if that is too much.

    That is the statement, the whole solution, or more than `max_share` of the lines of a solution of at least
    `MIN_LINES`.
    """

    def own(problem: Problem) -> str:
        return problem.canonical_solution.removeprefix(problem.starter_code)

    tasks = {_task_of(problem): f"the statement of {problem.task_id}" for problem in benchmark}
    solved = [problem for problem in benchmark if problem.canonical_solution.strip()]
    solutions = {problem.canonical_solution.strip(): f"the solution of {problem.task_id}" for problem in solved}
    _, overlaps = line_overlaps([own(problem) for problem in benchmark], [own(problem) for problem in problems])
    found: dict[int, str] = {}
    for index, (problem, overlap) in enumerate(zip(problems, overlaps, strict=True)):
        common = tasks.get(_task_of(problem)) or solutions.get(problem.canonical_solution.strip())
        if overlap.share is not None and overlap.lines >= MIN_LINES and overlap.share > max_share:
            common = f"{overlap.share:.0%} of the lines"
        if common:
            found[index] = common
    return found


# More tests


def mutated(tests: dict[str, Any], index: int, draw: Callable[[int], int]) -> Any:
    """
    Change one part of the test input at an index: a number, a letter or an element of a list.

    `draw(n)` returns a random integer in [0, n). An input without number and letter is returned unchanged.
    """
    given = tests["inputs"][index]
    if tests["type"] == "call":
        return _changed(given, draw)
    places = list(re.finditer(r"-?\d+|[A-Za-z]+", given))
    if not places:
        return given
    chosen = places[draw(len(places))]
    text = chosen[0]
    # Python refuses to parse very long numbers. They are changed like words, one character at a time.
    is_number = text.lstrip("-").isdigit() and len(text) <= MAX_DIGITS
    new = str(_changed(int(text), draw)) if is_number else _changed(text, draw)
    return given[: chosen.start()] + new + given[chosen.end() :]


def _changed(value: Any, draw: Callable[[int], int]) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return max((value + 1, value - 1, value // 2)[draw(3)], min(value, 0))
    if isinstance(value, float):
        return value + (1.0, -0.5)[draw(2)]
    if isinstance(value, str) and value:
        place = draw(len(value))
        return value[:place] + value[draw(len(value))] + value[place + 1 :]
    if isinstance(value, list) and value:
        place = draw(len(value))
        return [*value[:place], _changed(value[place], draw), *value[place + 1 :]]
    return value
