"""
Prepare the layers of isolation in the fork server, and put them on every child.

`prepare` runs once in the server and does the costly part. `Hardening.enter_child` runs in every forked child, and the
program cannot undo it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from stepcoder_trl.executor.server.hardening.layers import LAYERS, SOFT_SIGNAL, ChildLayer, Layer


class IsolationUnavailable(RuntimeError):
    """
    Raised by `prepare` if a layer that must be there is not.

    `missing` says for each missing layer what it would have stopped, why it is missing, and the fix.
    """

    def __init__(self, message: str, missing: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.missing = dict(missing or {})


class Hardening:
    """
    Layers of isolation that are in force for the children of this process. Made by `prepare`.

    `soft_signal` is the signal of the soft time limit. A handler that is installed before `enter_child` cannot be
    replaced by the program. The program can block the signal, or be out of its reach (a loop in C), so `SIGKILL` has
    to follow.
    """

    soft_signal: int = SOFT_SIGNAL

    def __init__(self, in_force: Sequence[Layer], missing: Mapping[str, str]) -> None:
        self.layers = {layer.name: layer.name not in missing for layer in LAYERS}  # whether each is in force
        self.missing = dict(missing)  # for each that is not: what it would have stopped, and why it is missing
        self._become_forker = [layer.become_forker for layer in in_force]
        self._put_on = [layer.put_on for layer in in_force if isinstance(layer, ChildLayer)]

    def become_forker(self) -> None:
        """
        Let the calling process fork the children from now on. It is itself a fork of the one that called `prepare`.

        It inherits what its children leave behind, and it ends when its parent ends.
        """
        for become_forker in self._become_forker:
            become_forker()

    def enter_child(
        self, *, folder: str, memory_limit_bytes: int, cpu_limit_s: float, file_limit_bytes: int, open_files: int
    ) -> None:
        """
        Confine the calling process: once, in a freshly forked child, before anything untrusted is compiled or run.

        The child may change files in `folder`, which lies below the server's `base`. If it is "", it changes none.

        Install the handler of `soft_signal` and make files in memory before. Close the descriptors that the program
        must not have. If this raises OSError, the child must not run the program.

        Memory is address space on top of that of the process that forks. Stacks of threads count in full, but are
        small where the program asks for no size, and at most a quarter of the memory where it does. Threads are
        limited where the system counts those of a user, which it does not for root. CPU seconds are rounded up.
        `SIGXCPU` comes then and `SIGKILL` a second later: a last resort, the fork server watches the time itself. A
        file beyond its limit gives OSError with `EFBIG`. `open_files` is the highest descriptor plus one.
        """
        limits = (folder, memory_limit_bytes, cpu_limit_s, file_limit_bytes, open_files)
        for put_on in self._put_on:
            put_on(limits)


def prepare(*, base: str, readable: Sequence[str], isolation: str, portable: bool | None = None) -> Hardening:
    """
    Confine the calling process, a fork server, as far as it can do with, and prepare the layers of its children.

    Call it once, single-threaded, after everything is imported and before the first fork. `isolation="auto"` takes the
    layers that this machine has. `"strict"` takes all, or raises. `"none"` takes the portable ones, and so does
    `portable`, which is the default outside Linux. Programs may read `readable`, which holds the interpreter's files
    and the libraries, and the system's locales. Below the folder `base`, each program reads and changes its own folder
    alone.

    Raise ValueError for bad arguments, and IsolationUnavailable if a layer is missing under `"strict"`, or if the
    interpreter's files can be read only with the powers of root.
    """
    if isolation not in ("auto", "strict", "none"):
        raise ValueError(f'`isolation` is {isolation!r}, but must be "auto", "strict" or "none".')
    if any(os.path.realpath(path) == "/" for path in readable):
        raise ValueError("`readable` holds the root folder: programs could read every file. Name the interpreter's.")
    left_out = ""  # reason to leave out the layers that are not portable
    if sys.platform != "linux" if portable is None else portable:
        left_out = f"not made for {sys.platform}"
    elif isolation == "none":
        left_out = "not asked for"
    readable_before = [path for path in readable if os.access(path, os.R_OK)]
    hardening = _build(base, readable, left_out)
    lost = [path for path in readable_before if not os.access(path, os.R_OK)]
    if lost:
        raise IsolationUnavailable(
            f"{', '.join(lost)}: programs cannot read this without the powers of root, which they must not have. "
            'Run as the user who owns it, make it readable for all, or set `isolation` to "none".'
        )
    if isolation == "strict" and hardening.missing:
        raise _refusal(hardening.missing)
    return hardening


def _refusal(missing: Mapping[str, str]) -> IsolationUnavailable:
    """Return the error for missing layers under `"strict"`."""
    lacking = "; ".join(f"`{name}`, which stops {description}" for name, description in missing.items())
    fixes = {layer.name: layer.fix for layer in LAYERS}
    return IsolationUnavailable(
        f'`isolation` is "strict", but this system lacks {lacking}. Use "auto" to go on.',
        {name: f"{description}: {fixes[name]}" for name, description in missing.items()},
    )


def _build(base: str, readable: Sequence[str], left_out: str) -> Hardening:
    """Prepare the layers, and keep those that are in force in a trial child."""
    prepared: list[Layer] = []
    reasons: dict[str, str] = {}
    for kind in LAYERS:
        if left_out and not kind.portable:
            reasons[kind.name] = left_out
            continue
        try:
            prepared.append(kind(base, readable))
        except OSError as error:
            reasons[kind.name] = error.strerror or str(error)
    tried = [layer for layer in prepared if isinstance(layer, ChildLayer)]
    held = _try_out(tried)
    reasons |= {layer.name: "not in force in a trial" for layer in tried if layer.name not in held}
    in_force = [layer for layer in prepared if layer.name not in reasons]
    for layer in in_force:
        layer.adapt([layer.name for layer in in_force])
    missing = {kind.name: f"{kind.stops} ({reasons[kind.name]})" for kind in LAYERS if kind.name in reasons}
    return Hardening(in_force, missing)


def _try_out(layers: Sequence[ChildLayer]) -> list[str]:
    """Return the names of the layers that are in force in a trial child, which puts all of them on."""
    report, report_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            held = [layer.name for layer in layers if layer.try_out()]
            os.write(report_end, " ".join(held).encode())
        finally:
            os._exit(0)
    os.close(report_end)
    with open(report) as stream:
        text = stream.read()
    os.waitpid(pid, 0)
    return text.split()
