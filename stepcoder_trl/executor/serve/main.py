"""Start the service, and stop it without losing what runs."""

from __future__ import annotations

import math
import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from stepcoder_trl.errors import SandboxError
from stepcoder_trl.executor.serve.app import make_app
from stepcoder_trl.executor.serve.config import ServeConfig
from stepcoder_trl.executor.serve.service import SandboxService
from stepcoder_trl.executor.wire.problems import TOKEN_VARIABLE


class _Server(uvicorn.Server):
    """Server that gives back the programs that wait as soon as it is told to stop. Its requests end then."""

    def __init__(self, config: uvicorn.Config, service: SandboxService) -> None:
        super().__init__(config)
        self.service = service
        self.should_exit = self.force_exit = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop. A second Ctrl-C ends what runs, too. The parent would end this process by the signal afterwards."""
        self.service.stopping.set()
        self.force_exit |= self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, and let the requests end."""
        self.service.stop()
        await super().shutdown(sockets)


def serve(config: ServeConfig, announce: Callable[[str], None] = print) -> None:
    """
    Serve until SIGTERM or SIGINT.

    Programs that run then have `drain_s` seconds to end, and their results are sent. Those that wait are given back:
    our client takes them to another host. `announce` gets the lines that say where the service listens.

    Raises:
        SandboxError: If the address is taken, or the sandbox cannot start.
    """
    service = SandboxService(config)
    try:
        service.start()
        listener = _listen(config)
        for line in where_it_listens(config, listener.getsockname()[1]):
            announce(line)
        server = _Server(
            uvicorn.Config(
                make_app(service),
                access_log=False,
                log_level="warning",
                lifespan="off",
                limit_concurrency=config.max_connections,
                timeout_graceful_shutdown=math.ceil(config.drain_s),
                server_header=False,
            ),
            service,
        )
        server.run([listener])
    finally:
        service.close()


def where_it_listens(config: ServeConfig, port: int) -> list[str]:
    """Return what to say about the address: who reaches it, and what they need."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    lines = [f"Serving the sandbox on http://{host}:{port}."]
    if config.is_private:
        lines.append("Only this machine reaches it; `--host 0.0.0.0` opens it to others.")
        return lines
    access = "with the token" if config.token else f"without a token. Set {TOKEN_VARIABLE} to ask for one"
    lines.append(f"WARNING: every machine that reaches this address can run programs here, {access}.")
    lines.append("The connection is not encrypted: keep it in a private network, or behind a proxy that adds TLS.")
    return lines


def _listen(config: ServeConfig) -> socket.socket:
    """Return a socket that listens. Raise a `SandboxError` that says why there is none."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        return socket.create_server((config.host, config.port), family=family, backlog=2048)
    except OSError as error:
        raise SandboxError(
            f"{config.host}:{config.port}: the service cannot listen there ({error.strerror or error}). "
            "Choose another `--host` or `--port`."
        ) from None
