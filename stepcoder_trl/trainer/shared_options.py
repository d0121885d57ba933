"""
Options of curriculum, loss mask and executor, and the definition of an option.

The field of an option has its help, its interval, the source of its default and, as a `Literal` type, its choices.
Checks and the tables of the documentation are made from the fields.
"""

from __future__ import annotations

import dataclasses
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import torch
from accelerate.utils.environment import get_int_from_env
from transformers import get_scheduler

from stepcoder_trl.curriculum import CurriculumConfig
from stepcoder_trl.curriculum.config import Mode, RateOf
from stepcoder_trl.curriculum.cut import Kinds
from stepcoder_trl.curriculum.measured import CurriculumStart, is_measurement
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.executor import ExecutorConfig
from stepcoder_trl.executor.choice import ExecutorChoice, Place
from stepcoder_trl.jsonl import shown
from stepcoder_trl.masking import CompileErrorMask, Fgo, MaskRule
from stepcoder_trl.rewards import ScoreTests
from stepcoder_trl.steps.chat_templates import CHAT_TEMPLATE_KWARGS_HELP


HUB_RECORD_HELP = (
    "Whether `push_to_hub` also uploads what shows the training data and how training went: recorded rollouts, "
    "completions, the page, and logs."
)


class Help(str):
    """
    Help text with the source of the default, the interval of the values, and the fix for a value outside it.

    Metadata of a field cannot hold them: transformers passes it on to argparse, which refuses unknown entries.
    """

    source: str
    interval: str | None
    fix: str | None

    def __new__(cls, text: str, source: str = "", interval: str | None = None, fix: str | None = None) -> Help:
        # With defaults, because copies are made from the text alone, and get the attributes later.
        help_text = super().__new__(cls, text)
        help_text.source, help_text.interval, help_text.fix = source, interval, fix
        return help_text


def option(
    default: Any, text: str, *, source: str = "upstream", interval: str | None = None, fix: str | None = None
) -> Any:
    """
    Return a field of a configuration.

    An `interval` is one such as `"(0, 1]"` or `"[1, inf)"`. `fix` ends the message about a value outside it.
    """
    return field(default=default, metadata={"help": Help(text, source, interval, fix)})


@dataclass
class ExecutorOptions:
    """Options of the executor. Each field describes itself."""

    executor_workers: int | None = option(
        None,
        "Worker processes that run programs. `None` means this process's share of the cores. For `executor` "
        '`"remote"` it is the number of parallel requests, for `"ray"` that of workers on each node.',
        interval="[1, inf)",
        source="ours",
    )
    executor: Place | None = option(
        None,
        'Where programs run: on this machine (`"local"`), on the hosts of `executor_urls` (`"remote"`) or on a Ray '
        'cluster (`"ray"`). `None` means remote where hosts are named, else local. An executor given to the trainer '
        "beats it.",
        source="ours",
    )
    executor_urls: list[str] | None = option(
        None, "Addresses of the hosts that run programs, like `http://sandbox:8080`.", source="ours"
    )
    test_timeout_s: float = option(
        3.0,
        "CPU seconds that a test may take. A problem's own limit beats it.",
        interval="(0, inf)",
        source="paper's descendants",
    )

    def executor_choice(self, num_cores: int | None = None) -> ExecutorChoice:
        """
        Return the executor that these options choose. `num_cores` may be used of this machine.

        Raises a `BadInputError` if options contradict each other, or a package is missing.
        """
        urls = [self.executor_urls] if isinstance(self.executor_urls, str) else self.executor_urls or []
        num_processes = get_int_from_env(["WORLD_SIZE"], 1)
        choice = ExecutorChoice(executor=self.executor, urls=tuple(urls), num_processes=num_processes)
        num_workers = self.executor_workers or (num_cores if choice.place == "local" else None)
        return replace(choice, config=ExecutorConfig(num_workers=num_workers, timeout_s=self.test_timeout_s))


@dataclass
class SharedOptions(ExecutorOptions):
    """Options of curriculum, loss mask and executor. Each field describes itself."""

    gradient_accumulation_steps: int | None = option(
        None,
        "Forward passes per update and process. `None` means the smallest number with which an update is whole "
        "groups of `num_generations` completions.",
        interval="[1, inf)",
        source="ours; upstream 1",
    )
    logging_steps: float = option(
        1, "Updates between two logs. Below 1: a fraction of all updates.", source="ours; upstream 10"
    )
    overwrite_output_dir: bool = option(
        False,
        "Whether a new run deletes another run in `output_dir` and its checkpoints. Otherwise it refuses the folder.",
        source="ours",
    )
    curriculum: Mode = option(
        "paper",
        'Curriculum of Code Completion Subtasks: `"paper"`, `"mix"`, `"adaptive"` or `"off"`.',
        source="paper, 3.2; others ours",
    )
    curriculum_kinds: Kinds = option(
        "statements",
        'What counts as a conditional statement: `"statements"` (if, for, while, try, match) or `"scope"` (the '
        "APPS+ field). The paper names no kinds.",
        source="paper names no kinds",
    )
    curriculum_pass_rate: float = option(
        0.5,
        "Pass rate above which a problem moves to its next stage, in [0, 1]. No rate is above 1. The paper gives no "
        "value.",
        interval="[0, 1]",
        source="paper's rho, no value given",
    )
    curriculum_momentum: float = option(
        0.3,
        "Weight of the newest group in the moving pass rate, in (0, 1]. The paper gives no value.",
        interval="(0, 1]",
        source="paper's moving average, no value given",
        fix="Write 1 to count the newest group alone.",
    )
    curriculum_rate_of: RateOf = option(
        "problem",
        'Pass rate that decides in `"paper"` and `"mix"`: each `"problem"`\'s own, or that of all problems at the '
        'same `"stage"`, which then move on together. Give the latter a smaller `curriculum_momentum`.',
        source="paper: the problem's; other ours",
    )
    curriculum_pass_score: float | None = option(
        None,
        "Score above which a completion counts as passing where a problem has no tests. `None` leaves such "
        "problems at their stage.",
        source="ours",
    )
    curriculum_mix_probability: float = option(
        0.1, 'Probability that `"mix"` draws a problem from scratch, in [0, 1].', interval="[0, 1]", source="ours"
    )
    curriculum_start: CurriculumStart = option(
        "first",
        'Stage at which a problem starts: its `"first"`, or the one whose pass rate is `"measured"` to be nearest to '
        "one half, scratch included. The measurement samples each stage before the first update.",
        source="paper: the first; other ours",
    )
    curriculum_start_samples: int = option(
        4,
        'Samples of each stage of a problem with `curriculum_start` `"measured"`.',
        interval="[1, inf)",
        source="ours",
    )
    curriculum_start_file: str | None = option(
        None,
        "With `curriculum_start` `measured`: file of a measurement, as `check --measure-stages FILE` writes it. "
        "Problems start by its counts, and nothing is measured.",
        source="ours",
    )
    prefix_imitation: float = option(
        0.0,
        "Weight of the imitation of prefixes: the mean negative log-probability of the code that the curriculum shows "
        "beyond the starter code is added to the loss. 0 turns it off.",
        interval="[0, inf)",
        source="ours; not in the paper",
        fix="0 turns it off, and 0.2 was measured.",
    )
    fgo: Fgo = option(
        "lines",
        'Fine-Grained Optimization: `"lines"` keeps tokens of executed lines in the policy loss, `"off"` keeps all '
        'tokens, `"random"` keeps as many tokens at random, as a control. `"tests"` gives each token the credit of '
        'the tests that ran its line, and needs `score_tests` `"mean"` or one test each. `"tests_random"` permutes '
        "this credit among the kept tokens, as a control.",
        source="paper, 3.2; control ours",
    )
    fgo_outside_program: bool = option(
        True,
        "Whether EOS, the closing fence and text outside the program stay in the policy loss.",
        source="paper silent",
    )
    compile_error_mask: CompileErrorMask = option(
        "all",
        'Lines kept of a program that does not compile: `"all"` or those `"up_to_error_line"`.',
        source="paper silent; a literal mask leaves no gradient",
    )
    score_tests: ScoreTests = option(
        "worst",
        'Score of a program by its tests: Eq. 3 of the `"worst"` test, or the `"mean"` over the tests of Eq. 3 of '
        "each. The curriculum counts a pass only if all tests passed.",
        source="paper, Eq. 3; mean ours",
    )
    untrusted_passes: Literal["accept", "drop"] = option(
        "accept",
        'What is done with a pass whose verdict a hostile program could have forged: `"accept"` scores it, '
        '`"drop"` leaves the completion out of the losses.',
        source="ours",
    )
    max_infrastructure_error_rate: float = option(
        0.1,
        "Largest share of a batch's programs, in [0, 1], that the sandbox may fail to run. Beyond it training "
        "writes a checkpoint and stops.",
        interval="[0, 1]",
        source="ours",
    )

    hub_record: bool = option(False, HUB_RECORD_HELP, source="ours")
    chat_template_kwargs: dict[str, Any] | str | None = option(None, CHAT_TEMPLATE_KWARGS_HELP, source="as TRL's GRPO")

    def curriculum_config(self, seed: int) -> CurriculumConfig:
        """Return the settings of the curriculum."""
        return CurriculumConfig(
            mode=self.curriculum,
            kinds=self.curriculum_kinds,
            pass_rate=self.curriculum_pass_rate,
            momentum=self.curriculum_momentum,
            rate_of=self.curriculum_rate_of,
            mix_probability=self.curriculum_mix_probability,
            seed=seed,
        )

    def mask_rule(self, seed: int) -> MaskRule:
        """Return the rule that selects the tokens of the policy loss."""
        return MaskRule(self.fgo, self.fgo_outside_program, self.compile_error_mask, seed)


def steps_of_whole_groups(per_device: int, num_generations: int, num_processes: int, parts: int = 1) -> int:
    """
    Return the smallest number of accumulation steps with which an update is whole groups. It is a multiple of `parts`.

    An update has `per_device * steps * num_processes` completions, and a group has `num_generations`.
    """
    steps = num_generations // math.gcd(num_generations, per_device * num_processes)
    return math.lcm(steps, parts)


def sizes_that_fit(per_device: int, num_generations: int, num_processes: int, steps: int, parts: int = 1) -> str:
    """Return the fix for an update that is not whole groups: values of single options with which it is."""
    total = per_device * steps * num_processes
    whole = steps_of_whole_groups(per_device, num_generations, num_processes, parts)
    groups = [str(size) for size in range(2, total + 1) if total % size == 0]
    fixes = [f"`gradient_accumulation_steps` to a multiple of {whole}"]
    if groups:
        fixes.append(f"`num_generations` to {groups[0] if len(groups) == 1 else 'one of ' + ', '.join(groups[-8:])}")
    return f"Set {' or '.join(fixes)}."


# Checks


_INTERVAL = re.compile(r"([\[(])(\S+), (\S+)([\])])")


def set_renamed_options(args: Any) -> None:
    """Set `activation_checkpointing` from the old name, which TRL sets and transformers 5.23 deprecates."""
    names = {one.name for one in dataclasses.fields(args)}
    for name in ("checkpointing", "checkpointing_kwargs"):
        if f"activation_{name}" in names and getattr(args, f"activation_{name}") is None:
            setattr(args, f"activation_{name}", getattr(args, f"gradient_{name}"))


def check_config(args: Any, wanted: type) -> None:
    """Raise a `BadInputError` if a trainer got another configuration than its own, or an argument in its place."""
    if isinstance(args, wanted):
        return
    name, given = wanted.__name__, type(args).__name__
    found = f"a `{given}`" if dataclasses.is_dataclass(args) else shown(args)
    raise BadInputError(
        f"`args` is {found}, but must be a `{name}`: it has the fields of TRL's configuration, and those of StepCoder."
    )


def check_inherited(args: Any) -> None:
    """Raise a `BadInputError` if a value of a configuration that is not ours is outside its interval."""
    for name, text in INHERITED.items():
        value = vars(args).get(name)
        if value is not None and text.interval is not None and not in_range(value, text.interval):
            raise refuse(name, value, _words(text.interval), _fix(value, text.interval))
    check_schedule(args)


def check_schedule(args: Any) -> None:
    """Raise a `BadInputError` if a learning-rate schedule lacks an argument, or has one that it does not know."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=args.learning_rate)
    name, given = str(args.lr_scheduler_type.value), args.lr_scheduler_kwargs or {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            get_scheduler(name, optimizer, 0, num_training_steps=1_000_000, scheduler_specific_kwargs=given)
    except (TypeError, ValueError) as error:
        raise BadInputError(
            f"`lr_scheduler_type` is {name!r}, which does not fit `lr_scheduler_kwargs` {given}: {error}. Write them "
            'such as {"min_lr_rate": 0.1}, or choose another schedule.'
        ) from error


def refuse(name: str, value: Any, allowed: str, fix: str) -> BadInputError:
    """Return the error for an option with a wrong value."""
    return BadInputError(f"`{name}` is {value!r}, but must be {allowed}. {fix}")


# Options of TRL and transformers that the trainers share, with the values that make sense.
INHERITED = {
    name: Help("", interval=interval)
    for name, interval in {
        **dict.fromkeys(("per_device_train_batch_size", "per_device_eval_batch_size"), "[1, inf)"),
        **dict.fromkeys(("num_iterations", "local_rollout_forward_batch_size", "total_episodes"), "[1, inf)"),
        **dict.fromkeys(("max_length", "max_completion_length"), "[1, inf)"),
        **dict.fromkeys(("learning_rate", "weight_decay", "adam_epsilon", "warmup_steps"), "[0, inf)"),
        **dict.fromkeys(("beta", "kl_coef", "vf_coef"), "[0, inf)"),
        **dict.fromkeys(("cliprange", "cliprange_value", "epsilon", "epsilon_high", "delta"), "(0, inf)"),
        **dict.fromkeys(("temperature", "repetition_penalty"), "(0, inf)"),
        **dict.fromkeys(("adam_beta1", "adam_beta2"), "[0, 1)"),
        **dict.fromkeys(("gamma", "lam", "min_p"), "[0, 1]"),
        "top_p": "(0, 1]",
        "seed": "[0, 4294967295]",
    }.items()
}


def check_options(args: Any, inherited: Mapping[str, Help] | None = None) -> None:
    """Raise a `BadInputError` if a value is outside its interval or choices. `inherited` is about upstream's."""
    types = get_type_hints(type(args))
    for one in dataclasses.fields(args):
        own, value = one.metadata.get("help"), getattr(args, one.name)
        has_interval = isinstance(own, Help) and own.interval is not None
        text = own if has_interval else (inherited or {}).get(one.name)
        choices, optional = _choices(types[one.name])
        if isinstance(text, Help) and text.interval is not None:
            words = _words(text.interval) + (" or `None`" if optional else "")
            if value is not None and not isinstance(value, (int, float)):
                in_yaml = ", in YAML as 5.0e-7" if "e" in str(value) else ""
                raise refuse(one.name, value, f"a number {words}", f"Write it without quotes{in_yaml}.")
            inside = optional if value is None else in_range(value, text.interval)
            if not inside:
                raise refuse(one.name, value, words, text.fix or _fix(value, text.interval))
        if choices and value not in choices:
            words = ", ".join(repr(choice) for choice in choices)
            fix = "Write 'off' to turn it off." if value is False and "off" in choices else "Check the spelling."
            raise refuse(one.name, value, f"one of {words}", fix)


_STAGED, _ON = ("paper", "mix"), ("paper", "mix", "adaptive")
_MASKED = ("lines", "random", "tests", "tests_random")
# Options that select what another one switches off: the other one, and its values with which they have an effect.
_NEEDED = {
    "curriculum_start_file": ("curriculum_start", ("measured",)),
    "prefix_imitation": ("curriculum", _ON),
    "curriculum_rate_of": ("curriculum", _STAGED),
}
# The same for options that only set how something works.
_SETTINGS = {
    **{f"curriculum_{name}": ("curriculum", _ON) for name in ("kinds", "pass_rate", "momentum", "pass_score")},
    "curriculum_mix_probability": ("curriculum", ("mix",)),
    "curriculum_start_samples": ("curriculum_start", ("measured",)),
    **dict.fromkeys(("fgo_outside_program", "compile_error_mask"), ("fgo", _MASKED)),
}


def check_needed_options(args: SharedOptions) -> None:
    """Raise a `BadInputError` for an option that selects what another one switches off."""
    for name, (other, values) in _idle(args, _NEEDED).items():
        raise BadInputError(
            f"`{name}` is {vars(args)[name]!r}, which has no effect with `{other}` {vars(args)[other]!r}. Set "
            f"`{other}` to {' or '.join(map(repr, values))}, or leave `{name}` out."
        )
    if args.curriculum_start_file is not None and not is_measurement(args.curriculum_start_file):
        raise BadInputError(
            f"`curriculum_start_file` is {args.curriculum_start_file!r}, which holds no measurement. Write one by "
            "`stepcoder-trl check PROBLEMS --model DIR --measure-stages FILE`."
        )
    if args.curriculum_start == "measured" and args.curriculum not in ("paper", "mix"):
        raise BadInputError(
            f"`curriculum_start` is 'measured', but with `curriculum` {args.curriculum!r} problems do not start at a "
            "stage of their own. Set `curriculum` to 'paper' or 'mix', or leave `curriculum_start` out."
        )


def idle_settings(args: SharedOptions) -> list[str]:
    """Return the options that are set but have no effect, with the option that is the reason, for a message."""
    found = _idle(args, _SETTINGS)
    return [f"`{name}` (with `{other}` {vars(args)[other]!r})" for name, (other, _) in found.items()]


_Needs = tuple[str, tuple[str, ...]]


def _idle(args: SharedOptions, needs: Mapping[str, _Needs]) -> dict[str, _Needs]:
    """Return the options among `needs` that are not at their default and have no effect."""
    defaults = {one.name: one.default for one in dataclasses.fields(args)}
    return {
        name: (other, values)
        for name, (other, values) in needs.items()
        if vars(args)[name] != defaults[name] and vars(args)[other] not in values
    }


def in_range(value: float, allowed: str) -> bool:
    """Whether a value is in an interval such as `"(0, 1]"` or `"[1, inf)"`."""
    match = _INTERVAL.fullmatch(allowed)
    if match is None:
        raise ValueError(f"{allowed!r} is no interval. Write it as '(0, 1]' or '[1, inf)'.")
    low, high = float(match[2]), float(match[3])
    above = value >= low if match[1] == "[" else value > low
    below = value <= high if match[4] == "]" else value < high
    return above and below


def _words(allowed: str) -> str:
    """Return an interval in words."""
    if not allowed.endswith("inf)"):
        return f"in {allowed}"
    low = allowed[1:].partition(",")[0]
    return f"at least {low}" if allowed.startswith("[") else f"above {low}"


def _fix(value: Any, allowed: str) -> str:
    """Return the fix for a value outside an interval."""
    if allowed.endswith("1]") and value is not None and 1 < value <= 100:
        return f"It is a fraction: write {value / 100:g} for {value:g}%."
    return "Leave it out for the default."


def _choices(hint: Any) -> tuple[tuple[Any, ...], bool]:
    """Return the choices of a type, none if it has no `Literal`, and whether `None` is allowed."""
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    optional = type(None) in parts
    values = tuple(value for part in parts if get_origin(part) is Literal for value in get_args(part))
    return (*values, None) if values and optional else values, optional


def options_table(cls: type, names: Sequence[str]) -> str:
    """Return a table of options for the documentation, in Markdown."""
    fields = {one.name: one for one in dataclasses.fields(cls)}
    rows = ["| option | default | meaning | source |", "|---|---|---|---|"]
    for name in names:
        default, text = fields[name].default, fields[name].metadata["help"]
        default = default.value if isinstance(default, Enum) else default
        shown = f'"{default}"' if isinstance(default, str) else str(default)
        meaning = text.replace("%%", "%").replace("|", "\\|")
        rows.append(f"| `{name}` | `{shown}` | {meaning} | {text.source} |")
    return "\n".join(rows) + "\n"
