"""Generated problems: tests that detect every planted error, reproducible splits, demonstrations with errors."""

import itertools
import json
import math
import re
import sys
from collections.abc import Iterator

import pytest

from stepcoder_trl import CodeExecutor, load_problems
from stepcoder_trl.curriculum import curriculum_stages
from stepcoder_trl.data.problems import Problem
from stepcoder_trl.quickstart.problems import (
    CONDITIONS,
    UPDATES,
    SyntheticConfig,
    noisy_demonstrations,
    synthetic_problems,
)
from stepcoder_trl.quickstart.settings import PROBLEMS
from stepcoder_trl.units import executable_units


CONFIGS = [
    SyntheticConfig(),
    SyntheticConfig(style="scalar"),
    SyntheticConfig(min_clauses=1, max_clauses=2, min_arms=2, max_arms=4),
    SyntheticConfig(style="scalar", min_clauses=1, max_clauses=2, min_arms=2, max_arms=4),
]


def run(program: str, problem: Problem) -> list[object]:
    """Return the result of the program for each input of the problem, or the name of its error."""
    namespace: dict = {}
    try:
        exec(program, namespace)
    except SyntaxError as error:
        return [type(error).__name__] * len(problem.tests["inputs"])
    results = []
    for arguments in problem.tests["inputs"]:
        try:
            results.append(namespace["f"](*arguments))
        except (TypeError, ArithmeticError) as error:
            results.append(type(error).__name__)
    return results


def wrong_programs(problem: Problem) -> Iterator[str]:
    """Yield the programs that differ from the solution in the code of one concept."""
    lines = problem.canonical_solution.splitlines(keepends=True)
    variables, constants = ("v", "a", "b", "c"), range(2, 10)
    for number, line in enumerate(lines[2:], start=2):
        for concept, x, n in itertools.product((*CONDITIONS, *UPDATES), variables, constants):
            words, right, wrong = (text.format(x=x, n=n) for text in (concept.words, concept.right, concept.wrong))
            if words not in problem.prompt:
                continue
            for ending in (f" {right}:\n", f"    {right}\n"):
                if line.endswith(ending) and (ending[-2] == ":" or line.strip() == right):
                    yield "".join([*lines[:number], line.replace(right, wrong), *lines[number + 1 :]])


def lines_with_events(problem: Problem) -> set[int]:
    """Return the lines for which the interpreter reports an event under the problem's tests."""
    seen: set[int] = set()

    def trace(frame, event, argument):
        if frame.f_code.co_filename != "traced":
            return None
        seen.add(frame.f_lineno)
        return trace

    namespace: dict = {}
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        exec(compile(problem.canonical_solution, "traced", "exec"), namespace)
        for arguments in problem.tests["inputs"]:
            namespace["f"](*arguments)
    finally:
        sys.settrace(before)
    return seen


@pytest.mark.parametrize("config", CONFIGS)
def test_solutions_pass_their_tests(config):
    for problem in synthetic_problems(20, seed=3, config=config):
        assert run(problem.canonical_solution, problem) == problem.tests["outputs"]


@pytest.mark.parametrize("config", CONFIGS)
def test_strong_tests_detect_every_wrong_concept(config):
    for problem in synthetic_problems(10, seed=3, config=config):
        programs = list(wrong_programs(problem))

        assert len(programs) >= 2 * problem.prompt.count("if ")
        for program in programs:
            assert run(program, problem) != problem.tests["outputs"], problem.prompt + program


@pytest.mark.parametrize("config", CONFIGS)
def test_strong_tests_reach_every_line(config):
    for problem in synthetic_problems(10, seed=3, config=config):
        seen = lines_with_events(problem)
        units = executable_units(problem.canonical_solution)

        assert units
        assert {unit.first_line for unit in units} <= seen


def test_strong_tests_have_at_least_five_different_outputs():
    for problem in synthetic_problems(20, seed=3):
        assert len(set(problem.tests["outputs"])) >= 5


def test_same_seed_gives_same_problems():
    assert synthetic_problems(10, seed=5) == synthetic_problems(10, seed=5)
    assert synthetic_problems(10, seed=5) != synthetic_problems(10, seed=6)


def test_larger_number_begins_with_same_problems():
    assert synthetic_problems(12, seed=5)[:8] == synthetic_problems(8, seed=5)


def test_settings_of_tests_do_not_change_problems():
    strong = synthetic_problems(10, seed=5)
    few = synthetic_problems(10, seed=5, config=SyntheticConfig(test_strength="few", num_tests=3))

    assert [p.canonical_solution for p in strong] == [p.canonical_solution for p in few]
    assert {len(p.tests["inputs"]) for p in few} == {3}
    assert min(len(p.tests["inputs"]) for p in strong) >= 12


def test_few_tests_are_the_first_strong_tests():
    strong = synthetic_problems(10, seed=5)
    few = synthetic_problems(10, seed=5, config=SyntheticConfig(test_strength="few", num_tests=3))

    assert [p.tests["inputs"] for p in few] == [p.tests["inputs"][:3] for p in strong]
    assert [p.tests["outputs"] for p in few] == [p.tests["outputs"][:3] for p in strong]


def test_excluded_prompts_are_not_generated():
    first = synthetic_problems(20, seed=5)
    prompts = {problem.prompt for problem in first}
    second = synthetic_problems(20, seed=5, exclude=prompts)
    demonstrations = itertools.islice(noisy_demonstrations(5, exclude=prompts), 200)

    assert len(prompts) == 20
    assert prompts.isdisjoint(problem.prompt for problem in second)
    assert prompts.isdisjoint(demonstration.prompt for demonstration in demonstrations)


def test_most_problems_have_a_curriculum():
    problems = synthetic_problems(20, seed=5)
    stages = [curriculum_stages(problem.canonical_solution, problem.starter_code) for problem in problems]

    assert all(len(one) >= 2 for one in stages)


def test_solutions_begin_with_their_starter_code():
    for problem in synthetic_problems(5, seed=5, config=SyntheticConfig(style="scalar")):
        assert problem.starter_code == "def f(a, b, c):\n"
        assert problem.canonical_solution.startswith(problem.starter_code)


def test_each_clause_can_have_its_own_concepts():
    config = SyntheticConfig(style="scalar", min_clauses=2, max_clauses=2, concepts="by_clause")
    clauses = zip(*(problem.prompt.splitlines()[1:3] for problem in synthetic_problems(40, 0, config)), strict=True)
    first, second = (
        {concept.words for concept in (*CONDITIONS, *UPDATES) if any(_mentions(text, concept) for text in texts)}
        for texts in clauses
    )

    # In the first clause the total is 0, so that no test can distinguish adding from assigning.
    assert first == {concept.words for concept in (*CONDITIONS[::2], *UPDATES[::2])} - {"add {x}"}
    assert second == {concept.words for concept in (*CONDITIONS[1::2], *UPDATES[1::2])}


def test_each_clause_can_have_its_own_family():
    config = SyntheticConfig(style="scalar", min_clauses=3, max_clauses=3, concepts="family_by_clause")
    clauses = zip(*(problem.prompt.splitlines()[1:4] for problem in synthetic_problems(60, 0, config)), strict=True)

    for family, texts in enumerate(clauses):
        met = {concept for concept in (*CONDITIONS, *UPDATES) if any(_mentions(text, concept) for text in texts)}
        of_family = {concept for concept in (*CONDITIONS, *UPDATES) if concept.family == family}
        # In the first clause the total is 0: no test can distinguish adding from assigning, or doubling from nothing.
        lost = set() if family else {"add {n}", "double the total"}
        assert met == {concept for concept in of_family if concept.words not in lost}


def test_concepts_with_code_of_each_other_are_in_one_family():
    for concepts in (CONDITIONS, UPDATES):
        for one, other in itertools.permutations(concepts, 2):
            if one.wrong == other.right:
                assert one.family == other.family


def _mentions(text, concept):
    pattern = concept.words.replace("{x}", "[vabc]").replace("{n}", "[0-9]+")
    return re.search(rf"\b{pattern}(?=[,;.])", text) is not None


def test_too_few_different_problems_raise():
    config = SyntheticConfig(max_clauses=1, min_clauses=1, max_arms=1, max_constant=2)

    with pytest.raises(ValueError, match="Allow more clauses"):
        synthetic_problems(100, seed=0, config=config)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"style": "tree"}, "`style` is 'tree'"),
        ({"concepts": "mine"}, "`concepts` is 'mine'"),
        ({"concepts": "by_clause", "max_clauses": 5}, "`max_clauses` is 5"),
        ({"concepts": "family_by_clause", "max_clauses": 4}, "`max_clauses` is 4"),
        ({"test_strength": "good"}, "`test_strength` is 'good'"),
        ({"min_clauses": 0}, "`min_clauses` is 0"),
        ({"min_arms": 4, "max_arms": 3}, "`min_arms` is 4"),
        ({"max_constant": 1}, "`max_constant` is 1"),
        ({"max_constant": 13}, "`max_constant` is 13"),
        ({"num_tests": 0}, "`num_tests` is 0"),
    ],
)
def test_error_names_setting_out_of_range(changes, named):
    with pytest.raises(ValueError, match=named):
        SyntheticConfig(**changes)


def test_hard_concepts_are_mostly_wrong():
    counts = {concept: [0, 0] for concept in CONDITIONS}
    for demonstration in itertools.islice(noisy_demonstrations(7), 4000):
        for concept in CONDITIONS:
            for n in range(2, 10):
                if f"1. if {concept.words.format(x='v', n=n)}," in demonstration.prompt:
                    header = demonstration.program.splitlines()[3].strip()
                    counts[concept][header == f"if {concept.right.format(x='v', n=n)}:"] += 1
    shares = {concept: right / (right + wrong) for concept, (wrong, right) in counts.items()}

    for concept, share in shares.items():
        assert share == pytest.approx(0.35 if concept.hard else 0.85, abs=0.08), concept


def test_log_probability_depends_on_planted_errors():
    config = SyntheticConfig(min_clauses=1, max_clauses=1, max_arms=1)
    right_or_wrong = {(a * b) for a in (0.35, 0.65, 0.85, 0.15) for b in (0.35, 0.65, 0.85, 0.15)}

    for demonstration in itertools.islice(noisy_demonstrations(7, config), 50):
        assert any(math.isclose(math.exp(demonstration.log_probability), p) for p in right_or_wrong)


def test_demonstrations_without_errors_are_canonical_solutions():
    problems = {
        problem.prompt: problem.canonical_solution for problem in synthetic_problems(400, seed=1, config=SMALL)
    }
    demonstrations = itertools.islice(noisy_demonstrations(2, SMALL, easy_accuracy=1, hard_accuracy=1), 2000)
    common = [one for one in demonstrations if one.prompt in problems]

    assert len(common) > 100
    assert all(one.program == problems[one.prompt] and one.log_probability == 0 for one in common)


SMALL = SyntheticConfig(min_clauses=1, max_clauses=1, max_arms=2, max_constant=4)


def test_error_names_probability_out_of_range():
    with pytest.raises(ValueError, match="`hard_accuracy` is 35"):
        noisy_demonstrations(0, hard_accuracy=35)


@pytest.mark.sandbox
def test_written_problems_can_be_loaded_and_solved(tmp_path):
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(one.to_row()) + "\n" for one in synthetic_problems(5, 0, PROBLEMS)))

    problems = load_problems(str(path))
    with CodeExecutor() as executor:
        executions = executor.run_many([one.canonical_solution for one in problems], [one.tests for one in problems])

    assert [execution.outcome for execution in executions] == ["passed"] * 5
