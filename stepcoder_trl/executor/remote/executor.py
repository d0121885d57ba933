"""Run programs on other machines, in services of ours or others that implement SandboxFusion's `/run_code`."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from concurrent.futures import Future

from stepcoder_trl.executor.backend import HARMLESS_PROGRAM, HARMLESS_TESTS, ConfiguredBackend, TestsLike
from stepcoder_trl.executor.remote.config import RemoteConfig
from stepcoder_trl.executor.remote.dispatch import Dispatcher, Item
from stepcoder_trl.executor.remote.service import RemoteService
from stepcoder_trl.executor.verdict.recent import RecentTests
from stepcoder_trl.executor.wire.messages import Greeting
from stepcoder_trl.types import Execution


class RemoteExecutor(ConfiguredBackend):
    """
    Executor that runs untrusted Python programs in HTTP sandboxes on other machines.

    A service of ours (`stepcoder-trl serve`) gets programs with their tests, and decides their outcomes as a
    [`CodeExecutor`] does: results are the same. Another one must implement SandboxFusion's `/run_code`. It gets our
    fork server as a script, and no expected outputs: outcomes are decided here. Its layers are what it reports, and
    cannot be verified. Without seccomp and Landlock, a program can kill its fork server there (`runtime_error`,
    message "worker lost"), or attach to it as a debugger and forge the report. Output of more than about one megabyte,
    compressed, is not returned (`runtime_error`).

    Several services share the work. Programs of one that is gone go to the others. A failure of a service is never an
    outcome: it is tried again, then the future raises a `SandboxError`. Programs wait for services that are busy.

    Args:
        config (`RemoteConfig`, `str` or `Sequence[str]`): Settings, or the addresses.

    Example:

    ```python
    >>> with RemoteExecutor(["http://sandbox-1:8080", "http://sandbox-2:8080"]) as executor:
    ...     executor.run("print(7)", {"type": "stdio", "inputs": [""], "outputs": ["7"]}).outcome
    <Outcome.PASSED: 'passed'>
    ```
    """

    config: RemoteConfig

    def __init__(self, config: RemoteConfig | str | Sequence[str]) -> None:
        self.config = config if isinstance(config, RemoteConfig) else RemoteConfig(config)
        self._recent = RecentTests()
        self._begin()

    def _begin(self) -> None:
        """Create the threads and connections of this process. A forked process cannot use those of its parent."""
        config = self.config
        self._services = [RemoteService(url, config) for url in config.urls]
        self._dispatcher = Dispatcher(self._services, config.max_attempts, config.backoff_s, config.busy_timeout_s)
        self._finalizer = weakref.finalize(self, self._dispatcher.close)

    def submit(self, program: str, tests: TestsLike) -> Future[Execution]:
        """Run a program in the background, see [`Backend`]."""
        item = Item(program, self._recent.parse(tests), owner=self)
        if self._dispatcher.pid != os.getpid():
            self._finalizer.detach()
            self._begin()
        self._dispatcher.put(item)
        return item.future

    def close(self) -> None:
        """Cancel waiting programs and abort running requests. Closing twice is allowed."""
        self._dispatcher.close()

    @property
    def layers(self) -> dict[str, bool]:
        """Return the isolation layers by name, `True` where all services that answered report the layer as active."""
        layers: dict[str, bool] = {}
        for greeting in self._greetings():
            for name, active in greeting["layers"].items():
                layers[name] = active and layers.get(name, True)
        return layers

    @property
    def missing_layers(self) -> dict[str, str]:
        """Return the layers that some service lacks, and what each would have prevented."""
        return {name: text for greeting in self._greetings() for name, text in greeting["missing"].items()}

    def _greetings(self) -> list[Greeting]:
        if not any(service.greeting for service in self._services):
            self.run(HARMLESS_PROGRAM, HARMLESS_TESTS)
        return [service.greeting for service in self._services if service.greeting is not None]
