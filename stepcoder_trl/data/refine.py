"""
APPS -> APPS+: the rules, each a pure function with a reason code.

A row comes with several solutions and what each of them did under the tests, several times over. The rules decide
which solutions are sound, which expected outputs are wrong, which rows are dropped, and why.

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
from stepcoder_trl.executor.compare import stdout_matches, values_match
from stepcoder_trl.metrics import line_overlaps
from stepcoder_trl.parsing import line_spans, parse
from stepcoder_trl.types import Execution, Outcome


# Reason codes. Of a row that is dropped:
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
# Of an expected output that is corrected:
WHITE_SPACE = "white_space"
FLOAT_FORMAT = "float_format"
CORRECTED_OUTPUT = "corrected_output"
# Of what is only noted:
IRRELEVANT_CODE = "irrelevant_code"
EXTENDED_TESTS = "extended_tests"
BAD_SOLUTIONS = "bad_solutions"

RULES: dict[str, str] = {
    MALFORMED: "the row cannot be read",
    NO_SOLUTION: "there is no canonical solution",
    NO_TESTS: "there is no input or no output",
    DOES_NOT_COMPILE: "no solution compiles",
    MISSING_LIBRARY: "the solutions need a library that is not installed",
    API_MISUSE: "the solutions call what modules do not have (any more)",
    NONDETERMINISTIC: "the solutions answer differently from run to run",
    RUNTIME_ERROR: "the solutions end with an error",
    TOO_SLOW: "the solutions exceed the time limit",
    TOO_MUCH_MEMORY: "the solutions exceed the memory limit",
    WRONG_OUTPUT: "the only solution that runs gives another answer than expected",
    ORDER: "the solutions give the expected parts in another order",
    LETTER_CASE: "the solutions give the expected words in other letter case",
    SEVERAL_ANSWERS: "several answers are right; dropped where a solution gives another",
    SOLUTIONS_DISAGREE: "the solutions give different answers, none of them the expected one",
    HARD_CODED: "the solutions do not read their input",
    DUPLICATE: "the same problem stands in an earlier row",
    CONTAMINATED: "the solution shares its lines with a benchmark's",
    NOT_RUN: "its solutions could not be run, for no fault of theirs: given again, the command tries again",
    WHITE_SPACE: "the expected output had other white space",
    FLOAT_FORMAT: "the expected output had other digits of the same numbers",
    CORRECTED_OUTPUT: "the solutions agree on another output than the expected one",
    IRRELEVANT_CODE: "much of the solution is never executed under its tests",
    EXTENDED_TESTS: "tests were added on whose outputs the solutions agree",
    BAD_SOLUTIONS: "solutions that were set aside, by their defects",
}

LONGEST_NUMBER = 18  # digits
IRRELEVANT_SHARE = 0.3  # of the solution's lines; above, it is noted
Action = Literal["drop", "repair", "note"]


@dataclass(frozen=True)
class Finding:
    """
    What a rule found in a row.

    Attributes:
        rule (`str`): Reason code.
        action (`str`): `"drop"` the row, `"repair"` it, or `"note"` it only.
        detail (`str`): What exactly.
    """

    rule: str
    action: Action
    detail: str = ""


@dataclass(frozen=True)
class RawProblem:
    """
    Row before refinement.

    Attributes:
        problem ([`Problem`]): As the loader reads it.
        solutions (`tuple[str, ...]`): Programs that are said to solve it, without repetitions.
    """

    problem: Problem
    solutions: tuple[str, ...]


Observations = Sequence[Execution]  # of one solution, one per run, outputs kept


# Rules on one solution


def solution_defect(runs: Observations) -> str | None:
    """Reason code of what is wrong with a solution apart from its answers; `None` if it runs to the end every time."""
    for run in runs:
        for test in run.tests:
            code = _defect_of(test.outcome, test.message)
            if code is not None:
                return code
    outputs = [[(test.outcome, test.output) for test in run.tests] for run in runs]
    return NONDETERMINISTIC if any(other != outputs[0] for other in outputs[1:]) else None


def _defect_of(outcome: Outcome, message: str) -> str | None:
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
    """Whether a program never looks at its input, though there is one."""
    if tests["type"] != "stdio" or not any(text.strip() for text in tests["inputs"]):
        return False
    tree = parse(program)
    return tree is not None and not any(_names_of(node) & _INPUT_NAMES for node in ast.walk(tree))


def _names_of(node: ast.AST) -> set[str]:
    """Names that a node reads or imports, top-level modules among them."""
    if isinstance(node, ast.Name):
        return {node.id}
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {(node.module or "").partition(".")[0]}
    return set()


def shortest(programs: Sequence[str]) -> str:
    """Shortest program, comments and blank space left out of the count; of equals the first in the alphabet."""
    return min(programs, key=lambda program: (_code_length(program), program))


def _code_length(program: str) -> int:
    tree = parse(program)
    return len(ast.unparse(tree)) if tree is not None else len(program)


def unexecuted_share(program: str, run: Execution) -> float:
    """Share of the lines that hold code which ran in no test."""
    lines = [program[start:end] for start, end in line_spans(program)]
    code = [number for number, line in enumerate(lines, 1) if line.strip() and not line.lstrip().startswith("#")]
    return sum(number not in run.executed_lines for number in code) / len(code) if code else 0.0


# Rules on answers

_ASKED = r"(print|output|return|display|report|give|find|produce)"
_SEVERAL_WORDS = re.compile(
    rf"(?<!not )(?<!n't )\b{_ASKED}( out)? (any|(an |one )?arbitrary)\b(?! (other|more|extra|additional|spaces?)\b)"
    r"|\bany (valid|correct|possible|suitable|optimal) (answer|solution|output)s?\b"
    r"|\b(any|all|each|either)\b[^.\n]{0,40}\baccepted\b"
    r"|\b(print|output|return|report|list|display|give)\w*\b[^.\n]{0,60}\bin any order\b"
    r"|\b(answer|solution|output)s? (is|are|may be|might be) not (necessarily )?unique\b",
    re.IGNORECASE,
)


def words_of_several_answers(statement: str) -> str:
    """Words by which a statement allows more than one answer; empty if there are none."""
    found = _SEVERAL_WORDS.search(statement)
    return found[0] if found else ""


def answers_match(kind: str, actual: Any, expected: Any) -> bool:
    """Whether an answer is the expected one, by the comparison that tests of this kind use."""
    if kind == "stdio":
        return stdout_matches(str(actual), str(expected))
    return bool(values_match(actual, expected))


def mismatch(kind: str, actual: Any, expected: Any) -> str | None:
    """
    What tells an answer from the expected one.

    Args:
        kind (`str`):
            Type of the tests.
        actual, expected (`Any`):
            Standard output, or value returned.

    Returns:
        `str` or `None`: `white_space`, `float_format`, `letter_case`, `order` or `wrong_output`; `None` if they
        match.
    """
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
    if isinstance(actual, list) and isinstance(expected, (list, tuple)) and _same_parts(actual, list(expected)):
        return ORDER
    return WRONG_OUTPUT


def _same_numbers(actual: list[str], expected: list[str]) -> bool:
    """Whether words differ in the digits of numbers only. Two whole numbers are the same or not, however large."""
    return len(actual) == len(expected) and all(
        a == b or (not (_is_whole(a) and _is_whole(b)) and stdout_matches(a, b, 1e-6))
        for a, b in zip(actual, expected, strict=True)
    )


def _is_whole(word: str) -> bool:
    return re.fullmatch(r"[+-]?\d+", word) is not None


def _same_parts(first: list[Any], second: list[Any]) -> bool:
    return len(first) == len(second) and sorted(map(repr, first)) == sorted(map(repr, second))


def consensus(kind: str, answers: Sequence[Any]) -> tuple[Any, int]:
    """Answer that most solutions give, the first of equals, and how many give it."""
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
    """
    Row after refinement.

    Attributes:
        problem ([`Problem`] or `None`): `None` if it is dropped.
        findings (`tuple[Finding, ...]`): What the rules found, in order.
        sound (`tuple[str, ...]`): Solutions that give the expected answers, those of the tests as repaired.
        unexecuted (`float` or `None`): Share of the canonical solution's lines that no test executes.
    """

    problem: Problem | None
    findings: tuple[Finding, ...]
    sound: tuple[str, ...] = ()
    unexecuted: float | None = None


def refine_row(raw: RawProblem, observed: Sequence[Observations]) -> Refined:
    """
    Apply the rules to one row.

    Args:
        raw ([`RawProblem`]):
            Row with its solutions.
        observed (`Sequence[Observations]`):
            Of each solution, its runs.

    Returns:
        [`Refined`]
    """
    if not raw.solutions:
        return _dropped([], NO_SOLUTION)
    defects = [solution_defect(runs) for runs in observed]
    findings: list[Finding] = []
    running = [number for number, defect in enumerate(defects) if defect is None]
    if not running:
        code = Counter(defect for defect in defects if defect is not None).most_common(1)[0][0]
        return _dropped(findings, code, _counts(defects))
    problem, repairs = _repaired(raw.problem, [observed[number][0] for number in running])
    findings += repairs
    if problem is None:
        return Refined(None, tuple(findings))
    sound = [number for number in running if _gives_the_answers(problem, observed[number][0])]
    wrong = len(running) - len(sound)
    words = words_of_several_answers(statement_of(problem))
    if wrong and words:
        return _dropped(findings, SEVERAL_ANSWERS, f"{wrong} of {len(running)} solutions differ; {words!r}")
    if not sound:
        return _dropped(findings, WRONG_OUTPUT if len(running) == 1 else SOLUTIONS_DISAGREE)
    if wrong or len(running) < len(defects):
        findings.append(Finding(BAD_SOLUTIONS, "note", _counts([*defects, *[WRONG_OUTPUT] * wrong])))
    honest = [number for number in sound if not is_hard_coded(raw.solutions[number], problem.tests)]
    if not honest:
        return _dropped(findings, HARD_CODED)
    if words:
        findings.append(Finding(SEVERAL_ANSWERS, "note", repr(words)))
    canonical = shortest([raw.solutions[number] for number in honest])
    unexecuted = unexecuted_share(canonical, observed[raw.solutions.index(canonical)][0])
    if unexecuted > IRRELEVANT_SHARE:
        findings.append(Finding(IRRELEVANT_CODE, "note", f"{unexecuted:.0%} of the lines"))
    solutions = tuple(raw.solutions[number] for number in honest)
    return Refined(replace(problem, canonical_solution=canonical), tuple(findings), solutions, unexecuted)


def _dropped(findings: Sequence[Finding], code: str, detail: str = "") -> Refined:
    return Refined(None, (*findings, Finding(code, "drop", detail)))


def _counts(defects: Sequence[str | None]) -> str:
    counts = Counter(defect for defect in defects if defect is not None)
    return ", ".join(f"{code} {count}" for code, count in sorted(counts.items()))


def statement_of(problem: Problem) -> str:
    """Text of a problem's requirement."""
    if isinstance(problem.prompt, str):
        return problem.prompt
    return "\n".join(message["content"] for message in problem.prompt)


def _repaired(problem: Problem, runs: Sequence[Execution]) -> tuple[Problem | None, list[Finding]]:
    """Problem with its expected outputs corrected where the solutions say so, or `None` with the reason."""
    tests = problem.tests
    if tests["type"] == "assert":
        return problem, []
    outputs, findings = list(tests["outputs"]), []
    words = words_of_several_answers(statement_of(problem))
    for index, expected in enumerate(outputs):
        answers = [run.tests[index].output for run in runs]
        kinds = [mismatch(tests["type"], answer, expected) for answer in answers]
        if None in kinds:
            continue  # at least one solution is right here
        answer, votes = consensus(tests["type"], answers)
        kind = mismatch(tests["type"], answer, expected)
        where = f"test {index}, {votes} of {len(answers)} solutions"
        if kind in (WHITE_SPACE, FLOAT_FORMAT):
            findings.append(Finding(kind, "repair", where))
        elif words:
            return None, [*findings, Finding(SEVERAL_ANSWERS, "drop", f"{where}; {words!r}")]
        elif kind in (ORDER, LETTER_CASE):
            return None, [*findings, Finding(kind, "drop", where)]
        elif votes >= 2 and 2 * votes > len(answers):
            findings.append(Finding(CORRECTED_OUTPUT, "repair", where))
        else:
            code = WRONG_OUTPUT if len(answers) == 1 else SOLUTIONS_DISAGREE
            return None, [*findings, Finding(code, "drop", where)]
        outputs[index] = answer
    return (replace(problem, tests={**tests, "outputs": outputs}) if findings else problem), findings


def _gives_the_answers(problem: Problem, run: Execution) -> bool:
    if problem.tests["type"] == "assert":
        return run.outcome is Outcome.PASSED
    return all(
        answers_match(problem.tests["type"], test.output, expected)
        for test, expected in zip(run.tests, problem.tests["outputs"], strict=True)
    )


# Rules across rows


def duplicates(problems: Sequence[Problem]) -> dict[int, str]:
    """
    Rows whose statement stands in an earlier row, letter case, marks of punctuation and white space aside.

    Returns:
        `dict[int, str]`: Place of each such row, and the `task_id` of the earlier one.
    """
    seen: dict[tuple[str, str], str] = {}
    found: dict[int, str] = {}
    for place, problem in enumerate(problems):
        # Operators tell tasks apart; at the beginning of a line they are bullets and headings.
        text = re.sub(r"^[ \t*#-]+", "", statement_of(problem).lower(), flags=re.MULTILINE)
        key = re.sub(r"[\s.,;:!?'\"`()\[\]_]+", " ", text).strip(), problem.starter_code.strip()
        earlier = seen.setdefault(key, problem.task_id)
        if earlier != problem.task_id:
            found[place] = earlier
    return found


def contaminated(
    problems: Sequence[Problem], benchmark: Sequence[Problem], most: float, least_lines: int = 4
) -> dict[int, float]:
    """
    Rows whose solution shares more than a share of its lines with the solutions of a benchmark.

    Args:
        problems (`Sequence[Problem]`):
            Rows.
        benchmark (`Sequence[Problem]`):
            Problems of benchmarks.
        most (`float`):
            Largest share that is allowed.
        least_lines (`int`, *optional*, defaults to `4`):
            Solutions with fewer lines that count are let through: a line or two say nothing.

    Returns:
        `dict[int, float]`: Place and share of each such row.
    """

    def own(problem: Problem) -> str:
        return problem.canonical_solution.removeprefix(problem.starter_code)

    _, overlaps = line_overlaps([own(problem) for problem in benchmark], [own(problem) for problem in problems])
    return {
        place: overlap.share
        for place, overlap in enumerate(overlaps)
        if overlap.share is not None and overlap.lines >= least_lines and overlap.share > most
    }


# More tests


def mutated(tests: dict[str, Any], index: int, draw: Callable[[int], int]) -> Any:
    """
    Input of one test with one part changed: a number by one or by half, a letter, a list by an element.

    Args:
        tests (`dict`):
            Tests of type `stdio` or `call`.
        index (`int`):
            Which input.
        draw (`Callable[[int], int]`):
            Random number below its argument.

    Returns:
        `Any`: Another input of the same form; equal to the old one if nothing in it can be changed.
    """
    given = tests["inputs"][index]
    if tests["type"] == "call":
        return _changed(given, draw)
    places = list(re.finditer(r"-?\d+|[A-Za-z]+", given))
    if not places:
        return given
    chosen = places[draw(len(places))]
    text = chosen[0]
    # Python refuses to read a number of thousands of digits: of a long one a digit changes, as of a word a letter.
    is_number = text.lstrip("-").isdigit() and len(text) <= LONGEST_NUMBER
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
