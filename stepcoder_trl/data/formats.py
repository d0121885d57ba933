"""
Loaders for the formats in which data sets are published.

A format is recognised by the fields of the first row; every row must then have them. What each makes of a row:

| format | `task_id` | `prompt` | `starter_code` | `tests` |
|---|---|---|---|---|
| `stepcoder` | as given | as given | as given | as given: a row of [`Problem`] |
| `apps_plus` | file name / `id` or row number | description in the docstring | as given | `stdio`, or `call` |
| `apps` | file or folder name / `problem_id` | `question` | as given | `stdio`, or `call` |
| `mbpp` | `MBPP/N` | `text` and the asserts | none | `assert`; `test_setup_code` is the setup |
| `mbpp_sanitized` | `MBPP/N` | `prompt` and the asserts | none | `assert`; `test_imports` are the setup |
| `humaneval` | as given | one sentence | stub | `assert`: `check(entry_point)`, which `test` defines |
| `leetcode` | as given | description | class and method header | as in `humaneval` |
| `codecontests` | `id` | description with its examples | none | `stdio` |

Prompts end with a newline, since starter code or prefix follows directly. The preamble of `apps`, `apps_plus` and
`leetcode` holds the imports that their harnesses put in scope; programs for the others import what they use.
"""

from __future__ import annotations

import ast
import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stepcoder_trl.data.apps_folder import read_apps_folder
from stepcoder_trl.data.imports import MODULE_IMPORTS, USUAL_IMPORTS, explicit_imports
from stepcoder_trl.data.problems import Problem, check_unique_task_ids
from stepcoder_trl.errors import BadInputError, NoTestsError
from stepcoder_trl.jsonl import Row, parse_json, read_rows, shown
from stepcoder_trl.parsing import parse


_DIFFICULTIES = {
    "introductory": "introductory",
    "interview": "interview",
    "competition": "competition",
    "easy": "introductory",
    "medium": "interview",
    "meidum": "interview",  # so in LeetCodeDataset
    "hard": "competition",
}


def load_problems(path: str | os.PathLike[str], format: str | None = None) -> list[Problem]:
    """
    Load problems from a file or folder, whatever known format it has.

    Args:
        path (`str` or `os.PathLike`):
            JSON Lines, a JSON array, either of them gzip-compressed, parquet, or a folder in the layout of APPS.
        format (`str` or `None`, *optional*):
            One of `"stepcoder"`, `"apps_plus"`, `"apps"`, `"mbpp"`, `"mbpp_sanitized"`, `"humaneval"`, `"leetcode"`,
            `"codecontests"`. By default it is recognised by the fields of the first row.

    Returns:
        `list[Problem]`: One problem per row, in the order of the file.

    Raises:
        BadInputError: If the file or a row cannot be used. The message names the file, the row, the field and the fix.

    Example:

    ```python
    >>> problems = load_problems("apps_plus_valid.jsonl")
    >>> problems[57].task_id
    'apps_plus_valid/58'
    ```
    """
    rows = _rows(path)
    chosen = _recognised(rows[0]) if format is None else _named(format)
    problems = []
    for row in rows:
        for name in chosen.fields:
            if name not in row.fields:
                raise BadInputError(
                    f"{row.where}: field `{name}` is missing, which the format `{chosen.name}` needs. Add it, or keep "
                    "rows of different formats in separate files."
                )
        problems.append(chosen.load(row))
    check_unique_task_ids(problems, [row.where for row in rows])
    return problems


@dataclass(frozen=True)
class RawRow:
    """
    Row that may be unusable, with everything that is said to solve it.

    Attributes:
        number (`int`): Place in the input, counted from 1.
        task_id (`str`): Name, made up where the row has none that can be used.
        problem ([`Problem`] or `None`): `None` if the row cannot be used.
        error ([`BadInputError`] or `None`): Why not.
        solutions (`tuple[str, ...]`): Programs, without repetitions and blank ones.
        values (`Mapping[str, Any]`): Columns as they stand.
    """

    number: int
    task_id: str
    problem: Problem | None
    error: BadInputError | None
    solutions: tuple[str, ...]
    values: Mapping[str, Any]


def read_raw_rows(path: str | os.PathLike[str]) -> list[RawRow]:
    """
    Read rows that are still to be refined: one that cannot be used is no error, and all solutions are kept.

    Args:
        path (`str` or `os.PathLike`):
            File or folder, as in [`load_problems`].

    Returns:
        `list[RawRow]`: One per row; names that come twice get a number.

    Raises:
        BadInputError: If the file cannot be read or has no known format.
    """
    rows = _rows(path)
    chosen = _recognised(next((row for row in rows if _fits_some(row)), rows[0]))
    seen: set[str] = set()
    raw: list[RawRow] = []
    for number, row in enumerate(rows, 1):
        problem: Problem | None = None
        error: BadInputError | None = None
        solutions: tuple[str, ...] = ()
        try:
            problem = chosen.load(row)
            solutions = _solutions(row, problem)
        except BadInputError as reason:
            error = reason
        task_id = f"{row.source}/{row.number}" if problem is None else problem.task_id
        while task_id in seen:
            task_id = f"{task_id}#{number}"
        seen.add(task_id)
        if problem is not None and task_id != problem.task_id:
            problem = replace(problem, task_id=task_id)
        raw.append(RawRow(number, task_id, problem, error, solutions, row.fields))
    return raw


def _rows(path: str | os.PathLike[str]) -> list[Row]:
    return list(read_apps_folder(Path(path))) if os.path.isdir(path) else read_rows(path)


def _fits_some(row: Row) -> bool:
    return any(all(name in row.fields for name in candidate.fields) for candidate in FORMATS)


def _solutions(row: Row, problem: Problem) -> tuple[str, ...]:
    """All solutions of a row of APPS, the canonical one of others."""
    given = row.json("solutions") if "input_output" in row.fields else None
    texts = [problem.canonical_solution] if given is None else given
    return tuple(dict.fromkeys(text for text in texts if isinstance(text, str) and text.strip()))


@dataclass(frozen=True)
class _Format:
    name: str
    fields: tuple[str, ...]
    load: Callable[[Row], Problem]


def _named(name: str) -> _Format:
    for candidate in FORMATS:
        if candidate.name == name:
            return candidate
    allowed = ", ".join(f'`"{candidate.name}"`' for candidate in FORMATS)
    raise BadInputError(f"`format` is {shown(name)}, but must be one of {allowed}, or None to recognise it.")


def _recognised(row: Row) -> _Format:
    for candidate in FORMATS:
        if all(name in row.fields for name in candidate.fields):
            return candidate
    tried = "; ".join(f"`{candidate.name}` needs {', '.join(candidate.fields)}" for candidate in FORMATS)
    found = ", ".join(map(str, row.fields)) or "none"
    raise BadInputError(
        f"{row.where}: no known format has these fields: {found}. Tried: {tried}. Rename the fields, or write "
        "rows with `task_id`, `prompt` and `tests`."
    )


def _difficulty(row: Row, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or value.lower() not in _DIFFICULTIES:
        allowed = ", ".join(_DIFFICULTIES)
        raise BadInputError(
            f"{row.where}: `difficulty` is {shown(value)}, but must be null or one of {allowed}. Map it."
        )
    return _DIFFICULTIES[value.lower()]


def _paragraph(text: str) -> str:
    return text.strip() + "\n"


# Our own rows


def _load_stepcoder(row: Row) -> Problem:
    return Problem.from_row(row.fields, row.where)


# APPS+


def _load_apps_plus(row: Row) -> Problem:
    starter_code = row.text("starter_code")
    name = row.fields.get("id")
    return Problem(
        task_id=f"{row.source}/{row.number if name is None else name}",
        prompt=_paragraph(_docstring_text(row.text("prompt").removeprefix(starter_code))),
        starter_code=_without_main_block(starter_code),
        canonical_solution=row.text("canonical_solution"),
        tests={**_apps_plus_tests(row, starter_code), "preamble": USUAL_IMPORTS},
        difficulty=_difficulty(row, row.fields.get("difficulty")),
        where=row.where,
    )


def _docstring_text(docstring: str) -> str:
    """Text between the quotes, as it stands: descriptions hold unescaped backslashes (`$n \\neq 0$`)."""
    text = docstring.strip()
    for quotes in ('"""', "'''"):
        if text.startswith(quotes):
            return text[3:].removesuffix(quotes)
    return text


def _without_main_block(starter_code: str) -> str:
    """Starter code up to a stray `if __name__ == "__main__":`, which no answer could follow."""
    block = re.search(r"^if\s+__name__\b", starter_code, re.MULTILINE)
    return starter_code[: block.start()] if block else starter_code


def _apps_plus_tests(row: Row, starter_code: str) -> dict[str, Any]:
    inputs, outputs = row.items("inputs"), row.items("outputs")
    tests = {"fn_name": _function_name(row, _without_main_block(starter_code))}
    if all(isinstance(value, str) for value in inputs):
        return {"type": "stdio", **tests, "inputs": inputs, "outputs": outputs}
    arguments = [_decoded_arguments(row, f"inputs[{index}]", value) for index, value in enumerate(inputs)]
    values = [_decoded_arguments(row, f"outputs[{index}]", value) for index, value in enumerate(outputs)]
    for index, value in enumerate(values):
        if len(value) != 1:
            raise BadInputError(
                f"{row.where}: `outputs[{index}]` has {len(value)} entries, but must have one, the value returned. "
                "Wrap a list that is returned in a list: `[[1, 2]]`."
            )
    return {"type": "call", **tests, "inputs": arguments, "outputs": [value for (value,) in values]}


def _function_name(row: Row, starter_code: str) -> str:
    """Function that the tests call: the first method of `class Solution`, else the first function."""
    solution = re.search(r"^class\s+Solution\b", starter_code, re.MULTILINE)
    names = re.findall(
        r"^[ \t]*(?:async\s+)?def\s+(\w+)", starter_code[solution.end() if solution else 0 :], re.MULTILINE
    )
    names = [name for name in names if name != "__init__"]
    if not names:
        raise BadInputError(
            f"{row.where}: `starter_code` is {shown(starter_code)}, but must name the function that the tests call. "
            "Begin it with `def NAME(...):` or with `class Solution:` and a method."
        )
    found: str = names[0]
    return found


def _decoded_arguments(row: Row, field: str, values: Any) -> list[Any]:
    """Arguments from pieces of source text: strings at the top level carry quotes of their own, the rest is JSON."""
    if not isinstance(values, list):
        raise BadInputError(
            f"{row.where}: `{field}` is {shown(values)}, but must be a list, since `inputs` are lists of arguments. "
            "Tests of one row are all text (standard input) or all lists (calls)."
        )
    return [
        _evaluated(row, f"{field}[{index}]", value) if isinstance(value, str) else value
        for index, value in enumerate(values)
    ]


def _evaluated(row: Row, field: str, text: str) -> Any:
    try:
        return _literal(text)
    except ValueError:
        pass
    try:
        return parse_json(text)
    except ValueError:
        raise BadInputError(
            f"{row.where}: `{field}` is {shown(text)}, but must be source text of a Python literal or JSON. Give "
            'strings quotes of their own: `"\\"abc\\""`.'
        ) from None


def _literal(text: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of invalid escapes
            return ast.literal_eval(text.strip())
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(str(error)) from error


# APPS


def _load_apps(row: Row) -> Problem:
    starter_code = row.text("starter_code", "")
    return Problem(
        task_id=f"{row.source}/{row.identifier('problem_id')}",
        prompt=_paragraph(row.text("question")),
        starter_code=starter_code,
        canonical_solution=_first_that_parses(row),
        tests={**_apps_tests(row, starter_code), "preamble": USUAL_IMPORTS},
        difficulty=_difficulty(row, row.fields.get("difficulty")),
        where=row.where,
    )


def _first_that_parses(row: Row) -> str:
    """First solution that is Python 3, `""` if there is none: some of APPS are Python 2."""
    solutions = row.json("solutions")
    solutions = [] if solutions is None else solutions
    if not isinstance(solutions, list) or not all(isinstance(solution, str) for solution in solutions):
        raise BadInputError(f"{row.where}: `solutions` is {shown(solutions)}, but must be a JSON list of programs.")
    return next((solution for solution in solutions if solution.strip() and parse(solution) is not None), "")


def _apps_tests(row: Row, starter_code: str) -> dict[str, Any]:
    tests = row.json("input_output")
    if not tests or not isinstance(tests, Mapping) or not tests.get("inputs"):
        raise NoTestsError(f"{row.where}: `input_output` holds no tests. Drop the row.")
    inputs, outputs = tests["inputs"], tests.get("outputs")
    if not isinstance(inputs, list) or not isinstance(outputs, list):
        raise BadInputError(f"{row.where}: `input_output` must hold lists `inputs` and `outputs`. Correct it.")
    if not tests.get("fn_name"):
        return {"type": "stdio", "inputs": list(map(_joined, inputs)), "outputs": list(map(_joined, outputs))}
    if re.search(r"^class\s+Solution\b", starter_code, re.MULTILINE):
        inputs, outputs = _unquoted(inputs, outputs)
    elif all(isinstance(value, list) and len(value) == 1 for value in outputs):
        outputs = [value for (value,) in outputs]
    return {"type": "call", "fn_name": tests["fn_name"], "inputs": inputs, "outputs": outputs}


def _joined(text: Any) -> Any:
    """Standard input or output that is given as a list of lines."""
    if isinstance(text, list) and all(isinstance(line, str) for line in text):
        return "\n".join(text)
    return text


def _unquoted(inputs: list[Any], outputs: list[Any]) -> tuple[list[Any], list[Any]]:
    """
    Tests of a LeetCode problem without the quotes that its strings carry (`"\\"abc\\""`), if all of them do.

    In the other call-style problems of APPS strings carry none, and each output is wrapped in a list of its own.
    """
    strings = [value for arguments in inputs if isinstance(arguments, list) for value in arguments if _is_text(value)]
    if not strings or not all(map(_is_quoted, strings)):
        return inputs, outputs
    stripped = [[_unquote(value) for value in arguments] for arguments in inputs if isinstance(arguments, list)]
    return (stripped, [_unquote(value) for value in outputs]) if len(stripped) == len(inputs) else (inputs, outputs)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_quoted(text: str) -> bool:
    try:
        return text.startswith('"') and isinstance(parse_json(text), str)
    except ValueError:
        return False


def _unquote(value: Any) -> Any:
    return parse_json(value) if isinstance(value, str) and _is_quoted(value) else value


# MBPP


def _load_mbpp(row: Row) -> Problem:
    return _mbpp_problem(row, row.text("text"), row.text("test_setup_code", ""))


def _load_mbpp_sanitized(row: Row) -> Problem:
    return _mbpp_problem(row, row.text("prompt"), "\n".join(row.texts("test_imports")))


def _mbpp_problem(row: Row, text: str, setup: str) -> Problem:
    """The asserts are part of the prompt, as is customary: they alone say what the function is called."""
    asserts = row.texts("test_list")
    shown_tests = "\n".join(part.strip() for part in (setup, *asserts) if part.strip())
    return Problem(
        task_id=f"MBPP/{row.identifier('task_id')}",
        prompt=f"{text.strip()}\nYour code should pass these tests:\n\n{shown_tests}\n",
        canonical_solution=row.text("code"),
        tests={"type": "assert", "setup": setup, "asserts": asserts},
        where=row.where,
    )


# HumanEval and LeetCodeDataset


def _load_humaneval(row: Row) -> Problem:
    stub, entry_point = row.text("prompt"), row.text("entry_point")
    return Problem(
        task_id=row.text("task_id"),
        prompt=f"Complete the Python function `{entry_point}`, which begins as follows.\n",
        starter_code=stub,
        canonical_solution=stub + row.text("canonical_solution"),
        tests=_check_tests(row, entry_point),
        where=row.where,
    )


def _load_leetcode(row: Row) -> Problem:
    meta = row.fields.get("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    difficulty = row.fields.get("difficulty", meta.get("difficulty"))
    return Problem(
        task_id=row.text("task_id"),
        prompt=_paragraph(_leetcode_description(row, meta)),
        starter_code=_leetcode_starter_code(row, meta),
        canonical_solution=row.text("completion"),
        tests={
            **_check_tests(row, row.text("entry_point")),
            "preamble": MODULE_IMPORTS + explicit_imports(row.text("prompt")),
        },
        difficulty=_difficulty(row, difficulty),
        where=row.where,
    )


def _leetcode_description(row: Row, meta: Mapping[str, Any]) -> str:
    """`problem_description` of v0.3, `question_title` of v0.2 (the whole text, despite its name), else `query`."""
    for text in (row.fields.get("problem_description"), meta.get("question_title")):
        if isinstance(text, str) and text.strip():
            return text
    return row.text("query").split("Please complete the following python code", 1)[0]


def _leetcode_starter_code(row: Row, meta: Mapping[str, Any]) -> str:
    for text in (row.fields.get("starter_code"), meta.get("lang_code")):
        if isinstance(text, str) and text.strip():
            return text
    fence = re.search(r"```python\n(.*?)```", row.text("query", ""), re.DOTALL)
    return fence[1] if fence else ""


def _check_tests(row: Row, entry_point: str) -> dict[str, Any]:
    test = row.text("test")
    if not re.search(r"^def\s+check\s*\(", test, re.MULTILINE):
        raise BadInputError(f"{row.where}: `test` is {shown(test)}, but must define `check(candidate)`. Correct it.")
    return {"type": "assert", "setup": test, "asserts": [f"check({entry_point})"]}


# CodeContests


def _load_codecontests(row: Row) -> Problem:
    text = row.text("problem_md")
    description = re.search(
        r"^## Description\n(.*?)(?=^## (?:Categories|Source|Examples|Testing)\b|\Z)", text, re.MULTILINE | re.DOTALL
    )
    return Problem(
        task_id=row.text("id"),
        prompt=_paragraph(description[1] if description else text),
        canonical_solution=row.text("main_py"),
        tests={"type": "stdio", "inputs": row.items("inputs"), "outputs": row.items("outputs")},
        where=row.where,
    )


FORMATS: Sequence[_Format] = (
    _Format("stepcoder", ("tests",), _load_stepcoder),
    _Format("apps_plus", ("prompt", "canonical_solution", "starter_code", "inputs", "outputs"), _load_apps_plus),
    _Format("apps", ("problem_id", "question", "input_output"), _load_apps),
    _Format("mbpp", ("task_id", "text", "code", "test_list"), _load_mbpp),
    _Format("mbpp_sanitized", ("task_id", "prompt", "code", "test_list"), _load_mbpp_sanitized),
    _Format("humaneval", ("task_id", "prompt", "entry_point", "canonical_solution", "test"), _load_humaneval),
    _Format("leetcode", ("task_id", "prompt", "completion", "entry_point", "test"), _load_leetcode),
    _Format("codecontests", ("id", "problem_md", "main_py", "inputs", "outputs"), _load_codecontests),
)
