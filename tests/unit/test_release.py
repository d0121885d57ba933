"""Version, citation, lowest versions and the table of tested versions."""

from __future__ import annotations

import configparser
import json
import re
from pathlib import Path

import pytest
import yaml

from tests.versions.pins import SETUP, lowest, requirements
from tests.versions.record import COLUMNS, FOLDER, add, table


ROOT = Path(__file__).parents[2]


def test_citation_names_the_version_of_the_package():
    config = configparser.RawConfigParser()
    config.read(SETUP, encoding="utf-8")

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))

    assert citation["version"] == config["metadata"]["version"]
    assert citation["repository-code"] == config["metadata"]["url"]


def test_page_about_compatibility_has_every_extra():
    config = configparser.RawConfigParser()
    config.read(SETUP, encoding="utf-8")
    page = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")

    cells = re.findall(r"^\| (`.*?) \|", page.partition("## Extras")[2], re.MULTILINE)

    named = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(named) == sorted(config["options.extras_require"])


def test_addresses_of_the_repository_are_those_of_setup_cfg():
    config = configparser.RawConfigParser()
    config.read(SETUP, encoding="utf-8")
    pages = [*ROOT.glob("*.md"), *(ROOT / ".github").rglob("*.*ml")]

    found = {
        address
        for page in pages
        for address in re.findall(r"https://github\.com/\S*?stepcoder-trl/[\w-]+", page.read_text(encoding="utf-8"))
    }

    assert found <= {config["metadata"]["url"]}


def test_every_requirement_has_a_lowest_version():
    required = requirements(
        "[options]\ninstall_requires =\n    b>=2.1\n    a>=1\n[options.extras_require]\ntest =\n    a>=1\n", ("test",)
    )

    assert list(lowest(required, {"b": "3"})) == ["a==1", "b==3"]
    assert list(lowest(requirements(SETUP.read_text(encoding="utf-8")), {}))


def test_requirement_without_a_lowest_version_is_refused():
    with pytest.raises(ValueError, match="no lowest version"):
        list(lowest(["torch"], {}))


def test_row_of_an_environment_takes_the_place_of_its_older_one(tmp_path):
    row = {"versions": {"python": "3.11.7", "trl": "1.0.0"}, "passed": 4, "date": "2026-01-01"}
    add(tmp_path, "newest", row)
    add(tmp_path, "lowest", row)
    add(tmp_path, "lowest", {**row, "passed": 5})

    lines = (tmp_path / "README.md").read_text(encoding="utf-8").splitlines()

    assert lines[-2:] == [
        "| lowest | 3.11.7 |  |  | 1.0.0 |  |  |  |  | 5 | 2026-01-01 |",
        "| newest | 3.11.7 |  |  | 1.0.0 |  |  |  |  | 4 | 2026-01-01 |",
    ]


def test_page_of_versions_is_the_table_of_its_rows():
    rows = json.loads((FOLDER / "versions.json").read_text(encoding="utf-8"))

    assert (FOLDER / "README.md").read_text(encoding="utf-8") == table(rows)
    assert all(set(row["versions"]) & set(COLUMNS) for row in rows.values())
