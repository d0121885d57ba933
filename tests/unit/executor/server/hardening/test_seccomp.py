"""System calls under the seccomp filter."""

from __future__ import annotations

import json
import platform
import sys

import pytest

from tests.unit.executor.server.hardening.probes import OUTSIDE_PROBES, run_server


pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(sys.platform != "linux", reason="the layers are made for Linux"),
]

DENIED_PROBES = {
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
    "message of another process": "syscall('msgrcv', 0, 0, 0, 0, 0o4000)",
    "semaphore of another process": "syscall('semop', 0, 0, 1)",
    "semaphore of another process, for a while": "syscall('semtimedop', 0, 0, 1, 0)",
    "named message queue": "syscall('mq_open', 0, 0, 0, 0)",
    "signal of a message queue": "syscall('mq_notify', 0, 0)",
    "asynchronous requests": "syscall('io_setup', 60000, ctypes.addressof(ctypes.c_long()))",
    "ask asynchronously": "syscall('io_submit', 0, 0, 0)",
    "lock a file of the library": "fcntl.flock(open('/dev/zero'), fcntl.LOCK_EX)",
    "share a lock of the library": "fcntl.flock(open('/dev/zero'), fcntl.LOCK_SH)",
    "hint at the use of a file": "fcntl.fcntl(open('/dev/zero'), 1036, bytes(8))",
    "place pages of shared memory": "syscall('mbind', 0, 0, 0, 0, 0, 0)",
    "place pages by number": "syscall('set_mempolicy_home_node', 0, 0, 0, 0)",
    "lock by descriptor": "fcntl.fcntl(open('/dev/zero'), 37, bytes(32))",
    "instances for watching files": "syscall('inotify_init1', 0)",
    "pages for pipes": "r, w = os.pipe(); fcntl.fcntl(r, 1031, 2**20)",
    "huge pages": "mmap.mmap(-1, 2**21, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)",
    "descriptors in flight": "a, b = socket.socketpair(); socket.send_fds(a, [b'x'], [0])",
    "descriptors per thread": "syscall('clone', 0x3d0b00)",
    "descriptors of its own": "syscall('close_range', 1000, 1001, 2)",
    "filter in the kernel": "a, b = socket.socketpair(); a.setsockopt(socket.SOL_SOCKET, 26, bytes(16))",
    "locks of another process": "syscall('get_robust_list', os.getppid(), 0, 0)",
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
    "abort": ("os.abort()", {"signal": "SIGABRT"}),
    "terminate itself": ("os.kill(os.getpid(), signal.SIGTERM)", {"signal": "SIGTERM"}),
    "take disk without writing": ("syscall('fallocate', os.open('x', 66), 0, 0, 2**20)", {"error": "ENOTSUP"}),
    "segmentation fault": ("ctypes.string_at(0)", {"signal": "SIGSEGV"}),
}
# `handled` installs the handler of the soft time limit first.
HANDLER_PROBES = {
    "signal.signal": "handled; signal.signal(SOFT_SIGNAL, signal.SIG_IGN)",
    "signal.siginterrupt": "handled; signal.siginterrupt(SOFT_SIGNAL, True)",
}
IGNORED_PROBES = {
    "change the mode of a file outside": "os.chmod(outside + '/token', 0o777)",
    "change the time of a file outside": "os.utime(outside + '/token', (0, 0))",
}
# Every way to send a signal, or to have one sent. The last one shows that others arrive.
SIGNALS_TO_ITSELF = """
from ctypes import addressof, c_int, c_long
me, thread = os.getpid(), threading.get_native_id()
def tried(*call):
    try:
        return syscall(*call)
    except OSError as error:
        return errno.errorcode[error.errno]
def sent(send, *arguments):
    try:
        send(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
def queue(number):
    return addressof((c_int * 32)(number, 0, -1, 0, me, os.getuid()))
r, w = socket.socketpair()
r.setblocking(False)
value = {}
for number in (9, 19):
    pidfd_self = 2**64 - 10000 - 2**64
    event = (c_int * 16)(0, 0, number, 0)
    value[number] = [
        sent(os.kill, me, number), sent(os.killpg, me, number), sent(os.kill, 0, number), sent(os.kill, -1, number),
        sent(signal.raise_signal, number), sent(signal.pthread_kill, threading.get_ident(), number),
        tried('kill', me, number), tried('tkill', thread, number), tried('tgkill', me, thread, number),
        tried('rt_sigqueueinfo', me, number, queue(number)),
        tried('rt_tgsigqueueinfo', me, thread, number, queue(number)),
        tried('pidfd_open', me, 0), tried('pidfd_send_signal', pidfd_self, number, 0, 0),
        tried('timer_create', 0, addressof(event), addressof(c_long())),
        tried('mq_notify', 0, addressof(event)),
        sent(fcntl.fcntl, r, fcntl.F_SETOWN, me), sent(fcntl.fcntl, r, 10, number),
        sent(fcntl.fcntl, r, 15, bytes(8)), sent(fcntl.fcntl, r, 1024, fcntl.F_RDLCK), sent(fcntl.fcntl, r, 1026, 1),
        sent(fcntl.ioctl, r, 0x5452, b'\\1\\0\\0\\0'), sent(fcntl.ioctl, r, 0x8901, c_int(me)),
        sent(fcntl.ioctl, r, 0x8902, c_int(me)),
        tried('prctl', 1, number), tried('prctl', 22, 1), tried('seccomp', 0, 0, 0),
        tried('ptrace', 0), tried('clone', number), tried('clone', 0x8000 | number),
        tried('sched_setscheduler', 0, 1, addressof(c_int(1))),
    ]
sent(fcntl.fcntl, r, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
w.send(b'x')
resource.setrlimit(resource.RLIMIT_CPU, (0, 0))
time.sleep(0.05)
value['usr1'] = []
signal.signal(signal.SIGUSR1, lambda *_: value['usr1'].append(1))
tried('tgkill', me, me, int(signal.SIGUSR1)); tried('rt_sigqueueinfo', me, 10, queue(10)); os.kill(me, 10)
"""
PROBES = {
    "signals to itself": SIGNALS_TO_ITSELF,
    **DENIED_PROBES,
    **{name: code for name, (code, _) in OTHER_PROBES.items()},
    **HANDLER_PROBES,
    **IGNORED_PROBES,
}


@pytest.mark.parametrize("probe", DENIED_PROBES)
def test_call_is_denied(confined, probe):
    assert confined["results"][probe] == {"error": "EPERM"}


def test_program_cannot_kill_or_stop_itself(confined):
    value = confined["results"]["signals to itself"]["value"]

    assert value.pop("usr1") == [1, 1, 1]
    assert set(value) == {"9", "19"}
    for answers in value.values():
        assert set(answers) <= {"EPERM", "ENOTTY"}


@pytest.mark.parametrize("probe", OTHER_PROBES)
def test_call_has_its_answer(confined, probe):
    assert confined["results"][probe] == OTHER_PROBES[probe][1]


@pytest.mark.parametrize("probe", HANDLER_PROBES)
def test_handler_of_the_soft_limit_stays(confined, probe):
    assert confined["results"][probe] == {"error": "EPERM"}


@pytest.mark.parametrize("probe", IGNORED_PROBES)
def test_changing_modes_and_times_succeeds_without_effect(confined, probe):
    assert confined["results"][probe] == {"value": None}
    assert confined["outside unchanged"]


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
