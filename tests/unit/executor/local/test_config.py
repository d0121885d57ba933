"""Test the settings of the executors."""

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
        ({"timeout_s": 0}, "timeout_s"),
        ({"memory_limit_bytes": 512}, "512 \\* 2\\*\\*20"),
        ({"isolation": "off"}, "isolation"),
        ({"float_tolerance": -1.0}, "float_tolerance"),
    ],
)
def test_setting_out_of_range_is_refused(settings, message):
    with pytest.raises(BadInputError, match=message):
        ExecutorConfig(**settings)


def options(settings: type) -> dict[str, str]:
    """Return the description of each option in the docstring of settings."""
    entries = re.split(r"\n        (?=\w+ \(`)", settings.__doc__)[1:]
    return {entry.split(" ")[0]: " ".join(entry.split(":", 1)[1].split()) for entry in entries}


def test_both_executors_describe_their_common_options_alike():
    local, remote = options(ExecutorConfig), options(RemoteConfig)

    common = ("timeout_s", "program_timeout_s", "memory_limit_bytes", "isolation", "float_tolerance")
    assert {name: remote[name].startswith(local[name]) for name in common} == dict.fromkeys(common, True)
