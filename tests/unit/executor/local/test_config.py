"""Test the settings of the executor."""

from __future__ import annotations

import pytest

from stepcoder_trl import ExecutorConfig
from stepcoder_trl.errors import BadInputError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_workers": 0}, "num_workers"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"memory_limit_bytes": 512}, "512 \\* 2\\*\\*20"),
        ({"isolation": "off"}, "isolation"),
        ({"float_tolerance": -1.0}, "float_tolerance"),
    ],
)
def test_setting_out_of_range_is_refused(settings, message):
    with pytest.raises(BadInputError, match=message):
        ExecutorConfig(**settings)
