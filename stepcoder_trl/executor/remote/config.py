"""Settings of the remote executor."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.executor.verdict.limits import Isolation, Limits, check_isolation, check_seconds


@dataclass(frozen=True)
class RemoteConfig:
    """
    Settings of a [`RemoteExecutor`]. The bearer token, if the service needs one, is read from the environment.

    Args:
        url (`str`): Address of the service, e.g. `"http://sandbox:8080"`. `/run_code` is appended.
        num_workers (`int`, *optional*, defaults to `8`): Maximum number of parallel requests.
        timeout_s (`float`, *optional*, defaults to `3.0`):
            CPU seconds of one test, tracing included. A program that sleeps gets three times that in wall time. The
            tests' own `timeout_s` takes precedence.
        program_timeout_s (`float`, *optional*):
            CPU seconds of all tests of a program together. Defaults to five times the limit of one test.
        memory_limit_bytes (`int`, *optional*, defaults to 512 MiB):
            Address space of a program, in addition to the fork server's. The tests' own `memory_limit_bytes` takes
            precedence.
        isolation (`str`, *optional*, defaults to `"auto"`):
            Isolation layers: those that the machine has (`"auto"`), all or an error (`"strict"`), or only resource
            limits and process groups (`"none"`). The machine is the remote one.
        stop_on_first_failure (`bool`, *optional*, defaults to `False`):
            Report the tests after the first failure as not run. The remote sandbox still runs them.
        float_tolerance (`float`, *optional*):
            Absolute and relative tolerance for words of standard output that are numbers. By default words are
            compared as text.
        fresh_process_per_test (`bool`, *optional*, defaults to `False`):
            Fork a new process for every test, so that no test sees the state that another left in imported modules.
        max_attempts (`int`, *optional*, defaults to `5`): Maximum number of attempts per request.
        backoff_s (`float`, *optional*, defaults to `0.5`):
            Maximum wait before the second attempt. It doubles with each further attempt. `Retry-After` takes
            precedence.
        queue_timeout_s (`float`, *optional*, defaults to `60.0`):
            Wall seconds that a request may wait in the service's queue, in addition to the program's limits.
    """

    url: str
    num_workers: int = 8
    timeout_s: float = 3.0
    program_timeout_s: float | None = None
    memory_limit_bytes: int = 512 * 2**20
    isolation: Isolation = "auto"
    stop_on_first_failure: bool = False
    float_tolerance: float | None = None
    fresh_process_per_test: bool = False
    max_attempts: int = 5
    backoff_s: float = 0.5
    queue_timeout_s: float = 60.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadInputError(f"`url` is {self.url!r}, but must be an address like 'http://sandbox:8080'.")
        for name, number in (("num_workers", self.num_workers), ("max_attempts", self.max_attempts)):
            if number < 1:
                raise BadInputError(f"`{name}` is {number}, but must be at least 1.")
        check_seconds("backoff_s", self.backoff_s)
        check_seconds("queue_timeout_s", self.queue_timeout_s)
        check_isolation(self.isolation)
        _ = self.limits  # checks its fields

    @property
    def endpoint(self) -> str:
        """Return the address that requests are posted to."""
        url = self.url.rstrip("/")
        return url if url.endswith("/run_code") else f"{url}/run_code"

    @property
    def limits(self) -> Limits:
        """Return the default limits of a job. The tests of a job may override them."""
        # `stop_on_first_failure` is applied to the reply: the remote fork server gets no answers while it runs.
        return Limits(
            timeout_s=self.timeout_s,
            program_timeout_s=self.program_timeout_s,
            memory_limit_bytes=self.memory_limit_bytes,
            float_tolerance=self.float_tolerance,
            fresh_process_per_test=self.fresh_process_per_test,
        )
