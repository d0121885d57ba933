"""Settings of the remote executor."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.executor.verdict.limits import Limits, check_seconds


@dataclass(frozen=True)
class _FirstFields:
    """Fields before those of `Limits`. A dataclass starts with the fields of its last base."""

    url: str | Sequence[str]
    num_workers: int = 8


@dataclass(frozen=True)
class RemoteConfig(Limits, _FirstFields):
    """
    Settings of a [`RemoteExecutor`]. The bearer token, if the service needs one, is read from the environment.

    The limits of a program and the options of its tests are those of [`ExecutorConfig`], applied on the remote
    machine. The isolation of a service of ours is that of its command line; `"strict"` refuses one that lacks a layer.

    Args:
        url (`str` or `Sequence[str]`):
            Addresses of the services, e.g. `"http://sandbox:8080"`, several in a list or separated by commas. Programs
            go to the one that is free. A trailing `/run_code` is ignored.
        num_workers (`int`, *optional*, defaults to `8`): Maximum number of parallel requests to each address.
        max_attempts (`int`, *optional*, defaults to `5`):
            Maximum number of attempts per program. A service that is busy is no attempt.
        backoff_s (`float`, *optional*, defaults to `0.5`):
            Maximum wait before the second attempt. It doubles with each further attempt. `Retry-After` takes
            precedence. A program whose service is gone goes to another one without a wait.
        queue_timeout_s (`float`, *optional*, defaults to `60.0`):
            Wall seconds that a service may be silent, in addition to the limits of the programs that it runs.
        busy_timeout_s (`float`, *optional*, defaults to `1800.0`):
            Wall seconds without a result after which programs fail that no service takes because all are busy. Such a
            service answers 429, or 504 with `Retry-After`. The first such answer is logged as a warning.
    """

    max_attempts: int = 5
    backoff_s: float = 0.5
    queue_timeout_s: float = 60.0
    busy_timeout_s: float = 1800.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.url, Collection) or not all(isinstance(one, str) for one in self.url):
            raise BadInputError(
                f"`url` is {self.url!r}, but must be an address like 'http://sandbox:8080', or a list."
            )
        check_urls("url", self.urls)
        for name, number in (("num_workers", self.num_workers), ("max_attempts", self.max_attempts)):
            if number < 1:
                raise BadInputError(f"`{name}` is {number}, but must be at least 1.")
        check_seconds("backoff_s", self.backoff_s)
        check_seconds("queue_timeout_s", self.queue_timeout_s)
        check_seconds("busy_timeout_s", self.busy_timeout_s)

    @property
    def urls(self) -> tuple[str, ...]:
        """Return the addresses, each once, without the path of a protocol."""
        return addresses(self.url.split(",") if isinstance(self.url, str) else self.url)


def addresses(given: Sequence[str]) -> tuple[str, ...]:
    """Return addresses, each once, without the path of a protocol."""
    return tuple(dict.fromkeys(url.strip().rstrip("/").removesuffix("/run_code") for url in given if url.strip()))


def check_urls(name: str, urls: Sequence[str]) -> None:
    """Check that an option has addresses, and only these."""
    if not urls:
        raise BadInputError(f"`{name}` is empty, but must be an address like 'http://sandbox:8080'.")
    for url in urls:
        if not _is_address(url):
            raise BadInputError(f"`{name}` is {url!r}, but must be an address like 'http://sandbox:8080'.")


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port above 65535, or a malformed address of IPv6
        return False
