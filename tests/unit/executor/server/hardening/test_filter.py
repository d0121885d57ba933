"""The seccomp filter as a program, for both architectures, run by an interpreter of its instructions."""

from __future__ import annotations

import errno
import hashlib
import os
import struct
from typing import Any

import pytest

from stepcoder_trl.executor.server.hardening import seccomp, syscalls


# SHA-256 of the instructions as the kernel reads them. A change of the filter changes these, and nothing else does.
DIGESTS = {
    ("x86_64", False): "8d4679088e3fc918125de3ffefd2d6f6619e9a05aa80ad75a4d5837f9a9622e5",
    ("x86_64", True): "a0a29750823c0ab04d4a7af64a4e4946c964a1b3c92a2ea4cb5bea84057486a6",
    ("aarch64", False): "6b09cd293c72801849a491a46236318f8c3336cc122a03fcb54d01698332e454",
    ("aarch64", True): "1b99f5fc23c2db1b456987f05ac2d210663f6ebf398a54ee3742f2f062c20399",
}


@pytest.mark.parametrize(("machine", "guard_files"), DIGESTS)
def test_filter_is_the_same_to_the_byte(machine, guard_files):
    ops = seccomp.filter_ops(syscalls.architecture(machine), guard_files=guard_files)

    program = b"".join(struct.pack("<HBBI", *op) for op in ops)

    assert hashlib.sha256(program).hexdigest() == DIGESTS[machine, guard_files]


def answer_of(ops: list[tuple[int, int, int, int]], arch: int, number: int, *arguments: int) -> int:
    """Interpret a filter as the kernel does."""
    words = {0: number, 4: arch}
    for index in range(6):
        value = arguments[index] if index < len(arguments) else 0
        words[16 + 8 * index], words[20 + 8 * index] = value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF
    accumulator, position = 0, 0
    while True:
        code, if_true, if_false, operand = ops[position]
        position += 1
        if code == 0x20:
            accumulator = words[operand]
        elif code == 0x54:
            accumulator &= operand
        elif code == 0x05:
            position += operand
        elif code == 0x06:
            return operand
        else:
            holds = {0x15: accumulator == operand, 0x35: accumulator >= operand, 0x45: accumulator & operand != 0}
            position += if_true if holds[code] else if_false


@pytest.fixture(params=DIGESTS)
def filter_of(request: pytest.FixtureRequest) -> Any:
    """Answer of the filter to a call: allowed, killed or an error number."""
    machine, guard_files = request.param
    described = syscalls.architecture(machine)
    numbers = described.numbers
    ops = seccomp.filter_ops(described, guard_files=guard_files)
    assert len(ops) < 4096

    def ask(call: str | int, *arguments: int, arch: int = described.audit) -> int | str:
        number = numbers.get(call, -1) if isinstance(call, str) else call
        if number < 0:
            return "no such call"
        action = answer_of(ops, arch, number, *arguments)
        if action & 0xFFFF0000 == 0x00050000:
            return action & 0xFFFF
        return {0x7FFF0000: "allowed", 0x80000000: "killed"}[action]

    ask.guard_files = guard_files  # type: ignore[attr-defined]
    ask.numbers = numbers  # type: ignore[attr-defined]
    return ask


def test_every_named_call_has_its_answer(filter_of):
    expected = {
        **dict.fromkeys(seccomp.DENIED, errno.EPERM),
        **dict.fromkeys(seccomp.IGNORED, 0),
        **dict.fromkeys(seccomp.UNSUPPORTED, errno.ENOTSUP),
        **dict.fromkeys(seccomp.ABSENT, errno.ENOSYS),
        **dict.fromkeys(seccomp.FILE_CHANGES, errno.EACCES if filter_of.guard_files else "allowed"),
    }

    for name, answer in expected.items():
        assert filter_of(name) in (answer, "no such call"), name


def test_unnamed_calls_are_allowed_up_to_the_newest_known(filter_of):
    unnamed = set(range(syscalls.NEWEST_KNOWN + 1)) - set(filter_of.numbers.values())

    assert {filter_of(number) for number in unnamed} == {"allowed"}
    assert {filter_of(number) for number in (463, 1000, 2**30 + 1, 2**31, 2**32 - 1)} == {errno.ENOSYS}


def test_answers_by_arguments(filter_of):
    pid, number = seccomp.PID_SLOT, seccomp.SIGNAL_SLOT

    assert [filter_of("kill", who, 10) for who in (pid, 1, 0, 2**32 - 1)] == ["allowed", 1, 1, 1]
    assert [filter_of("kill", pid, which) for which in (9, 19, 15)] == [1, 1, "allowed"]
    assert [filter_of("rt_sigqueueinfo", who, which) for who, which in ((pid, 10), (pid, 9), (1, 10))] == [
        *("allowed", 1, 1)
    ]
    for call in ("tgkill", "rt_tgsigqueueinfo"):
        assert [filter_of(call, who, 5, which) for who, which in ((pid, 10), (pid, 9), (pid, 19), (1, 10))] == [
            *("allowed", 1, 1, 1)
        ]
    assert [filter_of("clone", flags) for flags in (0x3D0F00, 17, 0x4011, 0x20010F00, 0x3D0B00)] == [
        *("allowed", 1, 1, 1, 1)
    ]
    assert [filter_of("close_range", 3, 9, flags) for flags in (0, 4, 2, 6)] == ["allowed", "allowed", 1, 1]
    assert [filter_of("mmap", 0, 9, 3, flags) for flags in (0x22, 0x40022)] == ["allowed", 1]
    options = [filter_of("setsockopt", 3, 1, option) for option in (16, 26, 7, 8, 32, 33)]
    assert options == ["allowed", 1, 0, 0, 0, 0]
    assert [filter_of("socketpair", *pair) for pair in ((1, 1), (1, 0o2000001), (1, 2), (2, 1))] == [
        *("allowed", "allowed", 1, 1)
    ]
    assert [filter_of("prlimit64", 0, 9, new) for new in (0, 8, 2**40)] == ["allowed", 0, 0]
    assert [
        filter_of("rt_sigaction", which, new) for which, new in ((number, 8), (number, 2**40), (number, 0), (9, 8))
    ] == [*(1, 1, "allowed", "allowed")]
    assert [filter_of("prctl", option) for option in (15, 16, 4, 22)] == ["allowed", "allowed", 1, 1]
    assert [filter_of("ioctl", 0, request) for request in (0x5401, 0x5412)] == ["allowed", errno.ENOTTY]
    assert [filter_of("fcntl", 0, command) for command in (1, 4, 6, 7, 8, 10, 15, 37, 1030, 1031)] == [
        *("allowed", "allowed", 0, 0, 1, 1, 1, 1, "allowed", 1)
    ]
    create = errno.EACCES if filter_of.guard_files else "allowed"
    assert [filter_of("openat", 0, 0, flags) for flags in (0, os.O_CLOEXEC, os.O_RDWR)] == [
        "allowed",
        "allowed",
        create,
    ]
    assert filter_of("openat", 0, 0, os.O_RDONLY | os.O_TRUNC) in (errno.EPERM, errno.EACCES)


def test_other_architectures_are_killed(filter_of):
    assert filter_of(1, arch=0x40000003) == "killed"
