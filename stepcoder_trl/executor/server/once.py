"""
Run one job on a remote machine: the entry point of the script that `RemoteExecutor` sends.

Standard input holds the length of the request, the request and a token. Standard output gets one line: the token,
followed by the report. The token is read after the program has ended, so no process of the program ever knows it.
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
import zlib
from typing import Any

from stepcoder_trl.executor.server import main as server
from stepcoder_trl.executor.wire import scratch
from stepcoder_trl.executor.wire.frames import frame, read_frame, write_all
from stepcoder_trl.executor.wire.messages import RemoteRequest, Settings
from stepcoder_trl.executor.wire.system import is_portable


MAX_REPORT_CHARACTERS = 900_000  # services keep one megabyte of standard output

_private: list[int] = []  # descriptors that child processes must close


def main() -> None:
    """Serve the request on standard input."""
    requests, report = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    os.close(null)
    _private.extend((requests, report))
    os.register_at_fork(after_in_child=_close_private)
    with os.fdopen(requests, "rb", buffering=0, closefd=False) as stream:
        request = json.loads(_exactly(stream, int(stream.readline())))
        messages = _serve(request)
        token = stream.readline().decode("ascii").strip()
    write_all(report, f"\n{token}{report_text(messages)}\n".encode("ascii"))


def _serve(request: RemoteRequest) -> list[Any]:
    """Run the job in the fork server and return the server's messages."""
    folder = tempfile.mkdtemp(prefix="stepcoder-")
    with tempfile.TemporaryFile() as requests, tempfile.TemporaryFile() as replies:
        _private.extend((requests.fileno(), replies.fileno()))
        settings = Settings(folder=folder, isolation=request["settings"]["isolation"], portable=is_portable())
        requests.write(frame(settings) + base64.b64decode(request["job"]))
        requests.seek(0)
        # Hide the service's environment. Temporary files go to the scratch folder.
        os.environ.clear()
        os.environ.update(PATH="/usr/local/bin:/usr/bin:/bin", LANG="C.UTF-8", HOME=folder, TMPDIR=folder)
        tempfile.tempdir = None
        try:
            server.main(os.dup(requests.fileno()), os.dup(replies.fileno()))
        finally:
            scratch.remove_all(folder)
        replies.seek(0)
        messages = []
        while True:
            try:
                messages.append(read_frame(replies))
            except EOFError:
                return messages


def report_text(messages: list[Any]) -> str:
    """Return the messages as compressed text. If it is too long, replace the longest outputs by an error."""
    while len(text := _packed(messages)) > MAX_REPORT_CHARACTERS:
        reply = messages[-1]
        longest = max((result for result in reply["tests"] if result), key=lambda result: len(json.dumps(result)))
        if "error" in longest:  # the outputs are not the reason, so drop the lines
            reply["lines"] = None
        cpu_s = longest.get("cpu_s", 0.0)
        longest.clear()
        longest.update(error="wrote or returned more than the remote sandbox sends back", cpu_s=cpu_s)
    return text


def _packed(messages: list[Any]) -> str:
    return base64.b64encode(zlib.compress(json.dumps(messages).encode("ascii"))).decode("ascii")


def _exactly(stream: Any, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (part := stream.read(size - len(data))):
        data += part
    return bytes(data)


def _close_private() -> None:
    for descriptor in _private:
        os.close(descriptor)
    _private.clear()
