"""Routes of the service."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from stepcoder_trl.errors import BadInputError, SandboxError
from stepcoder_trl.executor.serve import run_code
from stepcoder_trl.executor.serve.admission import OVERLOADED, BoundedBodies, Refused, too_large
from stepcoder_trl.executor.serve.problems import Asked, parse_problems
from stepcoder_trl.executor.serve.run_code import RunJob, RunRequest
from stepcoder_trl.executor.serve.service import Overloaded, SandboxService, Stopping
from stepcoder_trl.executor.wire.frames import json_bytes
from stepcoder_trl.executor.wire.problems import (
    HEARTBEAT_S,
    PROBLEMS_PATH,
    SERVICE_PATH,
    TOKEN_VARIABLE,
    ProblemResult,
    execution_to_json,
)
from stepcoder_trl.jsonl import parse_json


_PATHS = ("/run_code", PROBLEMS_PATH, SERVICE_PATH, "/metrics", "/v1/ping", "/healthz")
_LARGE_BYTES = 2**18  # of a body that is read in a thread, so that other requests go on meanwhile

_Result = TypeVar("_Result")
_Endpoint = Callable[[Request], Awaitable[Response]]


def make_app(service: SandboxService) -> Starlette:
    """Return the application of a service."""
    answers = _Answers(service)
    return Starlette(
        middleware=[
            Middleware(
                BoundedBodies,
                max_body_bytes=service.config.max_body_bytes,
                max_total_bytes=service.config.bodies_bytes,
                count=answers.count,
            )
        ],
        routes=[
            Route("/run_code", answers.guarded(answers.run_code), methods=["POST"]),
            Route(PROBLEMS_PATH, answers.guarded(answers.problems), methods=["POST"]),
            Route(SERVICE_PATH, answers.guarded(answers.describe)),
            Route("/metrics", answers.guarded(answers.metrics)),
            Route("/v1/ping", answers.guarded(answers.ping, is_open=True)),
            Route("/healthz", answers.guarded(answers.health, is_open=True)),
        ],
    )


class _Answers:
    """Answers to all requests."""

    def __init__(self, service: SandboxService) -> None:
        self.service = service
        self.config = service.config
        self.pod = socket.gethostname()

    def guarded(self, answer: _Endpoint, is_open: bool = False) -> _Endpoint:
        """Return an endpoint that turns refusals into answers, and counts. Unless it is open, it needs the token."""

        async def endpoint(request: Request) -> Response:
            try:
                if not is_open:
                    self._check_token(request)
                response = await answer(request)
            except Refused as refusal:
                response = refusal.response()
            except BadInputError as error:
                response = Refused(422, f"{str(error).rstrip('.')}.").response()
            except (Overloaded, Stopping) as error:
                response = Refused(OVERLOADED, f"The service is busy: {error}. Try again later.").response()
            except ClientDisconnect:
                response = Response(status_code=499)  # nobody reads it
            except Exception as error:  # a defect of ours, which must not look like an outcome
                response = Refused(500, self.service.report_defect(error)).response()
            self.count(request.url.path, response.status_code)
            return response

        return endpoint

    def count(self, path: str, status: int) -> None:
        """Count a request. All paths that lead to nothing count as one."""
        self.service.metrics.requests.labels(path if path in _PATHS else "other", status).inc()

    async def ping(self, request: Request) -> Response:
        """Answer as SandboxFusion does."""
        return JSONResponse("pong")

    async def health(self, request: Request) -> Response:
        """Answer whether new programs are taken."""
        return PlainTextResponse("stopping\n", 503) if self.service.stopping.is_set() else PlainTextResponse("ok\n")

    async def describe(self, request: Request) -> Response:
        """Describe this service."""
        return JSONResponse(await asyncio.to_thread(self.service.describe))

    async def metrics(self, request: Request) -> Response:
        """Return all counters."""
        return Response(self.service.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def run_code(self, request: Request) -> Response:
        """Run one script, as SandboxFusion does."""
        self.service.check_room(1)
        asked, run = await self._parsed(request, self._prepare_run)
        if run is None:
            sentence = f"This sandbox runs Python only, not {asked.language!r}."
            return JSONResponse(run_code.sandbox_error(sentence, self.pod))
        wait_s = self.config.queue_timeout_s + min(asked.compile_timeout_s, self.config.max_timeout_s)
        try:
            answer = await _while_connected(request, self.service.run_script(asked, run, self.pod, wait_s))
        except SandboxError as error:
            answer = run_code.sandbox_error(str(error), self.pod)
        return JSONResponse(answer)

    async def problems(self, request: Request) -> Response:
        """Run programs under their tests. Each result is sent as a line of JSON as soon as it is there."""
        self.service.check_room(1)
        asked = await self._parsed(request, lambda body: list(parse_problems(body, self.service.bounds)))
        most = self.service.max_programs
        if len(asked) > most:
            raise Refused(
                413,
                f"The request has {len(asked)} programs, but this service takes {most} at a time. "
                "Send fewer in a request, or start the service with a larger `--max-waiting`.",
            )
        self.service.check_room(len(asked))
        return StreamingResponse(_lines(self.service, asked), media_type="application/x-ndjson")

    def _prepare_run(self, body: Any) -> tuple[RunRequest, RunJob | None]:
        asked = run_code.parse_request(body)
        run = run_code.prepare_run(asked, self.service.bounds.of_run(asked)) if asked.is_python else None
        return asked, run

    async def _parsed(self, request: Request, parse: Callable[[Any], _Result]) -> _Result:
        """Return what `parse` makes of the JSON of a request."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refused(415, "The body must be JSON. Send the header `Content-Type: application/json`.")
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > self.config.max_body_bytes:
                raise too_large(self.config.max_body_bytes)
        if len(body) > _LARGE_BYTES:
            return await asyncio.to_thread(lambda: parse(_value_of(bytes(body))))
        return parse(_value_of(bytes(body)))

    def _check_token(self, request: Request) -> None:
        expected = f"Bearer {self.config.token}".encode()
        given = request.headers.get("authorization", "").encode()
        if self.config.token and not hmac.compare_digest(given, expected):
            raise Refused(401, f"The token is missing or wrong. Send the one of the service's {TOKEN_VARIABLE}.")


def _value_of(body: bytes) -> Any:
    """Return the value of JSON. Integers may have any length, though Python limits their digits."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        pass
    try:
        return parse_json(body.decode("utf-8"))
    except ValueError as error:
        raise Refused(400, f"The body is not JSON: {error}.") from None


async def _while_connected(request: Request, result: Coroutine[Any, Any, _Result]) -> _Result:
    """Return a result, or raise ClientDisconnect once the client is gone: a program that waits is not run then."""
    running, gone = asyncio.ensure_future(result), asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait((running, gone), return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            raise ClientDisconnect
        return running.result()
    finally:
        for task in (running, gone):
            task.cancel()


# `/v1/problems`


async def _lines(service: SandboxService, asked: list[Asked | BadInputError]) -> AsyncIterator[bytes]:
    """Yield the results of programs as lines, in the order in which they are there."""
    ready: asyncio.Queue[bytes] = asyncio.Queue()
    tasks = [asyncio.ensure_future(_answer(service, index, one, ready)) for index, one in enumerate(asked)]
    left = len(tasks)
    try:
        while left:
            lines = []
            with contextlib.suppress(asyncio.TimeoutError):
                lines.append(await asyncio.wait_for(ready.get(), HEARTBEAT_S))
            while not ready.empty():
                lines.append(ready.get_nowait())
            left -= len(lines)
            yield b"".join(lines) or b"\n"
    finally:
        for task in tasks:
            task.cancel()


async def _answer(
    service: SandboxService, index: int, asked: Asked | BadInputError, ready: asyncio.Queue[bytes]
) -> None:
    """Put the line of one program into the queue. Whatever goes wrong, there is a line."""
    try:
        line = json_bytes(await _result(service, index, asked))
    except Exception as error:  # a defect of ours, which must not look like an outcome
        line = json_bytes(ProblemResult(index=index, error=service.report_defect(error), why="sandbox"))
    ready.put_nowait(line + b"\n")


async def _result(service: SandboxService, index: int, asked: Asked | BadInputError) -> ProblemResult:
    try:
        if isinstance(asked, BadInputError):
            raise asked
        return {"index": index, "execution": execution_to_json(await service.run_problem(asked))}
    except BadInputError as error:
        return {"index": index, "error": str(error), "why": "bad_input"}
    except SandboxError as error:
        return {"index": index, "error": str(error), "why": "sandbox"}
    except Stopping as error:
        return {"index": index, "error": str(error), "why": "stopping"}
