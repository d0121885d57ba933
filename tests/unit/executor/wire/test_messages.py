"""Test the modules that hostile programs look up to forge messages."""

from __future__ import annotations

import re
from importlib.util import find_spec

from stepcoder_trl.executor.selftest import load


def test_modules_that_hostile_programs_use_exist():
    names = {name for case in load("hostile") for name in re.findall(r'"(stepcoder_trl\.[\w.]+)"', case.program)}

    assert len(names) >= 3
    assert all(find_spec(name) for name in names)
