"""Give a program the interpreter that `python program.py` gives it: SIGINT, long integers, depth of recursion."""

from __future__ import annotations

import signal
import sys
from types import FrameType


_set_limit, _get_limit = sys.setrecursionlimit, sys.getrecursionlimit
_MAX_LIMIT = 2**31 - 1
_FRAMES_OF_EXEC = 0 if sys.version_info >= (3, 12) else 1  # it is in C, which counted until Python 3.11

_hidden_frames = 0


def behave_like_a_script() -> None:
    """Undo the settings of the fork server and of its environment that a program would notice."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the fork server ignores it
    if sys.version_info >= (3, 10, 7):
        sys.set_int_max_str_digits(0)  # results may be longer than 4,300 digits
    sys.setrecursionlimit, sys.getrecursionlimit = setrecursionlimit, getrecursionlimit


def hide_frames(deeper: int = 0) -> None:
    """
    Leave the program the depth of recursion that it has without the frames of the sandbox.

    Call this in the function that executes the module level. `deeper` is the number of frames that the sandbox will
    put between that function and a function of the program.
    """
    global _hidden_frames
    limit = getrecursionlimit()
    _hidden_frames = _depth_of_caller() + _FRAMES_OF_EXEC + deeper
    setrecursionlimit(limit)


def _depth_of_caller() -> int:
    """Return the number of frames on the stack, up to the caller of the function that calls this."""
    depth = 0
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        depth += 1
        frame = frame.f_back
    return depth


def setrecursionlimit(limit: int, /) -> None:
    """Set the maximum depth of the Python interpreter stack to `limit`, without the frames of the sandbox."""
    _set_limit(min(limit + _hidden_frames, _MAX_LIMIT) if 0 < limit <= _MAX_LIMIT else limit)


def getrecursionlimit() -> int:
    """Return the maximum depth of the Python interpreter stack, without the frames of the sandbox."""
    limit = _get_limit()
    return limit if limit == _MAX_LIMIT else limit - _hidden_frames
