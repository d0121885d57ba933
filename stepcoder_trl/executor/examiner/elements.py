"""Elements of an object of the program, which the examiner asks for as a test needs them. They may be endless."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any


Take = Callable[[int], Any]  # number -> as many of the next elements, or fewer, and whether these are the last ones

_ONE_BY_ONE = 8  # elements, before the next ones are asked for in advance
_IN_ADVANCE = 4096


class Elements:
    """Elements of an object in order. Each iteration begins at the first one."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self._known: list[Any] = []
        self._problem: BaseException | None = None
        self._num_taken = 0
        self.has_ended = False
        self.was_read = False  # whether a test has iterated over the object

    def __iter__(self) -> Iterator[Any]:
        place = 0
        while self.has(place):
            yield self._known[place]
            place += 1

    def __getitem__(self, place: int) -> Any:
        return self._known[place] if place >= 0 and self.has(place) else self.all()[place]

    def has(self, place: int) -> bool:
        """Return whether there is an element at this place."""
        while place >= len(self._known) and not self.has_ended:
            self._know_more()
        return place < len(self._known)

    def all(self) -> list[Any]:
        """Return all elements."""
        while not self.has_ended:
            self._know_more()
        return self._known

    def clear(self) -> None:
        """Forget the elements, because the object has none any more."""
        self._known.clear()

    def _know_more(self) -> None:
        if self._problem is not None:
            raise self._problem
        try:
            self._known += self.more()
        except BaseException as error:
            self._problem = error
            raise

    def more(self) -> list[Any]:
        """Ask for the next elements. A few that are not needed yet save messages."""
        number = 1 if self._num_taken < _ONE_BY_ONE else min(self._num_taken // 4, _IN_ADVANCE)
        answer = self._take(number)
        if type(answer) is not tuple or len(answer) != 2 or type(answer[0]) is not list or len(answer[0]) > number:
            raise TypeError("elements that are no list")
        taken: list[Any] = answer[0]
        self.has_ended = answer[1] is True or not taken
        self._num_taken += len(taken)
        return taken


class Stream(Elements):
    """Elements of a generator. It has each of them once."""

    def __init__(self, take: Take) -> None:
        super().__init__(take)
        self._waiting: deque[Any] = deque()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        while not self._waiting and not self.has_ended:
            self._waiting += self.more()
        if not self._waiting:
            raise StopIteration
        return self._waiting.popleft()
