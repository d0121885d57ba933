"""Arithmetic, order and books of benchmarks/ablation; the runs themselves are in tests/integration."""

from __future__ import annotations

import dataclasses
import json
import math
import sys

import pytest

from benchmarks.ablation import gradients, grid
from benchmarks.ablation.analysis import change_of_gain, curves, difference, read_runs, summarize, values
from benchmarks.ablation.concepts import collect, concept_of, table, written_concepts
from benchmarks.ablation.files import locked, read_reported, write_json
from benchmarks.ablation.gradients import compare, jackknife, squared_noise, squared_signal
from benchmarks.ablation.intervals import (
    area,
    estimate,
    p_of_signs,
    p_of_t,
    paired_difference,
    t_quantile,
    t_within,
)
from benchmarks.ablation.material import prepare, with_first_tests
from benchmarks.ablation.report import PAIRS, gains_table, plot_gains, tables, with_gains, write_report
from benchmarks.ablation.run import ppo_config
from benchmarks.ablation.settings import ARMS, MAIN, REINFORCED, SETTINGS, SMOKE, TIERS, Job, plan
from stepcoder_trl.quickstart.problems import CONDITIONS, UPDATES, synthetic_problems


# Intervals


@pytest.mark.parametrize(
    ("freedom", "bound"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (9, 2.2622), (10, 2.2281), (30, 2.0423)],
)
def test_quantiles_are_those_of_the_tables(freedom, bound):
    assert t_quantile(freedom) == pytest.approx(bound, abs=1e-4)


def test_with_one_degree_of_freedom_t_is_the_cauchy_distribution():
    assert t_within(1.0, 1) == pytest.approx(0.5)
    assert t_within(0.0, 7) == 0.0


def test_with_two_degrees_of_freedom_there_is_a_closed_form():
    assert t_within(1.5, 2) == pytest.approx(1.5 / math.sqrt(2 + 1.5**2))


def test_interval_of_a_mean():
    found = estimate([1.0, 2.0, 3.0])

    assert (found.mean, found.n) == (2.0, 3)
    assert found.high - 2.0 == pytest.approx(4.3027 / math.sqrt(3), abs=1e-4)


def test_one_value_has_no_interval():
    assert math.isnan(estimate([0.5]).low)


def test_paired_difference_of_five_seeds():
    found = paired_difference([1, 2, 3, 4, 5], [0, 1, 1, 3, 3])

    # Differences 1, 1, 2, 1, 2: mean 1.4, standard error 0.2449, t 5.715.
    assert found.mean == pytest.approx(1.4)
    assert found.above == 5
    assert found.p_t == pytest.approx(0.00464, abs=1e-5)
    assert found.p_signs == 2 / 32


def test_differences_that_cancel_are_no_evidence():
    assert p_of_signs([1.0, -1.0]) == 1.0
    assert p_of_t([1.0, -1.0]) == pytest.approx(1.0)
    assert math.isnan(p_of_t([0.0, 0.0]))


def test_mean_height_of_a_curve():
    curve = [(0.0, 0.0), (2.0, 1.0), (4.0, 1.0)]

    assert area(curve, 4.0) == pytest.approx(0.75)
    assert area(curve, 1.0) == pytest.approx(0.25)
    assert area(curve, 8.0) == pytest.approx(0.875)


# Plan


def test_the_first_arms_come_first_over_all_seeds():
    jobs = list(plan([MAIN], TIERS, [0, 1]))

    assert [(job.arm, job.seed) for job in jobs[:6]] == [
        *(("sft", 0), ("sft", 1)),
        *(("ppo", 0), ("stepcoder", 0), ("ppo", 1), ("stepcoder", 1)),
    ]
    assert sorted({job.arm for job in jobs}) == sorted(ARMS)


def test_runs_of_another_setting_have_other_files(tmp_path):
    other = dataclasses.replace(MAIN, updates=MAIN.updates + 1)

    told = dataclasses.replace(MAIN, reason="Told in other words.")

    assert Job(other, "ppo", 0).path(tmp_path) != Job(MAIN, "ppo", 0).path(tmp_path)
    assert Job(told, "ppo", 0).path(tmp_path) == Job(MAIN, "ppo", 0).path(tmp_path)


def test_another_arm_of_the_same_name_has_another_file(tmp_path, monkeypatch):
    before = Job(MAIN, "ppo", 0).path(tmp_path)
    monkeypatch.setitem(ARMS, "ppo", dataclasses.replace(ARMS["ppo"], options={"curriculum": "off"}))

    assert Job(MAIN, "ppo", 0).path(tmp_path) != before


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("arm", REINFORCED)
def test_every_arm_is_a_configuration_of_the_trainer(setting, arm, tmp_path):
    args = ppo_config(setting, ARMS[arm], 3, response_length=50, folder=str(tmp_path))

    assert args.per_device_train_batch_size * args.gradient_accumulation_steps == setting.rollouts_per_update
    assert (args.seed, args.response_length) == (3, 50)
    assert (args.curriculum == "off") == (arm in ("ppo", "no_cccs", "ppocoder", "rltf"))
    assert (args.fgo == "off") == (arm in ("ppo", "no_fgo", "ppocoder", "rltf"))


def test_first_tests_are_those_that_few_tests_are():
    few = dataclasses.replace(SMOKE.dials, test_strength="few", num_tests=2)
    (expected,), (problem,) = synthetic_problems(1, 0, few), synthetic_problems(1, 0, SMOKE.dials)

    assert with_first_tests(problem, 2) == expected
    assert with_first_tests(problem, None) == problem


# Grid


@pytest.fixture
def scripted(monkeypatch):
    """Runs write down what they were asked for; those of seed 1 fail."""
    script = (
        "import sys, pathlib; from benchmarks.ablation.settings import *; seed = int(sys.argv[6])\n"
        "path = Job(SETTINGS[sys.argv[2]], sys.argv[4], seed).path(pathlib.Path(sys.argv[8]))\n"
        "print('begun'); seed != 1 or sys.exit(3); path.write_text('done')\n"
    )
    real = grid.subprocess.run

    def run(command, **keywords):
        return real([sys.executable, "-c", script, *command[3:]], **keywords)

    monkeypatch.setattr(grid.subprocess, "run", run)


def test_what_is_done_is_not_done_again_and_what_failed_is(tmp_path, scripted, capsys):
    jobs = [Job(SMOKE, "ppo", seed) for seed in range(3)]
    first = grid.run_grid(jobs, tmp_path, processes=2)
    jobs[0].path(tmp_path).write_text("kept")
    capsys.readouterr()
    second = grid.run_grid(jobs, tmp_path, processes=1)

    assert first == second == [jobs[1]]
    assert jobs[0].path(tmp_path).read_text() == "kept"
    assert capsys.readouterr().out.startswith("smoke, PPO, seed 1: FAILED")
    assert "begun" in jobs[1].path(tmp_path).with_suffix(".log").read_text()


def test_what_another_grid_works_on_is_left_to_it(tmp_path, scripted):
    job = Job(SMOKE, "ppo", 0)
    with locked(job.path(tmp_path)) as lock:
        assert lock is not None
        grid.run_grid([job], tmp_path, processes=1)

        assert not job.path(tmp_path).exists()
    grid.run_grid([job], tmp_path, processes=1)
    assert job.path(tmp_path).exists()


# Analysis


def finished(work, arm, seed, rates, cpu_s=1.0, setting=SMOKE):
    """Write a run with the same rate on both sets at each of two evaluations."""
    rollouts = setting.rollouts_per_update
    updates = [1, 2] if arm != "sft" else [0]
    points = [
        {"update": update, "rollouts": update * rollouts, "training": rate, "heldout": rate, "cpu_s": update * cpu_s}
        for update, rate in zip(updates, rates, strict=True)
    ]
    names = ("reward_rate", "unexecuted_share", "mean_length", "kl", "scratch_share")
    history = [dict.fromkeys(names, 0.5 * update) for update in updates] if arm != "sft" else []
    sft = {"loss": 0.1, "floor": 0.09}
    run = {"setting": setting.name, "arm": arm, "seed": seed, "points": points, "updates": history, "sft": sft}
    run |= {"machine": "abacus", "versions": {"python": "3"}, "job": Job(setting, arm, seed).name}
    run["material"] = f"of seed {seed}"
    if arm == "sft":
        run["start"] = {"pass_rate": 0.25 + 0.5 * seed, "unexecuted_share": 0.3}
    write_json(Job(setting, arm, seed).path(work), run)


@pytest.fixture
def work(tmp_path):
    for seed in (0, 1):
        finished(tmp_path, "sft", seed, [0.1 * seed])
        finished(tmp_path, "ppo", seed, [0.2, 0.4], cpu_s=2.0)
    finished(tmp_path, "stepcoder", 0, [0.4, 0.8])
    finished(tmp_path, "ppo", 7, [1.0, 1.0])  # its fine-tuned model was not evaluated
    return tmp_path


def test_curves_begin_at_the_fine_tuned_model(work):
    runs = read_runs(SMOKE, work)

    assert runs.curve("ppo", 1, "heldout") == [(0, 0.1), (4, 0.2), (8, 0.4)]
    assert values(runs, "ppo", "curve", "heldout") == pytest.approx([0.2, 0.225])
    assert [value.mean for _, value in curves(runs, "ppo", "training")] == pytest.approx([0.05, 0.2, 0.4])


def test_arms_are_compared_over_the_seeds_that_both_have(work):
    found = difference(read_runs(SMOKE, work), "stepcoder", "ppo", "end", "training")

    assert found["mean"] == pytest.approx(0.4)
    assert (found["n"], found["above"], found["relative"]) == (1, 1, 1.0)
    assert found["low"] is None


def test_by_cpu_time_curves_are_compared_up_to_what_the_cheaper_run_has_spent(work):
    found = difference(read_runs(SMOKE, work), "stepcoder", "ppo", "curve_by_cpu", "training")

    # Two CPU seconds: StepCoder's both evaluations, PPO's first.
    assert found["mean"] == pytest.approx((0.2 + 0.6) / 2 - 0.1)


def test_seeds_whose_curriculum_is_over_are_counted(work):
    training = summarize(read_runs(SMOKE, work), PAIRS)["training"]

    # At scratch are half of the problems after the first update, all after the second.
    assert training["ppo"]["scratch_reached_seeds"] == 2
    assert training["ppo"]["reward_rate"] == 0.75


def test_runs_from_another_model_are_not_paired(work, capsys):
    path = Job(SMOKE, "ppo", 1).path(work)
    write_json(path, {**json.loads(path.read_text()), "material": "another"})

    assert list(read_runs(SMOKE, work).by_arm["ppo"]) == [0]
    assert "smoke, PPO, seed 1: left out" in capsys.readouterr().out


def test_material_tells_models_and_problems_apart(tmp_path):
    tiny = dataclasses.replace(SMOKE, corpus=dataclasses.replace(SMOKE.corpus, steps=1), num_heldout=2)
    once, again, other = (prepare(tiny, seed, tmp_path).digest for seed in (0, 0, 1))
    (weights,) = tmp_path.glob("sft/*-seed0/model.safetensors")
    weights.write_bytes((next(tmp_path.glob("sft/*-seed1")) / weights.name).read_bytes())

    assert once == again != other
    assert prepare(tiny, 0, tmp_path).digest not in (once, other)


def test_report_names_every_finished_arm_and_is_valid_json(work, tmp_path):
    names = write_report([SMOKE, MAIN], work, tmp_path / "out")

    results = json.loads((tmp_path / "out" / "results.json").read_text(), parse_constant=pytest.fail)
    assert names == list(results) == ["smoke"]
    assert len(results["smoke"]["runs"]) == 5
    table = (tmp_path / "out" / "tables.md").read_text()
    assert "| StepCoder - PPO | training | +0.200 | +100 % | +0.400 | +0.300 | 1 of 1 |" in table
    assert tables(read_runs(SMOKE, work), summarize(read_runs(SMOKE, work), PAIRS)) == table
    assert (tmp_path / "out" / "smoke.png").stat().st_size > 1000


def test_runs_are_brought_back_from_a_report(work, tmp_path):
    write_report([SMOKE], work, tmp_path / "out")
    elsewhere = tmp_path / "elsewhere"
    finished(elsewhere, "ppo", 0, [0.0, 0.0])

    assert grid.restore_runs(tmp_path / "out" / "results.json", elsewhere) == 4
    assert grid.restore_runs(tmp_path / "out" / "results.json", elsewhere) == 0
    assert grid.restore_runs(tmp_path / "none.json", elsewhere) == 0
    runs, before = read_runs(SMOKE, elsewhere), read_runs(SMOKE, work)
    assert runs.by_arm["stepcoder"] == before.by_arm["stepcoder"]
    assert runs.by_arm["ppo"][1] == before.by_arm["ppo"][1]
    assert runs.curve("ppo", 0, "heldout")[-1][1] == 0.0  # what was there stays


def test_runs_of_a_setting_that_has_changed_are_not_dropped_without_a_word(work, tmp_path, monkeypatch):
    write_report([SMOKE], work, tmp_path / "out")
    monkeypatch.setitem(SETTINGS, "smoke", dataclasses.replace(SMOKE, updates=3))

    with pytest.raises(SystemExit, match="5 runs of settings that have changed since, first smoke/ppo-"):
        grid.restore_runs(tmp_path / "out" / "results.json", tmp_path / "elsewhere")


@pytest.mark.parametrize("text", ["", "[]", "{}x", '{"sparse": {}}', '{"sparse": {"runs": [{"arm": "ppo"}]}}'])
def test_files_that_hold_no_runs_are_named(tmp_path, text):
    results = tmp_path / "results.json"
    results.write_text(text)

    with pytest.raises(SystemExit, match="holds no runs of this benchmark"):
        grid.restore_runs(results, tmp_path)


def test_runs_that_are_published_are_those_of_todays_settings(tmp_path):
    results = grid.CHECKOUT / "docs" / "results" / "ablation" / "results.json"

    assert grid.restore_runs(results, tmp_path) == sum(
        len(one["runs"]) for one in json.loads(results.read_text()).values()
    )


def test_differences_are_taken_over_as_many_rollouts_as_asked_for(work):
    finished(work, "no_fgo", 0, [0.3, 0.5])
    runs = read_runs(SMOKE, work)

    # Up to the first evaluation the curves rise from 0 to 0.4 and 0.3, up to the second to 0.8 and 0.5.
    assert difference(runs, "stepcoder", "no_fgo", "curve", "heldout", 4)["mean"] == pytest.approx(0.05)
    assert difference(runs, "stepcoder", "no_fgo", "curve", "heldout")["mean"] == pytest.approx((0.05 + 0.2) / 2)
    assert difference(runs, "stepcoder", "no_cccs", "curve", "heldout") is None


def test_settings_side_by_side_show_what_each_part_gains(work, tmp_path):
    without = read_runs(SMOKE, work)
    finished(work, "no_fgo", 0, [0.3, 0.5])
    found = read_runs(SMOKE, work)
    sparser = dataclasses.replace(found, setting=dataclasses.replace(SMOKE, name="other"))
    compared = with_gains({"without": without, "with": found, "other": sparser})
    plot_gains(compared, tmp_path / "gains.png")

    assert compared == [found, sparser]
    assert with_gains({"without": without, "with": found}) == []
    row = "| 0.5000 | 0.30 | held-out |  | +0.075, n 1 | +0.125, n 1 |  |  |"
    assert {f"| smoke {row}", f"| other {row}"} <= set(gains_table(compared).splitlines())
    assert (tmp_path / "gains.png").stat().st_size > 1000


def test_what_a_part_gains_is_compared_between_settings_seed_by_seed(work):
    other, masked = dataclasses.replace(SMOKE, name="other", training_tests=1), ("no_cccs", "ppo")
    for arm, rates in (("sft", [0.0]), ("ppo", [0.5, 0.7]), ("no_cccs", [0.4, 0.5])):
        finished(work, arm, 0, rates, setting=other)
    finished(work, "no_cccs", 0, [0.3, 0.5])
    runs, others = read_runs(other, work), read_runs(SMOKE, work)
    change = change_of_gain(runs, others, masked, "end", "heldout", 8)
    by_another_model = {seed: {**run, "material": "another"} for seed, run in others.by_arm["sft"].items()}
    unlike = dataclasses.replace(others, by_arm={**others.by_arm, "sft": by_another_model})

    # The other seed of SMOKE cannot be paired.
    assert (change["mean"], change["n"]) == (pytest.approx((0.5 - 0.7) - (0.5 - 0.4)), 1)
    assert "| smoke - other | held-out |" in gains_table([runs, others])
    assert change_of_gain(runs, others, ("stepcoder", "ppo"), "end", "heldout", 8) is None
    assert change_of_gain(runs, unlike, masked, "end", "heldout", 8) is None
    assert "paired by seed" not in gains_table([runs, unlike])


# Signal and noise


PAIRS_OF_MASKS = ("off off", "lines lines", "lines off", "random random", "off random")


def products_of(gradients, others):
    return [[sum(a * b for a, b in zip(one, other, strict=True)) for other in others] for one in gradients]


def test_signal_is_the_mean_product_of_different_batches():
    products = products_of([(1.0, 0.0), (3.0, 4.0), (0.0, 2.0)], [(1.0, 0.0), (3.0, 4.0), (0.0, 2.0)])

    # Products of pairs: 3, 0 and 8. Squared norms: 1, 25 and 4.
    assert squared_signal(products) == pytest.approx(11 / 3)
    assert squared_noise(products) == pytest.approx(10 - 11 / 3)
    assert squared_signal(products, without=1) == 0


def test_leaving_noise_out_is_a_gain_and_scaling_is_none():
    signal, noise = 1.0, (0.5, -0.5, 0.3, -0.3)
    all_tokens = [(signal, -2 * one, one) for one in noise]
    masked = [(3 * signal, 0.0, 3 * one) for one in noise]
    products = {"off off": products_of(all_tokens, all_tokens), "lines lines": products_of(masked, masked)}
    products["lines off"] = products_of(masked, all_tokens)

    gain = compare(products, "lines")["gain"]

    # Four fifths of the noise lie in the coordinate that is left out. The estimated signals differ a little.
    noises = [squared_noise(products[name]) for name in ("off off", "lines lines")]
    assert noises[1] / noises[0] == pytest.approx(9 / 5)
    assert gain["mean"] > 5
    assert gain["low"] < gain["mean"] < gain["high"]
    assert compare(products, "off")["cosine"]["mean"] == 1.0
    assert compare(products, "off")["gain"]["mean"] == 1.0


def test_gradients_that_point_elsewhere_have_a_smaller_cosine():
    noise = (0.5, -0.5, 0.3, -0.3)
    all_tokens, masked = [(1.0, 0.0, one) for one in noise], [(1.0, 1.0, one) for one in noise]
    products = {"off off": products_of(all_tokens, all_tokens), "lines lines": products_of(masked, masked)}
    products["lines off"] = products_of(masked, all_tokens)

    # Products of different batches of the noise have the mean -0.68 / 12.
    shared = 1 - 0.68 / 12
    assert compare(products, "lines")["cosine"]["mean"] == pytest.approx(shared / math.sqrt(shared * (1 + shared)))


def test_gradients_are_reported_by_setting_and_mask(tmp_path):
    vectors = [(1.0, 0.5), (1.0, -0.5), (1.0, 0.1)]
    products = {pair: products_of(vectors, vectors) for pair in PAIRS_OF_MASKS}
    path = gradients._path("smoke", "start", 3, tmp_path, seed=0)
    write_json(path, {"updates": 6, "unexecuted_share": 0.25, "products": products})

    findings = gradients.collect(tmp_path / "gradients.json", tmp_path, 3)

    row = "| smoke, start | 1 | 25 % | lines | 1.00 [1.00, 1.00] | 1.00 [1.00, 1.00] | 1.00 [1.00, 1.00] |"
    assert findings["smoke, start"]["seeds"]["0"]["masks"]["lines"]["gain"]["mean"] == 1.0
    assert f"{row} 1.00 [1.00, 1.00] |" in gradients.table(findings)
    # On another machine, what was reported is still known, and no longer once the probe is another one.
    write_json(tmp_path / "gradients.json", findings)
    assert gradients.collect(tmp_path / "gradients.json", tmp_path / "elsewhere", 3) == findings
    assert gradients.collect(tmp_path / "gradients.json", tmp_path / "elsewhere", 4) == {}


def test_jackknife_of_a_mean_is_the_interval_of_the_mean():
    numbers = [1.0, 2.0, 4.0]

    def mean(left_out):
        kept = [number for place, number in enumerate(numbers) if place != left_out]
        return sum(kept) / len(kept)

    assert dataclasses.astuple(jackknife(mean, 3)) == pytest.approx(dataclasses.astuple(estimate(numbers)))


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


def test_programs_are_compared_with_solutions_concept_by_concept():
    program = SOLUTION.replace("a > 3", "a >= 3").replace("t -= 4", "t -= 5").replace("% 2 == 0", "% 2 == 1")

    lines = [(line.chain, line.concept.words, line.right) for line in written_concepts(program, PROMPT, SOLUTION)]

    assert lines == [
        (0, "{x} is above {n}", False),
        (0, "add the square of {x}", True),
        (0, "subtract {n}", False),
        (1, "{x} is a multiple of {n}", False),
        (1, "double the total", True),
    ]


def test_given_lines_are_left_out_and_lines_that_lack_are_wrong():
    cut = SOLUTION[: SOLUTION.index("        t *= 2")]

    lines = [(line.concept.words, line.code, line.right) for line in written_concepts(cut, PROMPT, SOLUTION, 5)]

    assert lines == [
        ("subtract {n}", "t -= 4", True),
        ("{x} is a multiple of {n}", "c % 2 == 0", True),
        ("double the total", "", False),
    ]


def test_concepts_of_generated_problems_are_those_of_their_solutions():
    for problem in synthetic_problems(20, 0, MAIN.dials):
        lines = list(written_concepts(problem.canonical_solution, problem.prompt, problem.canonical_solution))
        assert len(lines) == 3 * (2 + 3)  # chains, conditions and updates
        for line in lines:
            assert line.right
            assert concept_of(line.code).right.split()[1] == line.concept.right.split()[1]  # %, +=, ...


def test_every_concept_is_known_by_its_right_code():
    for concept in (*CONDITIONS, *UPDATES):
        assert concept_of(concept.right.format(x="b", n=7)) == concept
    assert concept_of("return t") is None
    assert concept_of("t = max(a)") is None


def test_concepts_of_runs_that_are_no_more_are_not_told(tmp_path):
    name = Job(SMOKE, "stepcoder", 12).name
    write_json(tmp_path / "work" / "concepts" / f"{name}.json", ["new"])
    write_json(tmp_path / "concepts.json", {"smoke/stepcoder-00000000-seed12": ["stale"], f"{name}3": ["reported"]})

    found = collect(tmp_path / "concepts.json", tmp_path / "work")

    assert found == {name: ["new"], f"{name}3": ["reported"]}


def test_concepts_are_told_by_chain_and_phase():
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


@pytest.mark.parametrize("text", ['{"a":', "[1]"])
def test_reports_that_cannot_be_used_are_named(tmp_path, text):
    (tmp_path / "concepts.json").write_text(text)

    with pytest.raises(SystemExit, match=r"concepts.json .* Move it away"):
        read_reported(tmp_path / "concepts.json")
    assert read_reported(tmp_path / "none.json") == {}
