"""What is compared: families of problems, arms, and the order in which they are run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from stepcoder_trl.quickstart.problems import SyntheticConfig


@dataclass(frozen=True)
class Corpus:
    """
    What the tiny model is fine-tuned on before anything is compared.

    Args:
        dials (`SyntheticConfig`): Dials of the demonstrations.
        steps (`int`): Steps of 32 demonstrations.
        easy_accuracy, hard_accuracy (`float`): How often easy and hard concepts are written right.
    """

    dials: SyntheticConfig
    steps: int = 700
    easy_accuracy: float = 0.85
    hard_accuracy: float = 0.35


@dataclass(frozen=True)
class Setting:
    """
    Family of problems, and how much is done with it.

    Args:
        name (`str`): Name, also of folders.
        reason (`str`): Why it can show an effect; said before it is run.
        dials (`SyntheticConfig`): Dials of the problems, with the tests of the evaluation.
        corpus (`Corpus`): What the model starts from.
        training_tests (`int` or `None`): Tests of a problem in training, the first of all; `None` takes all.
        num_problems (`int`): Problems to train on.
        num_heldout (`int`): Problems that are only evaluated.
        updates (`int`): Updates of PPO.
        prompts_per_update (`int`): Problems per update.
        num_generations (`int`): Completions per problem and update.
        evaluate_every (`int`): Updates between two evaluations.
        stop_after (`int` or `None`): Updates after which a run stops, in the middle of its schedules.
    """

    name: str
    reason: str
    dials: SyntheticConfig
    corpus: Corpus
    training_tests: int | None = 2
    num_problems: int = 64
    num_heldout: int = 256
    updates: int = 48
    prompts_per_update: int = 16
    num_generations: int = 4
    evaluate_every: int = 8
    stop_after: int | None = None

    @property
    def rollouts_per_update(self) -> int:
        """Completions that an update trains on."""
        return self.prompts_per_update * self.num_generations

    @property
    def last_update(self) -> int:
        """Update after which a run is over."""
        return self.stop_after or self.updates

    @property
    def rollouts(self) -> int:
        """Completions that a run trains on."""
        return self.last_update * self.rollouts_per_update


@dataclass(frozen=True)
class Arm:
    """
    System that is compared.

    Args:
        label (`str`): Name in tables and plots.
        options (`dict`): Fields of `StepCoderPPOConfig`; of `SFTConfig` where solutions are learnt from.
        reward (`str` or `None`): Name in `REWARDS`; `None` takes the compiler feedback of the trainer.
        learns_from (`str`): `"tests"`; `"solutions"`: it is fine-tuned on the canonical solutions of the training
            problems, which CCCS shows in part, and sees as many as others draw completions; `"nothing"`.
    """

    label: str
    options: dict[str, Any] = field(default_factory=dict)
    reward: str | None = None
    learns_from: Literal["tests", "solutions", "nothing"] = "tests"


# The same for all arms, as in `ppo_config` of stepcoder_trl/quickstart/settings.py: a policy of 0.3 million parameters
# needs larger learning rates than one of 6.7 billion, and lambda 1 lets the score reach the first token.
COMMON: dict[str, Any] = {
    "learning_rate": 4e-4,
    "value_learning_rate": 1e-3,
    "kl_coef": 0.05,
    "temperature": 1.0,
    "top_p": 1.0,
    "lam": 1.0,
    "gradient_checkpointing": False,  # upstream's default takes an eighth of the time, to save memory that is there
}
# One average of some 20 groups.
SHARED_RATE = {"curriculum_rate_of": "stage", "curriculum_momentum": 0.05}
# On held-out problems the best of three, a factor of two apart, on a seed that is not reported.
IMITATION = {"learning_rate": 5e-4, "matrix_learning_rate": 7.5e-4}
# The systems of examples/recipes, and variants of the curriculum.
ARMS = {
    "sft": Arm("SFT", learns_from="nothing"),
    "imitation": Arm("SFT on solutions", IMITATION, learns_from="solutions"),
    "ppo": Arm("PPO", {"curriculum": "off", "fgo": "off"}),
    "stepcoder": Arm("StepCoder"),
    "no_cccs": Arm("w/o CCCS", {"curriculum": "off"}),
    "no_fgo": Arm("w/o FGO", {"fgo": "off"}),
    "random_mask": Arm("random masks", {"fgo": "random"}),
    "first_stage": Arm("CCCS, first stage only", {"curriculum_pass_rate": 1.0}),  # which no pass rate exceeds
    "shared_rate": Arm("shared pass rate", SHARED_RATE),
    "mix": Arm("CCCS mix", {"curriculum": "mix"}),
    "adaptive": Arm("CCCS adaptive", {"curriculum": "adaptive"}),
    "ppocoder": Arm("PPOCoder", {"curriculum": "off", "fgo": "off"}, "ppocoder"),
    "rltf": Arm("RLTF", {"curriculum": "off", "fgo": "off", "error_token_penalty": 0.3}, "rltf"),
}
REINFORCED = tuple(name for name, arm in ARMS.items() if arm.learns_from == "tests")
# Whenever the grid is stopped, what is there is complete for fewer arms. Fine-tuning comes first: runs wait for it.
TIERS = (
    ("sft",),
    ("ppo", "stepcoder"),
    ("no_cccs", "no_fgo"),
    ("random_mask", "first_stage"),
    ("imitation",),
    ("ppocoder",),
    ("rltf",),
    ("mix",),
    ("adaptive",),
    ("shared_rate",),
)


@dataclass(frozen=True)
class Job:
    """One run of the grid."""

    setting: Setting
    arm: str
    seed: int

    @property
    def name(self) -> str:
        """Name of its result; another one if anything about it is changed."""
        what = {**asdict(self.setting), "arm": asdict(ARMS[self.arm]), "common": COMMON}
        del what["reason"]
        return f"{self.setting.name}/{self.arm}-{digest(what)}-seed{self.seed}"

    def path(self, folder: Path) -> Path:
        """Where its result is written when it is done."""
        return path_of_run(self.name, folder)

    def __str__(self) -> str:
        return f"{self.setting.name}, {ARMS[self.arm].label}, seed {self.seed}"


def plan(settings: Sequence[Setting], tiers: Sequence[Sequence[str]], seeds: Sequence[int]) -> Iterator[Job]:
    """Jobs in the order of their worth: tier by tier, in each all settings and seeds."""
    for tier in tiers:
        for seed in seeds:
            for setting in settings:
                for arm in tier:
                    yield Job(setting, arm, seed)


def path_of_run(name: str, folder: Path) -> Path:
    """File of a run's result in the folder of all runs."""
    return folder / "runs" / f"{name}.json"


def digest(value: Any) -> str:
    """Short digest of a value that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


# Families. The pass rates and shares in the reasons are those of programs with planted errors, without any model.

_CHAINS = SyntheticConfig(style="scalar", min_clauses=3, max_clauses=3, min_arms=3, max_arms=3)

MAIN = Setting(
    name="sparse",
    reason=(
        "Three chains of three arms: under two tests a program from scratch is right once in 82, its last two chains "
        "once in 14, its last one once in 4. So from scratch few groups of completions see a pass, and near the end "
        "most do: what CCCS needs. A test takes one arm of each chain, and with two of them a quarter of the program "
        "never runs: what FGO masks."
    ),
    dials=_CHAINS,
    corpus=Corpus(_CHAINS),
)


def _with_concepts(concepts: str, name: str, reason: str) -> Setting:
    """The main setting with other concepts, and with a model that was fine-tuned on such problems."""
    dials = replace(_CHAINS, concepts=concepts)
    return replace(MAIN, name=name, reason=reason, dials=dials, corpus=Corpus(dials))


# Every chain has concepts of its own: what is learnt at the last one says nothing of the others, so that a curriculum
# has to move on, and problems from scratch show the whole of it.
OWN = _with_concepts(
    "by_clause",
    "own_concepts",
    "As the main setting, but the first, second and last chain of a problem have different concepts.",
)
# What the last chain teaches cannot be wrong in the others: concepts that are easily confused are met in one chain.
FAMILIES = _with_concepts(
    "family_by_clause",
    "own_families",
    "As `own_concepts`, but concepts that are easily taken for each other are met in the same chain.",
)
# The same problems and models with other tests in training: fewer leave more unexecuted, more make passing rarer.
# They stop half-way, which is enough for gains over the curve.
TESTS = tuple(
    replace(
        MAIN,
        name=f"tests_{number or 'all'}",
        reason=f"As the main setting, with {words} in training: a program from scratch is right {right}.",
        training_tests=number,
        stop_after=MAIN.updates // 2,
    )
    for number, words, right in (
        (1, "one test", "once in 15, and 47 % of it never runs"),
        (4, "four tests", "once in 400, and 10 % of it never runs"),
        (None, "all tests", "once in 800, and 3 % of it never runs"),
    )
)
# More chains make passing rarer, and leave as much unexecuted. One model per seed, for all three.
_MIXED = Corpus(replace(_CHAINS, min_clauses=2, max_clauses=4))
CHAINS = tuple(
    replace(
        MAIN,
        name=f"chains_{number}",
        reason=f"{words} chains of three arms under two tests, with a model that knows two to four chains.",
        dials=replace(_CHAINS, min_clauses=number, max_clauses=number),
        corpus=_MIXED,
        stop_after=MAIN.updates // 2,
    )
    for number, words in ((2, "Two"), (3, "Three"), (4, "Four"))
)
# Where the first runs were made, with updates of twice as many completions.
SPARSER = replace(
    MAIN,
    name="sparser",
    reason=(
        "As the main setting, with a model that is wrong more often to begin with: right once in 220 from scratch, "
        "once in 27 for the last two chains, once in 4 for the last."
    ),
    corpus=Corpus(_CHAINS, steps=500, easy_accuracy=0.8, hard_accuracy=0.25),
    updates=30,
    prompts_per_update=32,
    evaluate_every=5,
)
SMOKE = Setting(
    name="smoke",
    reason="Shows that everything runs; nothing can be concluded from it.",
    dials=SyntheticConfig(style="scalar", min_clauses=2, max_clauses=2, min_arms=2, max_arms=2),
    corpus=Corpus(SyntheticConfig(style="scalar", min_clauses=2, max_clauses=2, min_arms=2, max_arms=2), steps=20),
    num_problems=4,
    num_heldout=8,
    updates=2,
    prompts_per_update=2,
    num_generations=2,
    evaluate_every=1,
)
SETTINGS = {setting.name: setting for setting in (MAIN, OWN, FAMILIES, *TESTS, *CHAINS, SPARSER, SMOKE)}
