"""Test the settings of the executor."""

from __future__ import annotations

import pytest

from stepcoder_trl import ExecutorConfig
from stepcoder_trl.errors import BadInputError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_workers": 0}, "num_workers"),
        ({"num_workers": 100_000}, "must be at most 1024, because each is a process"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"memory_limit_bytes": 512}, "512 \\* 2\\*\\*20"),
        ({"isolation": "off"}, "isolation"),
        ({"float_tolerance": -1.0}, "float_tolerance"),
    ],
)
def test_setting_out_of_range_is_refused(settings, message):
    with pytest.raises(BadInputError, match=message):
        ExecutorConfig(**settings)


def test_positional_settings_have_a_fixed_order():
    config = ExecutorConfig(1, 2.0, 3.0, 2**30, "none", True, 0.5, True, False, True, 7)

    assert config == ExecutorConfig(
        num_workers=1,
        timeout_s=2.0,
        program_timeout_s=3.0,
        memory_limit_bytes=2**30,
        isolation="none",
        stop_on_first_failure=True,
        float_tolerance=0.5,
        fresh_process_per_test=True,
        trace=False,
        keep_outputs=True,
        hash_seed=7,
    )
