"""
Steps of the build. Everything else about the package stands in setup.cfg and pyproject.toml.

The programs of the self-test are hundreds of small files. A wheel holds them as one archive. The README's links to
files of the repository become absolute, so that they work on the page of a package index. The address of the
repository stands in setup.cfg alone.
"""

from __future__ import annotations

import configparser
import re
import zipfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


ROOT = Path(__file__).parent
SELFTEST = Path("stepcoder_trl/executor/selftest")
PAPER = "https://arxiv.org/abs/2402.01391"
PAGES = {"Documentation": "tree/main/docs", "Changelog": "blob/main/CHANGELOG.md", "Issues": "issues"}
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)\s]+)\)")


def absolute_links(text: str, repository: str, revision: str) -> str:
    """Return Markdown with its relative links and pictures as addresses of a revision of a GitHub repository."""
    files = repository.replace("https://github.com/", "https://raw.githubusercontent.com/")

    def absolute(link: re.Match[str]) -> str:
        picture, words, path = link.groups()
        root = f"{files}/{revision}" if picture else f"{repository}/blob/{revision}"
        return f"{picture}[{words}]({root}/{path})"

    return LINK.sub(absolute, text)


def metadata() -> configparser.SectionProxy:
    """Return the section of setup.cfg with the version and the address of the repository."""
    config = configparser.RawConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config["metadata"]


def readme() -> str:
    """Return the README as a package index shows it, with links to the tag of this release."""
    text, fields = (ROOT / "README.md").read_text(encoding="utf-8"), metadata()
    return absolute_links(text, fields["url"], f"v{fields['version']}")


def pack(programs: Path, archive: Path) -> None:
    """Write the programs into an archive. The same programs give the same bytes."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(programs.glob("*/*.txt")):
            entry = zipfile.ZipInfo(str(path.relative_to(programs)))  # without the time of the file
            packed.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)


class BuildWithArchive(build_py):
    """Copy the package and put the self-test's programs beside it as one archive."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            pack(ROOT / SELFTEST / "programs", Path(self.build_lib) / SELFTEST / "programs.zip")


if __name__ == "__main__":
    address = metadata()["url"]
    setup(
        long_description=readme(),
        project_urls={**{name: f"{address}/{page}" for name, page in PAGES.items()}, "Paper": PAPER},
        long_description_content_type="text/markdown",
        cmdclass={"build_py": BuildWithArchive},
    )
