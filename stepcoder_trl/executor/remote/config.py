"""Settings of the remote executor."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.executor.verdict.limits import Limits, check_seconds


@dataclass(frozen=True)
class _FirstFields:
    """Fields before those of `Limits`. A dataclass starts with the fields of its last base."""

    url: str
    num_workers: int = 8


@dataclass(frozen=True)
class RemoteConfig(Limits, _FirstFields):
    """
    Settings of a [`RemoteExecutor`]. The bearer token, if the service needs one, is read from the environment.

    The limits of a program, `isolation` and the options of its tests are those of [`ExecutorConfig`], applied on the
    remote machine. The remote sandbox runs the tests after the first failure even with `stop_on_first_failure`; they
    are reported as not run.

    Args:
        url (`str`): Address of the service, e.g. `"http://sandbox:8080"`. `/run_code` is appended.
        num_workers (`int`, *optional*, defaults to `8`): Maximum number of parallel requests.
        max_attempts (`int`, *optional*, defaults to `5`): Maximum number of attempts per request.
        backoff_s (`float`, *optional*, defaults to `0.5`):
            Maximum wait before the second attempt. It doubles with each further attempt. `Retry-After` takes
            precedence.
        queue_timeout_s (`float`, *optional*, defaults to `60.0`):
            Wall seconds that a request may wait in the service's queue, in addition to the program's limits.
    """

    max_attempts: int = 5
    backoff_s: float = 0.5
    queue_timeout_s: float = 60.0

    def __post_init__(self) -> None:
        super().__post_init__()
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadInputError(f"`url` is {self.url!r}, but must be an address like 'http://sandbox:8080'.")
        for name, number in (("num_workers", self.num_workers), ("max_attempts", self.max_attempts)):
            if number < 1:
                raise BadInputError(f"`{name}` is {number}, but must be at least 1.")
        check_seconds("backoff_s", self.backoff_s)
        check_seconds("queue_timeout_s", self.queue_timeout_s)

    @property
    def endpoint(self) -> str:
        """Return the address that requests are posted to."""
        url = self.url.rstrip("/")
        return url if url.endswith("/run_code") else f"{url}/run_code"
