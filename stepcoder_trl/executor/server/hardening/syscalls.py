"""Numbers of the system calls, for each architecture that the seccomp filter knows."""

from __future__ import annotations

import errno
import platform
import sys
from typing import NamedTuple


# From 424 on the numbers are the same on every architecture. Calls newer than the newest do not exist for a program.
NEWEST_KNOWN = 462
_UNIFIED = """
    pidfd_send_signal=424  io_uring_setup=425  io_uring_enter=426  io_uring_register=427  open_tree=428
    move_mount=429  fsopen=430  fsconfig=431  fsmount=432  fspick=433  pidfd_open=434  clone3=435  close_range=436
    openat2=437  pidfd_getfd=438  process_madvise=440  mount_setattr=442  quotactl_fd=443  landlock_create_ruleset=444
    landlock_add_rule=445  landlock_restrict_self=446  memfd_secret=447  process_mrelease=448  fchmodat2=452
    set_mempolicy_home_node=450  statmount=457  listmount=458  lsm_get_self_attr=459  lsm_set_self_attr=460
    lsm_list_modules=461
"""
_X86_64 = """
    open=2  mmap=9  rt_sigaction=13  ioctl=16  shmget=29  shmat=30  shmctl=31  socket=41  connect=42  accept=43
    sendmsg=46  bind=49  listen=50  socketpair=53  setsockopt=54  clone=56  fork=57  vfork=58  execve=59  kill=62
    semget=64  semop=65  semctl=66  msgget=68  msgsnd=69  msgrcv=70  msgctl=71  fcntl=72  flock=73  fsync=74
    fdatasync=75  truncate=76  rename=82  mkdir=83  rmdir=84  creat=85  link=86  unlink=87  symlink=88  chmod=90
    fchmod=91  chown=92  fchown=93  lchown=94  ptrace=101  syslog=103  setuid=105  setgid=106  setpgid=109  setsid=112
    setreuid=113  setregid=114  setgroups=116  setresuid=117  setresgid=119  setfsuid=122  setfsgid=123  capset=126
    rt_sigqueueinfo=129  utime=132  mknod=133  uselib=134  personality=135  ustat=136  sysfs=139  setpriority=141
    sched_setparam=142  sched_setscheduler=144  vhangup=153  modify_ldt=154  pivot_root=155  _sysctl=156  prctl=157
    adjtimex=159  setrlimit=160  chroot=161  sync=162  acct=163  settimeofday=164  mount=165  umount2=166  swapon=167
    swapoff=168  reboot=169  sethostname=170  setdomainname=171  iopl=172  ioperm=173  init_module=175
    delete_module=176  quotactl=179  nfsservctl=180  setxattr=188  lsetxattr=189  fsetxattr=190  getxattr=191
    lgetxattr=192  fgetxattr=193  listxattr=194  llistxattr=195  flistxattr=196  removexattr=197
    lremovexattr=198  fremovexattr=199  tkill=200  sched_setaffinity=203  io_setup=206  io_destroy=207
    io_getevents=208  io_submit=209  io_cancel=210  lookup_dcookie=212  remap_file_pages=216  semtimedop=220
    timer_create=222  clock_settime=227  tgkill=234  utimes=235  mbind=237  mq_open=240  mq_unlink=241
    mq_timedsend=242  mq_timedreceive=243  mq_notify=244  mq_getsetattr=245  kexec_load=246  add_key=248
    request_key=249  keyctl=250
    ioprio_set=251  inotify_init=253  inotify_add_watch=254  migrate_pages=256  openat=257  mkdirat=258  mknodat=259
    fchownat=260  futimesat=261  unlinkat=263  renameat=264  linkat=265  symlinkat=266  fchmodat=268  unshare=272
    get_robust_list=274  sync_file_range=277  move_pages=279  utimensat=280  fallocate=285  accept4=288
    inotify_init1=294  rt_tgsigqueueinfo=297  perf_event_open=298  fanotify_init=300  fanotify_mark=301  prlimit64=302
    name_to_handle_at=303  open_by_handle_at=304  clock_adjtime=305  syncfs=306  sendmmsg=307  setns=308
    process_vm_readv=310  process_vm_writev=311  kcmp=312  finit_module=313  sched_setattr=314  renameat2=316
    seccomp=317  memfd_create=319  kexec_file_load=320  bpf=321  execveat=322  userfaultfd=323  io_pgetevents=333
    uretprobe=335  uprobe=336
"""
_AARCH64 = """
    io_setup=0  io_destroy=1  io_submit=2  io_cancel=3  io_getevents=4  setxattr=5  lsetxattr=6  fsetxattr=7
    getxattr=8  lgetxattr=9  fgetxattr=10  listxattr=11  llistxattr=12  flistxattr=13
    removexattr=14  lremovexattr=15  fremovexattr=16  lookup_dcookie=18  fcntl=25  inotify_init1=26
    inotify_add_watch=27  ioctl=29  ioprio_set=30  flock=32  mknodat=33  mkdirat=34  unlinkat=35  symlinkat=36
    linkat=37  renameat=38  umount2=39  mount=40  pivot_root=41  nfsservctl=42  truncate=45  fallocate=47  chroot=51
    fchmod=52  fchmodat=53  fchownat=54  fchown=55  openat=56  vhangup=58  quotactl=60  sync=81  fsync=82
    fdatasync=83  sync_file_range=84  utimensat=88  acct=89  capset=91  personality=92  unshare=97
    get_robust_list=100  kexec_load=104  init_module=105  delete_module=106  timer_create=107  clock_settime=112
    syslog=116  ptrace=117  sched_setparam=118  sched_setscheduler=119  sched_setaffinity=122  kill=129  tkill=130
    tgkill=131  rt_sigaction=134  rt_sigqueueinfo=138  setpriority=140  reboot=142  setregid=143  setgid=144
    setreuid=145  setuid=146  setresuid=147  setresgid=149  setfsuid=151  setfsgid=152  setpgid=154  setsid=157
    setgroups=159  sethostname=161  setdomainname=162  setrlimit=164  prctl=167  settimeofday=170  adjtimex=171
    mq_open=180  mq_unlink=181  mq_timedsend=182  mq_timedreceive=183  mq_notify=184  mq_getsetattr=185  msgget=186
    msgctl=187  msgrcv=188  msgsnd=189  semget=190  semctl=191  semtimedop=192  semop=193  shmget=194  shmctl=195
    shmat=196  socket=198  socketpair=199  bind=200  listen=201  accept=202  connect=203  setsockopt=208  sendmsg=211
    add_key=217  request_key=218  keyctl=219  clone=220  execve=221  mmap=222  swapon=224  swapoff=225
    remap_file_pages=234  mbind=235  migrate_pages=238  move_pages=239  rt_tgsigqueueinfo=240  perf_event_open=241
    accept4=242  prlimit64=261  fanotify_init=262  fanotify_mark=263  name_to_handle_at=264  open_by_handle_at=265
    clock_adjtime=266  syncfs=267  setns=268  sendmmsg=269  process_vm_readv=270  process_vm_writev=271  kcmp=272
    finit_module=273  sched_setattr=274  renameat2=276  seccomp=277  memfd_create=279  bpf=280  execveat=281
    userfaultfd=282  io_pgetevents=292  kexec_file_load=294
"""
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # AUDIT_ARCH of linux/audit.h
_TABLES = {"x86_64": _X86_64, "aarch64": _AARCH64}


class Architecture(NamedTuple):
    """Machine architecture: its `AUDIT_ARCH` in linux/audit.h, and the numbers of its system calls."""

    audit: int
    numbers: dict[str, int]


def architecture(machine: str) -> Architecture:
    """Return the architecture of this name, as `platform.machine()` has it. Raise OSError if there is no table."""
    if machine not in _TABLES:
        raise OSError(errno.ENOSYS, f"no table of system calls for {machine}")
    entries = (entry.partition("=") for entry in f"{_TABLES[machine]} {_UNIFIED}".split())
    return Architecture(_AUDIT[machine], {name: int(number) for name, _, number in entries})


def this_architecture() -> Architecture:
    """Return the architecture of this machine. Raise OSError if there is no table for it."""
    machine = platform.machine()
    if sys.byteorder != "little" or sys.maxsize < 2**32:
        raise OSError(errno.ENOSYS, f"no table of system calls for {machine}")
    return architecture(machine)
