"""Problems and fine-tuned models from which runs start."""

from __future__ import annotations

import dataclasses

from benchmarks.ablation.material import prepare, with_first_tests
from benchmarks.ablation.settings import SMOKE
from stepcoder_trl.quickstart.problems import synthetic_problems


def test_first_tests_equal_generated_few_tests():
    few = dataclasses.replace(SMOKE.dials, test_strength="few", num_tests=2)
    (expected,), (problem,) = synthetic_problems(1, 0, few), synthetic_problems(1, 0, SMOKE.dials)

    assert with_first_tests(problem, 2) == expected
    assert with_first_tests(problem, None) == problem


def test_digest_depends_on_problems_and_weights(tmp_path):
    tiny = dataclasses.replace(SMOKE, corpus=dataclasses.replace(SMOKE.corpus, steps=1), num_heldout=2)
    once, again, other = (prepare(tiny, seed, tmp_path).digest for seed in (0, 0, 1))
    (weights,) = tmp_path.glob("sft/*-seed0/model.safetensors")
    weights.write_bytes((next(tmp_path.glob("sft/*-seed1")) / weights.name).read_bytes())

    assert once == again != other
    assert prepare(tiny, 0, tmp_path).digest not in (once, other)


def test_seeds_can_share_a_model_but_not_problems(tmp_path):
    tiny = dataclasses.replace(SMOKE, corpus=dataclasses.replace(SMOKE.corpus, steps=1), num_heldout=2)
    shared = dataclasses.replace(tiny, model_seed=0)
    own, other = prepare(tiny, 0, tmp_path), prepare(shared, 1, tmp_path)

    assert prepare(shared, 0, tmp_path).digest == own.digest
    assert [path.name.rpartition("-")[2] for path in tmp_path.glob("sft/*") if path.is_dir()] == ["seed0"]
    assert other.training != own.training
