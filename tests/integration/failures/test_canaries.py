"""A program starts with a memory that holds nothing of another program: text, input, output, tests or values."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest

from stepcoder_trl import CodeExecutor, ExecutorConfig
from tests.processes import ON_LINUX


pytestmark = [pytest.mark.sandbox, ON_LINUX]

PREFIX = "qzbird"  # and twelve digits
# Reads all memory that it can find by what the system tells, or by walking from the addresses of its own objects.
SCAN = """
import ctypes, os, re

libc = ctypes.CDLL(None)
libc.write.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
libc.sbrk.restype = libc.malloc.restype = libc.getenv.restype = ctypes.c_void_p
pattern = re.compile("drib"[::-1].join(["qz", "[0-9]{12}"]).encode())
reader, writer = os.pipe()


def regions():
    try:
        with open("/proc/self/maps") as maps:
            for line in maps:
                start, end = (int(part, 16) for part in line.split()[0].split("-"))
                if "r" in line.split()[1] and "[v" not in line:
                    yield from range(start, end, 4096)
    except OSError:
        pass
    things = [object(), "x" * 5000, [0] * 100, bytearray(2**21), regions, b"y" * 300, {1: 2}, ctypes.c_long()]
    starts = [*map(id, things), libc.sbrk(0) - 4096, libc.malloc(100), libc.malloc(2**22)]
    starts += [libc.getenv(b"HOME") or 0, ctypes.cast(libc.write, ctypes.c_void_p).value]
    starts += [ctypes.cast(ctypes.pythonapi.PyRun_String, ctypes.c_void_p).value]
    for start in starts:
        for step in (4096, -4096):
            page, missed = start & ~4095, 0
            while missed < 4096 and page > 0:
                missed = 0 if (yield page) else missed + 1
                page += step


def scan():
    seen, found, walk = set(), set(), regions()
    page, tail = next(walk), b""
    try:
        while True:
            readable = page in seen
            if not readable and len(seen) < 60_000 and libc.write(writer, page, 4096) == 4096:
                text = os.read(reader, 4096)
                found.update(pattern.findall(tail[-32:] + text))
                seen.add(page)
                readable, tail = True, text
            page = walk.send(readable)
    except StopIteration:
        pass
    return f"{len(seen)} pages: {sorted(text.decode() for text in found)}"
"""
CHECK = "def check(candidate):\n    assert candidate('{0}') == '{1}', '{2}'\n"


class Birds:
    """Texts that occur nowhere else, and what each is part of."""

    def __init__(self) -> None:
        self._draw = random.Random(11)
        self.places: dict[str, str] = {}

    def new(self, place: str) -> str:
        bird = f"{PREFIX}{self._draw.randrange(10**12):012}"
        self.places[bird] = place
        return bird

    def found_in(self, output: str) -> list[str]:
        return sorted({self.places.get(bird, bird) for bird in re.findall(PREFIX + "[0-9]{12}", output)})


def jobs_with(birds: Birds) -> list[tuple[str, dict[str, Any]]]:
    """Return jobs of every kind, with a text of its own at every place of a job."""

    def stdio(program: str, repeat: int = 1) -> tuple[str, dict[str, Any]]:
        given = [birds.new("input") + "\n" * repeat, birds.new("input") + " " * repeat]
        wanted = [birds.new("expected output") * repeat, birds.new("expected output")]
        return f"# {birds.new('program')}\n" * repeat + program, {"type": "stdio", "inputs": given, "outputs": wanted}

    returned, wanted, message = birds.new("returned value"), birds.new("expected value"), birds.new("message")
    call = {"type": "call", "fn_name": "f", "inputs": [[birds.new("argument")]], "outputs": [[wanted]]}
    setup = CHECK.format(*(birds.new(place) for place in ("argument of a check", "value of a check", "check")))
    split = f"assert f('{birds.new('argument of an assert')}') == '{birds.new('value of an assert')}'"
    value = birds.new("answer to a check")
    return [
        stdio(f"print(input() + '{birds.new('output')}')\n"),
        stdio(f"print(input() + '{birds.new('large output')}' * 5000)\n", repeat=2000),
        stdio(f"import sys\nsys.stderr.write('{birds.new('standard error')}')\nraise ValueError('{message}')\n"),
        stdio(f"def broken(:\n    '{birds.new('program that does not compile')}'\n"),
        (f"def f(x):\n    return ['{returned}', x]\n", call),
        (f"def f(x):\n    return ['{birds.new('large value')}'] * 5000\n", call),
        (f"def f(x):\n    return '{value}'\n", {"type": "assert", "setup": setup, "asserts": ["check(f)"]}),
        (f"def f(x):\n    return '{value}'\n", {"type": "assert", "setup": "", "asserts": [split]}),
    ]


SCANNERS = {
    "stdio": (SCAN + "print(scan())\n", {"type": "stdio", "inputs": [""], "outputs": ["-"], "timeout_s": 20}),
    "call": (SCAN, {"type": "call", "fn_name": "scan", "inputs": [[]], "outputs": ["-"], "timeout_s": 20}),
}


@pytest.mark.parametrize("kind", SCANNERS)
@pytest.mark.parametrize("options", [{}, {"stop_on_first_failure": True}], ids=["all tests", "first failure"])
def test_memory_of_a_program_holds_nothing_of_earlier_jobs(kind, options):
    birds = Birds()
    with CodeExecutor(ExecutorConfig(num_workers=1, keep_outputs=True, **options)) as executor:
        for _ in range(3):
            for program, tests in jobs_with(birds):
                executor.run(program, tests)
        execution = executor.run(*SCANNERS[kind])

    output = str(execution.tests[0].output)
    assert int(re.search("([0-9]+) pages", output)[1]) > 1000, execution
    assert birds.found_in(output) == []


def test_scanner_finds_what_is_in_its_own_memory():
    program = SCAN + "kept = ['qz' + 'bird' + '1' * 12, b'x' * 10**6 + b'qzbi' + b'rd' + b'2' * 12]\nprint(scan())\n"
    with CodeExecutor(ExecutorConfig(num_workers=1, keep_outputs=True)) as executor:
        execution = executor.run(program, SCANNERS["stdio"][1])

    assert {"1" * 12, "2" * 12} <= set(re.findall(PREFIX + "([0-9]{12})", str(execution.tests[0].output))), execution
