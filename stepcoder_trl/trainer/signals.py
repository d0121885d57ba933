"""
Handling of Ctrl-C and SIGTERM.

After the first signal, training stops at the next point where a checkpoint can be written. A second signal ends the
process at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator
from transformers import Trainer, TrainerCallback, TrainerControl


WATCHED = (signal.SIGINT, signal.SIGTERM)


class Interruption(Exception):
    """Raised on all processes at a point where a checkpoint can be written. After it, `reason` is to be raised."""

    def __init__(self, reason: BaseException) -> None:
        super().__init__(type(reason).__name__)
        self.reason = reason


def reason_of(number: int) -> BaseException:
    """Return the exception for a signal: `KeyboardInterrupt`, or `SystemExit` with the shell's status for SIGTERM."""
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)


class StopSignals:
    """
    Context manager that notes SIGINT and SIGTERM, and restores the old handlers at the end.

    Outside the main thread it does nothing. A signal that is ignored, as with `nohup`, stays ignored.

    Args:
        repeats_end (`bool`, *optional*, defaults to `True`):
            Whether a second signal ends the process at once. Not with a launcher, which repeats the terminal's signal.

    Attributes:
        noted (`int`): Signal that arrived, or 0.
        at_once (`bool`): Whether the first signal ends the process at once, because there is nothing to save yet.
    """

    def __init__(self, repeats_end: bool = True) -> None:
        self.repeats_end = repeats_end
        self.noted = 0
        self.at_once = True
        self._stopped = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in WATCHED:
                handler = signal.getsignal(number)
                if handler not in (signal.SIG_IGN, None):  # None: not set from Python, cannot be restored
                    self._before[number] = handler
                    signal.signal(number, self._note)
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._restore()
        if self.noted and not self._stopped and error is None:  # the signal came after the last check
            raise reason_of(self.noted)

    def flags(self) -> list[int]:
        """Return 1 for each signal of `WATCHED` that this process got, else 0."""
        return [int(self.noted == number) for number in WATCHED]

    def check(self, counts: Sequence[int]) -> None:
        """Raise an `Interruption` if a process got a signal. `counts` is the sum of `flags` over all processes."""
        number = max(number * bool(count) for number, count in zip(WATCHED, counts, strict=True))
        if number:
            self._stopped = True
            raise Interruption(reason_of(number))

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.noted and not self.repeats_end:
            return
        if self.noted or self.at_once:
            self._stopped = True
            self._restore()
            raise reason_of(number)
        self.noted = number

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


@contextmanager
def stopped_by_signals(trainer: Trainer, every: int = 1) -> Iterator[None]:
    """
    Stop a trainer of transformers for Ctrl-C and SIGTERM after an update, with a checkpoint.

    The update is the first that completes a multiple of `every`. Then `KeyboardInterrupt`, or `SystemExit` with the
    shell's status, is raised on all processes. Before the first update there is nothing to save, and a signal ends the
    process at once.
    """
    stop = _StopAfterUpdate(trainer.accelerator, every)
    trainer.add_callback(stop)
    try:
        with StopSignals(repeats_end=trainer.accelerator.num_processes == 1) as stop.signals:
            yield
    finally:
        trainer.remove_callback(stop)


class _StopAfterUpdate(TrainerCallback):
    """
    Has a checkpoint written after an update in which a process got a signal, and ends training.

    Transformers ends a training by loading its best checkpoint and deleting others. So it is left by an exception.
    """

    def __init__(self, accelerator: Accelerator, every: int) -> None:
        self.accelerator, self.every = accelerator, every
        self.signals = StopSignals()
        self.reason: BaseException | None = None

    def on_step_begin(self, args: Any, state: Any, control: TrainerControl, **_: Any) -> None:
        self.signals.at_once = False

    def on_step_end(self, args: Any, state: Any, control: TrainerControl, **_: Any) -> None:
        if state.global_step % self.every:
            return
        flags = torch.tensor(self.signals.flags(), device=self.accelerator.device)
        try:
            self.signals.check(self.accelerator.reduce(flags, "sum").tolist())
        except Interruption as interruption:
            self.reason = interruption.reason
            control.should_save, control.should_evaluate = True, False

    def on_save(self, args: Any, state: Any, control: TrainerControl, **_: Any) -> None:
        if self.reason is not None:
            raise self.reason
