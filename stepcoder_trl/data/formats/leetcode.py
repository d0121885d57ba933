"""Reads LeetCodeDataset."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from typing import Any

from stepcoder_trl.data.formats.common import Format, difficulty, paragraph, records
from stepcoder_trl.data.formats.humaneval import check_tests
from stepcoder_trl.data.imports import MODULE_IMPORTS, explicit_imports
from stepcoder_trl.data.problems import Problem
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.jsonl import Row, shown
from stepcoder_trl.parsing import line_spans, parse


_NOT_A_RESULT = ("Error", "Execution timed out")  # outputs of cases that the dataset's authors could not run


def _load(row: Row) -> Problem:
    meta = row.json("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    return Problem(
        task_id=row.text("task_id"),
        prompt=paragraph(_description(row, meta)),
        starter_code=_starter_code(row, meta),
        canonical_solution=row.text("completion"),
        tests={
            **_tests(row, row.text("entry_point")),
            "preamble": MODULE_IMPORTS + explicit_imports(row.text("prompt")),
        },
        difficulty=difficulty(row, row.fields.get("difficulty", meta.get("difficulty"))),
        where=row.where,
    )


def _description(row: Row, meta: Mapping[str, Any]) -> str:
    """Return `problem_description` of version 0.3, `question_title` of version 0.2, else a part of `query`."""
    for text in (row.fields.get("problem_description"), meta.get("question_title")):
        if isinstance(text, str) and text.strip():
            return text
    return row.text("query").split("Please complete the following python code", 1)[0]


def _starter_code(row: Row, meta: Mapping[str, Any]) -> str:
    for text in (row.fields.get("starter_code"), meta.get("lang_code")):
        if isinstance(text, str) and text.strip():
            return text
    fence = re.search(r"```python\n(.*?)```", row.text("query", ""), re.DOTALL)
    return fence[1] if fence else ""


def _tests(row: Row, entry_point: str) -> dict[str, Any]:
    """
    Return the asserts of `check` as tests of their own, and those of `input_output` that it does not have.

    A `check` that does more than assert what the candidate returns stays as it is.
    """
    tests = check_tests(row, row.text("test"), entry_point)
    asserts = _asserts_of(row.text("test"), entry_point)
    if asserts is None:
        return tests
    cases = list(records(row, "input_output", row.json("input_output")))
    may_be_others = len(cases) > len(asserts)
    known: set[str] | None = None
    written = {_squeezed(statement).rpartition("==")[0] for statement in asserts}
    for case in cases:
        call = f"assert {entry_point}({case.get('input')})"
        if _squeezed(call) in written or str(case.get("output")).startswith(_NOT_A_RESULT):
            continue
        known = {_call_of(parse(text)) for text in asserts} if known is None else known
        if _call_of(_python(f"{call} == 0")) in known:
            continue
        statement = f"{call} == {case.get('output')}"
        tree = _python(statement)
        if tree is not None and _is_plain(tree, entry_point):
            asserts.append(ast.unparse(tree))
        elif may_be_others:
            raise BadInputError(
                f"{row.where}: `input_output` has a case that is not Python: {shown(statement)}. Correct it, or drop "
                "the case or the row."
            )
    return {"type": "assert", "setup": "", "asserts": asserts}


def _python(statement: str) -> ast.Module | None:
    """Return an assert that may have words of JSON in it, or `None` if it does not parse."""
    tree = parse(statement)
    return None if tree is None else _JsonWords().visit(tree)


class _JsonWords(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(_JSON_WORDS[node.id]) if node.id in _JSON_WORDS else node


_JSON_WORDS = {"true": True, "false": False, "null": None}


def _asserts_of(test: str, entry_point: str) -> list[str] | None:
    """Return the asserts of `check`, or `None` if it has other statements or calls other functions."""
    tree = parse(test)
    match tree.body if tree is not None else []:
        case [ast.FunctionDef(name="check", args=ast.arguments(args=[ast.arg(arg=name)]), body=body)]:
            pass
        case _:
            return None
    found = []
    lines = [test[start:end].encode() for start, end in line_spans(test)]
    for node in body:
        match node:
            case ast.Assert(test=ast.Compare(left=ast.Call(func=ast.Name(id=called)), ops=[ast.Eq()])):
                source = _source(node, lines)
                found.append(re.sub(rf"^assert\s+{name}\(", f"assert {entry_point}(", source))
            case _:
                return None
        if called != name or not _is_plain(node, name):
            return None
    return found


def _source(node: ast.stmt, lines: Sequence[bytes]) -> str:
    """Return the source text of a statement: as it is written if it is on one line."""
    if node.end_lineno != node.lineno:
        return ast.unparse(node)
    return lines[node.lineno - 1][node.col_offset : node.end_col_offset].decode()


def _is_plain(statement: ast.AST, entry_point: str) -> bool:
    """Return whether an assert compares the result of a call that has literal arguments with a literal."""
    names = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
    return names == {entry_point.partition("(")[0].partition(".")[0]}


def _squeezed(statement: str) -> str:
    """Return an assert without white space and with one kind of quotes, to find it again in another spelling."""
    return "".join(statement.split()).replace("'", '"')


def _call_of(tree: ast.Module | None) -> str:
    """Return the call that an assert makes, in one spelling."""
    match tree.body if tree is not None else []:
        case [ast.Assert(test=ast.Compare(left=left))]:
            return ast.dump(left)
    return ""


LEETCODE = Format(
    "leetcode",
    "LeetCodeDataset",
    ("task_id", "prompt", "completion", "entry_point", "test"),
    _load,
    licence="Apache-2.0",
    reads="the description and the class with its method header; each assert of `check` and each case of "
    "`input_output` is a test of its own. Rows with lists and trees keep `check` as one test",
    refuses="`test` without `check`",
    knows=("input_output",),
)
