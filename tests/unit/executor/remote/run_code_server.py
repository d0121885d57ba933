"""HTTP sandbox for tests. It implements SandboxFusion's `/run_code` and fails on demand."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import tempfile
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class RunCodeServer(ThreadingHTTPServer):
    """
    Server that runs the code of every request in a subprocess without our package and without coverage.py.

    `script` lists failures for the next requests: an HTTP status, `garbage`, `hang`, `drop`, `sandbox_error`,
    `no_report`, `cut` or `list`. `requests` and `headers` record what was received.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[Any] = []
        self.requests: list[dict[str, Any]] = []
        self.headers: list[Any] = []
        self.connections = 0
        self.released = threading.Event()
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def stop(self) -> None:
        self.released.set()
        self.shutdown()
        self.server_close()
        self.thread.join()

    def get_request(self) -> Any:
        self.connections += 1
        return super().get_request()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RunCodeServer

    def do_GET(self) -> None:
        self.answer(404, b"no such page")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests.append(body)
            self.server.headers.append(self.headers)
            behaviour = self.server.script.pop(0) if self.server.script else "run"
        if self.path != "/run_code":
            self.answer(404, b"no such page")
        elif isinstance(behaviour, int):
            self.answer(behaviour, b"not now", {"Retry-After": "0.01"})
        elif behaviour == "garbage":
            self.answer(200, b"<html>\xff")
        elif behaviour == "list":
            self.answer(200, b"[]")
        elif behaviour == "hang":
            self.server.released.wait(60)
        elif behaviour == "drop":
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif behaviour == "sandbox_error":
            self.answer(200, json.dumps({"status": "SandboxError", "message": "out of pods"}).encode())
        else:
            self.answer(200, json.dumps(_run_code(body, behaviour)).encode())

    def answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: Any) -> None:
        """Quiet."""


def _with_full_disk(stdout: str) -> str:
    """Change a report: the disk was full when the program failed."""
    token, packed = stdout.strip()[:32], stdout.strip()[32:]
    greeting, reply = json.loads(zlib.decompress(base64.b64decode(packed)))
    reply.update(disk_full=True, tests=[{"error": "OSError", "cpu_s": 0.0} for _ in reply["tests"]])
    return f"\n{token}{base64.b64encode(zlib.compress(json.dumps([greeting, reply]).encode())).decode()}\n"


def _run_code(body: dict[str, Any], behaviour: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "main.py"
        path.write_text(body["code"])
        try:
            done = subprocess.run(
                [sys.executable, "-S", str(path)],
                input=body["stdin"],
                capture_output=True,
                text=True,
                timeout=body["run_timeout"],
                cwd=folder,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            result = {"status": "TimeLimitExceeded", "stdout": str(error.stdout), "stderr": ""}
            return {"status": "Failed", "message": "", "run_result": result}
    changed = {"no_report": "", "cut": done.stdout[:50], "disk_full": _with_full_disk}
    change = changed.get(behaviour, done.stdout)
    stdout = change if isinstance(change, str) else change(done.stdout)
    result = {"status": "Finished", "execution_time": 0.1, "return_code": done.returncode, "stdout": stdout}
    status = "Success" if done.returncode == 0 else "Failed"
    return {"status": status, "message": "", "compile_result": None, "run_result": {**result, "stderr": done.stderr}}
