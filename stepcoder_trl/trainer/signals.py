"""
Handling of Ctrl-C and SIGTERM.

The first signal is noted, and training stops at the next place where a checkpoint can be written. A second signal ends
the process at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any


WATCHED = (signal.SIGINT, signal.SIGTERM)


class Interruption(Exception):
    """
    Raised on every process at the same place. A checkpoint can be written there.

    Attributes:
        reason (`BaseException`): Exception to raise after the checkpoint is written.
    """

    def __init__(self, reason: BaseException) -> None:
        super().__init__(type(reason).__name__)
        self.reason = reason


def reason_of(number: int) -> BaseException:
    """Exception that a signal becomes: `KeyboardInterrupt`, or `SystemExit` with the shell's status of SIGTERM."""
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)


class StopSignals:
    """
    Notes SIGINT and SIGTERM while it is entered, and puts the handlers back that it found.

    Does nothing outside the main thread, and leaves a signal alone that is ignored, as for a program started with
    `nohup`.

    Args:
        repeats_end (`bool`, *optional*, defaults to `True`):
            Whether a second signal ends the process at once. Not under a launcher: it hands on to its processes what
            the terminal has sent them already.

    Attributes:
        noted (`int`): Signal that came, 0 if none has.
        at_once (`bool`): Whether the first signal already ends the process: there is nothing yet to save.
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
                if handler not in (signal.SIG_IGN, None):  # None: not set from Python, nothing to put back
                    self._before[number] = handler
                    signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._put_back()
        if self.noted and not self._stopped and error is None:  # it came too late for training to stop
            raise reason_of(self.noted)

    def flags(self) -> list[int]:
        """For each signal of `WATCHED` 1 if it came to this process, else 0."""
        return [int(self.noted == number) for number in WATCHED]

    def check(self, counts: Sequence[int]) -> None:
        """
        Stop if a signal came to some process.

        Args:
            counts (`Sequence[int]`): Sum of `flags` over all processes.

        Raises:
            Interruption: If there is one. The signal with the highest number decides.
        """
        number = max(number * bool(count) for number, count in zip(WATCHED, counts, strict=True))
        if number:
            self._stopped = True
            raise Interruption(reason_of(number))

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.noted and not self.repeats_end:
            return
        if self.noted or self.at_once:
            self._stopped = True
            self._put_back()  # one more does what it always did
            raise reason_of(number)
        self.noted = number

    def _put_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
