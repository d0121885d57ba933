"""EvalPlus and our evaluation give the same verdicts on the same samples, under base inputs and under further ones."""

from __future__ import annotations

import ast
import contextlib
import copy
import io
import json
import os
import random
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig, load_problems
from stepcoder_trl.data.formats.common import plain_line_ends
from stepcoder_trl.evaluation.base_tests import base_passed
from stepcoder_trl.evaluation.sample_files import read_samples
from stepcoder_trl.evaluation.scoring import score_samples
from tests.matrix.mutants import mutants


pytestmark = [pytest.mark.sandbox, pytest.mark.slow]

VERSION = "0.3.1"
NUM_MBPP = 160
# Tasks of MBPP that EvalPlus judges in a way of its own.
JUDGED_DIFFERENTLY = {2, 7, 579, 769, 581, 558, 164, 295, 232, 249, 111, 140, 794, 632, 756}


@pytest.fixture(scope="module")
def evalplus() -> Path:
    """Folder with EvalPlus, apart from all other packages, and without what it needs for sampling."""
    folder = Path(__file__).parents[2] / ".matrix" / f"evalplus-{VERSION}"
    if not folder.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
        subprocess.run([*command, f"evalplus=={VERSION}", "psutil", "tqdm"], check=True)
    return folder


@pytest.fixture(scope="module")
def stopping() -> Iterator[CodeExecutor]:
    config = ExecutorConfig(num_workers=2, timeout_s=3.0, trace=False, stop_on_first_failure=True)
    with CodeExecutor(config) as executor:
        yield executor


def rows_of(name: str) -> list[dict[str, Any]]:
    source = Path(os.environ.get("STEPCODER_DATA", "")) / name
    if not source.is_file():
        pytest.skip(f"STEPCODER_DATA is not set: needs {name}")
    return [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]


# Inputs


def variation(value: Any, draw: random.Random) -> Any:
    """Return a value of the same type that differs somewhere."""
    if isinstance(value, bool) or value is None:
        return value if value is None else not value
    if isinstance(value, int):
        return draw.choice([value + 1, value - 1, 2 * value, -value, 0])
    if isinstance(value, float):
        return draw.choice([value + 0.5, value / 3, -value])
    if isinstance(value, str):
        return draw.choice([value[::-1], value + value[:1], value[1:], value.swapcase(), value + " "])
    if isinstance(value, dict):
        return {key: variation(part, draw) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        parts = [variation(part, draw) if draw.random() < 0.5 else part for part in value]
        return type(value)(draw.choice([parts, parts[::-1], parts + parts[:1]]))
    return value


class TooSlowError(Exception):
    """Raised in a solution that takes too long."""


def expire(*_: Any) -> None:
    raise TooSlowError


def accepted(function: Callable[..., Any], inputs: list[Any]) -> list[Any]:
    """Return the inputs on which a solution returns in time, and for which it does so again."""
    before = signal.signal(signal.SIGVTALRM, expire)
    found = []
    try:
        for arguments in inputs:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0.2)
            with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
                results = [function(*copy.deepcopy(arguments)) for _ in range(2)]
                if results[0] == results[1] and ast.literal_eval(repr(arguments)) == arguments:
                    found.append(arguments)
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    finally:
        signal.signal(signal.SIGVTALRM, before)
    return found


def plus_inputs(function: Callable[..., Any], base: list[Any], draw: random.Random) -> list[Any]:
    made = [[variation(value, draw) for value in draw.choice(base)] for _ in range(12)]
    return accepted(function, made) or base[:1]


# Rows in the form in which EvalPlus releases its data


def defined(code: str, name: str) -> Any:
    namespace: dict[str, Any] = {}
    with warnings.catch_warnings(action="ignore"):  # of invalid escapes
        exec(code, namespace)
    return namespace[name]


def humaneval_task(row: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    solution, name = row["prompt"] + row["canonical_solution"], row["entry_point"]
    function, base = defined(solution, name), []

    def record(*arguments: Any) -> Any:
        base.append(copy.deepcopy(list(arguments)))
        return function(*arguments)

    defined(f"{solution}\n{row['test']}", "check")(record)
    base = accepted(function, base)
    fields = {key: row[key] for key in ("task_id", "prompt", "entry_point", "canonical_solution", "test")}
    programs = [row["prompt"] + body for body in mutants(row["canonical_solution"], draw)]
    return task(fields, "humaneval", base, plus_inputs(function, base, draw), solution, programs)


def mbpp_task(row: dict[str, Any], draw: random.Random) -> dict[str, Any] | None:
    """Return a task, or `None` if the asserts are not calls with literal arguments."""
    code = plain_line_ends(row["code"])
    tests = [ast.parse(statement.strip()).body[0] for statement in row["test_list"]]
    calls = [node.test.left for node in tests if isinstance(node, ast.Assert) and isinstance(node.test, ast.Compare)]
    if len(calls) != len(tests) or not all(isinstance(call, ast.Call) for call in calls):
        return None
    name = calls[0].func.id
    try:
        inputs = [[ast.literal_eval(argument) for argument in call.args] for call in calls]
    except ValueError:
        return None
    function = defined(code, name)
    base = accepted(function, inputs)
    if len(base) != len(inputs) or row["test_setup_code"]:
        return None
    prompt = f'"""\n{row["text"]}\n{row["test_list"][0]}\n"""\n'
    asserts = "\n".join(statement.strip() for statement in row["test_list"])
    fields = {"task_id": f"Mbpp/{row['task_id']}", "prompt": prompt, "entry_point": name, "assertion": asserts}
    fields["canonical_solution"] = f"\n{code}"
    programs = mutants(code, draw, "\n")
    return task(fields, "mbpp", base, plus_inputs(function, base, draw), code, programs)


def task(
    fields: dict[str, Any], dataset: str, base: list[Any], plus: list[Any], solution: str, programs: list[str]
) -> dict[str, Any]:
    row = {**fields, "contract": "", "base_input": base, "plus_input": plus, "atol": 0}
    theirs = {"dataset": dataset, "base": repr(base), "plus": repr(plus), "solution": solution, "atol": 0}
    return {"row": row, "theirs": {**theirs, "entry_point": fields["entry_point"], "programs": programs}}


# Verdicts


def compare(
    tasks: list[dict[str, Any]], folder: Path, evalplus: Path, executor: CodeExecutor
) -> list[tuple[Any, ...]]:
    """Return the samples on which the verdicts differ, and check that there are passes and failures of each kind."""
    source, path = folder / "rows.jsonl", folder / "samples.jsonl"
    source.write_text("".join(json.dumps(one["row"], default=list) + "\n" for one in tasks), encoding="utf-8")
    samples = [(one["row"]["task_id"], program) for one in tasks for program in one["theirs"]["programs"]]
    rows = [{"task_id": name, "solution": program} for name, program in samples]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    problems = load_problems(source)
    evaluation = score_samples([read_samples(path, problems)], executor.submit)
    base = base_passed(evaluation, problems)
    ours = [[in_base, sample.passed] for in_base, sample in zip(base, evaluation.samples, strict=True)]

    (folder / "tasks.json").write_text(json.dumps([one["theirs"] for one in tasks]), encoding="utf-8")
    command = [sys.executable, str(Path(__file__).with_name("evalplus_worker.py"))]
    names = [str(folder / name) for name in ("tasks.json", "verdicts.json")]
    subprocess.run([*command, *names], check=True, env={**os.environ, "PYTHONPATH": str(evalplus)})
    found = json.loads(Path(names[1]).read_text(encoding="utf-8"))
    theirs = [[in_base, in_base and in_plus] for per_task in found for in_base, in_plus in per_task]

    kinds = {tuple(verdict) for verdict in theirs}
    assert kinds == {(True, True), (True, False), (False, False)}
    assert sum(passes for _, passes in theirs) >= len(tasks)
    return [(*sample, mine, other) for sample, mine, other in zip(samples, ours, theirs, strict=True) if mine != other]


def test_verdicts_on_humaneval_equal_those_of_evalplus(tmp_path, evalplus, stopping):
    draw = random.Random(0)
    # EvalPlus 0.3.1 counts no test of `find_zero`, and so fails every program.
    rows = [row for row in rows_of("humaneval.jsonl") if row["entry_point"] != "find_zero"]
    tasks = [humaneval_task(row, draw) for row in rows]

    assert compare(tasks, tmp_path, evalplus, stopping) == []
    assert len(tasks) == 81


def test_verdicts_on_mbpp_equal_those_of_evalplus(tmp_path, evalplus, stopping):
    draw = random.Random(0)
    rows = sorted(rows_of("mbpp.jsonl"), key=lambda row: (row["task_id"] not in JUDGED_DIFFERENTLY, row["task_id"]))
    tasks = [one for row in rows for one in [mbpp_task(row, draw)] if one is not None][:NUM_MBPP]

    assert compare(tasks, tmp_path, evalplus, stopping) == []
    assert len(tasks) == NUM_MBPP
