"""
Generated programming problems. A model can learn them on a CPU, and nothing is downloaded.

A problem describes a function `f` in numbered clauses. Its solution has one chain of `if`, `elif` and `else` per
clause. Two things make learning harder or easier:

- Sparsity of the reward. A program passes only if all clauses are right. More clauses and stronger tests make passing
  rarer.
- Share of code that no test runs. In style `"list"` the program loops over a list, so that each test takes many arms
  and few lines stay unexecuted. In style `"scalar"` a test takes one arm of each chain, so that few tests leave many
  lines unexecuted.

Every phrase of a description is a *concept*. It has a right code and a wrong code. [`noisy_demonstrations`] writes
*hard* concepts wrong more often than right. A model that is fine-tuned on these demonstrations writes valid programs
with wrong results, and reinforcement learning has to correct them. All problems share the concepts, so that held-out
problems can show whether the model learnt them.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from stepcoder_trl.data.problems import Problem


@dataclass(frozen=True)
class Concept:
    """Phrase of a description, with its code. `{x}` stands for a variable, `{n}` for a constant."""

    words: str
    right: str
    wrong: str  # code that does something else, raises, or does not compile
    family: int  # concepts with the same number are easily confused
    hard: bool = False  # whether `noisy_demonstrations` prefers the wrong code


CONDITIONS = (
    Concept("{x} is at least {n}", "{x} >= {n}", "{x} > {n}", family=0),
    Concept("{x} is below {n}", "{x} < {n}", "{x} <= {n}", family=2),
    Concept("{x} is even", "{x} % 2 == 0", "{x} % 2 == 1", family=1),
    Concept("{x} differs from {n}", "{x} != {n}", "{x} <> {n}", family=0),
    Concept("{x} is a multiple of {n}", "{x} % {n} == 0", "{x} // {n} == 0", family=1),
    Concept("{x} is at most {n}", "{x} <= {n}", "{x} < {n}", family=2, hard=True),
    Concept("{x} is above {n}", "{x} > {n}", "{x} >= {n}", family=0, hard=True),
    Concept("{x} is odd", "{x} % 2 == 1", "{x} % 2 == 0", family=1, hard=True),
)
UPDATES = (
    Concept("add {x}", "t += {x}", "t = {x}", family=2),
    Concept("add {n}", "t += {n}", "t = {n}", family=0),
    Concept("subtract {n}", "t -= {n}", "t += {n}", family=0),
    Concept("double the total", "t *= 2", "t += 2", family=0),
    Concept("lower the total to {x}", "t = min(t, {x})", "t = max(t, {x})", family=1),
    Concept("subtract {x}", "t -= {x}", "t = {x} - t", family=0, hard=True),
    Concept("add the square of {x}", "t += {x} * {x}", "t += {x} * 2", family=2, hard=True),
    Concept("raise the total to {x}", "t = max(t, {x})", "t = max({x})", family=1, hard=True),
)
NUM_FAMILIES = len({concept.family for concept in (*CONDITIONS, *UPDATES)})

SCALARS = ("a", "b", "c")  # arguments of `f` in style "scalar"
MIN_CONSTANT = 2
MAX_VALUE = 12  # random arguments are in [-MAX_VALUE, MAX_VALUE]
MAX_LENGTH = 6  # of a list in style "list"
MIN_DISTINCT_OUTPUTS = 5
NUM_CANDIDATES = 120  # inputs that strong tests are chosen from
MAX_TRIES_PER_PROBLEM = 500


@dataclass(frozen=True)
class SyntheticConfig:
    """
    Settings of the generated problems. A value out of its range raises a `ValueError`.

    Args:
        style (`str`): `"list"`: `f(xs)` loops over a list. `"scalar"`: `f(a, b, c)` takes numbers.
        concepts (`str`): `"shared"`: any clause may have any concept, so that a concept learnt at the end of solutions
            also serves at their beginning. `"by_clause"`: each position has its own concepts, assigned in turn.
            `"family_by_clause"`: each position has its own family, so that concepts that are easily confused ("even"
            and "odd") occur at the same position. Without a loop the first clause starts from a total of 0. Concepts
            that no test can distinguish there (adding from assigning) do not occur in it.
        test_strength (`str`): `"strong"`: every single wrong concept and every missing arm changes the result of a
            test, so that the tests reach every line. `"few"`: the first of the strong tests. They detect most wrong
            programs, but leave lines unexecuted.
        num_tests (`int`): Number of tests. There are more strong tests where this number cannot detect all wrong
            programs.
    """

    style: Literal["list", "scalar"] = "list"
    min_clauses: int = 2
    max_clauses: int = 3
    min_arms: int = 1  # of a clause: 1 is a lone `if`, 2 add an `else`, 3 an `elif`, and so on
    max_arms: int = 2
    max_constant: int = 9  # largest constant in a description; the smallest is 2
    concepts: Literal["shared", "by_clause", "family_by_clause"] = "shared"
    test_strength: Literal["strong", "few"] = "strong"
    num_tests: int = 12

    def __post_init__(self) -> None:
        for name, allowed in (
            ("style", ("list", "scalar")),
            ("concepts", ("shared", "by_clause", "family_by_clause")),
            ("test_strength", ("strong", "few")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"`{name}` is {getattr(self, name)!r}, but must be one of {', '.join(allowed)}.")
        for low, high in (("min_clauses", "max_clauses"), ("min_arms", "max_arms")):
            if not 1 <= getattr(self, low) <= getattr(self, high):
                raise ValueError(
                    f"`{low}` is {getattr(self, low)} and `{high}` is {getattr(self, high)}, but both must be at "
                    f"least 1, and `{low}` at most `{high}`."
                )
        for concepts, limit, why in (
            ("by_clause", len(CONDITIONS) // 2, "every clause needs two conditions of its own"),
            ("family_by_clause", NUM_FAMILIES, "there are no more families"),
        ):
            if self.concepts == concepts and self.max_clauses > limit:
                raise ValueError(
                    f"`max_clauses` is {self.max_clauses}, but must be at most {limit} where `concepts` is "
                    f"{concepts!r}: {why}."
                )
        if not MIN_CONSTANT <= self.max_constant <= MAX_VALUE:
            raise ValueError(
                f"`max_constant` is {self.max_constant}, but must be in [{MIN_CONSTANT}, {MAX_VALUE}]: the tests' "
                "numbers have to reach it."
            )
        if self.num_tests < 1:
            raise ValueError(f"`num_tests` is {self.num_tests}, but must be at least 1.")


@dataclass(frozen=True)
class Demonstration:
    """Example for supervised fine-tuning."""

    prompt: str
    starter_code: str
    program: str  # complete, with planted errors
    log_probability: float  # of the program given the prompt, in nats; minus its mean is the lowest possible loss


@dataclass(frozen=True)
class _Phrase:
    """Concept with its variable and constant filled in, right or wrong."""

    concept: Concept
    x: str
    n: int
    right: bool = True

    def words(self) -> str:
        return self.concept.words.format(x=self.x, n=self.n)

    def code(self) -> str:
        return (self.concept.right if self.right else self.concept.wrong).format(x=self.x, n=self.n)


@dataclass(frozen=True)
class _Arm:
    """Arm of a clause. An `else` has no condition, a missing arm has no update."""

    condition: _Phrase | None
    update: _Phrase | None


_Clause = tuple[_Arm, ...]
_Spec = tuple[_Clause, ...]
_Arguments = list[Any]


def synthetic_problems(
    num_problems: int, seed: int, config: SyntheticConfig | None = None, *, exclude: Collection[str] = ()
) -> list[Problem]:
    """
    Generate problems with different prompts and tests of form `call`. Prompts in `exclude` are left out.

    Equal arguments give equal problems. The number and strength of the tests change the tests alone, so that the same
    problems can be trained with few tests and evaluated with strong ones. Strong tests exist for each problem: they
    detect every wrong concept, reach every line of the canonical solution, and have at least five different outputs.

    If there are too few different problems with these settings, a `ValueError` is raised.
    """
    config = config or SyntheticConfig()
    specs = random.Random(f"problems {seed}")
    problems: list[Problem] = []
    seen = set(exclude)
    tries = 0
    while len(problems) < num_problems:
        tries += 1
        if tries > MAX_TRIES_PER_PROBLEM * num_problems:
            raise ValueError(
                f"Found {len(problems)} of {num_problems} problems with {config}. Allow more clauses, arms or "
                "constants."
            )
        spec = _draw_spec(specs, config)
        prompt = _description(spec, config)
        if prompt in seen:
            continue
        seen.add(prompt)
        inputs = _test_inputs(spec, config, seed=f"{seed} {prompt}")
        if inputs is None:
            continue
        solution = _program(spec, config)
        outputs = [result for _, result in _results(solution, inputs)]
        problems.append(
            Problem(
                task_id=f"synthetic/{seed}/{len(problems)}",
                prompt=prompt,
                starter_code=_starter_code(config),
                canonical_solution=solution,
                tests={"type": "call", "fn_name": "f", "inputs": inputs, "outputs": outputs},
            )
        )
    return problems


def noisy_demonstrations(
    seed: int,
    config: SyntheticConfig | None = None,
    *,
    easy_accuracy: float = 0.85,
    hard_accuracy: float = 0.35,
    exclude: Collection[str] = (),
) -> Iterator[Demonstration]:
    """
    Generate programs with planted errors, without end. Prompts in `exclude` are left out.

    Each concept is right or wrong independently of the others, with the probability of an easy or of a hard concept.
    Below 0.5, greedy decoding of a model that learnt from the demonstrations gets the concept wrong.
    """
    for name, value in (("easy_accuracy", easy_accuracy), ("hard_accuracy", hard_accuracy)):
        if not 0 <= value <= 1:
            raise ValueError(f"`{name}` is {value}, but must be in [0, 1]. It is a fraction: write 0.5 for 50%.")
    return _noisy_demonstrations(seed, config or SyntheticConfig(), easy_accuracy, hard_accuracy, frozenset(exclude))


def _noisy_demonstrations(
    seed: int, config: SyntheticConfig, easy_accuracy: float, hard_accuracy: float, exclude: frozenset[str]
) -> Iterator[Demonstration]:
    rng = random.Random(f"demonstrations {seed}")

    probabilities: list[float] = []  # of the choices in the current program

    def noisy(phrase: _Phrase) -> _Phrase:
        accuracy = hard_accuracy if phrase.concept.hard else easy_accuracy
        right = rng.random() < accuracy
        probabilities.append(accuracy if right else 1 - accuracy)
        return dataclasses.replace(phrase, right=right)

    while True:
        spec = _draw_spec(rng, config)
        prompt = _description(spec, config)
        if prompt not in exclude:
            probabilities.clear()
            program = _program(_map_phrases(spec, noisy), config)
            yield Demonstration(prompt, _starter_code(config), program, sum(map(math.log, probabilities)))


def _draw_spec(rng: random.Random, config: SyntheticConfig) -> _Spec:
    """Draw the clauses of a problem."""
    variables = ("v",) if config.style == "list" else SCALARS

    def phrase(concepts: Sequence[Concept], place: int) -> _Phrase:
        return _Phrase(
            rng.choice(_concepts_of(concepts, place, config)),
            rng.choice(variables),
            rng.randint(MIN_CONSTANT, config.max_constant),
        )

    def clause(place: int) -> _Clause:
        arms = rng.randint(config.min_arms, config.max_arms)
        return tuple(
            _Arm(phrase(CONDITIONS, place) if arm < arms - 1 or arms == 1 else None, phrase(UPDATES, place))
            for arm in range(arms)
        )

    return tuple(clause(place) for place in range(rng.randint(config.min_clauses, config.max_clauses)))


def _concepts_of(concepts: Sequence[Concept], place: int, config: SyntheticConfig) -> Sequence[Concept]:
    """Return the concepts that the clause at a position may have."""
    if config.concepts == "by_clause":
        return concepts[place :: config.max_clauses]
    if config.concepts == "family_by_clause":
        return [concept for concept in concepts if concept.family == place]
    return concepts


def _map_phrases(spec: _Spec, change: Callable[[_Phrase], _Phrase]) -> _Spec:
    return tuple(
        tuple(_Arm(arm.condition and change(arm.condition), arm.update and change(arm.update)) for arm in clause)
        for clause in spec
    )


def _description(spec: _Spec, config: SyntheticConfig) -> str:
    lines = ["For each v in xs:" if config.style == "list" else f"For {', '.join(SCALARS)}:"]
    for number, clause in enumerate(spec, start=1):
        arms = []
        for arm in clause:
            condition = f"if {arm.condition.words()}, " if arm.condition else ""
            arms.append(condition + (arm.update.words() if arm.update else "do nothing"))
        lines.append(f"{number}. {'; otherwise '.join(arms)}.")
    return "\n".join([*lines, "Return the total.\n"])


def _starter_code(config: SyntheticConfig) -> str:
    return "def f(xs):\n" if config.style == "list" else f"def f({', '.join(SCALARS)}):\n"


def _program(spec: _Spec, config: SyntheticConfig) -> str:
    indent = "    " if config.style == "scalar" else "        "
    lines = ["    t = 0"]
    if config.style == "list":
        lines.append("    for v in xs:")
    for clause in spec:
        for number, arm in enumerate(clause):
            keyword = "if" if number == 0 else "elif"
            lines.append(f"{indent}{keyword} {arm.condition.code()}:" if arm.condition else f"{indent}else:")
            lines.append(f"{indent}    {arm.update.code() if arm.update else 'pass'}")
    return _starter_code(config) + "\n".join([*lines, "    return t\n"])


def _mutants(spec: _Spec) -> Iterator[_Spec]:
    """Yield every program with one wrong concept or one missing arm."""
    for i, clause in enumerate(spec):
        for j, arm in enumerate(clause):
            changed = [_Arm(arm.condition, None)]
            if arm.condition:
                changed.append(_Arm(dataclasses.replace(arm.condition, right=False), arm.update))
            if arm.update:
                changed.append(_Arm(arm.condition, dataclasses.replace(arm.update, right=False)))
            for new in changed:
                yield (*spec[:i], (*clause[:j], new, *clause[j + 1 :]), *spec[i + 1 :])


def _test_inputs(spec: _Spec, config: SyntheticConfig, seed: str) -> list[_Arguments] | None:
    """Return the inputs of the tests. `None` if no strong tests were found."""
    rng = random.Random(f"tests {seed}")
    constants = [
        phrase.n for clause in spec for arm in clause for phrase in (arm.condition, arm.update) if phrase is not None
    ]
    candidates = [_draw_arguments(rng, config, constants) for _ in range(NUM_CANDIDATES)]
    strong = _strong_subset(spec, config, candidates)
    if strong is None:
        return None
    number = config.num_tests if config.test_strength == "few" else max(config.num_tests, len(strong))
    rest = [i for i in range(NUM_CANDIDATES) if i not in strong]
    return [candidates[i] for i in (strong + rest)[:number]]


def _strong_subset(spec: _Spec, config: SyntheticConfig, candidates: list[_Arguments]) -> list[int] | None:
    """Choose few candidates that detect all mutants and give different outputs, greedily."""
    expected = _results(_program(spec, config), candidates)
    alive = []
    for mutant in _mutants(spec):
        results = _results(_program(mutant, config), candidates)
        killers = {i for i, result in enumerate(results) if result != expected[i]}
        if not killers:  # frequent with many arms: skip the other mutants
            return None
        alive.append(killers)
    chosen: list[int] = []
    while alive:
        best = max(range(len(candidates)), key=lambda i: sum(i in killers for killers in alive))
        chosen.append(best)
        alive = [killers for killers in alive if best not in killers]
    outputs = {expected[i] for i in chosen}
    for i, result in enumerate(expected):
        if len(outputs) >= MIN_DISTINCT_OUTPUTS:
            return chosen
        if result not in outputs:
            outputs.add(result)
            chosen.append(i)
    return chosen if len(outputs) >= MIN_DISTINCT_OUTPUTS else None


def _draw_arguments(rng: random.Random, config: SyntheticConfig, constants: Sequence[int]) -> _Arguments:
    """Draw the arguments of one call. Half of the numbers lie at or beside a constant, to detect off-by-one errors."""

    def number() -> int:
        if rng.random() < 0.5:
            return rng.choice(constants) + rng.choice((-1, 0, 0, 1))
        return rng.randint(-MAX_VALUE, MAX_VALUE)

    if config.style == "scalar":
        return [number() for _ in SCALARS]
    return [[number() for _ in range(rng.randint(1, MAX_LENGTH))]]


def _results(program: str, inputs: Sequence[_Arguments]) -> list[tuple[str, Any]]:
    """Run a generated program, which always ends, on each input: `("value", result)` or `("error", name)`."""
    namespace: dict[str, Any] = {}
    try:
        exec(compile(program, "synthetic", "exec"), namespace)
    except SyntaxError as error:
        return [("error", type(error).__name__)] * len(inputs)
    results: list[tuple[str, Any]] = []
    for arguments in inputs:
        try:
            results.append(("value", namespace["f"](*arguments)))
        except (TypeError, ArithmeticError) as error:
            results.append(("error", type(error).__name__))
    return results
