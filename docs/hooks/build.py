"""
Hooks of MkDocs: fill in what is generated, and make pages of the repository's files that the documentation links to.

A line `<!-- generated: NAME -->` is replaced by what `PARTS[NAME]` returns. A link that leaves `docs` leads to a page
with the text of that file, so that the built site is complete without a network.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs.hooks.reference import PARTS


FOLDER = "repository"  # of the pages with files of the repository
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".md": "markdown", ".json": "json", ".jsonl": "json"}

_GENERATED = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
_LINK = re.compile(r"\]\((?P<target>[^)\s#:]+)(?P<anchor>#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each file of the repository that a page links to."""
    root = Path(config.docs_dir).parent
    wanted = {path for file in files.documentation_pages() for path in repository_links(file.src_uri, _text(file))}
    for path in sorted(wanted):
        files.append(File.generated(config, f"{FOLDER}/{path}.md", content=repository_page(root, path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the text of a page with generated parts, and with links to pages in place of files."""
    if page.file.src_uri.startswith(f"{FOLDER}/"):
        return markdown
    return fill_in(link_to_pages(page.file.src_uri, markdown))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return a page without the brackets around names in docstrings."""
    return re.sub(r"\[(<code>[^<]*</code>)\]", r"\1", html)


def fill_in(markdown: str) -> str:
    """Return a text with the parts that are generated. Raises a `PluginError` for an unknown name."""

    def part(match: re.Match[str]) -> str:
        if match[1] not in PARTS:
            raise PluginError(f"There is no generated part {match[1]!r}. Use one of {', '.join(PARTS)}.")
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
    """Return a page with the text of a file. Raises a `PluginError` if there is none."""
    file = root / path
    if not file.is_file():
        raise PluginError(f"A page links to {path}, which is no file of the repository. Link to a file.")
    text = file.read_text(encoding="utf-8").rstrip()
    return f"# {path}\n\n~~~~~~{LANGUAGES.get(file.suffix, 'text')}\n{text}\n~~~~~~\n"


def _text(file: File) -> str:
    return file.content_string
