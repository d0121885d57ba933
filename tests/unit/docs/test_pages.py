"""Hooks that build the documentation site."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.hooks import pages
from stepcoder_trl.errors import BadInputError


ROOT = Path(__file__).parents[3]


def test_links_out_of_docs_lead_to_pages_with_the_files():
    text = "[a](../examples/ppo.py) [b](trainer.md#batches) [c](https://example.org/../x) [d](pictures/stages.svg)"

    assert list(pages.repository_links("processes.md", text)) == ["examples/ppo.py"]
    assert pages.link_to_pages("processes.md", text) == text.replace(
        "../examples/ppo.py", "repository/examples/ppo.py.md"
    )
    assert pages.link_to_pages("results/x/README.md", "[a](../../../Makefile)") == "[a](../../repository/Makefile.md)"


def test_page_of_a_file_has_its_text():
    text = pages.repository_page(ROOT, "examples/ppo.py")

    assert text.startswith("# examples/ppo.py\n\n~~~~~~python\n")
    assert (ROOT / "examples" / "ppo.py").read_text().rstrip() in text


def test_link_to_a_missing_file_is_an_error():
    with pytest.raises(BadInputError, match="links to examples/none"):
        pages.repository_page(ROOT, "examples/none.py")


def test_unknown_part_is_an_error():
    with pytest.raises(BadInputError, match="no generated part 'nothing'"):
        pages.fill_in("text\n*Made by `make docs`: nothing*\n")


def test_part_takes_the_place_of_its_line():
    text = pages.fill_in("before\n\n*Made by `make docs`: vllm_options*\n\nafter\n")

    assert re.match(r"before\n\n\| option \|.*`use_vllm`.*\n\nafter\n$", text, re.DOTALL)


def test_types_lose_the_marks_of_docstrings():
    html = "<code>[`~peft.PeftConfig`], *optional*</code> <code>`str` or [`Problem`]</code> [<code>Backend</code>]"

    found = pages.plain_types(html)

    assert found == "<code>PeftConfig, optional</code> <code>str or Problem</code> <code>Backend</code>"


def test_scripts_styles_and_pictures_of_the_network_are_found():
    html = (
        '<link rel="stylesheet" href="site.css"><a href="https://arxiv.org/abs/2402.01391"><img src="a.svg"></a>'
        '<script src="https://unpkg.com/x"></script><img alt="b" src="http://example.org/b.png"><link href=https://c/d>'
    )

    assert pages.loaded_from_network(html) == ["https://unpkg.com/x", "http://example.org/b.png", "https://c/d"]


def test_index_of_results_has_every_page():
    folder = ROOT / "docs" / "results"

    linked = set(re.findall(r"\]\((\w+)/README\.md\)", (folder / "README.md").read_text()))

    assert linked == {page.parent.name for page in folder.glob("*/README.md")}
