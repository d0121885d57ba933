"""Test the settings of the executor."""

from __future__ import annotations

import re

import pytest

from stepcoder_trl import ExecutorConfig
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.executor import RemoteConfig


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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"timeout_s": "3"}, "`timeout_s` is '3', but must be a number. Write it without quotes."),
        ({"timeout_s": None}, "`timeout_s` is None, but must be a number. Leave it out for the default."),
        ({"timeout_s": True}, "`timeout_s` is True, but must be a number."),
        ({"program_timeout_s": "9"}, "`program_timeout_s` is '9', but must be a number or None."),
        ({"memory_limit_bytes": "512"}, "`memory_limit_bytes` is '512', but must be a whole number."),
        ({"float_tolerance": "1e-3"}, "`float_tolerance` is '1e-3', but must be a number or None."),
        ({"num_workers": 2.5}, "`num_workers` is 2.5, but must be a whole number or None. Leave it out"),
        ({"hash_seed": 1.5}, "`hash_seed` is 1.5, but must be a whole number."),
        ({"trace": "no"}, "`trace` is 'no', but must be True or False. Write it without quotes."),
    ],
)
def test_setting_of_another_type_is_refused(settings, message):
    with pytest.raises(BadInputError, match=re.escape(message)):
        ExecutorConfig(**settings)


@pytest.mark.parametrize("url", [None, [5], 8080])
def test_address_that_is_no_text_is_refused(url):
    with pytest.raises(BadInputError, match="must be an address like 'http://sandbox:8080', or a list"):
        RemoteConfig(url)


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
