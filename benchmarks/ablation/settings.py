"""Families of problems, arms to compare, and the order of the runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from stepcoder_trl.quickstart.problems import SyntheticConfig
from stepcoder_trl.quickstart.tiny_model import TinyModelConfig


WORK, OUT = Path("runs/ablation"), Path("docs/results/ablation")  # of the runs, of the results


@dataclass(frozen=True)
class Corpus:
    """Demonstrations on which the tiny model is fine-tuned first."""

    dials: SyntheticConfig
    steps: int = 700  # of 32 demonstrations each
    easy_accuracy: float = 0.85  # share of easy concepts that are written right
    hard_accuracy: float = 0.35


@dataclass(frozen=True)
class Setting:
    """Family of problems and sizes of its runs."""

    name: str
    reason: str  # to expect an effect, written before the runs
    dials: SyntheticConfig  # of the problems, with the tests for evaluation
    corpus: Corpus
    training_tests: int | None = 2  # the first ones of each problem; `None` takes all
    num_solutions: int | None = None  # training problems with a solution, the first ones; `None` leaves all theirs
    num_problems: int = 64
    num_heldout: int = 256
    updates: int = 48
    prompts_per_update: int = 16
    num_generations: int = 4
    evaluate_every: int = 8  # updates
    stop_after: int | None = None  # updates; the schedules do not change
    model: TinyModelConfig = TinyModelConfig()  # noqa: RUF009 - it is frozen
    on_gpu: bool = False  # where there is one

    @property
    def device(self) -> str:
        """Device of the model."""
        return "cuda" if self.on_gpu and torch.cuda.is_available() else "cpu"

    @property
    def rollouts_per_update(self) -> int:
        """Number of completions per update."""
        return self.prompts_per_update * self.num_generations

    @property
    def last_update(self) -> int:
        """Number of updates after which a run ends."""
        return self.stop_after or self.updates

    @property
    def rollouts(self) -> int:
        """Number of completions per run."""
        return self.last_update * self.rollouts_per_update


@dataclass(frozen=True)
class Arm:
    """
    System to compare.

    `learns_from="tests"` trains by PPO, `"groups"` by GRPO, whose scores come from the tests, too. `"solutions"`
    fine-tunes on the training problems' canonical solutions, which CCCS shows in part, on as many as other arms sample
    completions. `"nothing"` does not train. The first updates of an arm may be such fine-tuning: `imitates_first`.
    """

    label: str
    options: dict[str, Any] = field(default_factory=dict)  # of the trainer's configuration, or of `SFTConfig`
    reward: str | None = None  # its name; `None` takes the trainer's compiler feedback
    learns_from: Literal["tests", "groups", "solutions", "nothing"] = "tests"
    imitates_first: int = 0  # updates

    @property
    def common(self) -> dict[str, Any]:
        """Options that the arm shares with all arms of its trainer."""
        return GRPO_COMMON if self.learns_from == "groups" else COMMON


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
# GRPO has no critic, and upstream's default has no KL penalty. Groups have upstream's size, so an update has half as
# many problems as PPO's, and as many completions.
GRPO_COMMON: dict[str, Any] = {
    "learning_rate": 4e-4,
    "num_generations": 8,
    "temperature": 1.0,
    "top_p": 1.0,
    "gradient_checkpointing": False,
}
OFF = {"curriculum": "off", "fgo": "off"}
# One average of some 20 groups.
SHARED_RATE = {"curriculum_rate_of": "stage", "curriculum_momentum": 0.05}
# The best of three learning rates, a factor of two apart, on held-out problems of a seed that is not reported.
IMITATION = {"learning_rate": 5e-4, "matrix_learning_rate": 7.5e-4}
# Defaults of the GRPO trainer that the runs are to choose, so they are named.
_LEAVING = {"scale_rewards": "none", "curriculum_leave_solved": True}
_STAYING = {**_LEAVING, "curriculum_leave_solved": False}
# The systems of examples/recipes, variants of the curriculum, and the same parts on GRPO.
ARMS = {
    "sft": Arm("SFT", learns_from="nothing"),
    "imitation": Arm("SFT on solutions", IMITATION, learns_from="solutions"),
    "ppo": Arm("PPO", {"curriculum": "off", "fgo": "off"}),
    "stepcoder": Arm("StepCoder"),
    "no_cccs": Arm("w/o CCCS", {"curriculum": "off"}),
    "no_fgo": Arm("w/o FGO", {"fgo": "off"}),
    "random_mask": Arm("random masks", {"fgo": "random"}),
    "first_stage": Arm("CCCS, first stage only", {"curriculum_pass_rate": 1.0}),  # no pass rate exceeds it
    "shared_rate": Arm("shared pass rate", SHARED_RATE),
    "mix": Arm("CCCS mix", {"curriculum": "mix"}),
    "adaptive": Arm("CCCS adaptive", {"curriculum": "adaptive"}),
    "ppocoder": Arm("PPOCoder", {"curriculum": "off", "fgo": "off"}, "ppocoder"),
    "rltf": Arm("RLTF", {"curriculum": "off", "fgo": "off", "error_token_penalty": 0.3}, "rltf"),
    "grpo": Arm("GRPO", {**OFF, "scale_rewards": "none"}, learns_from="groups"),
    "grpo_scaled": Arm("GRPO, scaled by group", {**OFF, "scale_rewards": "group"}, learns_from="groups"),
    "grpo_binary": Arm("GRPO, binary reward", {**OFF, "scale_rewards": "group"}, "binary", learns_from="groups"),
    "grpo_cccs": Arm("GRPO + CCCS", {"fgo": "off", **_LEAVING}, learns_from="groups"),
    "grpo_fgo": Arm("GRPO + FGO", {"curriculum": "off", "scale_rewards": "none"}, learns_from="groups"),
    "grpo_stepcoder": Arm("StepCoder on GRPO", _LEAVING, learns_from="groups"),
    "grpo_staying": Arm("StepCoder on GRPO, solved stay", _STAYING, learns_from="groups"),
    "grpo_mix": Arm("StepCoder on GRPO, mix", {"curriculum": "mix", **_LEAVING}, learns_from="groups"),
    "grpo_adaptive": Arm("StepCoder on GRPO, adaptive", {"curriculum": "adaptive", **_LEAVING}, learns_from="groups"),
}
# Options of PPO that are not the paper's. The mean of Eq. 3 over the tests needs no solutions, as PPO itself.
_MEAN: dict[str, Any] = {"score_tests": "mean"}
_FROM_SCRATCH = {"curriculum": "off", **_MEAN}
BEYOND = {
    "mean": Arm("PPO, mean score", {**OFF, **_MEAN}),
    "mean_fgo": Arm("PPO, mean score, FGO", _FROM_SCRATCH),
    "mean_tests": Arm("PPO, mean score, FGO per test", {**_FROM_SCRATCH, "fgo": "tests"}),
    "mean_random": Arm("PPO, mean score, tests permuted", {**_FROM_SCRATCH, "fgo": "tests_random"}),
    "stepcoder_mean": Arm("StepCoder, mean score", _MEAN),
    "imitating": Arm("StepCoder, prefix imitation", {"prefix_imitation": 0.2}),
    "measured": Arm("StepCoder, measured start", {"curriculum_start": "measured"}),
    "then_stepcoder": Arm("SFT on solutions, then StepCoder", imitates_first=6),
    "then_mean": Arm("SFT on solutions, then PPO, mean score", {**OFF, **_MEAN}, imitates_first=6),
}
ARMS |= BEYOND
BY_PPO, BY_GRPO = (
    tuple(name for name, arm in ARMS.items() if arm.learns_from == source) for source in ("tests", "groups")
)
REINFORCED = (*BY_PPO, *BY_GRPO)
# If the grid is stopped early, the first arms are complete. Fine-tuning comes first, as all arms need it.
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
    BY_GRPO,
    ("mean", "imitating"),
    ("mean_fgo", "mean_tests"),
    ("stepcoder_mean",),
    ("mean_random",),
    ("measured",),
    ("then_stepcoder", "then_mean"),
)


@dataclass(frozen=True)
class Job:
    """One run of the grid."""

    setting: Setting
    arm: str
    seed: int

    @property
    def name(self) -> str:
        """Name of the result. It contains a digest of setting and arm."""
        settings = {**asdict(self.setting), "arm": asdict(ARMS[self.arm]), "common": ARMS[self.arm].common}
        del settings["reason"]
        # The names of many runs are older than these fields.
        if not self.setting.on_gpu:
            del settings["model"], settings["on_gpu"]
        if self.setting.num_solutions is None:
            del settings["num_solutions"]
        if not ARMS[self.arm].imitates_first:
            del settings["arm"]["imitates_first"]
        return f"{self.setting.name}/{self.arm}-{digest(settings)}-seed{self.seed}"

    def path(self, folder: Path) -> Path:
        """File of the result, which exists when the job is finished."""
        return path_of_run(self.name, folder)

    def __str__(self) -> str:
        return f"{self.setting.name}, {ARMS[self.arm].label}, seed {self.seed}"


def plan(settings: Sequence[Setting], tiers: Sequence[Sequence[str]], seeds: Sequence[int]) -> Iterator[Job]:
    """Yield the jobs by importance: tier by tier, and in each tier all seeds and settings."""
    for tier in tiers:
        for seed in seeds:
            for setting in settings:
                for arm in tier:
                    yield Job(setting, arm, seed)


def path_of_run(name: str, folder: Path) -> Path:
    """Return the file of a run's result."""
    return folder / "runs" / f"{name}.json"


def digest(value: Any) -> str:
    """Return a short digest of a value that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


# Families. Pass rates and shares in the reasons come from programs with planted errors, without a model.

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
    """Return the main setting with other concepts and a model that was fine-tuned on such problems."""
    dials = replace(_CHAINS, concepts=concepts)
    return replace(MAIN, name=name, reason=reason, dials=dials, corpus=Corpus(dials))


# Every chain has concepts of its own. Training on the last one teaches nothing about the others, so a curriculum must
# advance.
OWN = _with_concepts(
    "by_clause",
    "own_concepts",
    "As the main setting, but the first, second and last chain of a problem have different concepts.",
)
# Concepts that are easily confused occur in the same chain, so that the last chain teaches no errors for the others.
FAMILIES = _with_concepts(
    "family_by_clause",
    "own_families",
    "As `own_concepts`, but concepts that are easily taken for each other are met in the same chain.",
)
# The same problems and models with other tests in training. With fewer tests more tokens are unexecuted, with more
# tests fewer programs pass. The runs stop half-way, which is enough for gains over the curve.
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
# With more chains fewer programs pass, and as many tokens are unexecuted. All three share one model per seed.
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
# The setting of the first runs, with twice as many completions per update.
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
# The main setting for the arms by GRPO, which has them compared in as many CPU hours as there are.
GROUPS = replace(
    MAIN,
    name="groups",
    reason=(
        "The main setting for GRPO, stopped half-way. Of groups of eight completions from scratch one in nine sees a "
        "pass, near the end nine in ten. Where none passes, the division by the group's standard deviation makes a "
        "full advantage of the difference between a wrong answer and a runtime error."
    ),
    stop_after=MAIN.updates // 2,
)
# The sparsest of the settings with several tests, for what the paper does not have.
OPTIONS = replace(
    MAIN,
    name="options",
    reason=(
        "As `tests_4`, with models fine-tuned anew, for options beyond the paper. A program from scratch passes all "
        "tests once in 400, and a single test once in 15: what the mean of the tests' scores needs. A test takes one "
        "arm of each chain: what FGO per test needs."
    ),
    training_tests=4,
    stop_after=MAIN.updates // 2,
)
# What to do with a few solutions: demonstrations, prefixes of a curriculum, or both.
FEW_SOLUTIONS = replace(
    OPTIONS,
    name="few_solutions",
    reason=(
        "As `options`, but only 8 of the 64 training problems have a solution. The others train from scratch, where a "
        "program passes once in 400. Eight programs show a part of the concepts that the model lacks."
    ),
    num_solutions=8,
)
# For a GPU: a model with thirty times as many parameters, which is fine-tuned as long.
LARGE = replace(
    MAIN,
    name="large",
    reason="The main setting with a model of 10 million parameters, trained on a GPU.",
    model=TinyModelConfig(hidden_size=384, num_layers=6, num_heads=6),
    on_gpu=True,
)
SMOKE = Setting(
    name="smoke",
    reason="Shows that everything runs. It is too small for conclusions.",
    dials=SyntheticConfig(style="scalar", min_clauses=2, max_clauses=2, min_arms=2, max_arms=2),
    corpus=Corpus(SyntheticConfig(style="scalar", min_clauses=2, max_clauses=2, min_arms=2, max_arms=2), steps=20),
    num_problems=4,
    num_heldout=8,
    updates=2,
    prompts_per_update=2,
    num_generations=2,
    evaluate_every=1,
)
_ALL = (MAIN, OWN, FAMILIES, *TESTS, *CHAINS, SPARSER, GROUPS, OPTIONS, FEW_SOLUTIONS, LARGE, SMOKE)
SETTINGS = {setting.name: setting for setting in _ALL}
