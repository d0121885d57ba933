"""
Syntax-tree match and data-flow match of CodeBLEU: similarities of a candidate program to a reference program.

The extra `baselines` installs tree-sitter, which also parses programs that do not compile.

Source: Ren et al., CodeBLEU (arXiv:2009.10297), sections 3.2 and 3.3; used by PPOCoder (arXiv:2301.13816).
"""

from __future__ import annotations

import functools
import importlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from stepcoder_trl.errors import BadInputError


MISSING = "PPOCoder's reward needs tree-sitter. Run `pip install stepcoder-trl[baselines]`."
MAX_NODES = 20_000  # a larger program counts as empty, because a model may write very many brackets


@functools.cache
def _parser() -> Any:
    try:
        tree_sitter = importlib.import_module("tree_sitter")
        grammar = importlib.import_module("tree_sitter_python")
    except ImportError:
        raise ImportError(MISSING) from None
    return tree_sitter.Parser(tree_sitter.Language(grammar.language()))


@functools.lru_cache(maxsize=4096)
def _nodes(program: str) -> tuple[_Node, ...]:
    """Return the nodes of the syntax tree, children before parents. Empty if there are too many."""
    stack: list[tuple[Any, bool]] = [(_parser().parse(program.encode("utf-8", "replace")).root_node, False)]
    nodes: list[_Node] = []
    open_children: list[list[_Node]] = [[]]
    while stack:
        raw, children_done = stack.pop()
        if children_done:
            node = _Node(raw, tuple(open_children.pop()))
            nodes.append(node)
            open_children[-1].append(node)
            if len(nodes) > MAX_NODES:
                return ()
            continue
        stack.append((raw, True))
        open_children.append([])
        stack.extend((child, False) for child in reversed(raw.children) if child.type != "comment")
    return tuple(nodes)


@dataclass(frozen=True, eq=False)
class _Node:
    """Node of a syntax tree."""

    raw: Any
    children: tuple[_Node, ...]
    # Hash of the subtree's S-expression. The texts themselves would grow with the square of the depth.
    shape: int = field(init=False)

    def __post_init__(self) -> None:
        indices = (index for index, child in enumerate(self.raw.children) if child.type != "comment")
        fields = [self.raw.field_name_for_child(index) for index in indices]
        named = [(name, child.shape) for name, child in zip(fields, self.children, strict=True) if child.raw.is_named]
        object.__setattr__(self, "shape", hash((self.raw.type, *named)))

    @property
    def kind(self) -> str:
        return str(self.raw.type)

    @property
    def text(self) -> str:
        return bytes(self.raw.text).decode("utf-8", "replace")

    def part(self, name: str) -> _Node | None:
        """Return the child under a field name of the grammar."""
        raw = self.raw.child_by_field_name(name)
        return None if raw is None else next((child for child in self.children if child.raw.id == raw.id), None)


def syntax_match(candidate: str, reference: str) -> float:
    """
    Return the share of the reference's subtrees that occur in the candidate, which need not compile.

    Subtrees are compared by their S-expressions, without names, constants and operators. Leaves are not counted. As in
    CodeBLEU, one subtree of the candidate may match several of the reference. A reference without subtrees gives 0.
    """
    found = {node.shape for node in _nodes(candidate) if node.children}
    wanted = [node.shape for node in _nodes(reference) if node.children]
    return sum(shape in found for shape in wanted) / len(wanted) if wanted else 0.0


Edge = tuple[str, str, tuple[str, ...]]  # variable, relation, source variables


def data_flow_match(candidate: str, reference: str) -> float:
    """
    Return the share of the reference's data-flow edges that the candidate has. It need not compile.

    Variables are named by their order of appearance. Every edge of the candidate matches at most one of the reference.
    A reference without data flow gives 0.
    """
    wanted, found = Counter(data_flow(reference)), Counter(data_flow(candidate))
    total = wanted.total()
    return (wanted & found).total() / total if total else 0.0


def data_flow(program: str) -> list[Edge]:
    """
    Return the edges of a program's data flow, in text order.

    A variable that is read `comesFrom` itself. A variable that is assigned is `computedFrom` the variables of the
    value. Only names that the program binds are variables.
    """
    nodes = _nodes(program)
    if not nodes:
        return []
    edges = list(_edges(nodes[-1]))
    bound = {name for name, relation, _ in edges if relation != "comesFrom"}
    numbers: dict[str, str] = {}

    def number(name: str) -> str:
        return numbers.setdefault(name, f"v{len(numbers)}")

    return [
        (number(name), relation, tuple(number(source) for source in sources if source in bound))
        for name, relation, sources in edges
        if name in bound
    ]


# Kind of node -> field with the names that it binds, field with the value that they are computed from.
_BINDINGS = {
    "assignment": ("left", "right"),
    "augmented_assignment": ("left", "right"),
    "named_expression": ("name", "value"),
    "for_statement": ("left", "right"),
    "for_in_clause": ("left", "right"),
    "default_parameter": ("name", "value"),
    "typed_default_parameter": ("name", "value"),
}


def _edges(root: _Node) -> Iterator[Edge]:
    stack = [root]
    while stack:
        node = stack.pop()
        if node.kind in _BINDINGS:
            target, value = (node.part(name) for name in _BINDINGS[node.kind])
            sources = _names(value)
            yield from ((name, "comesFrom", (name,)) for name in sources)
            yield from ((name, "computedFrom", tuple(sources)) for name in _names(target))
            rest = [child for child in node.children if child not in (target, value)]
            stack.extend(reversed([*_inner_bindings(value), *rest]))
        elif node.kind in ("parameters", "lambda_parameters", "as_pattern_target"):
            plain = [child for child in node.children if child.kind not in _BINDINGS]
            yield from ((name, "computedFrom", ()) for child in plain for name in _names(child))
            stack.extend(reversed([child for child in node.children if child.kind in _BINDINGS]))
        elif node.kind == "identifier":
            yield node.text, "comesFrom", (node.text,)
        else:
            stack.extend(reversed(_children_with_variables(node)))


def _inner_bindings(value: _Node | None) -> list[_Node]:
    """Return the bindings inside a value: comprehensions, lambdas, named expressions."""
    found: list[_Node] = []
    stack = [value] if value is not None else []
    while stack:
        node = stack.pop()
        if node.kind in _BINDINGS or node.kind == "lambda_parameters":
            found.append(node)
        else:
            stack.extend(reversed(node.children))
    return found


def _children_with_variables(node: _Node) -> Sequence[_Node]:
    """Return the children of a node, without attribute names, keywords of calls and names of definitions."""
    field_of_name = {
        "attribute": "attribute",
        "keyword_argument": "name",
        "function_definition": "name",
        "class_definition": "name",
    }
    name = node.part(field_of_name[node.kind]) if node.kind in field_of_name else None
    return [child for child in node.children if child is not name]


def _names(node: _Node | None) -> list[str]:
    """Return the variables in an expression or a target, in text order."""
    names: list[str] = []
    stack = [node] if node is not None else []
    while stack:
        node = stack.pop()
        if node.kind == "identifier":
            names.append(node.text)
        else:
            stack.extend(reversed(_children_with_variables(node)))
    return names


def ppocoder_matches(program: str, reference: str) -> tuple[float, float]:
    """Return the syntax-tree match and the data-flow match, which PPOCoder's reward adds. It needs a reference."""
    if not reference.strip():
        raise BadInputError("PPOCoder's reward compares with `canonical_solution`, but a row has none. Add it.")
    return syntax_match(program, reference), data_flow_match(program, reference)
