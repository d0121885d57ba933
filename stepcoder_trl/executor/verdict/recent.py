"""Remember the tests that were checked last: many samples of one problem come with the same tests."""

from __future__ import annotations

import marshal
from collections.abc import Mapping
from typing import Any

from stepcoder_trl.executor.verdict.schema import Tests


_MAX_BYTES = 4 * 2**20  # of all keys together
_MAX_ROWS = 64  # what is prepared for a row is much larger than its key


class RecentTests:
    """
    Tests that were checked last, by their content.

    A copy of the content in Python's own format is made and compared in a fraction of the time of a check. Threads may
    share this object.
    """

    def __init__(self) -> None:
        self._known: dict[bytes | str, Tests] = {}

    def parse(self, tests: Mapping[str, Any] | str) -> Tests:
        """Return the checked tests. Raise BadInputError as `Tests.parse` does."""
        key = _key_of(tests)
        if key is None:
            return Tests.parse(tests)
        known = self._known.get(key)
        if known is None:
            known = Tests.parse(tests)
            self._forget_for(len(key))
            self._known[key] = known
        return known

    def _forget_for(self, size: int) -> None:
        """Forget the oldest tests until there is room for a key of this size. No count is kept that threads share."""
        while (keys := tuple(self._known)) and (sum(map(len, keys)) + size > _MAX_BYTES or len(keys) >= _MAX_ROWS):
            self._known.pop(keys[0], None)  # another thread may have done the same


def _key_of(tests: Mapping[str, Any] | str) -> bytes | str | None:
    """Return the content of tests. `None` if they are checked already, too large, or hold objects of other classes."""
    if type(tests) is str:
        return tests if len(tests) <= _MAX_BYTES // 4 else None
    if type(tests) is not dict:
        return None
    try:
        key = marshal.dumps(tests, 2)  # a version that writes equal content as equal bytes
    except ValueError:
        return None
    return key if len(key) <= _MAX_BYTES // 4 else None
