"""
Keeps an untrusted program from harming the machine: limits and kernel filters, without root and without helpers.

    confine.py      `prepare`, which the fork server calls once, and `Hardening.enter_child`, which every child calls
    layers.py       the layers, and the order in which they are put on
    seccomp.py      the filter of system calls
    landlock.py     the rules for files
    readable.py     paths that programs may read
    threads.py      stacks of threads, and how many threads there may be
    syscalls.py     numbers of system calls, by architecture
    libc.py         calls of the C library

This does not stop: bugs of the kernel; slowing the machine; reading names, sizes and dates of files, which `os.stat`
gives for any path that the user can reach; use of the machine below the limits (many threads, many empty files). Put a
virtual machine or gVisor around the whole job where the model is an adversary.
"""
