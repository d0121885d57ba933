"""
Hooks of MkDocs: fill in what is generated, and make pages of the repository's files that the documentation links to.

A line "Made by `make docs`: NAME", in italics, is replaced by what `PARTS[NAME]` returns. A link that leaves `docs`
leads to a page with the text of that file, so that the built site is complete without a network.
"""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs.hooks.pages import (
    FOLDER,
    fill_in,
    link_to_pages,
    loaded_from_network,
    plain_types,
    repository_links,
    repository_page,
)
from stepcoder_trl.errors import BadInputError


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each file of the repository that a page links to."""
    root = Path(config.docs_dir).parent
    wanted = {
        path for file in files.documentation_pages() for path in repository_links(file.src_uri, file.content_string)
    }
    for path in sorted(wanted):
        files.append(File.generated(config, f"{FOLDER}/{path}.md", content=repository_page(root, path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the text of a page with generated parts, and with links to pages in place of files."""
    if page.file.src_uri.startswith(f"{FOLDER}/"):
        return markdown
    return fill_in(link_to_pages(page.file.src_uri, markdown))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return a page whose types and names are without the marks that docstrings put around them."""
    return plain_types(html)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Return a finished page. Raises a `BadInputError` if it would fetch something from the network."""
    if found := loaded_from_network(output):
        raise BadInputError(f"{page.file.src_uri} would load {found[0]}. Put the file into docs.")
    return output
