"""The option `executor` of trainers and verbs, and the one place that makes an executor of it."""

from __future__ import annotations

import importlib.util
import logging
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from stepcoder_trl.errors import BadInputError, SandboxError
from stepcoder_trl.executor.backend import BaseBackend
from stepcoder_trl.executor.local.config import ExecutorConfig
from stepcoder_trl.executor.remote.config import RemoteConfig, addresses, check_urls
from stepcoder_trl.executor.verdict.limits import Limits


logger = logging.getLogger("stepcoder_trl.executor")

Place = Literal["local", "remote", "ray"]
PLACES: tuple[Place, ...] = get_args(Place)


@dataclass(frozen=True)
class ExecutorChoice:
    """
    Choice of the executor that runs programs.

    Args:
        config (`ExecutorConfig`):
            Settings. `num_workers` counts fork servers on this machine (`"local"`), parallel requests (`"remote"`) or
            fork servers on each node (`"ray"`). Without it, an executor takes its own default.
        executor (`str`, *optional*):
            `"local"`, `"remote"` or `"ray"`. Defaults to `"remote"` where `urls` are given, and else to `"local"`.
        urls (`tuple[str, ...]`): Addresses of the hosts of `"remote"`.
        num_processes (`int`): Processes that make the same choice. They share the nodes of `"ray"`.

    Raises:
        BadInputError: If addresses are missing, invalid or without use, or a package is missing.
    """

    config: ExecutorConfig = field(default_factory=ExecutorConfig)
    executor: Place | None = None
    urls: tuple[str, ...] = ()
    num_processes: int = 1

    def __post_init__(self) -> None:
        if self.executor not in (None, *PLACES):
            raise BadInputError(f"`executor` is {self.executor!r}, but must be one of {', '.join(PLACES)}.")
        if self.place == "remote" and not self.urls:
            raise BadInputError(
                "`executor` is 'remote', but `executor_urls` is missing. Name the hosts, like http://sandbox:8080."
            )
        if self.place != "remote" and self.urls:
            raise BadInputError(
                f"`executor` is '{self.place}', which has no use for `executor_urls`. Drop one of the two."
            )
        if self.place == "ray" and importlib.util.find_spec("ray") is None:
            raise BadInputError(
                "`executor` is 'ray', but Ray is not installed. Run `pip install 'stepcoder-trl[ray]'`."
            )
        if self.place == "remote":
            check_urls("executor_urls", addresses(",".join(self.urls).split(",")))
            self._remote_config()

    @property
    def place(self) -> Place:
        """Return where programs run."""
        return self.executor or ("remote" if self.urls else "local")

    def probe(self) -> None:
        """
        Ask each host of `"remote"` whether it is there. Warn of those that are not.

        Raises:
            SandboxError: If none is. The message names each host, why it cannot be used, and the fix.
        """
        if self.place != "remote":
            return
        from stepcoder_trl.executor.remote.probe import refusals

        found = refusals(self._remote_config())
        missing = ", ".join(f"{url} ({reason})" for url, reason in found.items() if reason)
        if all(found.values()):
            raise SandboxError(
                f"No sandbox can be used at {missing}. Run `stepcoder-trl serve` there, or correct the address."
            )
        if missing:
            logger.warning("No sandbox can be used at %s. The other hosts get all programs.", missing)

    def open(self) -> BaseBackend:
        """Return a new executor, which the caller closes."""
        if self.place == "remote":
            from stepcoder_trl.executor.remote.executor import RemoteExecutor

            return RemoteExecutor(self._remote_config())
        if self.place == "ray":
            from stepcoder_trl.executor.ray.executor import RayExecutor

            return RayExecutor(self.config, num_drivers=self.num_processes)
        from stepcoder_trl.executor.local.executor import CodeExecutor

        return CodeExecutor(self.config)

    def _remote_config(self) -> RemoteConfig:
        settings: dict[str, Any] = {one.name: getattr(self.config, one.name) for one in fields(Limits)}
        if self.config.num_workers is not None:
            settings["num_workers"] = self.config.num_workers
        return RemoteConfig(",".join(self.urls), **settings)
