"""Give a program the interpreter that `python program.py` gives it: SIGINT, long integers, depth of recursion."""

from __future__ import annotations

import signal
import sys


_set_limit, _get_limit = sys.setrecursionlimit, sys.getrecursionlimit
_MAX_LIMIT = 2**31 - 1

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
    own = 2  # this function and `_depth`; from there, `exec` and the module level count as much as `_set_limit`
    _hidden_frames = _depth() - own + deeper
    setrecursionlimit(limit)


def _depth() -> int:
    """Return the depth that the interpreter counts: until Python 3.11, some functions in C count besides frames."""
    try:
        _set_limit(1)
    except RecursionError as error:  # "... at the recursion depth 17: the limit is too low"
        return int(str(error).partition("depth ")[2].partition(":")[0])
    return 0


def setrecursionlimit(limit: int, /) -> None:
    """Set the maximum depth of the Python interpreter stack to `limit`, without the frames of the sandbox."""
    _set_limit(min(limit + _hidden_frames, _MAX_LIMIT) if 0 < limit <= _MAX_LIMIT else limit)


def getrecursionlimit() -> int:
    """Return the maximum depth of the Python interpreter stack, without the frames of the sandbox."""
    limit = _get_limit()
    return limit if limit == _MAX_LIMIT else limit - _hidden_frames
