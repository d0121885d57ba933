from __future__ import annotations

import ast
import builtins

import pytest

from stepcoder_trl.data.imports import STAR_NAMES, USUAL_IMPORTS, explicit_imports


def names_after(code: str) -> dict[str, object]:
    namespace: dict[str, object] = {}
    exec(code, namespace)
    return namespace


@pytest.mark.parametrize("module", STAR_NAMES)
def test_a_star_import_gives_its_names_but_those_of_builtins(module):
    given = names_after(f"from {module} import *\n")
    explicit = names_after(explicit_imports(f"from {module} import *\n"))

    assert [name for name in explicit if hasattr(builtins, name)] == []
    assert {name: given[name] for name in explicit if name != "__builtins__"} == {
        name: value for name, value in explicit.items() if name != "__builtins__"
    }


def test_other_code_of_a_preamble_stays():
    code = "import math\nfrom math import *\ninf = 3\n\nclass ListNode:\n    val = 0\n"

    names = names_after(explicit_imports(code))

    assert names["inf"] == 3
    assert {"math", "sqrt", "ListNode"} <= names.keys()
    assert "pow" not in names


def test_star_imports_of_other_modules_leave_the_builtins_as_they_are():
    names = names_after(explicit_imports("from os import *\nx = open\n"))

    assert names["x"] is open
    assert "getcwd" in names


def test_code_that_is_not_python_comes_back():
    assert explicit_imports("from math import") == "from math import"


def test_usual_imports_are_explicit_and_shadow_no_builtin():
    names = names_after(USUAL_IMPORTS)

    assert not any(
        alias.name == "*" for node in ast.walk(ast.parse(USUAL_IMPORTS)) for alias in getattr(node, "names", [])
    )
    assert [name for name in names if hasattr(builtins, name)] == []
    assert names["Counter"] is __import__("collections").Counter
    assert {
        "List",
        "defaultdict",
        "heappush",
        "sqrt",
        "lru_cache",
        "permutations",
        "bisect_left",
        "sys",
    } <= names.keys()
