"""
Refine APPS into APPS+ from Python, as `stepcoder-trl refine` does, and print the findings.

    python examples/refine_apps.py examples/data/apps.jsonl runs/apps_plus

The first argument may also be the full APPS dataset, as a folder or a file. The last lines:

    drop   does_not_compile 1 (e.g. apps/2)
    drop   duplicate        1 (e.g. apps/7)
    drop   no_solution      1 (e.g. apps/8)
    drop   nondeterministic 1 (e.g. apps/5)
    drop   several_answers  1 (e.g. apps/4)
    note   bad_solutions    1 (e.g. apps/1)
    repair corrected_output 1 (e.g. apps/6)
    repair float_format     1 (e.g. apps/3)
    3 of 8 rows kept
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path


def main(source: str, folder: str) -> None:
    """Refine the rows, and print each finding with its number of rows and one example."""
    from stepcoder_trl.data.formats import read_raw_rows
    from stepcoder_trl.data.refine_run import RefineSettings, refine

    rows = refine(read_raw_rows(source), Path(folder), RefineSettings())
    found = [(finding.action, finding.rule, row.task_id) for row in rows for finding in row.findings]
    examples = {(action, rule): task_id for action, rule, task_id in reversed(found)}
    for (action, rule), count in sorted(Counter((action, rule) for action, rule, _ in found).items()):
        print(f"{action:6} {rule:16} {count} (e.g. {examples[action, rule]})")
    print(f"{sum(row.problem is not None for row in rows)} of {len(rows)} rows kept")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="APPS, as a folder or a file.")
    parser.add_argument("folder", help="Folder of the results.")
    main(**vars(parser.parse_args()))
