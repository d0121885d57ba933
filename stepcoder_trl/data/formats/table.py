"""The table of formats. The lists in help texts, error messages and docs come from here."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from stepcoder_trl.data.formats.apps import APPS, APPS_PLUS, TACO
from stepcoder_trl.data.formats.benchmarks import BIGCODEBENCH, CLASSEVAL, CODEFORCES, KODCODE, LIVECODEBENCH
from stepcoder_trl.data.formats.codecontests import (
    CODECONTESTS,
    CODECONTESTS_O,
    CODECONTESTS_PLUS,
    CODECONTESTS_REPO,
)
from stepcoder_trl.data.formats.common import Format
from stepcoder_trl.data.formats.evalplus import EVALPLUS
from stepcoder_trl.data.formats.humaneval import HUMANEVAL, HUMANEVAL_PACK
from stepcoder_trl.data.formats.leetcode import LEETCODE
from stepcoder_trl.data.formats.mbpp import MBPP, MBPP_PLUS, MBPP_SANITIZED
from stepcoder_trl.data.formats.own import OWN
from stepcoder_trl.data.formats.rstar import RSTAR
from stepcoder_trl.data.formats.trainers import ACECODE, DEEPCODER, VERIFICATION_INFO, VERL


# The order decides: the first entry whose required fields a row has is taken. An entry with more required fields must
# stand before one that needs only some of them.
FORMATS: Sequence[Format] = (
    DEEPCODER,
    OWN,
    APPS_PLUS,
    TACO,
    APPS,
    MBPP,
    MBPP_PLUS,
    MBPP_SANITIZED,
    EVALPLUS,
    HUMANEVAL_PACK,
    HUMANEVAL,
    LEETCODE,
    CODECONTESTS,
    CODECONTESTS_PLUS,
    CODECONTESTS_O,
    CODECONTESTS_REPO,
    VERL,
    ACECODE,
    VERIFICATION_INFO,
    RSTAR,
    LIVECODEBENCH,
    KODCODE,
    BIGCODEBENCH,
    CLASSEVAL,
    CODEFORCES,
)

# For help texts, which indent it.
FORMAT_TITLES = textwrap.fill(
    ", ".join(dict.fromkeys(known.title for known in FORMATS)), 76, subsequent_indent=" " * 4
)


def formats_as_markdown() -> str:
    """Return the table of `docs/data.md`: a line for each format."""
    lines = [
        "| format | dataset | required fields | licence | what is read | what is refused |",
        "|---|---|---|---|---|---|",
    ]
    for known in FORMATS:
        fields = ", ".join(" or ".join(f"`{name}`" for name in names.split("|")) for names in known.needs)
        cells = (f"`{known.name}`", known.title, fields, known.licence, known.reads, known.refuses or "-")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
