"""Socket on which the service listens."""

from __future__ import annotations

import socket

from stepcoder_trl.executor.serve.config import ServeConfig
from stepcoder_trl.executor.serve.main import _listen


def test_answers_do_not_wait_for_acknowledgements():
    with _listen(ServeConfig(port=0)) as listening, socket.create_connection(listening.getsockname()):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
