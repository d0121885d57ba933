"""Flags and options that pages name are those of the command line."""

from __future__ import annotations

import contextlib
import io
import re
from functools import cache
from pathlib import Path

import pytest

from stepcoder_trl.cli.main import VERBS, main


ROOT = Path(__file__).parents[3]
PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]
COMMAND = re.compile(r"stepcoder-trl (?P<verb>\w+)(?P<words>(?: [^\n`|;&]*)?)")
FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*")
# Flags of accelerate, Docker and Ray in the prose. Their commands stand in code blocks, which are not checked.
OTHERS = {"--config_file", "--num-cpus", "--resources", "--runtime"}

UPSTREAM = {"every_save", "frac_reward_zero_std"}  # a strategy of uploads, and a metric of TRL's GRPO


@cache
def flags_of(verb: str) -> frozenset[str]:
    """Return all flags of a verb, with those that it inherits."""
    text = io.StringIO()
    for flag in ("--help", "--help-all"):
        with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
            main([verb, flag])
    return frozenset(FLAG.findall(text.getvalue())) | {"--help-all"}


@cache
def flags_of_benchmarks() -> frozenset[str]:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks").rglob("*.py")]
    return frozenset(flag for text in sources for flag in re.findall(r"\"(--[a-z][\w-]*)\"", text))


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Return verb and flags of each command in a text. A line that ends with a backslash goes on."""
    joined = re.sub(r"\\\n\s*", "", text)
    found = [(one["verb"], FLAG.findall(one["words"].partition("#")[0])) for one in COMMAND.finditer(joined)]
    return [(verb, flags) for verb, flags in found if verb in VERBS]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_have_only_flags_of_their_verb(page):
    wrong = {
        f"{verb} {flag}"
        for verb, flags in commands(page.read_text(encoding="utf-8"))
        for flag in flags
        if flag not in flags_of(verb)
    }

    assert wrong == set()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_flags_in_the_prose_are_those_of_some_command(page):
    prose = re.sub(r"^(```|~~~).*?^\1$|^    .*$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    named = {flag for code in re.findall(r"`([^`]+)`", prose) for flag in FLAG.findall(code)}
    known = frozenset().union(*map(flags_of, VERBS)) | flags_of_benchmarks() | OTHERS

    assert named - known == set()


@cache
def words_of_the_source() -> frozenset[str]:
    files = [path for folder in ("stepcoder_trl", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.py")]
    words = (word for path in files for word in re.findall(r"\w+", path.read_text(encoding="utf-8")))
    inherited = (flag.removeprefix("--") for verb in ("sft", "ppo", "grpo") for flag in flags_of(verb))
    return frozenset(words) | frozenset(inherited)


@pytest.mark.parametrize("page", [page for page in PAGES if "results" not in page.parts], ids=name_of)
def test_options_and_columns_exist(page):
    named = set(re.findall(r"`(?:--)?([a-z]+(?:_[a-z0-9]+)+)(?:=[^`]*)?`", page.read_text(encoding="utf-8")))

    missing = named - words_of_the_source() - UPSTREAM
    # Prometheus adds the suffix to the name of a counter.
    assert {name for name in missing if name.removesuffix("_total") not in words_of_the_source()} == set()


def test_commands_of_a_text_are_found():
    text = "stepcoder-trl ppo --a 1 \\\n    --b=2 | tee --x  # --y\nand `stepcoder-trl env --c`, `stepcoder-trl none`"

    assert commands(text) == [("ppo", ["--a", "--b"]), ("env", ["--c"])]
