"""Start the service, and stop it without losing what runs."""

from __future__ import annotations

import asyncio
import math
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn

from stepcoder_trl.errors import SandboxError
from stepcoder_trl.executor.serve.app import make_app
from stepcoder_trl.executor.serve.config import ServeConfig
from stepcoder_trl.executor.serve.service import SandboxService
from stepcoder_trl.executor.wire.problems import TOKEN_VARIABLE


_RETURN_S = 10  # for requests to get their answers, after the programs have ended or were ended


class _Server(uvicorn.Server):
    """
    Server that gives back the programs that wait as soon as it is told to stop. Their requests end then.

    Programs that still run after `drain_s`, or at a second Ctrl-C, are ended and given back, too.
    """

    def __init__(self, config: uvicorn.Config, service: SandboxService) -> None:
        super().__init__(config)
        self.service = service
        self.interrupts = 0
        self.should_exit = self.force_exit = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop. The parent would end this process by the signal afterwards."""
        self.service.stopping.set()
        self.interrupts += self.should_exit and sig == signal.SIGINT
        self.force_exit = self.interrupts > 1
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, and let the requests end."""
        self.service.stop()
        ending = asyncio.create_task(self._end_programs())
        await super().shutdown(sockets)
        ending.cancel()

    async def _end_programs(self) -> None:
        end_s = time.monotonic() + self.service.config.drain_s
        while time.monotonic() < end_s and not self.interrupts:
            await asyncio.sleep(0.1)
        await asyncio.to_thread(self.service.close)


def serve(config: ServeConfig, announce: Callable[[str], None] = print) -> None:
    """
    Serve until SIGTERM or SIGINT.

    Programs that run then have `drain_s` seconds to end, and their results are sent. Those that wait, and those that
    run longer, are given back: our client takes them to another host. `announce` gets the lines that say where the
    service listens.

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
                timeout_graceful_shutdown=math.ceil(config.drain_s) + _RETURN_S,
                server_header=False,
            ),
            service,
        )
        server.run([listener])
    finally:
        service.close()


def where_it_listens(config: ServeConfig, port: int) -> list[str]:
    """Return what to say about the address: who reaches it, and what they need."""
    lines = [f"Serving the sandbox on http://{_address(config.host, port)}."]
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
        listening = socket.create_server((config.host, config.port), family=family, backlog=2048)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while ")[0]  # behind it is the address once more
        raise SandboxError(
            f"{_address(config.host, config.port)}: the service cannot listen there ({reason}). "
            "Choose another `--host` or `--port`."
        ) from None
    # Connections inherit it. asyncio sets it only where the socket names its protocol, which this one does not.
    # Without it the second part of an answer waits some 40 ms for the client to acknowledge the first.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
