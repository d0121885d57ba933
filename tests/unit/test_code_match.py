from __future__ import annotations

import sys

import pytest

from stepcoder_trl import code_match
from stepcoder_trl.code_match import data_flow, data_flow_match, ppocoder_matches, syntax_match
from stepcoder_trl.errors import BadInputError


pytest.importorskip("tree_sitter_python")

REFERENCE = "def f(a, b):\n    c = a + b\n    return c\n"


def test_match_ignores_names_and_constants():
    renamed = "def g(x, y):\n    total = x + y\n    return total\n"

    assert syntax_match(renamed, REFERENCE) == 1.0
    assert data_flow_match(renamed, REFERENCE) == 1.0


SUMMED = "def f(n):\n    total = 0\n    for i in range(n):\n        total += i\n    return total\n"


# Figures of codebleu 0.7.0.
@pytest.mark.parametrize(
    ("candidate", "reference", "figure"),
    [
        ("def f(a, b):\n    return a - b\n", "def f(a, b):\n    return a + b\n", 1.0),
        ("def f(x):\n    if x > 0:\n        return 1\n", "def f(x):\n    if x:\n        return 1\n", 3 / 7),
        (SUMMED, "def f(n):\n    return sum(range(n))\n", 1 / 3),
        ("x = [1, 2]\nprint(x)\n", "for a in b:\n    print(a)\n", 0.5),
    ],
)
def test_syntax_match_equals_codebleu(candidate, reference, figure):
    assert syntax_match(candidate, reference) == pytest.approx(figure)


def test_data_flow_edges_of_known_program():
    # a and b are bound by the header, read in the sum, which c is computed from; then c is read.
    assert data_flow(REFERENCE) == [
        ("v0", "computedFrom", ()),
        ("v1", "computedFrom", ()),
        ("v0", "comesFrom", ("v0",)),
        ("v1", "comesFrom", ("v1",)),
        ("v2", "computedFrom", ("v0", "v1")),
        ("v2", "comesFrom", ("v2",)),
    ]


def test_every_edge_matches_once():
    half = "def f(a, b):\n    return a\n"

    # Of six edges: both headers' and the one that reads a.
    assert data_flow_match(half, REFERENCE) == pytest.approx(3 / 6)
    assert data_flow_match(REFERENCE + REFERENCE, REFERENCE) == 1.0


def test_syntax_match_of_known_programs():
    # Subtrees of `x = 1`: module, expression_statement, assignment. `y = 1 + 1` has none of them with its sum inside.
    assert syntax_match("y = 2", "x = 1") == 1.0
    assert syntax_match("y = 1 + 1", "x = 1") == 0.0
    assert 0 < syntax_match("x = 1\ny = 1 + 1", "x = 1") < 1  # all but the module


def test_names_of_calls_attributes_and_keywords_are_not_variables():
    assert data_flow("x = 1\nprint(x.real, sep=x)\n") == [
        ("v0", "computedFrom", ()),
        ("v0", "comesFrom", ("v0",)),
        ("v0", "comesFrom", ("v0",)),
    ]


@pytest.mark.parametrize(
    ("program", "bound"),
    [
        ("for i in range(3):\n    i\n", 1),
        ("[q for q in p]\n", 1),
        ("with open('f') as h:\n    h\n", 1),
        ("if (n := 3):\n    n\n", 1),
        ("f = lambda k: k\n", 2),
        ("x += 1\n", 1),
        ("def f(*c, d=1, **e):\n    pass\n", 3),
    ],
)
def test_bound_names_are_variables(program, bound):
    assert len({edge[0] for edge in data_flow(program) if edge[1] == "computedFrom"}) == bound


def test_invalid_program_matches_partly():
    assert 0 < syntax_match("def f(a, b):\n    c = a + b\n    return (\n", REFERENCE) < 1
    assert syntax_match("", REFERENCE) == 0.0
    assert data_flow_match("\udc80", REFERENCE) == 0.0


def test_deep_and_large_programs_have_no_match():
    assert syntax_match("(" * 50_000, REFERENCE) == 0.0
    assert data_flow_match("[" * 3000 + "]" * 3000, REFERENCE) == 0.0


def test_missing_reference_raises():
    with pytest.raises(BadInputError, match="`canonical_solution`"):
        ppocoder_matches("x", " \n")


def test_missing_tree_sitter_raises(monkeypatch):
    code_match._parser.cache_clear()
    code_match._nodes.cache_clear()
    monkeypatch.setitem(sys.modules, "tree_sitter", None)

    with pytest.raises(ImportError, match=r"stepcoder-trl\[baselines\]"):
        syntax_match("x", "y")
    code_match._parser.cache_clear()
