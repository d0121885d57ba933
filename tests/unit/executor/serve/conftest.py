"""Service in a process of its own, as users start it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[4]


class Served:
    """Process of `stepcoder-trl serve` on a free port."""

    def __init__(self, *options: str, token: str = "") -> None:
        pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "STEPCODER_BACKEND_TOKEN": token}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stepcoder_trl", "serve", "--port", "0", *options],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self.process.stderr is not None
        self.announced = [self.process.stderr.readline()]
        found = re.search(r"http://\S+:\d+", self.announced[0])
        assert found is not None, self.announced
        self.url = found[0]

    def kill(self) -> None:
        """End the process and the connections to it at once, as a machine that loses its power."""
        self.process.kill()

    def stop(self) -> int:
        """Stop the service as Ctrl-C does, and return its exit status."""
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(timeout=60)
        assert self.process.stderr is not None
        self.announced += self.process.stderr.readlines()
        self.process.stderr.close()
        return status


@pytest.fixture(scope="package")
def served() -> Iterator[Served]:
    """Service with two workers. Its processes must be gone where other tests look for what is left."""
    service = Served("--workers", "2", "--max-body-mb", "1", "--max-timeout-s", "20")
    yield service
    service.stop()
