"""Program whose result somebody waits for."""

from __future__ import annotations

import logging
from concurrent.futures import Future
from dataclasses import dataclass, field

from stepcoder_trl.types import Execution


logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Pending:
    """Future of a program, which one thread takes and settles."""

    future: Future[Execution] = field(default_factory=Future, kw_only=True)

    def starts(self) -> bool:
        """Return whether the program is to be run: nobody has cancelled it, or it has been taken before."""
        return self.future.running() or self.future.set_running_or_notify_cancel()

    def settle(self, result: Execution | Exception) -> None:
        """Set the result. A callback that fails does not end the thread, which serves other programs too."""
        try:
            if isinstance(result, Exception):
                self.future.set_exception(result)
            else:
                self.future.set_result(result)
        except BaseException:
            logger.exception("A callback of a program's future failed.")
