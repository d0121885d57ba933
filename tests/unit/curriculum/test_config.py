from __future__ import annotations

import dataclasses
import math

import pytest

from stepcoder_trl.curriculum import CurriculumConfig
from stepcoder_trl.errors import BadInputError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "fast"}, "`mode` is 'fast', but must be one of paper, mix, adaptive, off"),
        ({"kinds": "if"}, "`kinds` is 'if'"),
        ({"rate_of": "all"}, "`rate_of` is 'all'"),
        ({"pass_rate": 50}, "`pass_rate` is 50, but must be in .*write 0.5 for 50%"),
        ({"momentum": 0.0}, "`momentum` is 0.0"),
        ({"mix_probability": -0.1}, "`mix_probability` is -0.1"),
        ({"pass_rate": "0.5"}, "`pass_rate` is '0.5', but must be in"),
        ({"momentum": "0.5"}, "`momentum` is '0.5', but must be in"),
        ({"pass_rate": math.nan}, "`pass_rate` is nan"),
    ],
)
def test_invalid_values_raise(changes, message):
    with pytest.raises(BadInputError, match=message):
        CurriculumConfig(**changes)


def test_configuration_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        CurriculumConfig().seed = 1  # type: ignore[misc]
