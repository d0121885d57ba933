"""Problems and fine-tuned models from which runs start."""

from __future__ import annotations

import dataclasses

from benchmarks.ablation.material import for_training, prepare, with_first_tests
from benchmarks.ablation.settings import SMOKE
from stepcoder_trl.quickstart.problems import synthetic_problems


def test_first_tests_equal_generated_few_tests():
    few = dataclasses.replace(SMOKE.dials, test_strength="few", num_tests=2)
    (expected,), (problem,) = synthetic_problems(1, 0, few), synthetic_problems(1, 0, SMOKE.dials)

    assert with_first_tests(problem, 2) == expected
    assert with_first_tests(problem, None) == problem


def test_only_the_first_problems_have_a_solution():
    problems = synthetic_problems(3, 0, SMOKE.dials)
    few = for_training(problems, dataclasses.replace(SMOKE, num_solutions=1, training_tests=1))

    assert few[0].canonical_solution == problems[0].canonical_solution
    assert [problem.canonical_solution for problem in few[1:]] == ["", ""]
    assert all(len(problem.tests["inputs"]) == 1 for problem in few)
    assert for_training(problems, dataclasses.replace(SMOKE, training_tests=None)) == problems


def test_digest_depends_on_problems_and_weights(tmp_path):
    tiny = dataclasses.replace(SMOKE, corpus=dataclasses.replace(SMOKE.corpus, steps=1), num_heldout=2)
    once, again, other = (prepare(tiny, seed, tmp_path).digest for seed in (0, 0, 1))
    (weights,) = tmp_path.glob("sft/*-seed0/model.safetensors")
    weights.write_bytes((next(tmp_path.glob("sft/*-seed1")) / weights.name).read_bytes())

    assert once == again != other
    assert prepare(tiny, 0, tmp_path).digest not in (once, other)
