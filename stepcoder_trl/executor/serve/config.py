"""Settings of the service."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.executor.local.config import ExecutorConfig
from stepcoder_trl.executor.verdict.limits import check_seconds


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
        max_body_bytes (`int`): Size of a request.
        max_waiting (`int`): Programs that may wait for a worker. One more is refused, with status 504.
        max_connections (`int`): Connections at a time. One more is refused, with status 503.
        max_timeout_s (`float`): CPU seconds of one test that a request may ask for.
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
    max_waiting: int = 4096
    max_connections: int = 2048
    max_timeout_s: float = 300.0
    max_memory_bytes: int = 4 * 2**30
    queue_timeout_s: float = 10.0
    drain_s: float = 60.0

    def __post_init__(self) -> None:
        for name in ("max_body_bytes", "max_waiting", "max_connections", "max_memory_bytes"):
            if getattr(self, name) < 1:
                raise BadInputError(f"`{name}` is {getattr(self, name)}, but must be at least 1.")
        for name in ("max_timeout_s", "queue_timeout_s", "drain_s"):
            check_seconds(name, getattr(self, name))
        if not 0 <= self.port < 2**16:
            raise BadInputError(f"`port` is {self.port}, but must be from 0 to 65535.")

    @property
    def is_private(self) -> bool:
        """Return whether the service is reached from this machine alone."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"
