"""
Reads the tests of EvalPlus: HumanEval+ and MBPP+, as they are on the Hub and as EvalPlus releases them.

A row on the Hub has a table of inputs and results and a loop over them. Here each of its rounds becomes a test, so
that it is judged and traced for itself. A released row has inputs only. Its expected results are what the canonical
solution returns, which runs with the tests, never with the program.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stepcoder_trl.data.formats.common import BASE_TESTS, Format, literal, paragraph
from stepcoder_trl.data.problems import Problem
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.executor.verdict.asserts import names_in
from stepcoder_trl.executor.verdict.setups import names_bound_by
from stepcoder_trl.jsonl import Row, shown
from stepcoder_trl.parsing import expression_tree, parse, syntax_tree


# Rows on the Hub


@dataclass(frozen=True)
class Cases:
    """Tests, one statement each, and the code that they need."""

    setup: str
    statements: tuple[str, ...]


def unrolled(test: str, entry_point: str | None = None) -> Cases:
    """
    Return the rounds of the loop at the end of a test, one statement each.

    The loop is in the module, or in its function `check` if the name of the function under test is given. A test
    without such a loop is returned as one statement.
    """
    tree = parse(test)
    whole = Cases("", (test,)) if entry_point is None else Cases(test, (f"check({entry_point})",))
    if tree is None:
        return whole
    others: list[ast.stmt] = []
    block, names = tree.body, dict[str, ast.expr]()
    if entry_point is not None:
        checks = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "check"]
        if len(checks) != 1 or len(checks[0].args.args) != 1:
            return whole
        others = [node for node in tree.body if node is not checks[0]]
        block, names = checks[0].body, {checks[0].args.args[0].arg: expression_tree(entry_point)}
    tables = {name: entries for node in block for name, entries in _table(node)}
    rest = [node for node in block[:-1] if not any(_table(node))]
    rounds = _rounds(block[-1], tables) if block else None
    if rounds is None or (rest and entry_point is not None):
        return whole
    setup = [*others, *rest]
    used_by_setup = {part.id for node in setup for part in ast.walk(node) if isinstance(part, ast.Name)}
    if used_by_setup & set(tables):
        return whole
    is_usual = any(_is_usual_assertion(node) for node in setup)
    statements = []
    for body, values in rounds:
        changed = [_Substitute({**names, **values}).visit(syntax_tree(ast.unparse(node)).body[0]) for node in body]
        nodes = [_as_assert(node) if is_usual else [node] for node in changed]
        statements.append("\n".join(ast.unparse(node) for found in nodes for node in found))
    return Cases(_needed(setup, statements), tuple(statements))


def _table(node: ast.stmt) -> Iterator[tuple[str, list[ast.expr]]]:
    """Yield the name and the entries of a list that a statement assigns."""
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.List(elts=entries)):
            yield name, entries


_Round = tuple[list[ast.stmt], dict[str, ast.expr]]  # statements, and the values of the loop's variables in them


def _rounds(loop: ast.stmt, tables: Mapping[str, Sequence[ast.expr]]) -> list[_Round] | None:
    """Return the rounds of a loop over tables, or `None` if it is not one, or does more than call and assert."""
    if not isinstance(loop, ast.For) or loop.orelse:
        return None
    if not all(isinstance(node, (ast.Expr, ast.Assert)) for node in loop.body):
        return None
    iterated, target = loop.iter, loop.target
    is_counted = _is_call(iterated, "enumerate")
    if isinstance(iterated, ast.Call) and is_counted:
        if len(iterated.args) != 1 or not isinstance(target, ast.Tuple) or len(target.elts) != 2:
            return None
        counter, target = target.elts
        iterated = iterated.args[0]
    sources = iterated.args if isinstance(iterated, ast.Call) and _is_call(iterated, "zip") else [iterated]
    targets = target.elts if isinstance(target, ast.Tuple) and len(sources) > 1 else [target]
    names = [part.id for part in targets if isinstance(part, ast.Name)]
    columns = [tables[part.id] for part in sources if isinstance(part, ast.Name) and part.id in tables]
    if not len(names) == len(columns) == len(sources) == len(targets):
        return None
    if any(len(column) != len(columns[0]) for column in columns):
        return None
    rounds: list[_Round] = []
    for number, entries in enumerate(zip(*columns, strict=True)):
        values = dict(zip(names, entries, strict=True))
        if is_counted and isinstance(counter, ast.Name):
            values[counter.id] = ast.Constant(number)
        rounds.append((loop.body, values))
    return rounds


def _is_call(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


class _Substitute(ast.NodeTransformer):
    """Put expressions in the place of names, and arguments in the place of an unpacked list."""

    def __init__(self, values: Mapping[str, ast.expr]) -> None:
        self.values = values

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.values.get(node.id, node)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        arguments: list[ast.expr] = []
        for argument in node.args:
            is_list = isinstance(argument, ast.Starred) and isinstance(argument.value, (ast.List, ast.Tuple))
            arguments += argument.value.elts if is_list else [argument]  # type: ignore[attr-defined]
        node.args = arguments
        return node


def _is_usual_assertion(node: ast.stmt) -> bool:
    """Return whether a statement defines EvalPlus' usual comparison: equality, or numpy's closeness for floats."""
    if not isinstance(node, ast.FunctionDef) or node.name != "assertion" or len(node.args.args) != 3:
        return False
    actual, expected, _ = (argument.arg for argument in node.args.args)
    known = {"is_floats", "np.testing.assert_allclose", "np.allclose", "numpy.allclose", "abs"}
    calls = {ast.unparse(part.func) for part in ast.walk(node) if isinstance(part, ast.Call)}
    stored = {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
    return calls <= known and not stored & {actual, expected} and f"{actual} == {expected}" in ast.unparse(node)


_AGREES = """
def _agrees(actual, expected, atol):
    numbers = expected if isinstance(expected, (list, tuple)) else [expected]
    is_exact = not (atol or all(isinstance(number, float) for number in numbers))
    return actual == expected or (not is_exact and _near(actual, expected, atol or 1e-6))

def _near(actual, expected, atol):
    if isinstance(expected, (list, tuple)):
        is_like = isinstance(actual, (list, tuple)) and len(actual) == len(expected)
        return is_like and all(_near(a, b, atol) for a, b in zip(actual, expected))
    if not (isinstance(actual, (int, float)) and isinstance(expected, (int, float))):
        return actual == expected
    return actual == expected or abs(actual - expected) <= atol + 1e-7 * abs(expected)
"""
_FLOAT_TOLERANCE = 1e-6  # of floats, if the row gives none
_RELATIVE = 1e-7


def _as_assert(node: ast.stmt) -> list[ast.stmt]:
    """
    Return `assertion(f(1), 2, 0)` as an assert that needs no numpy, with the import that it needs.

    The import is no part of the setup, because a program that lacks it must not find it there.
    """
    match node:
        case ast.Expr(value=ast.Call(func=ast.Name(id="assertion"), args=[actual, expected, tolerance], keywords=[])):
            call, text, value, atol = ast.unparse(actual), ast.unparse(expected), _value(expected), _value(tolerance)
            if not isinstance(atol, (int, float)):
                return [node]
            if isinstance(value, float) or (atol and type(value) is int):
                closeness = f"rel_tol={_RELATIVE}, abs_tol={atol or _FLOAT_TOLERANCE}"
                return syntax_tree(f"import math\nassert math.isclose({call}, {text}, {closeness})").body
            is_exact = not (atol or _has_floats(value))
            compared = f"{call} == {text}" if is_exact else f"_agrees({call}, {text}, {atol})"
            return syntax_tree(f"assert {compared}").body
    return [node]


def _has_floats(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and any(isinstance(part, float) for part in value)


def _value(node: ast.expr) -> Any:
    try:
        return literal(ast.unparse(node))
    except ValueError:
        return None


def _needed(setup: Sequence[ast.stmt], statements: Sequence[str]) -> str:
    """Return those statements of a setup that define names which the tests use."""
    used = {name for text in statements for name in names_in(syntax_tree(text))}
    kept: list[ast.stmt] = []
    for node in reversed(setup):
        bound = set(_bound(node))
        if bound and not bound & used:
            continue
        used |= {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        kept.append(node)
    text = ast.unparse(ast.Module(kept[::-1], []))
    return f"{text}{_AGREES}" if "_agrees" in used else text


def _bound(node: ast.stmt) -> Iterator[str]:
    """Yield the names that a definition, an import or an assignment binds."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from ((alias.asname or alias.name).partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.Assign):
        yield from (part.id for target in node.targets for part in ast.walk(target) if isinstance(part, ast.Name))


# Released rows

# What EvalPlus compares in another way, by the name of the function. `_agrees` gets the arguments where it needs them.
_SET = """
def _agrees(actual, expected, atol):
    return set(actual) == set(expected)
"""
_PRESENCE = """
def _agrees(actual, expected, atol):
    is_expected = expected is not None
    return (actual if isinstance(actual, bool) else actual is not None) == is_expected
"""
_ZERO = """
def _agrees(actual, expected, atol, coefficients):
    return abs(sum(factor * actual**power for power, factor in enumerate(coefficients))) <= (atol or 1e-4)
"""
_ANYTHING = """
def _agrees(actual, expected, atol):
    return True
"""
_OR_NOTHING = """
def _agrees(actual, expected, atol):
    return actual == expected or actual == 0
"""
_PYRAMID = """
def _agrees(actual, expected, atol, base, height):
    slant = ((base / 2) ** 2 + height**2) ** 0.5
    return actual == expected or abs(actual - round(base * (base + 2 * slant))) <= atol
"""
_DIGITS = """
def _agrees(actual, expected, atol, first, second):
    width = max(len(str(first)), len(str(second)))
    digits = zip(str(first).zfill(width), str(second).zfill(width))
    return actual == expected or actual == sum(abs(int(one) - int(other)) for one, other in digits)
"""
_ORACLES = {
    **dict.fromkeys(("similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly"), _SET),
    **dict.fromkeys(("larg_nnum", "intersection_array", "find_dissimilar", "Diff"), _SET),
    **dict.fromkeys(("check_str", "text_match_three", "text_starta_endb"), _PRESENCE),
    "find_zero": _ZERO,
    "are_equivalent": _ANYTHING,
    "sum_div": _OR_NOTHING,
    "surface_Area": _PYRAMID,
    "digit_distance_nums": _DIGITS,
}
_GET_ARGUMENTS = (_ZERO, _PYRAMID, _DIGITS)
# All others: equal, or near where the row or the expected floats say so. Here the types must be equal, too.
_NEAR = _AGREES[_AGREES.index("def _near") :]
_AGREES_IN_TYPE = f"""
def _agrees(actual, expected, atol):
    numbers = expected if isinstance(expected, (list, tuple)) else [expected]
    is_exact = not (atol or (len(numbers) > 0 and all(isinstance(number, float) for number in numbers)))
    if actual == expected:
        return True
    return not is_exact and type(actual) == type(expected) and _near(actual, expected, atol or {_FLOAT_TOLERANCE})

{_NEAR}"""


def _load_release(row: Row) -> Problem:
    stub, entry_point = row.text("prompt"), row.text("entry_point")
    solution = stub + row.text("canonical_solution")
    tree = parse(solution)
    if tree is None or not any(isinstance(node, ast.FunctionDef) and node.name == entry_point for node in tree.body):
        raise BadInputError(
            f"{row.where}: `prompt` and `canonical_solution` must define the function `{entry_point}`, which says "
            "what its tests expect. Correct them or drop the row."
        )
    tests = _release_tests(row, entry_point, tree)
    is_docstring = len(parse_docstring(stub)) > 0
    return Problem(
        task_id=row.text("task_id"),
        prompt=paragraph(parse_docstring(stub))
        if is_docstring
        else f"Complete the Python function `{entry_point}`, which begins as follows.\n",
        starter_code="" if is_docstring else stub,
        canonical_solution=solution.removeprefix(stub).lstrip("\n") if is_docstring else solution,
        tests=tests,
        columns={BASE_TESTS: len(tests["asserts"]) - len(row.json("plus_input") or [])},
        where=row.where,
    )


def parse_docstring(stub: str) -> str:
    """Return the text of a stub that is nothing but a docstring, as in MBPP+, else `""`."""
    tree = parse(stub)
    is_text = tree is not None and len(tree.body) == 1 and ast.get_docstring(tree) is not None
    return ast.get_docstring(tree) or "" if tree is not None and is_text else ""


def _release_tests(row: Row, entry_point: str, tree: ast.Module) -> dict[str, Any]:
    atol = row.fields.get("atol") or 0
    if isinstance(atol, bool) or not isinstance(atol, (int, float)) or not 0 <= atol < math.inf:
        raise BadInputError(f"{row.where}: `atol` is {shown(atol)}, but must be a number of at least 0. Correct it.")
    given = [*row.items("base_input"), *(row.json("plus_input") or [])]
    oracle = _ORACLES.get(entry_point)
    own = [ast.unparse(node) for node in (parse(row.text("assertion", "")) or ast.Module([], [])).body]
    calls = [node for text in own for node in ast.walk(syntax_tree(text)) if _is_call_of(node, entry_point)]
    model = calls[0].args if calls and isinstance(calls[0], ast.Call) else []
    statements = []
    for number, arguments in enumerate(given):
        if not isinstance(arguments, list):
            raise BadInputError(
                f"{row.where}: input {number} of `base_input` and `plus_input` is {shown(arguments)}, but must be a "
                "list of arguments. Correct it or drop the row."
            )
        text = ", ".join(_source(_like(value, model[n : n + 1])) for n, value in enumerate(arguments))
        wanted = "None" if oracle == _ZERO else f"_expected({text})"
        others = f", {text}" if oracle in _GET_ARGUMENTS else ""
        statements.append(f"assert _agrees({entry_point}({text}), {wanted}, {atol!r}{others})")
    check = row.text("test", "")
    # A check that loops over inputs has those of the row. Where EvalPlus accepts other answers, only inputs count.
    is_loop = unrolled(check, entry_point).statements != (f"check({entry_point})",)
    has_check = "def check(" in check and not is_loop
    asserts = [*([] if oracle else own), *([f"check({entry_point})"] if has_check and not oracle else [])]
    setup = "\n".join((_reference(tree, entry_point), oracle or _AGREES_IN_TYPE, check if has_check else ""))
    return {"type": "assert", "setup": setup, "asserts": [*asserts, *statements]}


def _is_call_of(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def _like(value: Any, model: Sequence[ast.expr]) -> Any:
    """
    Return a value with tuples, sets and complex numbers where a literal of the row's asserts has them.

    JSON has lists and text in their place.
    """
    node = model[0] if model else None
    if isinstance(value, str) and isinstance(node, ast.Constant) and isinstance(node.value, (int, float, complex)):
        return _number(value, type(node.value))
    if node is None or not isinstance(value, list):
        return value
    parts = node.elts if isinstance(node, (ast.List, ast.Tuple, ast.Set)) else []
    is_even = len({type(part) for part in parts}) == 1
    lists = [part for part in parts if isinstance(part, (ast.List, ast.Tuple, ast.Set))]
    models = [lists if isinstance(part, list) else parts if is_even else parts[n:] for n, part in enumerate(value)]
    entries = [_like(part, model[:1]) for part, model in zip(value, models, strict=True)]
    if isinstance(node, ast.Tuple):
        return tuple(entries)
    return set(entries) if isinstance(node, ast.Set) else entries


def _number(text: str, kind: type) -> complex | str:
    """Return the number that a text names: complex, or real where all of the row's are. Other text stays as it is."""
    try:
        number = complex(text)
    except ValueError:
        return text
    return number if kind is complex or number.imag else number.real


def _source(value: Any) -> str:
    """Return the source text of a value of JSON, tuple or set."""
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, list):
        return f"[{', '.join(map(_source, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(_source, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, set):
        return f"{{{', '.join(map(_source, value))}}}" if value else "set()"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_source(key)}: {_source(part)}' for key, part in value.items())}}}"
    return repr(value)


def _reference(tree: ast.Module, entry_point: str) -> str:
    """
    Return the source of a function `_expected` that has the whole solution inside.

    No name of the solution is defined outside of it: a program that lacks a function or an import must not find it.
    """
    outside = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"]
    inside = [
        node
        for node in tree.body
        if node not in outside and not (isinstance(node, ast.ImportFrom) and node.module == "__future__")
    ]
    bound = names_bound_by(ast.unparse(ast.Module(inside, [])))
    body = [_Nonlocal(bound).visit(node) for node in inside]
    function = syntax_tree(f"def _expected(*arguments):\n    return {entry_point}(*arguments)")
    function.body[0].body[:0] = body  # type: ignore[attr-defined]
    return ast.unparse(ast.fix_missing_locations(ast.Module([*outside, *function.body], [])))


class _Nonlocal(ast.NodeTransformer):
    """Turn `global x` into `nonlocal x` where `x` is a name of the solution."""

    def __init__(self, bound: frozenset[str]) -> None:
        self.bound = bound

    def visit_Global(self, node: ast.Global) -> ast.stmt:
        return ast.Nonlocal(node.names) if self.bound.issuperset(node.names) else node


EVALPLUS = Format(
    "evalplus",
    "EvalPlus' release",
    ("task_id", "prompt", "entry_point", "canonical_solution", "base_input", "plus_input"),
    _load_release,
    licence="Apache-2.0",
    reads="HumanEvalPlus and MbppPlus. Each input of `base_input` and `plus_input` is a test: the program must agree "
    "with the canonical solution within `atol`. `contract` only says which inputs are valid",
    refuses="rows whose canonical solution does not define `entry_point`",
    knows=("test", "assertion"),
)
