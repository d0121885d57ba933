"""Settings of the local executor."""

from __future__ import annotations

from dataclasses import dataclass

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.executor.verdict.limits import Limits


MAX_WORKERS = 1024


@dataclass(frozen=True)
class _FirstFields:
    """Fields before those of `Limits`. A dataclass starts with the fields of its last base."""

    num_workers: int | None = None


@dataclass(frozen=True)
class ExecutorConfig(Limits, _FirstFields):
    """
    Settings of a [`CodeExecutor`].

    Args:
        num_workers (`int`, *optional*):
            Number of fork servers. Each runs one program at a time. Defaults to the cores that this process may use.
        timeout_s (`float`, *optional*, defaults to `3.0`):
            CPU seconds of one test, tracing included. A program that sleeps gets three times that in wall time. The
            tests' own `timeout_s` takes precedence.
        program_timeout_s (`float`, *optional*):
            CPU seconds of all tests of a program together. Defaults to five times the limit of one test. `math.inf`
            stands for the limit of one test times their number. One that is shorter than the limit of one test ends
            the first test.
        memory_limit_bytes (`int`, *optional*, defaults to 512 MiB):
            Address space of a program, in addition to that of the process that forks it. The tests' own
            `memory_limit_bytes` takes precedence.
        isolation (`str`, *optional*, defaults to `"auto"`):
            Isolation layers: those that the machine has (`"auto"`), all or an error (`"strict"`), or only resource
            limits and process groups (`"none"`).
        stop_on_first_failure (`bool`, *optional*, defaults to `False`):
            Report the tests after the first failure as not run, and do not run them.
        float_tolerance (`float`, *optional*):
            Absolute and relative tolerance for words of standard output that are numbers, and for expected floats of
            calls. By default words are compared as text, and floats within 1e-6.
        fresh_process_per_test (`bool`, *optional*, defaults to `False`):
            Fork a new process for every test, so that no test sees the state that another left in imported modules.
        trace (`bool`, *optional*, defaults to `True`):
            Record which lines run. Without it programs are faster, `executed_lines` is empty and `kept_lines` holds
            all lines.
        keep_outputs (`bool`, *optional*, defaults to `False`):
            Keep what each stdio test printed and each call returned in `TestResult.output`.
        hash_seed (`int`, *optional*, defaults to `0`):
            `PYTHONHASHSEED` of the programs, from 0 to 4294967295. It determines the order of their sets.
    """

    hash_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_workers is not None and not 1 <= self.num_workers <= MAX_WORKERS:
            bound = "at least 1" if self.num_workers < 1 else f"at most {MAX_WORKERS}, because each is a process"
            raise BadInputError(
                f"`num_workers` is {self.num_workers}, but must be {bound}. Leave it out for one per core."
            )
        if not 0 <= self.hash_seed < 2**32:
            raise BadInputError(f"`hash_seed` is {self.hash_seed}, but must be from 0 to 4294967295.")
