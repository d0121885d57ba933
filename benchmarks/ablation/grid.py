"""Runs the jobs of a grid, each in a process of its own; what is done is never done again."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks.ablation.settings import Job


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
        loops = [pool.submit(_work, jobs, folder, stop) for _ in range(processes)]
        try:
            return [job for loop in loops for job in loop.result()]
        finally:
            stop.set()  # Ctrl-C ends the runs as well, and none is to follow


def _work(jobs: Sequence[Job], folder: Path, stop: threading.Event) -> list[Job]:
    """Go through the jobs once, and do those that nobody else does."""
    failed = []
    for job in jobs:
        path = job.path(folder)
        if stop.is_set() or path.exists():
            continue
        with _claimed(path) as lock:
            if lock is None or path.exists():
                continue
            begun_s = time.perf_counter()
            done = _run(job, folder, lock)
            print(f"{job}: {'done' if done else 'FAILED'} after {time.perf_counter() - begun_s:.0f} s", flush=True)
            if not done:
                failed.append(job)
    return failed


def _run(job: Job, folder: Path, lock: int) -> bool:
    """Run a job in a process that holds its lock as well: it is taken as long as anybody works on it."""
    command = [sys.executable, "-m", "benchmarks.ablation.run", "--setting", job.setting.name, "--arm", job.arm]
    command += ["--seed", str(job.seed), "--work", str(folder.absolute())]
    surroundings = {**os.environ, **QUIET}
    with job.path(folder).with_suffix(".log").open("w") as log:
        run = subprocess.run(command, cwd=CHECKOUT, env=surroundings, stdout=log, stderr=log, pass_fds=[lock])
    return run.returncode == 0 and job.path(folder).exists()


@contextmanager
def _claimed(path: Path) -> Iterator[int | None]:
    """Lock of a job, or `None` if another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield stream.fileno()
