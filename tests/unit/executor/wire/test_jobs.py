"""Test jobs on their way to a program's process."""

from __future__ import annotations

import os
import threading
import time

import pytest

from stepcoder_trl.executor.wire.frames import write_all
from stepcoder_trl.executor.wire.jobs import pack_for_child, read_exactly, unpack_in_child


@pytest.mark.parametrize("size", [0, 1, 2**24])
def test_parts_arrive(size):
    reader, writer = os.pipe()
    parts = [b"x" * size, b"", b"y"]
    sender = threading.Thread(target=write_all, args=(writer, pack_for_child({"a": 1}, parts)))
    sender.start()

    header, received = unpack_in_child(reader)

    sender.join()
    assert header["a"] == 1
    assert received == parts


def test_large_jobs_are_read_in_linear_time():
    reader, writer = os.pipe()
    data = bytes(2**27)
    sender = threading.Thread(target=write_all, args=(writer, data))
    sender.start()
    before = time.thread_time()

    received = read_exactly(reader, len(data))

    assert time.thread_time() - before < 2
    sender.join()
    assert received == data


@pytest.mark.parametrize("sent", [b"", b"abc"])
def test_end_before_the_job_is_an_error(sent):
    reader, writer = os.pipe()
    os.write(writer, sent)
    os.close(writer)

    with pytest.raises(EOFError):
        read_exactly(reader, 4)
