"""
Measure which part of StepCoder helps, where, and by how much, on tiny models, generated problems and paired seeds.

    python -m benchmarks.ablation                       # the main grid; continues earlier runs
    python -m benchmarks.ablation --processes 2 --arms sft ppo stepcoder
    python -m benchmarks.ablation --report              # only writes the results of finished runs
    python -m benchmarks.ablation --smoke               # one seed of five arms, too small to mean anything

Every run is a process of its own with one thread. Finished runs are never repeated. `--work` holds the runs and the
fine-tuned models. `results.json`, `tables.md` and pictures of all finished runs are written to docs/results/ablation,
whose README.md explains them. `results.json` also holds the runs themselves, and runs that `--work` lacks are taken
from it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.ablation.grid import restore_runs, run_grid
from benchmarks.ablation.report import write_report
from benchmarks.ablation.settings import ARMS, MAIN, OUT, SETTINGS, SMOKE, TIERS, WORK, plan


def main() -> int:
    """Run the grid and write the report. Return 1 if a run failed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ablation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--work", type=Path, default=WORK, help="folder of the runs (%(default)s)")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=[MAIN.name], help="default: %(default)s")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), help="default: all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4], help="default: 0 to 4")
    parser.add_argument("--processes", type=int, default=2, help="number of runs at a time (default: %(default)s)")
    parser.add_argument("--report", action="store_true", help="report the finished runs and run nothing")
    parser.add_argument("--smoke", action="store_true", help="run one tiny seed of five arms, with results in --work")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the report (%(default)s)")
    chosen = parser.parse_args()
    settings = [SETTINGS[name] for name in chosen.settings]
    reported = [setting for setting in SETTINGS.values() if setting is not SMOKE]
    arms, seeds, out = chosen.arms, chosen.seeds, chosen.out
    if chosen.smoke:
        settings = reported = [SMOKE]
        arms, seeds, out = ["sft", "imitation", "ppo", "stepcoder", "grpo_stepcoder"], [0], chosen.work / "smoke"
    else:
        restore_runs(out / "results.json", chosen.work)
    failed = []
    if not chosen.report:
        tiers = [[arm for arm in tier if arm in arms] for tier in TIERS]
        failed = run_grid(list(plan(settings, tiers, seeds)), chosen.work, chosen.processes)
    for name in write_report(reported, chosen.work, out) or ["no finished runs yet"]:
        print(f"{out}: {name}")
    for job in failed:
        print(f"{job} failed. See {job.path(chosen.work).with_suffix('.log')}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
