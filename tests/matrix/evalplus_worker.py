"""
Verdicts of EvalPlus, written as JSON: of each program under the base inputs and under the further ones.

    PYTHONPATH=FOLDER_WITH_EVALPLUS python evalplus_worker.py TASKS.json VERDICTS.json

A task has `dataset`, `entry_point`, `solution`, `atol`, `programs`, and `base` and `plus` as Python's text.
"""

from __future__ import annotations

import ast
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from evalplus.eval import PASS, untrusted_check
from evalplus.eval._special_oracle import MBPP_OUTPUT_NOT_NONE_TASKS
from evalplus.gen.util import trusted_exec


def verdicts(task: dict[str, Any]) -> list[list[bool]]:
    """Return for each program whether it passes the base inputs, and the others."""
    name, only_presence = task["entry_point"], task["entry_point"] in MBPP_OUTPUT_NOT_NONE_TASKS
    columns = []
    for inputs in (ast.literal_eval(task["base"]), ast.literal_eval(task["plus"])):
        expected, times = trusted_exec(task["solution"], inputs, name, True, only_presence)
        arguments = (inputs, name, expected, task["atol"], times, True, 2.0)
        found = [untrusted_check(task["dataset"], program, *arguments)[0] for program in task["programs"]]
        columns.append([status == PASS for status in found])
    return [list(pair) for pair in zip(*columns, strict=True)]


if __name__ == "__main__":
    tasks = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    with ThreadPoolExecutor(2) as threads:  # each check runs in a process of its own
        Path(sys.argv[2]).write_text(json.dumps(list(threads.map(verdicts, tasks))), encoding="utf-8")
