"""Handler of the signal of the soft time limit."""

from __future__ import annotations

from collections.abc import Callable
from types import FrameType


class SoftLimit:
    """
    Handler of the signal, which calls `end`.

    The forker installs it. A child that has confined itself cannot replace it.
    """

    end: Callable[[], None] | None = None

    def __call__(self, number: int, where: FrameType | None) -> None:
        if self.end is not None:
            self.end()
