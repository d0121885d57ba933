"""Test the archives in `dist/` and the wheel that `make package` installed beside this interpreter."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "stepcoder_trl" / "executor" / "selftest" / "programs"
# Files for git and GitHub, which a source distribution does not need.
ONLY_IN_GIT = (".git", ".github/")


def the_only(pattern: str) -> Path:
    """Return the only file of `dist/` with such a name."""
    (found,) = (ROOT / "dist").glob(pattern)
    return found


@pytest.fixture(scope="module")
def wheel() -> zipfile.ZipFile:
    return zipfile.ZipFile(the_only("*.whl"))


@pytest.fixture(scope="module")
def metadata(wheel) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(name).decode("utf-8"))


@pytest.fixture(scope="module")
def config() -> configparser.RawConfigParser:
    parsed = configparser.RawConfigParser()
    parsed.read(ROOT / "setup.cfg", encoding="utf-8")
    return parsed


def installed(folder: Path, *arguments: str) -> str:
    """Run Python outside of the checkout. Return what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_wheel_has_the_package_and_one_archive_of_programs(wheel):
    files = (path for path in (ROOT / "stepcoder_trl").rglob("*") if path.is_file())
    needed = {
        path.relative_to(ROOT).as_posix()
        for path in files
        if PROGRAMS not in path.parents and "__pycache__" not in path.parts
    }

    found = {name for name in wheel.namelist() if ".dist-info/" not in name}

    assert found == needed | {"stepcoder_trl/executor/selftest/programs.zip"}


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="it compares with the files that git knows")
def test_source_distribution_has_all_files_of_the_repository():
    git = shutil.which("git") or "git"
    listing = subprocess.run([git, "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tracked = listing.splitlines()

    with tarfile.open(the_only("*.tar.gz")) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}

    assert {name for name in tracked if not name.startswith(ONLY_IN_GIT)} - found == set()


def test_readme_of_the_package_has_only_absolute_links(metadata, config):
    targets = re.findall(r"\]\(([^)\s]+)\)", str(metadata.get_payload()))
    relative = [target for target in targets if not target.startswith(("https:", "#"))]
    pictures = re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)", str(metadata.get_payload()))
    tag = f"/v{config['metadata']['version']}/"

    assert relative == []
    assert pictures
    assert all(target.startswith("https://raw.githubusercontent.com/") and tag in target for target in pictures)


def test_metadata_has_the_version_the_extras_and_the_addresses(metadata, config):
    assert metadata["Version"] == config["metadata"]["version"]
    assert set(metadata.get_all("Provides-Extra", [])) == set(config["options.extras_require"])
    addresses = [line.partition(", ")[2] for line in metadata.get_all("Project-URL", [])]
    assert sum(address.startswith(f"{config['metadata']['url']}/") for address in addresses) == 3


def test_installed_package_is_the_wheel_and_loads_all_programs(tmp_path):
    code = (
        "import stepcoder_trl; print(stepcoder_trl.__file__)\n"
        "from stepcoder_trl.executor.selftest import load; print(len(load('hostile')), len(load('correct')))"
    )

    place, counts = installed(tmp_path, "-c", code).splitlines()

    assert ROOT / "stepcoder_trl" not in Path(place).parents
    assert counts == " ".join(str(len(list((PROGRAMS / kind).glob("*.txt")))) for kind in ("hostile", "correct"))


@pytest.mark.sandbox
@pytest.mark.timeout(900)
def test_commands_of_a_newcomer_work(tmp_path):
    assert "stepcoder-trl" in installed(tmp_path, "-m", "stepcoder_trl", "env")
    installed(tmp_path, "-m", "stepcoder_trl", "selftest", "--only", "processes_fork_bomb")
    installed(tmp_path, "-m", "stepcoder_trl", "quickstart", "--fast", "--out", "run")

    assert (tmp_path / "run" / "report.html").exists()
