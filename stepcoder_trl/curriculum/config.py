"""Options of the curriculum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from stepcoder_trl.curriculum.cut import Kinds
from stepcoder_trl.errors import BadInputError


Mode = Literal["paper", "mix", "adaptive", "off"]
RateOf = Literal["problem", "stage"]


@dataclass(frozen=True)
class CurriculumConfig:
    """
    Options of the curriculum.

    Attributes:
        mode (`str`, *optional*, defaults to `"paper"`):
            `paper`: every problem moves through its own stages. `mix`: as `paper`, but with `mix_probability` a
            problem is drawn from scratch. `adaptive`: every problem has an interval of the share of its solution that
            is revealed, and success narrows it (AdaBack, arXiv:2506.18110). `off`: always from scratch.
        kinds (`str`, *optional*, defaults to `"statements"`):
            Kinds of conditional statements, as in [`find_conditionals`]. The paper names no kinds.
        pass_rate (`float`, *optional*, defaults to `0.5`):
            Fraction of passing samples above which a problem moves on, in [0, 1]. At 1 no problem moves on. The paper
            gives no value.
        momentum (`float`, *optional*, defaults to `0.3`):
            Weight of the newest group in the moving average of the pass rate, in (0, 1]. The paper gives no value.
        rate_of (`str`, *optional*, defaults to `"problem"`):
            Pass rate that decides in `paper` and `mix`. `problem`: the problem's own, as in the paper. `stage`: that
            of all problems at the same stage, which move on together. A stage sees more groups than a problem, so
            `stage` needs a smaller `momentum`.
        mix_probability (`float`, *optional*, defaults to `0.1`):
            Probability that `mix` draws a problem from scratch, in [0, 1].
        leave_solved (`bool`, *optional*, defaults to `False`):
            Whether a problem in `paper` and `mix` leaves a stage above scratch as soon as all samples of a group pass.
            Such a group teaches nothing where rewards are compared within a group, as in GRPO. Not in the paper.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the draws.

    Raises:
        BadInputError: If a value is not allowed.
    """

    mode: Mode = "paper"
    kinds: Kinds = "statements"
    pass_rate: float = 0.5
    momentum: float = 0.3
    rate_of: RateOf = "problem"
    mix_probability: float = 0.1
    leave_solved: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        modes, kinds, rates = get_args(Mode), get_args(Kinds), get_args(RateOf)
        check("mode", self.mode, self.mode in modes, f"one of {', '.join(modes)}")
        check("kinds", self.kinds, self.kinds in kinds, f"one of {', '.join(kinds)}")
        check("rate_of", self.rate_of, self.rate_of in rates, f"one of {', '.join(rates)}")
        check("pass_rate", self.pass_rate, _is_share(self.pass_rate), "in [0, 1]: write 0.5 for 50%")
        is_rate = _is_share(self.momentum) and self.momentum > 0
        check("momentum", self.momentum, is_rate, "in (0, 1]: write 0.5 for 50%")
        check("mix_probability", self.mix_probability, _is_share(self.mix_probability), "in [0, 1]: write 0.5 for 50%")


def _is_share(value: object) -> bool:
    return isinstance(value, (int, float)) and 0 <= value <= 1


def check(name: str, value: object, valid: bool, allowed: str) -> None:
    """Raise an error that says which values are allowed, unless the value is valid."""
    if not valid:
        raise BadInputError(f"`{name}` is {value!r}, but must be {allowed}.")
