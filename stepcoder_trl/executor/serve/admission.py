"""Which requests are taken: refusals, and a bound on the bytes of all bodies together."""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send


OVERLOADED = 504  # SandboxFusion's status for overload: its clients try again
_RETRY_AFTER_S = 1


class Refused(Exception):
    """Raised for a request that gets no other answer than this one."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status

    def response(self) -> Response:
        """Return the answer. Who may come again is told when."""
        headers = {"Retry-After": str(_RETRY_AFTER_S)} if self.status == OVERLOADED else None
        return JSONResponse({"detail": str(self)}, self.status, headers)


class BoundedBodies:
    """
    Application that bounds the bytes of request bodies, around another application.

    A body counts with the size that the request declares, from before it is read until the answer has been sent.
    Without a declared size it counts as the largest body allowed. A refused body is not read.

    Args:
        app (`ASGIApp`): Application that answers the requests.
        max_body_bytes (`int`): Size of one body.
        max_total_bytes (`int`): Size of all bodies together.
        count (`Callable`): Gets path and status of each request that is refused here.
    """

    def __init__(
        self, app: ASGIApp, max_body_bytes: int, max_total_bytes: int, count: Callable[[str, int], None]
    ) -> None:
        self.app, self.count = app, count
        self.max_body_bytes, self.max_total_bytes = max_body_bytes, max_total_bytes
        self.total_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        size = self._size(scope)
        refusal = self._refusal(size)
        if refusal is not None:
            self.count(scope["path"], refusal.status)
            await refusal.response()(scope, receive, send)
            return
        self.total_bytes += size
        try:
            await self.app(scope, receive, send)
        finally:
            self.total_bytes -= size

    def _size(self, scope: Scope) -> int:
        headers = Headers(scope=scope)
        if "transfer-encoding" in headers:
            return self.max_body_bytes
        return int(headers.get("content-length", 0))

    def _refusal(self, size: int) -> Refused | None:
        if size > self.max_body_bytes:
            return too_large(self.max_body_bytes)
        if self.total_bytes + size > self.max_total_bytes:
            return Refused(
                OVERLOADED,
                f"The service is busy: the requests that it serves have {self.total_bytes} bytes, "
                f"of {self.max_total_bytes} that all together may have. Try again later.",
            )
        return None


def too_large(max_body_bytes: int) -> Refused:
    """Return the refusal of a body with too many bytes."""
    return Refused(
        413,
        f"The body has more than {max_body_bytes} bytes. "
        "Send less at a time, or start the service with a larger `--max-body-mb`.",
    )
