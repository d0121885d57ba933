"""What the hooks do to the text of a page."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from docs.hooks.reference import PARTS
from stepcoder_trl.errors import BadInputError


FOLDER = "repository"  # of the pages with files of the repository
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".md": "markdown", ".json": "json", ".jsonl": "json"}

_LOADED = re.compile(r"""<(?:script|link|img)\b[^>]*?\b(?:src|href)="?(https?:[^"\s>]+)""")
_GENERATED = re.compile(r"^\*Made by `make docs`: (\w+)\*$", re.MULTILINE)
_LINK = re.compile(r"\]\((?P<target>[^)\s#:]+)(?P<anchor>#[^)\s]*)?\)")


def plain_types(html: str) -> str:
    """Return a page whose names and types are without the marks that docstrings put around them."""
    return re.sub(r"\[(<code>[^<]*</code>)\]", r"\1", re.sub(r"<code>[^<]*</code>", _plain_type, html))


def _plain_type(code: re.Match[str]) -> str:
    """Return a type of a docstring, such as "[`~peft.PeftConfig`], *optional*", as `PeftConfig, optional`."""
    short = re.sub(r"\[`(?:~[\w.]*\.)?([^`]+)`\]", r"\1", code[0])
    return re.sub(r"`([^`]*)`", r"\1", short).replace("*optional*", "optional")


def loaded_from_network(html: str) -> list[str]:
    """Return the addresses of scripts, styles and pictures that a browser would fetch for a page."""
    return _LOADED.findall(html)


def fill_in(markdown: str) -> str:
    """Return a text with the parts that are generated. Raises a `BadInputError` for an unknown name."""

    def part(match: re.Match[str]) -> str:
        if match[1] not in PARTS:
            raise BadInputError(f"There is no generated part {match[1]!r}. Use one of {', '.join(PARTS)}.")
        return PARTS[match[1]]()

    return _GENERATED.sub(part, markdown)


def repository_links(page: str, markdown: str) -> Iterator[str]:
    """Return the paths in the repository to which a page links, outside of `docs`."""
    for match in _LINK.finditer(markdown):
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), match["target"]))
        if path.startswith("../"):
            yield path.removeprefix("../")


def link_to_pages(page: str, markdown: str) -> str:
    """Return a text whose links out of `docs` lead to the pages that stand for these files."""
    folder = posixpath.dirname(page)

    def link(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, match["target"]))
        if not path.startswith("../"):
            return match[0]
        there = f"{FOLDER}/{path.removeprefix('../')}.md"
        return f"]({posixpath.relpath(there, folder or '.')})"

    return _LINK.sub(link, markdown)


def repository_page(root: Path, path: str) -> str:
    """Return a page with the text of a file. Raises a `BadInputError` if there is none."""
    file = root / path
    if not file.is_file():
        raise BadInputError(f"A page links to {path}, which is no file of the repository. Link to a file.")
    text = file.read_text(encoding="utf-8").rstrip()
    return f"# {path}\n\n~~~~~~{LANGUAGES.get(file.suffix, 'text')}\n{text}\n~~~~~~\n"
