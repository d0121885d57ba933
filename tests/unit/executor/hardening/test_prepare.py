"""
Every layer is tried for real, in children of a fresh interpreter: what is tested here must not confine pytest itself.

Each probe below is a few lines of Python that run in a child of their own; one fork server runs a whole table of them.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepcoder_trl.executor.hardening import prepare as hardening


pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(sys.platform != "linux", reason="the layers are made for Linux"),
]

# Runs in a fresh interpreter: prepares, then runs each probe in a forked child and tells what became of it.
SERVER = r"""
import asyncio, concurrent.futures.thread, ctypes, errno, fcntl, json, mmap, os, platform, resource, select, shutil
import signal, socket, sqlite3, subprocess, sys, tempfile, threading, time, zoneinfo
from stepcoder_trl.executor.hardening import prepare as hardening

wanted = json.load(sys.stdin)
scratch = wanted["scratch"]
os.chdir(scratch)
os.environ["TMPDIR"] = scratch
if wanted["uid"] is not None:
    os.setgroups([])
    os.setgid(wanted["uid"])
    os.setuid(wanted["uid"])
if not wanted["landlock"]:
    def no_landlock(kernel):
        raise OSError(errno.ENOSYS, "Function not implemented")
    hardening._landlock_abi = no_landlock
if not wanted["seccomp"]:
    platform.machine = lambda: "riscv64"
readable = [sys.prefix, sys.base_prefix, os.path.dirname(os.__file__), *filter(os.path.isdir, sys.path)]
try:
    prepared = hardening.prepare(scratch=scratch, readable=readable, isolation=wanted["isolation"])
except Exception as error:
    print(json.dumps({"raised": type(error).__name__, "message": str(error)}))
    sys.exit()
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.argtypes = [ctypes.c_long] * 7

def syscall(call, *arguments):
    number = call if isinstance(call, int) else hardening._ARCHITECTURES[platform.machine()][1][call]
    value = libc.syscall(number, *arguments, *[0] * (6 - len(arguments)))
    if value < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return value

def run(code):
    report, report_end = os.pipe()
    stdin, stdout = os.memfd_create("stdin"), os.memfd_create("stdout")
    os.write(stdin, b"first\nsecond\n")
    os.lseek(stdin, 0, os.SEEK_SET)
    pid = os.fork()
    if pid == 0:
        os.dup2(stdin, 0)
        os.dup2(stdout, 1)
        handled = []
        names = {"handled": handled, "outside": wanted["outside"], "syscall": syscall, **globals()}
        if "handled" in code:
            signal.signal(prepared.soft_signal, lambda *_: handled.append(True))
        try:
            prepared.enter_child(
                memory_limit_bytes=512 * 2**20, cpu_limit_s=wanted["cpu_s"], file_limit_bytes=2**20, open_files=64
            )
            exec(code, names)
            answer = {"value": names.get("value")}
        except OSError as error:
            answer = {"error": errno.errorcode.get(error.errno, str(error))}
        except BaseException as error:
            answer = {"error": type(error).__name__}
        os.write(report_end, json.dumps(answer).encode())
        os._exit(0)
    os.close(report_end)
    with open(report, "rb") as stream:
        text = stream.read()
    _, status = os.waitpid(pid, 0)
    for entry in os.scandir(scratch):
        shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return {"signal": signal.Signals(number).name if number < 32 else number}
    answer = json.loads(text)
    written = os.pread(stdout, 1000, 0)
    if written:
        answer["stdout"] = written.decode()
    os.close(stdin)
    os.close(stdout)
    return answer

results = {name: run(code) for name, code in wanted["probes"].items()}
status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
subreaper = ctypes.c_int()
libc.prctl(37, ctypes.byref(subreaper), 0, 0, 0)
server = {"capabilities": status["CapPrm"] + status["CapEff"], "no_new_privs": status["NoNewPrivs"]}
server |= {"dumpable": libc.prctl(3, 0, 0, 0, 0), "subreaper": subreaper.value}
print(json.dumps({"layers": prepared.layers, "missing": prepared.missing, "server": server, "results": results}))
"""

OUTSIDE_PROBES = {
    "read a file": "open(outside + '/token').read()",
    "list a folder": "os.listdir(outside)",
    "write a file": "open(outside + '/new', 'w')",
    "overwrite a file": "open(outside + '/token', 'w')",
    "append to a file": "open(outside + '/token', 'a')",
    "truncate a file": "os.truncate(outside + '/token', 0)",
    "delete a file": "os.unlink(outside + '/token')",
    "delete a folder": "os.rmdir(outside + '/folder')",
    "make a folder": "os.mkdir(outside + '/new')",
    "make a fifo": "os.mkfifo(outside + '/new')",
    "rename a file": "os.rename(outside + '/token', outside + '/new')",
    "link to a new name": "os.link(outside + '/token', outside + '/new')",
    "make a symbolic link": "os.symlink('/etc', outside + '/new')",
}
EACCES_PROBES = {
    **OUTSIDE_PROBES,
    "read through a symbolic link": "os.symlink(outside + '/token', 'innocent'); open('innocent').read()",
    "read through a link": "os.link(outside + '/token', 'innocent')",
    "take a file over": "os.rename(outside + '/token', 'innocent')",
    "put a file outside": "open('mine', 'w').close(); os.rename('mine', outside + '/new')",
    "list the root folder": "os.listdir('/')",
    "read the list of users": "open('/etc/passwd').read()",
    "read the server's environment": "open(f'/proc/{os.getppid()}/environ', 'rb').read()",
    "read its own environment of old": "open('/proc/self/environ', 'rb').read()",
    "open the server's memory": "open(f'/proc/{os.getppid()}/mem', 'r+b')",
    "see the server's descriptors": "os.listdir(f'/proc/{os.getppid()}/fd')",
    "list the processes": "os.listdir('/proc')",
    "read a block device": "open('/dev/vda', 'rb').read(1)" if os.path.exists("/dev/vda") else "os.listdir('/dev')",
    "write to shared memory": "open('/dev/shm/left', 'w')",
    "write to the library": "open(os.path.dirname(os.__file__) + '/planted.py', 'w')",
    "write where other programs' files are": "open('/tmp/left', 'w')",
}
EPERM_PROBES = {
    "fork": "os.fork()",
    "clone a process": "syscall('clone', signal.SIGCHLD)",
    "clone a thread into a new network": "syscall('clone', 0x40010f00)",
    "spawn": "os.posix_spawn('/bin/true', ['true'], {})",
    "subprocess": "subprocess.run(['true'])",
    "subprocess in a shell": "subprocess.run('true', shell=True)",
    "exec": "os.execv('/bin/true', ['true'])",
    "exec a descriptor": "syscall('execveat', 0, 0, 0, 0, 0x1000)",
    "TCP": "socket.socket()",
    "UDP": "socket.socket(type=socket.SOCK_DGRAM)",
    "unix socket": "socket.socket(socket.AF_UNIX)",
    "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "pair of datagram sockets": "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",
    "connect": "a, b = socket.socketpair(); a.connect('/dev/log')",
    "kill the server": "os.kill(os.getppid(), 9)",
    "ask whether the server is there": "os.kill(os.getppid(), 0)",
    "kill everything": "os.kill(-1, 9)",
    "kill the server's group": "os.killpg(os.getpgid(os.getppid()), 9)",
    "kill a thread of the server": "syscall('tgkill', os.getppid(), os.getppid(), 9)",
    "kill by thread": "syscall('tkill', os.getppid(), 9)",
    "queue a signal to the server": "info = (ctypes.c_int * 32)(9, 0, -1); "
    "syscall('rt_sigqueueinfo', os.getppid(), 9, ctypes.addressof(info))",
    "hold the server by descriptor": "syscall('pidfd_open', os.getppid(), 0)",
    "have the kernel signal the server": "r, w = os.pipe(); fcntl.fcntl(r, fcntl.F_SETOWN, os.getppid())",
    "choose the signal for it": "r, w = os.pipe(); fcntl.fcntl(r, 10, 9)",
    "trace the server": "syscall('ptrace', 16, os.getppid())",
    "trace itself": "syscall('ptrace', 0)",
    "read the server's memory": "buffer = (ctypes.c_long * 4)(); "
    "syscall('process_vm_readv', os.getppid(), ctypes.addressof(buffer), 1, ctypes.addressof(buffer), 1)",
    "write the server's memory": "buffer = (ctypes.c_long * 4)(); "
    "syscall('process_vm_writev', os.getppid(), ctypes.addressof(buffer), 1, ctypes.addressof(buffer), 1)",
    "slow the server down": "syscall('sched_setscheduler', os.getppid(), 5, 0)",
    "leave the session": "os.setsid()",
    "leave the process group": "os.setpgid(0, os.getppid())",
    "new namespaces": "syscall('unshare', 0x10000000)",
    "join a namespace": "syscall('setns', 0, 0)",
    "mount": "syscall('mount', 0, 0, 0, 0)",
    "unmount": "syscall('umount2', 0, 2)",
    "chroot": "os.chroot('.')",
    "become another user": "os.setuid(1)",
    "become the same user": "os.setuid(os.getuid())",
    "change group": "os.setgid(1)",
    "change capabilities": "syscall('capset', 0, 0)",
    "give a file away": "open('mine', 'w').close(); os.chown('mine', 1, 1)",
    "truncate by opening": "os.open(os.__file__, os.O_RDONLY | os.O_TRUNC)",
    "watch files": "syscall('inotify_add_watch', 0, 0, 0)",
    "watch the file system": "syscall('fanotify_init', 0, 0)",
    "open by handle": "syscall('open_by_handle_at', 0, 0, 0)",
    "shared memory that stays": "syscall('shmget', 0, 4096, 0o1600)",
    "message queue that stays": "syscall('msgget', 0, 0o1600)",
    "semaphores that stay": "syscall('semget', 0, 1, 0o1600)",
    "named message queue": "syscall('mq_open', 0, 0, 0, 0)",
    "file in memory": "os.memfd_create('more')",
    "secret memory": "syscall('memfd_secret', 0)",
    "keyrings": "syscall('add_key', 0, 0, 0, 0, 0)",
    "io_uring": "syscall('io_uring_setup', 1, 0)",
    "userfaultfd": "syscall('userfaultfd', 1)",
    "BPF": "syscall('bpf', 0, 0, 0)",
    "performance counters": "syscall('perf_event_open', 0, 0, 0, 0, 0)",
    "kernel log": "syscall('syslog', 3, 0, 0)",
    "set the clock": "time.clock_settime(time.CLOCK_REALTIME, 0)",
    "reboot": "syscall('reboot', 0, 0, 0, 0)",
    "personality": "syscall('personality', 0x0040000)",
    "a filter of its own": "syscall('seccomp', 1, 0, 0)",
    "a filter of its own by prctl": "syscall('prctl', 22, 2, 0)",
    "be dumpable": "syscall('prctl', 4, 1)",
    "outlive the server": "syscall('prctl', 1, 0)",
    "Landlock rules of its own": "syscall('landlock_restrict_self', 0, 0)",
}
OTHER_PROBES = {
    "clone3": ("syscall('clone3', 0, 0)", {"error": "ENOSYS"}),
    "openat2": ("syscall('openat2', 0, 0, 0, 0)", {"error": "ENOSYS"}),
    "a call from the future": ("syscall(463)", {"error": "ENOSYS"}),
    "push characters into a terminal": ("fcntl.ioctl(0, 0x5412, b'x')", {"error": "ENOTTY"}),
    "own an inode's signals by ioctl": ("fcntl.ioctl(0, 0x8901, b'xxxx')", {"error": "ENOTTY"}),
    "extended attributes": ("os.setxattr(os.__file__, 'user.x', b'1')", {"error": "ENOTSUP"}),
    "os.system": ("value = os.system('true') != 0", {"value": True}),
    "memory": ("bytearray(600 * 2**20)", {"error": "MemoryError"}),
    "file size": ("open('big', 'wb', 0).write(bytes(2**20)); open('big', 'ab', 0).write(b'1')", {"error": "EFBIG"}),
    "sparse file": ("open('big', 'wb').truncate(2**21)", {"error": "EFBIG"}),
    "descriptors": ("while True: os.dup(0)", {"error": "EMFILE"}),
    "high descriptor": ("os.dup2(0, 64)", {"error": "EBADF"}),
    "endless loop": ("while True: pass", {"signal": "SIGXCPU"}),
    "endless loop that ignores the signal": (
        "signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
        {"signal": "SIGKILL"},
    ),
    "abort": ("os.abort()", {"signal": "SIGABRT"}),
    "kill itself": ("os.kill(os.getpid(), 9)", {"signal": "SIGKILL"}),
    "segmentation fault": ("ctypes.string_at(0)", {"signal": "SIGSEGV"}),
}
# What correct programs do: code, and the value they must see.
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
        "s = hardening.SOFT_SIGNAL; value = []\nsignal.signal(s, lambda *_: value.append(1)); signal.raise_signal(s)",
        [1],
    ),
    "soft signal with our handler": ("signal.raise_signal(hardening.SOFT_SIGNAL); value = handled", [True]),
    "looking at our handler": ("value = callable(signal.getsignal(hardening.SOFT_SIGNAL)) or handled", True),
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
SOFT_SIGNAL_PROBES = {
    "signal.signal": "handled; signal.signal(hardening.SOFT_SIGNAL, signal.SIG_IGN)",
    "signal.siginterrupt": "handled; signal.siginterrupt(hardening.SOFT_SIGNAL, True)",
}
POINTLESS_PROBES = {
    "change the mode of a file outside": "os.chmod(outside + '/token', 0o777)",
    "change the time of a file outside": "os.utime(outside + '/token', (0, 0))",
}


@dataclasses.dataclass(frozen=True)
class Outside:
    """Folder that the programs must not reach, and what it looked like before."""

    path: Path

    def state(self) -> dict[str, tuple[int, int, int]]:
        found = {}
        for path in [self.path, *self.path.iterdir()]:
            status = path.stat()
            found[path.name] = status.st_mode, status.st_size, status.st_mtime_ns
        return found


@pytest.fixture(scope="module")
def outside() -> Iterator[Outside]:
    with tempfile.TemporaryDirectory(prefix="outside") as folder:
        path = Path(folder)
        (path / "token").write_text("secret")
        (path / "folder").mkdir()
        for entry in (path, path / "token", path / "folder"):
            entry.chmod(0o777)
        yield Outside(path)


def run_server(
    probes: dict[str, str],
    outside: Outside,
    *,
    isolation: str = "strict",
    uid: int | None = None,
    landlock: bool = True,
    seccomp: bool = True,
    cpu_s: int = 10,
) -> dict[str, Any]:
    """Run the probes, each in a child, under one fork server of the kind asked for."""
    with tempfile.TemporaryDirectory(prefix="scratch") as scratch:
        if uid is not None:
            os.chown(scratch, uid, uid)
        request = {
            "probes": probes,
            "scratch": scratch,
            "outside": str(outside.path),
            "isolation": isolation,
            "uid": uid,
            "landlock": landlock,
            "seccomp": seccomp,
            "cpu_s": cpu_s,
        }
        done = subprocess.run(
            [sys.executable, "-c", SERVER], input=json.dumps(request), capture_output=True, text=True, timeout=120
        )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _missing_layers() -> dict[str, str]:
    """Layers that this machine lacks, found out once."""
    if sys.platform != "linux":
        return {}
    with tempfile.TemporaryDirectory() as folder:
        missing: dict[str, str] = run_server({}, Outside(Path(folder)), isolation="auto")["missing"]
    return missing


@pytest.fixture(scope="module", params=["as it is", "as nobody"])
def confined(request: pytest.FixtureRequest, outside: Outside) -> dict[str, Any]:
    """Results of all probes under all layers, once as the user of the tests and once as an ordinary user."""
    if missing := _missing_layers():
        pytest.skip(f"this machine lacks {missing}")
    uid = None
    if request.param == "as nobody":
        if os.geteuid() != 0:
            pytest.skip("only root can become another user")
        uid = 65534
    probes = EACCES_PROBES | EPERM_PROBES | SOFT_SIGNAL_PROBES | POINTLESS_PROBES
    probes |= {name: code for name, (code, _) in (OTHER_PROBES | ALLOWED_PROBES).items() if "endless" not in name}
    before = outside.state()
    answer = run_server(probes, outside, uid=uid)
    answer["outside unchanged"] = before == outside.state()
    return answer


@pytest.mark.parametrize("probe", EACCES_PROBES)
def test_files_outside_are_out_of_reach(confined, probe):
    # The file's own permissions may forbid it too.
    assert confined["results"][probe] in ({"error": "EACCES"}, {"error": "EXDEV"}, {"error": "EPERM"})


@pytest.mark.parametrize("probe", EPERM_PROBES)
def test_forbidden_call_is_refused(confined, probe):
    assert confined["results"][probe] == {"error": "EPERM"}


@pytest.mark.parametrize("probe", [name for name in OTHER_PROBES if "endless" not in name])
def test_limit_holds_or_call_is_unknown(confined, probe):
    assert confined["results"][probe] == OTHER_PROBES[probe][1]


@pytest.mark.parametrize("probe", ALLOWED_PROBES)
def test_what_correct_programs_do_works(confined, probe):
    assert confined["results"][probe] == {"value": ALLOWED_PROBES[probe][1]}


@pytest.mark.parametrize("probe", SOFT_SIGNAL_PROBES)
def test_handler_of_the_soft_limit_stays(confined, probe):
    assert confined["results"][probe] == {"error": "EPERM"}


@pytest.mark.parametrize("probe", POINTLESS_PROBES)
def test_changing_modes_and_times_succeeds_without_effect(confined, probe):
    assert confined["results"][probe] == {"value": None}


def test_nothing_outside_has_changed(confined):
    assert confined["outside unchanged"]


def test_server_itself_is_confined(confined):
    server = confined["server"]

    assert set(server.pop("capabilities")) == {"0"}
    assert server == {"no_new_privs": "1", "dumpable": 0, "subreaper": 1}


def test_all_layers_are_in_force_under_strict(confined):
    assert confined["missing"] == {}
    assert set(confined["layers"].values()) == {True}


def test_modules_load_inside(outside):
    probes = {name: code for name, (code, _) in IMPORT_PROBES.items() if name != "numpy" or _has_numpy()}

    results = run_server(probes, outside, isolation="auto")["results"]

    assert results == {name: {"value": IMPORT_PROBES[name][1]} for name in probes}


def _has_numpy() -> bool:
    return subprocess.run([sys.executable, "-c", "import numpy"], capture_output=True).returncode == 0


def test_kernel_ends_an_endless_loop_if_nobody_else_does(outside):
    probes = {name: code for name, (code, _) in OTHER_PROBES.items() if "endless" in name}

    results = run_server(probes, outside, isolation="none", cpu_s=1)["results"]

    assert results == {name: OTHER_PROBES[name][1] for name in probes}


def test_writing_to_standard_output_by_name(outside):
    probes = {"dev": "print('hello', file=open('/dev/stdout', 'w'))", "fd": "open(1, 'w').write('hello\\n')"}

    results = run_server(probes, outside, isolation="auto")["results"]

    assert {result["stdout"] for result in results.values()} == {"hello\n"}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the other interfaces are of x86-64")
def test_other_system_call_interfaces_are_closed(outside):
    code = "code = mmap.mmap(-1, 4096, prot=7); code.write(b'\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3')\n"
    code += "value = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()"
    probes = {"x32": "syscall(0x40000000 + 39)", "i386": code}

    results = run_server(probes, outside, isolation="auto")["results"]

    assert results["x32"] == {"error": "ENOSYS"}
    assert results["i386"] in ({"signal": "SIGSYS"}, {"signal": "SIGSEGV"})


def test_files_are_not_changed_where_landlock_is_missing(outside):
    before = outside.state()

    answer = run_server(OUTSIDE_PROBES, outside, isolation="auto", landlock=False)

    assert list(answer["missing"]) == ["landlock"]
    del answer["results"]["read a file"], answer["results"]["list a folder"]
    assert {json.dumps(result) for result in answer["results"].values()} == {'{"error": "EACCES"}'}
    assert outside.state() == before


def test_files_are_out_of_reach_where_seccomp_is_missing(outside):
    if "landlock" in _missing_layers():
        pytest.skip("this machine lacks Landlock")
    probes = {"unix socket": EPERM_PROBES["unix socket"], "read a file": OUTSIDE_PROBES["read a file"]}

    answer = run_server(probes, outside, isolation="auto", seccomp=False)

    assert answer["missing"] == {"seccomp": f"{hardening.STOPS['seccomp']} (no table of system calls for riscv64)"}
    assert answer["results"] == {"unix socket": {"value": None}, "read a file": {"error": "EACCES"}}


def test_strict_names_what_is_missing(outside):
    answer = run_server({}, outside, isolation="strict", landlock=False)

    assert answer["raised"] == "IsolationUnavailable"
    assert "`landlock`, which stops reading and changing files outside" in answer["message"]


def test_none_keeps_limits_and_session(outside):
    probes = {
        "read a file": "value = open(outside + '/token').read()",
        "memory": OTHER_PROBES["memory"][0],
        "session": "value = os.getsid(0) == os.getpid()",
    }

    answer = run_server(probes, outside, isolation="none")

    assert [layer for layer, in_force in answer["layers"].items() if in_force] == ["rlimits", "session"]
    assert list(answer["results"].values()) == [{"value": "secret"}, {"error": "MemoryError"}, {"value": True}]


def test_child_dies_with_its_server(outside):
    code = SERVER.replace("results = {", "print(os.getpid(), flush=True)\nresults = {")
    probe = "import sys; syscall_pid = str(os.getpid()); open('pid', 'w').write(syscall_pid); time.sleep(600)"
    with tempfile.TemporaryDirectory(prefix="scratch") as scratch:
        request = {"probes": {"sleep": probe}, "scratch": scratch, "outside": str(outside.path), "isolation": "auto"}
        request |= {"uid": None, "landlock": True, "seccomp": True, "cpu_s": 10}
        with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
            assert server.stdin is not None
            server.stdin.write(json.dumps(request).encode())
            server.stdin.close()
            pid = _wait_for(lambda: _read(Path(scratch, "pid")))
            server.kill()
        gone = _wait_for(lambda: not _is_running(int(pid)))

    assert gone


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _wait_for(condition: Any, deadline_s: float = 30) -> Any:
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError("waited in vain")


def test_other_systems_have_limits_and_sessions_only(tmp_path):
    code = "import ctypes, json, sys; sys.platform = 'darwin'; "
    code += "from stepcoder_trl.executor.hardening import prepare as h; "
    code += f"p = h.prepare(scratch={str(tmp_path)!r}, readable=[], isolation='auto'); print(json.dumps(p.layers))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == {layer: layer in ("rlimits", "session") for layer in hardening.STOPS}


def test_unknown_isolation_is_refused(tmp_path):
    with pytest.raises(ValueError, match='`isolation` is \'some\', but must be "auto", "strict" or "none"'):
        hardening.prepare(scratch=str(tmp_path), readable=[], isolation="some")


def test_whole_file_system_is_not_readable(tmp_path):
    with pytest.raises(ValueError, match="root folder"):
        hardening.prepare(scratch=str(tmp_path), readable=["/usr/.."], isolation="none")


# --- the filter as a program, for both architectures -----------------------------------------------------------------


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


@pytest.fixture(params=[(machine, guard) for machine in ("x86_64", "aarch64") for guard in (False, True)])
def filter_of(request: pytest.FixtureRequest) -> Any:
    machine, guard_files = request.param
    arch, numbers = hardening._ARCHITECTURES[machine]
    ops = hardening._filter_ops(machine, guard_files=guard_files)
    assert len(ops) < 4096

    def ask(call: str | int, *arguments: int, arch: int = arch) -> int | str:
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
        **dict.fromkeys(hardening._DENIED, errno.EPERM),
        **dict.fromkeys(hardening._IGNORED, 0),
        **dict.fromkeys(hardening._UNSUPPORTED, errno.ENOTSUP),
        **dict.fromkeys(hardening._ABSENT, errno.ENOSYS),
        **dict.fromkeys(hardening._FILE_CHANGES, errno.EACCES if filter_of.guard_files else "allowed"),
    }

    for name, answer in expected.items():
        assert filter_of(name) in (answer, "no such call"), name


def test_unnamed_calls_are_allowed_up_to_the_newest_known(filter_of):
    unnamed = set(range(hardening._NEWEST_KNOWN + 1)) - set(filter_of.numbers.values())

    assert {filter_of(number) for number in unnamed} == {"allowed"}
    assert {filter_of(number) for number in (463, 1000, 2**30 + 1, 2**31, 2**32 - 1)} == {errno.ENOSYS}


def test_answers_by_arguments(filter_of):
    pid, number = hardening._PID_SLOT, hardening._SIGNAL_SLOT

    assert [filter_of("kill", who, 9) for who in (pid, 1, 0, 2**32 - 1)] == ["allowed", 1, 1, 1]
    assert [filter_of("tgkill", who, 5, 9) for who in (pid, 1)] == ["allowed", 1]
    assert [filter_of("clone", flags) for flags in (0x3D0F00, 17, 0x4011, 0x20010F00)] == ["allowed", 1, 1, 1]
    assert [filter_of("socketpair", *pair) for pair in ((1, 1), (1, 0o2000001), (1, 2), (2, 1))] == [
        *("allowed", "allowed", 1, 1)
    ]
    assert [filter_of("prlimit64", 0, 9, new) for new in (0, 8, 2**40)] == ["allowed", 0, 0]
    assert [
        filter_of("rt_sigaction", which, new) for which, new in ((number, 8), (number, 2**40), (number, 0), (9, 8))
    ] == [*(1, 1, "allowed", "allowed")]
    assert [filter_of("prctl", option) for option in (15, 16, 4, 22)] == ["allowed", "allowed", 1, 1]
    assert [filter_of("ioctl", 0, request) for request in (0x5401, 0x5412)] == ["allowed", errno.ENOTTY]
    assert [filter_of("fcntl", 0, command) for command in (1, 4, 8, 10, 15, 1030)] == [
        "allowed",
        "allowed",
        1,
        1,
        1,
        "allowed",
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


def test_soft_signal_is_one_that_nobody_uses():
    assert hardening.SOFT_SIGNAL == signal.SIGRTMAX - 1
