"""
HTTP client of a sandbox service: JSON requests and answers, on connections that stay open.

It uses the standard library, because `huggingface_hub` depends on a different HTTP library in each of its major
versions, and because aborting a request from another thread needs its socket.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import threading
from typing import Any
from urllib.parse import urlsplit

from stepcoder_trl.errors import SandboxError


TOKEN_VARIABLE = "STEPCODER_BACKEND_TOKEN"
MAX_RESPONSE_BYTES = 64 * 2**20


class TemporaryFailure(Exception):
    """Raised for a failure that is worth a retry. `wait_s` is the wait that the service asked for."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class ServiceClient:
    """Client of the service at one address, for several threads. Each thread has one connection."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._closing = False
        self._connections: dict[int, http.client.HTTPConnection] = {}  # by thread

    def post(self, body: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """
        Post a JSON object and return the answer. `timeout_s` are wall seconds without a byte from the service.

        Raises a [`TemporaryFailure`], or a `SandboxError` if the service refuses the request.
        """
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if token := os.environ.get(TOKEN_VARIABLE):
            headers["Authorization"] = f"Bearer {token}"
        connection = self._connection()
        connection.timeout = timeout_s
        try:
            if connection.sock is not None:
                connection.sock.settimeout(timeout_s)
            response = self._send(connection, json.dumps(body).encode("ascii"), headers)
            content = response.read(MAX_RESPONSE_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise TemporaryFailure(f"the request failed ({type(error).__name__}: {error})") from None
        if len(content) > MAX_RESPONSE_BYTES:
            connection.close()
            raise TemporaryFailure(f"the answer has more than {MAX_RESPONSE_BYTES} bytes")
        return self._answer(response, content)

    def abort(self) -> None:
        """Make running requests fail at once."""
        self._closing = True
        for connection in tuple(self._connections.values()):
            if (sock := connection.sock) is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close all connections. No request may be running."""
        for connection in self._connections.values():
            connection.close()

    def failure(self, problem: str) -> SandboxError:
        """Return an error that names the address of the service."""
        return SandboxError(f"{self.endpoint}: {problem}.")

    def _send(
        self, connection: http.client.HTTPConnection, data: bytes, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        """Send a request, on a new connection if the service has closed an idle one."""
        was_idle = connection.sock is not None
        try:
            connection.request("POST", urlsplit(self.endpoint).path, data, headers)
            return connection.getresponse()
        except ConnectionError:
            connection.close()
            if not was_idle or self._closing:
                raise
            return self._send(connection, data, headers)

    def _answer(self, response: http.client.HTTPResponse, content: bytes) -> dict[str, Any]:
        text = shorten(content.decode("utf-8", "replace"))
        answered = f"the service answered {response.status} ({text})"
        if response.status == 429 or response.status >= 500:
            raise TemporaryFailure(answered, _retry_after_s(response.getheader("Retry-After")))
        if response.status in (401, 403):
            raise self.failure(f"{answered}. Set the environment variable {TOKEN_VARIABLE} to its bearer token")
        if response.status != 200:
            raise self.failure(f"{answered}. Check the address")
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            raise TemporaryFailure(f"the answer is not JSON ({text})") from None
        if not isinstance(answer, dict):
            raise TemporaryFailure(f"the answer is not a JSON object ({text})")
        return answer

    def _connection(self) -> http.client.HTTPConnection:
        """Return the connection of this thread."""
        thread = threading.get_ident()
        if thread not in self._connections:
            parts = urlsplit(self.endpoint)
            kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
            self._connections[thread] = kind(str(parts.hostname), parts.port)
        return self._connections[thread]


def shorten(value: Any) -> str:
    """Return the text of a value for an error message: in one line, and only its end if it is long."""
    text = " ".join(str(value).split())
    return text if len(text) <= 200 else "..." + text[-197:]


def _retry_after_s(header: str | None) -> float | None:
    try:
        return None if header is None else max(0.0, float(header))
    except ValueError:  # a date; the executor uses its own backoff
        return None
