"""Guard around the reports of a run, so that no run is lost to its report."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from stepcoder_trl.reports.run_files import REPORT_FAILURES


logger = logging.getLogger(__name__)


class ReportGuard:
    """Warns of the first report that cannot be written, as on a full disk, and passes over the later ones."""

    def __init__(self) -> None:
        self.has_warned = False

    @contextmanager
    def tolerant(self) -> Iterator[None]:
        """Turn a failure in the block into the warning."""
        try:
            yield
        except REPORT_FAILURES as error:
            if not self.has_warned:
                logger.warning(
                    f"A report of the run cannot be written ({type(error).__name__}: {error}). Training goes on. The "
                    "page, the cards and the record may lack something. Later failures are not shown."
                )
            self.has_warned = True
