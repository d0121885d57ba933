"""Messages that the documentation explains are those of the source."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[3]
VALUE = "…"
PAGE = (ROOT / "docs" / "trouble.md").read_text(encoding="utf-8")
MESSAGES = [text.strip() for text in re.findall(r"^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)]


@cache
def templates() -> list[str]:
    """Return all texts of the source, with a sign in the place of each value."""
    nodes = [node for path in (ROOT / "stepcoder_trl").rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))]
    found = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else VALUE for part in node.values]
            found.append("".join(map(str, parts)))
    return found


@pytest.mark.parametrize("message", MESSAGES)
def test_message_is_in_the_source(message):
    assert len(message.replace(VALUE, "").split()) >= 4
    assert any(matches(message, text) for text in templates())


def matches(message: str, template: str) -> bool:
    """Whether a template has the words of a message in their order."""
    place = 0
    for part in message.split(VALUE):
        place = template.find(part, place) + len(part)
        if place < len(part):
            return False
    return True


def test_page_has_at_least_twenty_entries():
    assert len(re.findall(r"^### ", PAGE, re.MULTILINE)) >= 20
