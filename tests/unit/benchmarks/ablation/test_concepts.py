"""Concepts in sampled programs, and their tables."""

from __future__ import annotations

from benchmarks.ablation.concepts import collect, concept_of, table, written_concepts
from benchmarks.ablation.files import write_json
from benchmarks.ablation.settings import MAIN, SMOKE, Job
from stepcoder_trl.quickstart.problems import CONDITIONS, UPDATES, synthetic_problems


PROMPT = """For a, b, c:
1. if a is above 3, add the square of b; otherwise subtract 4.
2. if c is a multiple of 2, double the total.
Return the total.
"""
SOLUTION = """def f(a, b, c):
    t = 0
    if a > 3:
        t += b * b
    else:
        t -= 4
    if c % 2 == 0:
        t *= 2
    return t
"""


def test_written_concepts_compares_program_with_solution():
    program = SOLUTION.replace("a > 3", "a >= 3").replace("t -= 4", "t -= 5").replace("% 2 == 0", "% 2 == 1")

    lines = [(line.chain, line.concept.words, line.right) for line in written_concepts(program, PROMPT, SOLUTION)]

    assert lines == [
        (0, "{x} is above {n}", False),
        (0, "add the square of {x}", True),
        (0, "subtract {n}", False),
        (1, "{x} is a multiple of {n}", False),
        (1, "double the total", True),
    ]


def test_given_lines_are_skipped_and_missing_lines_are_wrong():
    cut = SOLUTION[: SOLUTION.index("        t *= 2")]

    lines = [(line.concept.words, line.code, line.right) for line in written_concepts(cut, PROMPT, SOLUTION, 5)]

    assert lines == [
        ("subtract {n}", "t -= 4", True),
        ("{x} is a multiple of {n}", "c % 2 == 0", True),
        ("double the total", "", False),
    ]


def test_generated_solutions_are_right_in_every_concept():
    for problem in synthetic_problems(20, 0, MAIN.dials):
        lines = list(written_concepts(problem.canonical_solution, problem.prompt, problem.canonical_solution))
        assert len(lines) == 3 * (2 + 3)  # chains, conditions and updates
        for line in lines:
            assert line.right
            assert concept_of(line.code).right.split()[1] == line.concept.right.split()[1]  # %, +=, ...


def test_concept_of_finds_every_concept_by_its_code():
    for concept in (*CONDITIONS, *UPDATES):
        assert concept_of(concept.right.format(x="b", n=7)) == concept
    assert concept_of("return t") is None
    assert concept_of("t = max(a)") is None


def test_collect_drops_runs_of_former_settings(tmp_path):
    name = Job(SMOKE, "stepcoder", 12).name
    write_json(tmp_path / "work" / "concepts" / f"{name}.json", ["new"])
    write_json(tmp_path / "concepts.json", {"smoke/stepcoder-00000000-seed12": ["stale"], f"{name}3": ["reported"]})

    found = collect(tmp_path / "concepts.json", tmp_path / "work")

    assert found == {name: ["new"], f"{name}3": ["reported"]}


def test_concepts_are_tabled_by_chain_and_phase():
    def row(first, chain, written, right, instead):
        phase = {"updates": [first, first + 7], "chain": chain, "concept": "{x} is odd", "hard": True}
        return {**phase, "written": written, "right": right, "instead": instead}

    odd = [row(1, 1, 10, 5, {"a": 5}), row(9, 1, 100, 25, {"{x} is even": 75}), row(9, 0, 8, 8, {})]
    found = {"smoke/ppo-0-seed0": odd, "smoke/ppo-0-seed1": [row(9, 1, 100, 75, {"{x} is even": 20, "b": 5})]}

    lines = table(found).splitlines()

    assert lines[0] == "## smoke, PPO: share of lines that are right, by updates"
    assert lines[4] == "| chain | concept | 1 to 8 | 9 to 16 | written instead, at the end |"
    assert lines[6] == "| first | {x} is odd* |  | 1.00 (8) |  |"
    assert lines[7] == "| second | {x} is odd* | 0.50 (10) | 0.50 | {x} is even (95) |"
