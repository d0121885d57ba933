"""Runs the jobs of a grid, each in a process of its own; what is done is never done again."""

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
    Run what has no result yet, in order.

    A run that is broken off leaves nothing and starts over. Several grids may work on the same folder: each takes what
    is neither done nor begun.

    Args:
        jobs (`Sequence[Job]`):
            Jobs.
        folder (`Path`):
            Where results are kept, and what runs start from.
        processes (`int`):
            Runs at a time, one thread each.

    Returns:
        `list[Job]`: Jobs that failed. Their logs lie beside where their results would be.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(processes) as pool:
        try:
            done = list(pool.map(lambda job: stop.is_set() or _done(job, folder), jobs))
        finally:
            stop.set()  # Ctrl-C ends the runs as well, and none is to follow
    return [job for job, fine in zip(jobs, done, strict=True) if not fine]


def restore_runs(results: Path, folder: Path) -> int:
    """
    Bring back runs that were reported before, maybe from another machine: they need not be done again.

    Args:
        results (`Path`):
            `results.json` of a report, which holds its runs; need not exist.
        folder (`Path`):
            Where results are kept. What is there already stays.

    Returns:
        `int`: Runs brought back.

    Raises:
        SystemExit: If the file cannot be used, or a run is of a setting or arm that is no longer what it was: a report
            would drop it.
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


def _done(job: Job, folder: Path) -> bool:
    """Do a job unless it is done or somebody else does it; whether it did not fail."""
    path = job.path(folder)
    with locked(path, wait=False) as lock:
        if lock is None or path.exists():
            return True
        begun_s = time.perf_counter()
        fine = _run(job, folder, lock)
        print(f"{job}: {'done' if fine else 'FAILED'} after {time.perf_counter() - begun_s:.0f} s", flush=True)
        return fine


def _run(job: Job, folder: Path, lock: int) -> bool:
    """Run a job in a process that holds its lock as well: it is taken as long as anybody works on it."""
    command = [sys.executable, "-m", "benchmarks.ablation.run", "--setting", job.setting.name, "--arm", job.arm]
    command += ["--seed", str(job.seed), "--work", str(folder.absolute())]
    surroundings = {**os.environ, **QUIET}
    with job.path(folder).with_suffix(".log").open("w") as log:
        run = subprocess.run(command, cwd=CHECKOUT, env=surroundings, stdout=log, stderr=log, pass_fds=[lock])
    return run.returncode == 0 and job.path(folder).exists()
