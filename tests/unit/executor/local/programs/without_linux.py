"""Delete what other POSIX systems lack. Run it before any module of the executor is imported."""

import os
import resource
import select
import signal
import sys


LINUX_ONLY = {
    os: ("memfd_create", "pidfd_open", "sched_getaffinity", "MFD_CLOEXEC", "O_PATH", "waitid"),
    signal: ("SIGRTMAX", "SIGRTMIN"),
    select: ("epoll",),
    resource: ("RLIMIT_SIGPENDING", "RLIMIT_NPROC", "prlimit"),
}

sys.platform = "darwin"
for module, names in LINUX_ONLY.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
