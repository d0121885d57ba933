"""Links, paths and examples in README, CONTRIBUTING and docs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from stepcoder_trl.cli.main import VERBS


ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
PATH_ROOTS = ("stepcoder_trl", "benchmarks", "examples", "tests", "docs")
OTHERS = {"coverage.py", "example.py"}  # a package, and a file that the reader writes


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def examples() -> list[tuple[str, str, str]]:
    """Return page, program and output of each Python block that is followed by its output."""
    block = re.compile(r"^```python\n((?:(?!```).*\n)*)```\n\n```text\n((?:(?!```).*\n)*)```", re.MULTILINE)
    return [(name_of(page), *found) for page in PAGES for found in block.findall(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text(encoding="utf-8"))
    dead = []
    for target, anchor in targets:
        if target.startswith(("http:", "https:")):
            continue
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            dead.append(f"{target}#{anchor}" if anchor else target)

    assert dead == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_paths_of_the_repository_exist(page):
    paths = re.findall(rf"(?<![\w/.-])(?:{'|'.join(PATH_ROOTS)})/[\w/.-]*\w", page.read_text(encoding="utf-8"))

    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_modules_exist_under_the_name_given(page):
    modules = set(re.findall(r"(?<![\w/.-])(?:\w+/)*\w+\.py\b", page.read_text(encoding="utf-8")))
    known = [f"/{path.relative_to(ROOT)}" for top in PATH_ROOTS for path in (ROOT / top).rglob("*.py")]
    missing = {module for module in modules if not any(path.endswith(f"/{module}") for path in known)}

    assert missing - OTHERS == set()


def test_readme_lists_the_verbs_of_the_command_line():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    table = readme.partition("| `stepcoder-trl` | does |\n")[2].partition("\n\n")[0]

    first_cells = [row.split("|")[1] for row in table.splitlines() if "`" in row]
    assert re.findall(r"`(\w+)`", "".join(first_cells)) == list(VERBS)


@pytest.mark.sandbox
@pytest.mark.parametrize(("page", "program", "output"), examples(), ids=[page for page, _, _ in examples()])
def test_examples_print_their_output(page, program, output):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)

    assert done.stdout == output
