"""HTTP client of one sandbox service: JSON requests and answers, on connections that are kept."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2

from stepcoder_trl.errors import SandboxError
from stepcoder_trl.executor.wire.problems import TOKEN_VARIABLE


MAX_RESPONSE_BYTES = 64 * 2**20
_CONNECT_S = 10.0
_LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=60.0)


class TemporaryFailure(Exception):
    """
    Raised for a failure that is worth a retry.

    `wait_s` is the wait that the service asked for. `is_gone` says that the service did not answer at all, and
    `is_busy` that it works but has no room now, which is no fault.
    """

    def __init__(
        self, message: str, wait_s: float | None = None, is_gone: bool = False, is_busy: bool = False
    ) -> None:
        super().__init__(message)
        self.wait_s = wait_s
        self.is_gone = is_gone
        self.is_busy = is_busy


def is_busy(error: Exception) -> bool:
    """Return whether an error says that the service works but has no room now."""
    return isinstance(error, TemporaryFailure) and error.is_busy


class ServiceClient:
    """Client of the service at one address, for several threads."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._client = httpx2.Client(base_url=url, limits=_LIMITS, follow_redirects=False, trust_env=False)
        self._aborted = False

    def probe(self, path: str) -> tuple[int, Any]:
        """
        Return the status and the JSON at a path; `None` if it is no JSON.

        Raise a [`TemporaryFailure`] without answer, and if the service is busy.
        """
        with self._request("GET", path, None, _CONNECT_S) as response:
            content = self._content(response)
        _check_room(response, content)
        try:
            return response.status_code, json.loads(content)
        except (ValueError, RecursionError):
            return response.status_code, None

    def post(self, path: str, body: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """
        Post a JSON object and return the answer. `timeout_s` are wall seconds without a byte from the service.

        Raises a [`TemporaryFailure`], or a `SandboxError` if the service refuses the request.
        """
        with self._request("POST", path, json.dumps(body).encode("ascii"), timeout_s) as response:
            content = self._content(response)
        self._check(response, content)
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            raise TemporaryFailure(f"the answer is not JSON ({_text(content)})") from None
        if not isinstance(answer, dict):
            raise TemporaryFailure(f"the answer is not a JSON object ({_text(content)})")
        return answer

    def post_for_lines(self, path: str, body: bytes, timeout_s: float) -> Iterator[dict[str, Any]]:
        """Post JSON and yield the objects of the answer, one a line. Raises as `post`. Empty lines are left out."""
        with self._request("POST", path, body, timeout_s) as response:
            if response.status_code != 200:
                self._check(response, self._content(response))
            for line in _lines_of(response):
                try:
                    yield json.loads(line)
                except (ValueError, RecursionError):
                    raise TemporaryFailure(f"a line of the answer is not JSON ({_text(line)})") from None

    def abort(self) -> None:
        """Make running requests fail at once."""
        with self._lock:
            self._aborted = True
            for sock in self._sockets:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close all connections. No request may be running."""
        self._client.close()

    def failure(self, path: str, problem: str) -> SandboxError:
        """Return an error that names the address of the service."""
        return SandboxError(f"{self.url}{path}: {problem}.")

    @contextlib.contextmanager
    def _request(self, method: str, path: str, data: bytes | None, timeout_s: float) -> Iterator[httpx2.Response]:
        headers = {"Content-Type": "application/json", "Accept": "*/*"}
        if token := os.environ.get(TOKEN_VARIABLE):
            headers["Authorization"] = f"Bearer {token}"
        timeout = httpx2.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s))
        try:
            with self._client.stream(
                method, path, content=data, headers=headers, timeout=timeout, extensions={"trace": self._note}
            ) as response:
                yield response
        except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
            problem = f"the request failed ({type(error).__name__}: {error})"
            raise TemporaryFailure(problem, is_gone=True) from None

    def _note(self, event: str, info: Mapping[str, Any]) -> None:
        """Keep the sockets of connections: shutting them down wakes the threads that read from them."""
        if event not in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            return
        sock = info["return_value"].get_extra_info("socket")
        with self._lock:
            self._sockets = {one for one in self._sockets if one.fileno() >= 0} | {sock}
            if self._aborted:
                sock.shutdown(socket.SHUT_RDWR)

    def _content(self, response: httpx2.Response) -> bytes:
        content = bytearray()
        for part in response.iter_bytes():
            content += part
            if len(content) > MAX_RESPONSE_BYTES:
                raise TemporaryFailure(f"the answer has more than {MAX_RESPONSE_BYTES} bytes")
        return bytes(content)

    def _check(self, response: httpx2.Response, content: bytes) -> None:
        """Raise an exception if the status says that the request was not served."""
        status, path = response.status_code, response.request.url.path
        answered = _answered(response, content)
        _check_room(response, content)
        if status >= 500:
            raise TemporaryFailure(answered, _retry_after_s(response.headers.get("Retry-After")))
        if status in (401, 403):
            raise self.failure(path, f"{answered}. Set the environment variable {TOKEN_VARIABLE} to its bearer token")
        if status == 422:
            raise self.failure(path, f"the service refused the request ({_detail(content)})")
        if status != 200:
            raise self.failure(path, f"{answered}. Check the address")


def shorten(value: Any) -> str:
    """Return the text of a value for an error message: in one line, and only its end if it is long."""
    text = " ".join(str(value).split())
    return text if len(text) <= 200 else "..." + text[-197:]


def _lines_of(response: httpx2.Response) -> Iterator[bytes]:
    """Yield the lines of an answer that are not empty, as they arrive. Raise TemporaryFailure for one without end."""
    rest = bytearray()
    for part in response.iter_bytes():
        *lines, last = part.split(b"\n")
        for line in lines:
            whole, rest = bytes(rest + line), bytearray()
            if whole:
                yield whole
        rest += last
        if len(rest) > MAX_RESPONSE_BYTES:
            raise TemporaryFailure(f"a line of the answer has more than {MAX_RESPONSE_BYTES} bytes")


def _check_room(response: httpx2.Response, content: bytes) -> None:
    """
    Raise TemporaryFailure if the service is busy.

    It says so by 429, and by 504 with `Retry-After`. A 504 without it is a proxy that waited in vain, and a 503 a
    service that does not work now: both are failures.
    """
    asked = response.headers.get("Retry-After")
    if response.status_code == 429 or (response.status_code == 504 and asked is not None):
        raise TemporaryFailure(_answered(response, content), _retry_after_s(asked), is_busy=True)


def _answered(response: httpx2.Response, content: bytes) -> str:
    return f"the service answered {response.status_code} ({_text(content)})"


def _detail(content: bytes) -> str:
    """Return why a request was refused."""
    try:
        return shorten(json.loads(content)["detail"]).rstrip(".")
    except (ValueError, LookupError, TypeError, RecursionError):
        return _text(content)


def _text(content: bytes) -> str:
    return shorten(content.decode("utf-8", "replace"))


def _retry_after_s(header: str | None) -> float | None:
    try:
        return None if header is None else max(0.0, float(header))
    except ValueError:  # a date; the executor uses its own backoff
        return None
