"""Test that parts of `multiprocessing` work in the one process of a program."""

from __future__ import annotations

import random
import threading
from _multiprocessing import SemLock as OfTheLibrary
from concurrent.futures import ThreadPoolExecutor

import pytest

from stepcoder_trl import Outcome
from stepcoder_trl.executor.child.synchronize import RECURSIVE_MUTEX, SEMAPHORE, SemLock


other_thread = ThreadPoolExecutor(1)  # one for all: the number of a thread that has ended is used again


def in_thread(function):
    return other_thread.submit(function).result()


def outcome(function):
    try:
        return function()
    except (ValueError, AssertionError) as error:
        return type(error), str(error)


def state(lock):
    return lock._count(), lock._is_mine(), lock._get_value(), lock._is_zero(), in_thread(lock._is_mine)


STEPS = {
    "acquire": lambda lock: lock.acquire(False),
    "acquire with time": lambda lock: lock.acquire(True, 0.001),
    "acquire with negative time": lambda lock: lock.acquire(timeout=-1),
    "acquire in thread": lambda lock: in_thread(lambda: lock.acquire(block=False)),
    "release": lambda lock: outcome(lock.release),
    "release in thread": lambda lock: in_thread(lambda: outcome(lock.release)),
}


@pytest.mark.parametrize(
    ("kind", "value", "maximum"), [(RECURSIVE_MUTEX, 1, 1), (SEMAPHORE, 1, 1), (SEMAPHORE, 2, 3), (SEMAPHORE, 0, 5)]
)
@pytest.mark.parametrize("seed", range(20))
def test_semaphore_does_what_that_of_the_library_does(kind, value, maximum, seed):
    draw = random.Random(seed)
    ours, library = SemLock(kind, value, maximum, "a", True), OfTheLibrary(kind, value, maximum, f"/t{seed}", True)
    for _ in range(30):
        name = draw.choice(list(STEPS))
        assert STEPS[name](ours) == STEPS[name](library), name
        assert state(ours) == state(library), name
    assert (ours.kind, ours.maxvalue, ours.name) == (library.kind, library.maxvalue, library.name)


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind"):
        SemLock(7, 1, 1, "a", True)


def test_waiting_thread_is_woken():
    lock = SemLock(SEMAPHORE, 0, 1, "a", True)
    thread = threading.Thread(target=lock.acquire)
    thread.start()
    lock.release()
    thread.join(5)

    assert not thread.is_alive()


@pytest.mark.sandbox
@pytest.mark.parametrize(
    "program",
    [
        "from multiprocessing.dummy import Pool\nwith Pool(4) as p: total = sum(p.map(abs, range(-n, n)))",
        "from multiprocessing.pool import ThreadPool\nwith ThreadPool() as p: total = sum(p.imap(abs, range(-n, n)))",
        "from multiprocessing.pool import ThreadPool\np = ThreadPool(2)\ntotal = p.apply_async(pow, (n, 2)).get(5)",
        "from multiprocessing import Lock, RLock\nlock = RLock()\nwith Lock(), lock, lock: total = n * n",
        "import multiprocessing as mp\nq = mp.Queue()\nq.put(n)\ntotal = q.get() * n",
        "import multiprocessing as mp\nq = mp.JoinableQueue()\nq.put(n)\ntotal = q.get() * n\nq.task_done()\nq.join()",
        "import multiprocessing as mp\nq = mp.SimpleQueue()\nq.put([n])\ntotal = q.get()[0] * n",
        "from multiprocessing import Value\nv = Value('i', n)\nwith v.get_lock(): v.value *= n\ntotal = v.value",
        "from multiprocessing import Array\na = Array('d', [n] * n)\ntotal = int(sum(a[:]))",
        "from multiprocessing.sharedctypes import RawArray, RawValue\na = RawArray('l', n)\na[0] = n\n"
        "total = a[0] * RawValue('l', n).value",
        "from multiprocessing import Semaphore, BoundedSemaphore, Event, Condition, Barrier\n"
        "s, b, e = Semaphore(2), BoundedSemaphore(2), Event()\ns.acquire()\ntotal = s.get_value() * n * n\ne.set()\n"
        "e.wait()\nBarrier(1).wait()\n"
        "with b, Condition() as c:\n    pass\ntry:\n    b.release()\nexcept ValueError:\n    pass",
        "import multiprocessing.dummy as mp\ntotal = []\nt = mp.Process(target=lambda: total.append(n * n))\n"
        "t.start()\nt.join()\ntotal = total[0]",
        "from multiprocessing import get_context\ntotal = n * n * get_context('spawn').Lock().acquire()",
        "import multiprocessing\ntotal = n * n\nassert multiprocessing.cpu_count()",
    ],
)
def test_program_can_use_multiprocessing_without_processes(fast_executor, program):
    program = f"n = int(input())\n{program}\nprint(total)\n"
    tests = {"type": "stdio", "inputs": ["7\n", "8\n"], "outputs": ["49\n", "64\n"]}

    execution = fast_executor.run(program, tests)

    assert execution.outcome is Outcome.PASSED, execution.tests


@pytest.mark.sandbox
def test_program_without_multiprocessing_does_not_load_it(fast_executor):
    program = "import sys\nprint('multiprocessing' in sys.modules)"
    tests = {"type": "stdio", "inputs": [""], "outputs": ["False"]}

    assert fast_executor.run(program, tests).outcome is Outcome.PASSED
