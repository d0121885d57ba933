"""One address: what it speaks, and its layers of isolation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stepcoder_trl.errors import SandboxError
from stepcoder_trl.executor.announce import announce, start_failure
from stepcoder_trl.executor.remote.client import ServiceClient, TemporaryFailure
from stepcoder_trl.executor.remote.config import RemoteConfig
from stepcoder_trl.executor.remote.dispatch import Item
from stepcoder_trl.executor.remote.fusion import RUN_CODE_PATH, FusionProtocol
from stepcoder_trl.executor.remote.ours import OwnProtocol, Room
from stepcoder_trl.executor.wire.messages import Greeting, Refusal
from stepcoder_trl.executor.wire.problems import PROBLEMS_PATH, PROTOCOL, SERVICE_PATH, TOKEN_VARIABLE
from stepcoder_trl.types import Execution


_OTHER_SERVICE = (400, 404, 405, 501)  # answers of services that do not know our path


class RemoteService:
    """Service at one address."""

    def __init__(self, url: str, config: RemoteConfig) -> None:
        self.greeting: Greeting | None = None  # layers in force, as the service reports them
        self.url, self._config = url, config
        self._client = ServiceClient(url)
        self._protocol: OwnProtocol | FusionProtocol | None = None

    @property
    def lanes(self) -> int:
        """Return the number of threads that may call `run` at a time."""
        return 1 if self._protocol is None else self._protocol.lanes

    @property
    def max_batch(self) -> int:
        """Return the number of programs of one call of `run`."""
        return 1 if self._protocol is None else self._protocol.max_batch

    def connect(self) -> None:
        """Ask the service whether it is there and what it speaks. Raises as `dispatch.Service` says."""
        status, answer = self._client.probe(SERVICE_PATH)
        if status in (401, 403):
            fix = f"Set the environment variable {TOKEN_VARIABLE} to its bearer token"
            raise self._client.failure(SERVICE_PATH, f"the service answered {status}. {fix}")
        if status >= 500 and status not in _OTHER_SERVICE:
            raise TemporaryFailure(f"the service answered {status}", is_gone=True)
        config = self._config
        if not isinstance(answer, dict) or answer.get("service") != "stepcoder-trl":
            self._protocol = FusionProtocol(
                self._client, config, config.num_workers, config.queue_timeout_s, self._greet
            )
            return
        if answer.get("protocol") != PROTOCOL:
            problem = f"the service is of another release (protocol {answer.get('protocol')}, here {PROTOCOL})"
            raise self._client.failure(SERVICE_PATH, f"{problem}. Install the same release there and here")
        try:
            room = Room(*(max(1, int(answer[name])) for name in ("workers", "max_programs", "max_body_bytes")))
            greeting = Greeting(layers=dict(answer["layers"]), missing=dict(answer["missing"]))
        except (ValueError, LookupError, TypeError) as error:
            raise TemporaryFailure(f"the service describes itself wrongly ({error})", is_gone=True) from None
        if config.isolation == "strict" and greeting["missing"]:
            raise start_failure(Refusal(infrastructure=self.url, refused=greeting["missing"]))
        if config.isolation == "none":
            problem = "`isolation` is 'none', which has no effect here: the service has that of its own command line"
            raise self._client.failure(SERVICE_PATH, f"{problem}. Leave it out, or start it with `--isolation none`")
        self._greet(greeting)
        self._protocol = OwnProtocol(self._client, room, config, config.num_workers, config.queue_timeout_s)

    def run(self, items: Sequence[Item]) -> Iterator[tuple[Item, Execution | Exception]]:
        """Run programs, see `dispatch.Service`."""
        assert self._protocol is not None  # it is connected
        return self._protocol.run(items)

    def failure(self, problem: str) -> SandboxError:
        """Return an error that names the address."""
        return self._client.failure(
            PROBLEMS_PATH if isinstance(self._protocol, OwnProtocol) else RUN_CODE_PATH, problem
        )

    def abort(self) -> None:
        """Make running requests fail at once."""
        self._client.abort()

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _greet(self, greeting: Greeting) -> None:
        if self.greeting is None:
            self.greeting = greeting
            announce(greeting["layers"], greeting["missing"], self._config.isolation, self.url)
