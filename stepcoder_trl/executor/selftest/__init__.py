"""
Conformance suite for execution backends. It runs hostile and correct programs and checks outcomes and leftovers.

Run it on this package's own sandbox with [`check_sandbox`] (`stepcoder-trl selftest`), and on your own backend with
[`run_selftest`].
"""

from stepcoder_trl.executor.selftest.checks import SelftestFinding
from stepcoder_trl.executor.selftest.corpus import Case, load
from stepcoder_trl.executor.selftest.suite import SelftestReport, check_sandbox, run_selftest


__all__ = ["Case", "SelftestFinding", "SelftestReport", "check_sandbox", "load", "run_selftest"]
