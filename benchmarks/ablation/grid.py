"""Runs the jobs of a grid, each in a process of its own. Finished jobs are never repeated."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.ablation.files import locked, write_json
from benchmarks.ablation.settings import ARMS, SETTINGS, Job, path_of_run


CHECKOUT = Path(__file__).parents[2]
QUIET = {"OMP_NUM_THREADS": "1", "TRL_EXPERIMENTAL_SILENCE": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "0"}


def run_grid(jobs: Sequence[Job], folder: Path, processes: int) -> list[Job]:
    """
    Run the jobs without a result, in order. Return those that failed: their logs are next to the results.

    An interrupted run leaves no result and starts over. Several grids may work in the same folder: each takes jobs
    that no other one has begun.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(processes) as pool:
        try:
            succeeded = list(pool.map(lambda job: stop.is_set() or _run_once(job, folder), jobs))
        finally:
            stop.set()  # Ctrl-C ends the runs as well, and no other may start
    return [job for job, success in zip(jobs, succeeded, strict=True) if not success]


def restore_runs(results: Path, folder: Path) -> int:
    """
    Restore the missing runs from an earlier report, perhaps of another machine, and return their number.

    Exits if the setting or arm of a run has changed since: a new report would drop such a run.
    """
    if not results.exists():
        return 0
    try:
        reported = [run for setting in json.loads(results.read_text()).values() for run in setting["runs"]]
        named = {run["job"]: (run["setting"], run["arm"], run["seed"]) for run in reported}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise SystemExit(f"{results} holds no runs of this benchmark ({error!r}). Move it away.") from None
    stale = named.keys() - {
        Job(SETTINGS[setting], arm, seed).name
        for setting, arm, seed in named.values()
        if setting in SETTINGS and arm in ARMS
    }
    if stale:
        raise SystemExit(
            f"{results} has {len(stale)} runs of settings that have changed since, first {min(stale)}. Give the "
            "changed setting another name, or move the file away."
        )
    missing = [run for run in reported if not path_of_run(run["job"], folder).exists()]
    for run in missing:
        write_json(path_of_run(run["job"], folder), run)
    return len(missing)


def _run_once(job: Job, folder: Path) -> bool:
    """Run a job unless it is finished or another process runs it. Return `False` if it failed."""
    path = job.path(folder)
    with locked(path, wait=False) as lock:
        if lock is None or path.exists():
            return True
        begun_s = time.perf_counter()
        success = _run(job, folder, lock)
        print(f"{job}: {'done' if success else 'FAILED'} after {time.perf_counter() - begun_s:.0f} s", flush=True)
        return success


def _run(job: Job, folder: Path, lock: int) -> bool:
    """Run a job in a process that inherits its lock and so holds it until it ends. Return whether it succeeded."""
    command = [sys.executable, "-m", "benchmarks.ablation.run", "--setting", job.setting.name, "--arm", job.arm]
    command += ["--seed", str(job.seed), "--work", str(folder.absolute())]
    environment = {**os.environ, **QUIET}
    with job.path(folder).with_suffix(".log").open("w") as log:
        run = subprocess.run(command, cwd=CHECKOUT, env=environment, stdout=log, stderr=log, pass_fds=[lock])
    return run.returncode == 0 and job.path(folder).exists()
