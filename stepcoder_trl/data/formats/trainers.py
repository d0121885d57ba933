"""
Reads the datasets of code problems that reinforcement learning is done with, and writes the schema of verl.

They come without a syntax of their own for tests: see [`read_tests`].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepcoder_trl.data.formats.cases import read_module, read_tests, read_unittest
from stepcoder_trl.data.formats.common import (
    Format,
    LeftOut,
    code_of_answer,
    difficulty,
    first_that_parses,
    paragraph,
    plain_object,
    programs,
    records,
    task_id,
    tests_beside,
)
from stepcoder_trl.data.imports import USUAL_IMPORTS
from stepcoder_trl.data.problems import Problem
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.jsonl import Row, json_text, parse_json, shown


# verl


def _load_verl(row: Row) -> Problem:
    reward_model, extra = row.json("reward_model"), row.json("extra_info")
    if not isinstance(reward_model, Mapping) or "ground_truth" not in reward_model:
        raise BadInputError(f"{row.where}: `reward_model` must be an object with `ground_truth`. Correct it.")
    extra = extra if isinstance(extra, Mapping) else {}
    name, reference, level = extra.get("task_id"), extra.get("reference"), extra.get("difficulty")
    messages = row.unpacked("prompt")
    if row.fields.get("ability") == "math":
        raise LeftOut(row.where, "is about mathematics", "Only code can be run.")
    return Problem(
        task_id=name if isinstance(name, str) and name else task_id(row),
        prompt=messages if _are_messages(messages) else paragraph(row.text("prompt")),
        canonical_solution=code_of_answer(reference) if isinstance(reference, str) else "",
        tests={**_verl_tests(row, reward_model["ground_truth"]), "preamble": USUAL_IMPORTS},
        difficulty=difficulty(row, level if isinstance(level, str) else None),
        where=row.where,
    )


def _are_messages(prompt: Any) -> bool:
    """Return whether a prompt is a list of messages, or meant as one. Text may only look like a list."""
    return isinstance(prompt, list) and all(isinstance(message, Mapping) for message in prompt)


_GROUND_TRUTH = (
    "It must be JSON with `inputs` and `outputs`, `functional`, `pytest` or `assert_case`, or a list of tests."
)


_FORMS = ("functional", "pytest", "assert_case", "inputs")


def _verl_tests(row: Row, truth: Any) -> dict[str, Any]:
    field = "reward_model.ground_truth"
    value: Any = truth
    if isinstance(truth, str):
        try:
            value = parse_json(truth)
        except ValueError:
            value = None
    if isinstance(value, Mapping):
        forms = [name for name in _FORMS if value.get(name)]
        if len(forms) > 1:
            raise BadInputError(
                f"{row.where}: `{field}` holds both `{forms[0]}` and `{forms[1]}`, but must hold tests of one form. "
                "Split the row."
            )
        for name in ("functional", "pytest"):
            if isinstance(code := value.get(name), str):
                return read_module(row, code) if name == "functional" else read_unittest(row, code)
        if isinstance(value.get("assert_case"), list):
            return read_tests(row, field, value["assert_case"])
    if not isinstance(value, (Mapping, list)):
        raise LeftOut(row.where, f"has a `{field}` that is not tests of code", _GROUND_TRUTH)
    return read_tests(row, field, value)


def verl_row(problem: Problem, index: int, split: str = "train", data_source: str = "stepcoder") -> dict[str, Any]:
    """
    Return a problem as a row in the schema of verl, whose rewards read `reward_model.ground_truth`.

    Calls are text, as its rewards read them: each argument as JSON on a line of its own, and the result as JSON, in a
    list as in APPS. The preamble is left out: verl's rewards import the usual modules themselves. `extra_info` has the
    canonical solution as `reference`.

    Raises:
        BadInputError: If verl has no such tests, such as a function that reads standard input.
    """
    tests = problem.tests
    if tests["type"] == "assert":
        truth: dict[str, Any] = {"functional": "\n".join((tests["setup"], *tests["asserts"])).lstrip("\n")}
    elif tests["type"] == "call":
        inputs = ["\n".join(map(json_text, arguments)) for arguments in tests["inputs"]]
        outputs = [json_text([value]) for value in tests["outputs"]]
        truth = {"fn_name": tests["fn_name"], "inputs": inputs, "outputs": outputs}
    elif tests["type"] == "stdio" and "fn_name" not in tests:
        truth = {"inputs": tests["inputs"], "outputs": tests["outputs"]}
    else:
        raise BadInputError(
            f"`Problem` {shown(problem.task_id)}: verl has no tests of this kind (`{tests['type']}`). Leave it out."
        )
    start = f"\nBegin with:\n```python\n{problem.starter_code}\n```\n" if problem.starter_code else ""
    prompt = problem.prompt
    return {
        "data_source": data_source,
        "prompt": [{"role": "user", "content": prompt + start}] if isinstance(prompt, str) else prompt,
        "ability": "code",
        "reward_model": {"style": "rule", "ground_truth": json_text(truth)},
        "extra_info": {
            "split": split,
            "index": index,
            "task_id": problem.task_id,
            "reference": problem.canonical_solution,
            "difficulty": problem.difficulty,
        },
    }


# DeepCoder-Preview


def _load_deepcoder(row: Row) -> Problem:
    metadata = row.json("metadata")
    name = metadata.get("func_name") if isinstance(metadata, Mapping) else None
    starter_code = row.text("starter_code", "")
    solutions = _answers(row, "solutions")
    return Problem(
        task_id=task_id(row),
        prompt=paragraph(row.text("problem")),
        starter_code=starter_code,
        canonical_solution=first_that_parses(solutions),
        tests={
            **read_tests(row, "tests", plain_object(row, "tests"), name, starter_code),
            "preamble": USUAL_IMPORTS,
        },
        where=row.where,
    )


def _answers(row: Row, name: str) -> list[str]:
    """Return the programs of a list of answers, which may be fenced."""
    return [program for program in map(code_of_answer, programs(row, name)) if program]


# AceCode-87K


def _load_acecode(row: Row) -> Problem:
    asserts = plain_object(row, "test_cases")
    if not isinstance(asserts, list) or not all(isinstance(statement, str) for statement in asserts):
        raise BadInputError(
            f"{row.where}: `test_cases` is {shown(asserts)}, but must be a list of asserts. Correct it."
        )
    return Problem(
        task_id=str(row.id),
        prompt=paragraph(row.text("question")),
        canonical_solution=next(iter(_passing_inferences(row)), ""),
        tests={"type": "assert", "setup": "", "asserts": asserts},
        where=row.where,
    )


def _passing_inferences(row: Row) -> list[str]:
    """Return the programs of models that passed all tests. The dataset has no other solutions."""
    found = records(row, "inferences", row.json("inferences"))
    passing = [inference for inference in found if inference.get("pass_rate") == 1]
    return [program for inference in passing if (program := code_of_answer(str(inference.get("completion"))))]


# Rows with `verification_info`


def _load_verification_info(row: Row) -> Problem:
    info = plain_object(row, "verification_info")
    if not isinstance(info, Mapping):
        raise BadInputError(f"{row.where}: `verification_info` is {shown(info)}, but must be an object. Correct it.")
    language = info.get("language", "python")
    if str(language).lower() not in ("python", "python3"):
        raise LeftOut(row.where, f"`verification_info.language` is {shown(language)}", "Only Python can be run.")
    if "test_cases" not in info:
        raise LeftOut(row.where, "has no `test_cases` in `verification_info`", "Only code with tests can be run.")
    for name in tests_beside(info, ("test_cases",)):
        raise BadInputError(
            f"{row.where}: `verification_info` seems to hold tests in `{name}` beside `test_cases`. No test may be "
            "left out: add them to `test_cases`, or drop the field."
        )
    cases = info["test_cases"]
    cases = parse_json(cases) if isinstance(cases, str) and cases.strip().startswith(("[", "{")) else cases
    return Problem(
        task_id=str(row.identifier("problem_id")),
        prompt=paragraph(row.text("prompt")),
        canonical_solution=code_of_answer(row.text("gold_standard_solution", "")),
        tests={**read_tests(row, "verification_info.test_cases", cases), "preamble": USUAL_IMPORTS},
        where=row.where,
    )


VERL = Format(
    "verl",
    "verl's schema",
    ("prompt", "reward_model", "data_source|ability|extra_info"),
    _load_verl,
    licence="that of the dataset",
    reads="Eurus-2-RL, code-r1 and hundreds of others: `reward_model.ground_truth` with `inputs` and `outputs` "
    "(calls also as text), with `functional`, `pytest` or `assert_case`, or a list of tests; `extra_info.reference` "
    "is the solution",
    refuses="rows whose ground truth is not tests of code are left out and counted",
)
DEEPCODER = Format(
    "deepcoder",
    "DeepCoder-Preview",
    ("problem", "tests"),
    _load_deepcoder,
    lacks=("prompt", "task_id"),
    licence="MIT",
    reads="all configurations: `tests` as an object of lists or as a list of objects; the first solution that parses",
    refuses="rows that mix tests of several kinds",
    solutions=lambda row, problem: _answers(row, "solutions"),
)
ACECODE = Format(
    "acecode",
    "AceCode-87K",
    ("id", "question", "test_cases", "inferences|context_messages"),
    _load_acecode,
    licence="MIT",
    reads="each assert is a test; an inference with the pass rate 1 is the solution",
    solutions=lambda row, problem: _passing_inferences(row),
)
VERIFICATION_INFO = Format(
    "verification_info",
    "SYNTHETIC",
    ("problem_id", "prompt", "verification_info"),
    _load_verification_info,
    licence="Apache-2.0",
    reads="verifiable-coding-problems (also open-r1's) and SYNTHETIC-1 and -2: `verification_info` as an object, "
    "as JSON or as Python's text; `gold_standard_solution`",
    refuses="rows without `test_cases`, and other languages, are left out and counted",
)
