"""Signals that the caller blocks, as Ray does in its actors."""

from __future__ import annotations

import signal

import pytest

from stepcoder_trl.executor import CodeExecutor, ExecutorConfig
from tests.processes import ON_LINUX


pytestmark = [pytest.mark.sandbox, ON_LINUX]
PROGRAM = "import signal\nprint(signal.pthread_sigmask(signal.SIG_BLOCK, ()))\n"


def test_programs_do_not_inherit_signals_that_the_caller_blocks():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        with CodeExecutor(ExecutorConfig(num_workers=1)) as executor:
            execution = executor.run(PROGRAM, {"type": "stdio", "inputs": [""], "outputs": ["set()"]})
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    assert execution.outcome == "passed", execution.tests[0].message
