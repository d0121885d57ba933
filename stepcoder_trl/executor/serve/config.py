"""Settings of the service."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.executor.local.config import ExecutorConfig
from stepcoder_trl.executor.verdict.limits import check_seconds, check_types


@dataclass(frozen=True)
class ServeConfig:
    """
    Settings of the service.

    Args:
        host (`str`): Address to listen on. The default is reached from this machine alone.
        port (`int`): Port. 0 takes a free one.
        executor ([`ExecutorConfig`]): Settings of the executor: workers, isolation, and the limits of programs that
            come without any.
        token (`str`): Bearer token that requests must bring. Empty: none.
        max_body_bytes (`int`): Size of the body of a request. A larger one is refused, with status 413.
        max_bodies_bytes (`int`):
            Size of the bodies of all requests that are served at a time. One more is refused, with status 504, before
            it is read. `None` stands for 512 MiB, or `max_body_bytes` if that is more.
        max_waiting (`int`):
            Programs that may wait for a worker. One more is refused, with status 504. A request that has more programs
            than may wait and run is refused with status 413.
        max_connections (`int`): Connections at a time. One more is refused, with status 503.
        max_timeout_s (`float`): CPU seconds of one test, or of a script, that a request may ask for.
        max_program_timeout_s (`float`):
            CPU seconds of all tests of a program together. A request that asks for more is refused. Without a limit of
            its own, a program has this one. `None` stands for 3600, or `max_timeout_s` if that is more.
        max_memory_bytes (`int`): Memory of a program that a request may ask for.
        queue_timeout_s (`float`):
            Wall seconds that a script of `/run_code` may wait for a worker, beside its `compile_timeout`, which Python
            does not need. Then the answer is status 504.
        drain_s (`float`): Wall seconds that programs which run have to end after the service was told to stop.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)
    token: str = field(default="", repr=False)
    max_body_bytes: int = 64 * 2**20
    max_bodies_bytes: int | None = None
    max_waiting: int = 4096
    max_connections: int = 2048
    max_timeout_s: float = 300.0
    max_program_timeout_s: float | None = None
    max_memory_bytes: int = 4 * 2**30
    queue_timeout_s: float = 10.0
    drain_s: float = 60.0

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("max_body_bytes", "max_waiting", "max_connections", "max_memory_bytes"):
            if getattr(self, name) < 1:
                raise BadInputError(f"`{name}` is {getattr(self, name)}, but must be at least 1.")
        for name in ("max_timeout_s", "max_program_timeout_s", "queue_timeout_s", "drain_s"):
            check_seconds(name, getattr(self, name))
        memory_bytes = self.executor.memory_limit_bytes
        for flag, value, least_flag, least, unit in (
            ("--max-bodies-mb", self.bodies_bytes / 2**20, "--max-body-mb", self.max_body_bytes / 2**20, "MiB"),
            ("--max-program-timeout-s", self.program_seconds, "--max-timeout-s", self.max_timeout_s, "seconds"),
            ("--max-memory-mb", self.max_memory_bytes / 2**20, "--memory-mb", memory_bytes / 2**20, "MiB"),
        ):
            if value < least:
                raise BadInputError(
                    f"`{flag}` is {value:g} {unit}, but must be at least `{least_flag}`, which is {least:g}. "
                    "Raise the first or lower the second."
                )
        if not 0 <= self.port < 2**16:
            raise BadInputError(f"`port` is {self.port}, but must be from 0 to 65535.")

    @property
    def bodies_bytes(self) -> int:
        """Return the size of the bodies of all requests that are served at a time."""
        return max(512 * 2**20, self.max_body_bytes) if self.max_bodies_bytes is None else self.max_bodies_bytes

    @property
    def program_seconds(self) -> float:
        """Return the CPU seconds of all tests of a program together."""
        return max(3600.0, self.max_timeout_s) if self.max_program_timeout_s is None else self.max_program_timeout_s

    @property
    def is_private(self) -> bool:
        """Return whether the service is reached from this machine alone."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"
