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
def test_explicit_imports_bind_star_names_except_builtins(module):
    given = names_after(f"from {module} import *\n")
    explicit = names_after(explicit_imports(f"from {module} import *\n"))

    assert [name for name in explicit if hasattr(builtins, name)] == []
    assert {name: given[name] for name in explicit if name != "__builtins__"} == {
        name: value for name, value in explicit.items() if name != "__builtins__"
    }


def test_explicit_imports_keep_other_code():
    code = "import math\nfrom math import *\ninf = 3\n\nclass ListNode:\n    val = 0\n"

    names = names_after(explicit_imports(code))

    assert names["inf"] == 3
    assert {"math", "sqrt", "ListNode"} <= names.keys()
    assert "pow" not in names


def test_star_import_of_unknown_module_keeps_builtins():
    names = names_after(explicit_imports("from os import *\nx = open\n"))

    assert names["x"] is open
    assert "getcwd" in names


def test_code_that_does_not_parse_is_returned_unchanged():
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
