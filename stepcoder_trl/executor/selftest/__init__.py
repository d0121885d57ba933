"""
Conformance suite for execution backends: hostile and correct programs, their right outcomes, and what they leave.

Run it on this package's own sandbox with [`check_sandbox`] (`stepcoder-trl selftest`), on a backend of yours with
[`run_selftest`].
"""

from stepcoder_trl.executor.selftest.corpus import Case, load
from stepcoder_trl.executor.selftest.suite import Finding, SelftestReport, check_sandbox, run_selftest


__all__ = ["Case", "Finding", "SelftestReport", "check_sandbox", "load", "run_selftest"]
