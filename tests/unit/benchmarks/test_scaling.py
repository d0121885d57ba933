"""The simulation of a step's programs on hosts."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from benchmarks import scaling
from benchmarks.scaling import POLICIES, Costs, Host, Policy, Program, Simulation, draw_step, ideal_s, scenario


FREE = Costs(message_s=0.0, latency_s=0.0)
QUICK = Costs(message_s=0.001)
EQUAL = [Program(1.0, 1.0)] * 128


def seconds(programs, hosts, policy, costs=FREE):
    return Simulation(programs, hosts, policy, costs).run().seconds


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_free_messages_and_equal_programs_reach_the_limit(policy):
    assert seconds(EQUAL, [Host(4)] * 2, policy) == pytest.approx(16.0)
    assert ideal_s(EQUAL, [Host(4)] * 2) == 16.0


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize("name", ["no endless loops", "slow host", "dead host"])
def test_each_program_has_one_result_whatever_happens(policy, name):
    programs = draw_step([0.02, 0.3], 5.0, 0.05, groups=20, size=8, seed=1)

    step = Simulation(programs, scenario(name, 3, 2, half_s=0.5), policy, QUICK).run()

    assert set(step.runs) == {1}
    assert step.seconds >= ideal_s(programs, [Host(2)] * 3)


def test_messages_cost_the_sending_process_time():
    assert seconds(EQUAL, [Host(64)], Policy(), Costs(0.5, latency_s=0.25)) == pytest.approx(128.0, abs=2.0)
    assert seconds([Program(1.0, 1.0)], [Host(1)], Policy(), Costs(0.5, latency_s=0.25)) == pytest.approx(2.5)


def test_a_slow_host_holds_up_programs_that_are_pushed_to_it():
    hosts = [Host(1), Host(1, speed=0.25)]

    assert seconds(EQUAL, hosts, POLICIES["round robin"]) == pytest.approx(256.0)
    assert seconds(EQUAL, hosts, POLICIES["least busy"]) < 120


def test_the_longest_program_is_better_begun_first():
    programs = [Program(1.0, 1.0)] * 8 + [Program(8.0, 8.0)]

    assert seconds(programs, [Host(1)] * 2, POLICIES["longest first"]) == pytest.approx(9.0)  # one queues behind it
    assert seconds(programs, [Host(1)] * 2, POLICIES["least busy"]) > 10


def test_an_endless_loop_holds_up_the_batch_that_it_is_in():
    programs = [Program(0.01, 0.01)] * 640
    programs[0] = Program(10.0, 0.01)

    assert seconds(programs, [Host(4)], POLICIES["least busy"]) == pytest.approx(10.0)
    assert Simulation(programs, [Host(4)], POLICIES["batches of 64"], FREE).run().messages == 10


def test_programs_of_a_dead_host_run_elsewhere_once_it_is_known():
    hosts = [Host(1), Host(1, dies_s=4.5)]

    step = Simulation(EQUAL, hosts, POLICIES["least busy"], Costs(0.0, latency_s=0.0, detect_s=2.0)).run()

    assert step.seconds == pytest.approx(124.0)


def test_the_table_has_a_row_for_each_policy(monkeypatch):
    monkeypatch.setattr(scaling, "HOSTS", (1, 2))
    monkeypatch.setattr(scaling, "REPEATS", 1)
    made_with = {"date": "2026-11-30"}
    measured = {"humaneval": [0.01], "apps_plus": [0.02], "endless_s": 1.0, "message_s": 0.001, "made_with": made_with}
    arguments = SimpleNamespace(groups=4, size=2, workers=2, endless=0.2)

    page = scaling.report(scaling.simulate(measured, arguments), measured, arguments)

    assert page.count("| least busy |") == 4
    assert "8 programs: 4 problems with 2 samples each" in page
