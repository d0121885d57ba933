"""`stepcoder-trl serve`: serve the sandbox of this machine over HTTP.

Trainers on other machines send programs to it: ours with `executor=RemoteExecutor([...])` or `--executor-urls`, and
those that speak SandboxFusion's protocol, such as verl and tinker-cookbook, with the address of `/run_code`.
"""

from __future__ import annotations

import argparse
import os
import sys

from stepcoder_trl.cli.executor_flags import add_memory, add_workers
from stepcoder_trl.cli.flags import mebibytes
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.executor import ExecutorConfig
from stepcoder_trl.executor.serve.config import ServeConfig
from stepcoder_trl.executor.wire.problems import TOKEN_VARIABLE


EPILOG = f"""paths: POST /run_code (SandboxFusion's protocol), POST /v1/problems (ours: many programs with tests),
GET /metrics (Prometheus), /healthz and /v1/ping. docs/serve.md describes them.
The environment variable {TOKEN_VARIABLE} holds the token that requests must bring, if there is one.
SIGTERM and Ctrl-C stop the service: programs that run end, those that wait are given back to the client.
It needs `pip install 'stepcoder-trl[serve]'`.

examples:
  stepcoder-trl serve                                  this machine alone, on http://127.0.0.1:8080
  {TOKEN_VARIABLE}=secret stepcoder-trl serve --host 0.0.0.0 --isolation strict
"""

_PACKAGES = ("prometheus_client", "starlette", "uvicorn")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    add = parser.add_argument
    config = ServeConfig()
    add("--host", default=config.host, metavar="H", help="Listen on this address (default: this machine alone).")
    add(
        "--port",
        type=int,
        default=config.port,
        metavar="P",
        help="Listen on this port (default: 8080; 0: any free).",
    )
    add_workers(add)
    add(
        "--isolation",
        choices=("auto", "strict", "none"),
        default="auto",
        help="Select the isolation layers, as in `execute --help` (default: auto).",
    )
    add_memory(add, "Give a program whose request names no limit M MiB (default: 512).")
    add(
        "--max-memory-mb",
        dest="max_memory_bytes",
        type=mebibytes,
        default=config.max_memory_bytes,
        metavar="M",
        help="Refuse requests for more (default: 4096).",
    )
    add(
        "--max-timeout-s",
        type=float,
        default=config.max_timeout_s,
        metavar="S",
        help="Refuse requests for more seconds per test (default: 300).",
    )
    add(
        "--max-program-timeout-s",
        type=float,
        metavar="S",
        help="Refuse requests for more seconds per program (default: 3600, or --max-timeout-s if that is more).",
    )
    add(
        "--max-body-mb",
        dest="max_body_bytes",
        type=mebibytes,
        default=config.max_body_bytes,
        metavar="M",
        help="Refuse larger requests (default: 64).",
    )
    add(
        "--max-bodies-mb",
        dest="max_bodies_bytes",
        type=mebibytes,
        metavar="M",
        help="Limit the bodies of all requests together to M MiB (default: 512, or --max-body-mb if that is more).",
    )
    add(
        "--max-waiting",
        type=int,
        default=config.max_waiting,
        metavar="N",
        help="Refuse programs while N wait for a worker (default: 4096).",
    )
    add(
        "--drain-s",
        type=float,
        default=config.drain_s,
        metavar="S",
        help="Let programs run for S more seconds when the service is stopped (default: 60).",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until the process is told to stop, and return the exit status."""
    config = ServeConfig(
        host=arguments.host,
        port=arguments.port,
        executor=ExecutorConfig(
            num_workers=arguments.num_workers,
            isolation=arguments.isolation,
            memory_limit_bytes=arguments.memory_limit_bytes,
        ),
        token=os.environ.get(TOKEN_VARIABLE, ""),
        max_body_bytes=arguments.max_body_bytes,
        max_bodies_bytes=arguments.max_bodies_bytes,
        max_waiting=arguments.max_waiting,
        max_timeout_s=arguments.max_timeout_s,
        max_program_timeout_s=arguments.max_program_timeout_s,
        max_memory_bytes=arguments.max_memory_bytes,
        drain_s=arguments.drain_s,
    )
    try:
        from stepcoder_trl.executor.serve.main import serve
    except ModuleNotFoundError as error:
        if error.name not in _PACKAGES:
            raise
        raise BadInputError(f"`serve` needs the package {error.name}. pip install 'stepcoder-trl[serve]'") from None
    serve(config, announce=lambda line: print(line, file=sys.stderr, flush=True))
    return 0
