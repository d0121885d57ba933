"""
APPS -> APPS+ from Python: what `stepcoder-trl refine` does, and how to look at what it dropped.

    python examples/refine_apps.py APPS/train apps_plus
"""

import sys
from collections import Counter
from pathlib import Path

from stepcoder_trl.data.formats import read_raw_rows
from stepcoder_trl.data.refinery import RefineSettings, refine


def main(source: str, folder: str) -> None:
    """Refine, and print why rows were dropped, with an example of each reason."""
    rows = refine(read_raw_rows(source), Path(folder), RefineSettings())
    dropped = [(finding.rule, row.task_id) for row in rows for finding in row.findings if finding.action == "drop"]
    examples = dict(reversed(dropped))
    print(f"{sum(row.problem is not None for row in rows)} of {len(rows)} rows kept")
    for rule, count in Counter(rule for rule, _ in dropped).most_common():
        print(f"{count:6} {rule} (e.g. {examples[rule]})")


if __name__ == "__main__":
    main(*sys.argv[1:])
