"""Correct programs work under all layers."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tests.unit.executor.server.hardening.probes import run_server


pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(sys.platform != "linux", reason="the layers are made for Linux"),
]

# Code, and the value that it must see.
ALLOWED_PROBES: dict[str, tuple[str, Any]] = {
    "threads with large stacks": (
        "threading.stack_size(128 * 2**20)\nvalue = []\n"
        "t = threading.Thread(target=lambda: value.append(1)); t.start(); t.join()",
        [1],
    ),
    "forty threads": (
        "ts = [threading.Thread(target=lambda: (bytearray(10**5), time.sleep(0.05))) for _ in range(40)]\n"
        "for t in ts: t.start()\nfor t in ts: t.join()\nvalue = 1",
        1,
    ),
    "a hundred threads": (
        "ts = [threading.Thread(target=time.sleep, args=(0.05,)) for _ in range(100)]\n"
        "for t in ts: t.start()\nfor t in ts: t.join()\nvalue = 1",
        1,
    ),
    "two hundred workers": (
        "barrier = threading.Barrier(200)\n"
        "with concurrent.futures.thread.ThreadPoolExecutor(200) as pool: "
        "value = len(list(pool.map(lambda _: barrier.wait(), range(200))))",
        200,
    ),
    "stack larger than memory": (
        "sys.setrecursionlimit(10**6)\nvalue = [threading.stack_size(512 * 2**20)]\n"
        "def count(n): return n if n == 0 else 1 + count(n - 1)\n"
        "for _ in range(3):\n"
        "    t = threading.Thread(target=lambda: value.append(count(50_000))); t.start(); t.join()\n"
        "value += [threading.stack_size(), threading.stack_size()]",
        [0, 50_000, 50_000, 50_000, 512 * 2**20, 0],
    ),
    "thread pool": (
        "with concurrent.futures.thread.ThreadPoolExecutor(4) as pool: value = list(pool.map(str, range(9)))",
        list("012345678"),
    ),
    "asyncio": ("async def f():\n await asyncio.sleep(0); return 7\nvalue = asyncio.run(f())", 7),
    "pair of stream sockets": ("a, b = socket.socketpair(); a.send(b'hi'); value = b.recv(9).decode()", "hi"),
    "epoll": ("value = select.epoll().poll(0)", []),
    "temporary file": ("f = tempfile.TemporaryFile('w+'); f.write('x'); f.seek(0); value = f.read()", "x"),
    "named temporary file": ("f = tempfile.NamedTemporaryFile(); value = os.path.exists(f.name)", True),
    "temporary folder": ("with tempfile.TemporaryDirectory() as d: open(d + '/a', 'w').close(); value = 1", 1),
    "files in the scratch folder": (
        "os.makedirs('a/b'); open('a/x', 'w').write('1'); os.rename('a/x', 'a/b/y'); os.symlink('a', 'c'); "
        "os.link('a/b/y', 'z'); value = open('c/b/y').read() + open('z').read(); shutil.rmtree('a')",
        "11",
    ),
    "copies": (
        "open('a', 'w').write('1'); shutil.copy('a', 'b'); shutil.copy2('a', 'c'); shutil.move('c', 'd'); "
        "value = open('d').read()",
        "1",
    ),
    "database": (
        "c = sqlite3.connect('x.db'); c.execute('create table t(a)'); value = list(c.execute('select 1'))",
        [[1]],
    ),
    "space for a file": (
        "f = open('m', 'wb'); os.posix_fallocate(f.fileno(), 0, 9999); value = os.stat('m').st_size",
        9999,
    ),
    "lock of its own file": (
        "f = open('m', 'wb'); fcntl.lockf(f, fcntl.LOCK_EX); fcntl.lockf(f, fcntl.LOCK_UN); value = 1",
        1,
    ),
    "file on disk": ("f = open('m', 'wb'); f.write(b'1'); f.flush(); os.fsync(f.fileno()); value = 1", 1),
    "database on disk": (
        "c = sqlite3.connect('x.db'); c.execute('pragma journal_mode=wal'); c.execute('create table t(a)'); "
        "c.execute('insert into t values (7)'); c.commit(); d = sqlite3.connect('x.db'); "
        "value = list(d.execute('select a from t'))",
        [[7]],
    ),
    "mapped file": ("f = open('m', 'wb+'); f.truncate(9); value = len(mmap.mmap(f.fileno(), 0))", 9),
    "standard input by name": ("value = open('/dev/stdin').read()", "first\nsecond\n"),
    "standard input by number": ("value = open(0).readline()", "first\n"),
    "standard input by descriptor file": ("value = open('/dev/fd/0').readline()", "first\n"),
    "standard input by os.read": ("value = os.read(0, 3).decode()", "fir"),
    "null device": ("value = open('/dev/null').read() + str(open('/dev/null', 'w').write('x'))", "1"),
    "random device": ("value = len(open('/dev/urandom', 'rb', 0).read(4)) + len(os.urandom(4))", 8),
    "time zone": ("value = str(zoneinfo.ZoneInfo('UTC').utcoffset(None)) + time.strftime('%Z')[:0]", "0:00:00"),
    "number of processors": ("value = os.cpu_count() >= 1", True),
    "raised limit": (
        "before = resource.getrlimit(resource.RLIMIT_AS)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "resource.setrlimit(resource.RLIMIT_STACK, (2**29, resource.RLIM_INFINITY))\n"
        "value = before == resource.getrlimit(resource.RLIMIT_AS) and before[0] < 2**40",
        True,
    ),
    "no handler of crashes, which 0 would start": ("value = resource.getrlimit(resource.RLIMIT_CORE)[0]", 1),
    "priority": ("os.nice(0); os.sched_setaffinity(0, os.sched_getaffinity(0)); value = 1", 1),
    "alarm": (
        "value = []\nsignal.signal(signal.SIGALRM, lambda *_: value.append(1))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.01)\nsignal.pause()",
        [1],
    ),
    "signal to itself": (
        "value = []\nsignal.signal(signal.SIGUSR1, lambda *_: value.append(1))\n"
        "os.kill(os.getpid(), signal.SIGUSR1); signal.raise_signal(signal.SIGUSR1)",
        [1, 1],
    ),
    "signal to a thread of its own": (
        "value = []\nsignal.signal(signal.SIGUSR1, lambda *_: value.append(1))\n"
        "signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)",
        [1],
    ),
    "reading the own group": ("value = [os.getpgid(0) == os.getpid(), os.getsid(0) == os.getpid()]", [True, True]),
    "is it a terminal": ("value = [os.isatty(0), os.isatty(1)]", [False, False]),
    "host name and platform": ("value = bool(socket.gethostname()) and bool(platform.platform())", True),
    "processor time": ("value = time.process_time() >= 0 and time.thread_time() >= 0", True),
    "umask": ("os.umask(0o022); value = 1", 1),
    "chmod pretends": ("open('a', 'w').close(); os.chmod('a', 0o777); os.utime('a', (0, 0)); value = 1", 1),
    "soft signal without our handler": (
        "s = SOFT_SIGNAL; value = []\nsignal.signal(s, lambda *_: value.append(1)); signal.raise_signal(s)",
        [1],
    ),
    "soft signal with our handler": ("signal.raise_signal(SOFT_SIGNAL); value = handled", [True]),
    "looking at our handler": ("value = callable(signal.getsignal(SOFT_SIGNAL)) or handled", True),
}
# Modules that are first imported in the child: needs the interpreter's files.
IMPORT_PROBES = {
    "hashlib": ("import hashlib; value = hashlib.new('sha256', b'').hexdigest()[:4]", "e3b0"),
    "ssl": ("import ssl; value = bool(ssl.OPENSSL_VERSION)", True),
    "locale": ("import locale; locale.setlocale(locale.LC_ALL, ''); value = 1", 1),
    "uuid": ("import uuid; value = len(str(uuid.uuid1())) + len(str(uuid.uuid4()))", 72),
    "decimal": ("import decimal; value = str(decimal.Decimal(1) / 8)", "0.125"),
    "encodings": ("value = 'ü'.encode('cp037').hex() + b'a'.decode('shift_jis')", "dca"),
    "numpy": ("import numpy; value = int(numpy.arange(4).sum())", 6),
}
PROBES = {name: code for name, (code, _) in ALLOWED_PROBES.items()}


@pytest.mark.parametrize("probe", ALLOWED_PROBES)
def test_correct_program_works(confined, probe):
    assert confined["results"][probe] == {"value": ALLOWED_PROBES[probe][1]}


def test_modules_load_inside(outside):
    probes = {name: code for name, (code, _) in IMPORT_PROBES.items() if name != "numpy" or _has_numpy()}

    results = run_server(probes, outside, isolation="auto")["results"]

    assert results == {name: {"value": IMPORT_PROBES[name][1]} for name in probes}


def _has_numpy() -> bool:
    return subprocess.run([sys.executable, "-c", "import numpy"], capture_output=True).returncode == 0


def test_writing_to_standard_output_by_name(outside):
    probes = {"dev": "print('hello', file=open('/dev/stdout', 'w'))", "fd": "open(1, 'w').write('hello\\n')"}

    results = run_server(probes, outside, isolation="auto")["results"]

    assert {result["stdout"] for result in results.values()} == {"hello\n"}
