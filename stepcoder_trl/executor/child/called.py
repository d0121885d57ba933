"""
Notice whether a program has called a function while its module level ran.

Tests of standard input name a function that is called afterwards. Models like to end with a call of their own, also
under `if __name__ == "__main__":`. A second one would meet an empty input.
"""

from __future__ import annotations

import re
import sys
import threading
from functools import partial
from types import CodeType, FrameType
from typing import Any


_setprofile, _setprofile_of_threads = sys.setprofile, threading.setprofile
_MAX_WRAPPERS = 100  # of one function; a function that wraps itself has no last one


class CallWatch:
    """Watches which functions of a program begin, until the one of this name does."""

    def __init__(self, program: str, filename: str, name: str) -> None:
        self._filename, self._name = filename, name
        self._begun: set[CodeType] = set()
        # A program that names the function once only defines it. Most do, and need no watch, which takes time.
        uses = re.findall(rf"\b(def\s+)?{re.escape(name)}\b", program)
        self._may_call = len(uses) != 1 or not uses[0]

    def start(self) -> None:
        """Begin to watch this thread and those that the program starts."""
        if self._may_call:
            _setprofile_of_threads(self._note)
            _setprofile(self._note)

    def stop(self) -> None:
        """End the watch."""
        if self._may_call:
            _setprofile_of_threads(None)
            _setprofile(None)

    def has_begun(self, function: Any) -> bool:
        """Return whether this very function or method has been called. Another one of its name does not count."""
        return _code_of(function) in self._begun

    def _note(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event != "call" or code in self._begun:
            return
        if code.co_filename == self._filename and code.co_name != "<module>":
            self._begun.add(code)
            if code is _code_of(frame.f_globals.get(self._name)):
                _setprofile(None)


def _code_of(function: Any) -> CodeType | None:
    """Return the code of a function or method, also of a decorated one, or `None` if it is not written in Python."""
    for _ in range(_MAX_WRAPPERS):
        if isinstance(function, partial):
            function = function.func
        function = getattr(function, "__func__", function)
        if not hasattr(function, "__wrapped__"):
            break
        function = function.__wrapped__
    if not hasattr(function, "__code__"):  # an object that can be called
        function = vars(type(function)).get("__call__")
    code = getattr(function, "__code__", None)
    return code if isinstance(code, CodeType) else None
