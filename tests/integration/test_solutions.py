"""Canonical solutions before training."""

from __future__ import annotations

import logging

import pytest

from tests.integration.helpers import DISK_FULL, WRONG, Answers, with_solution


pytestmark = pytest.mark.sandbox


def test_problem_with_failing_solution_is_named_and_starts_from_scratch(make_trainer, script, problems, caplog):
    script(WRONG)
    wrong = problems[0].canonical_solution.replace("return -1", "return -2")
    trainer = make_trainer(dataset=with_solution(problems, wrong), max_steps=1)
    assert trainer.curriculum.stage("sign/0") == 1

    with caplog.at_level(logging.WARNING, logger="stepcoder_trl"):
        trainer.train()

    assert "1 of 8 solutions fail their tests" in caplog.text
    assert "sign/0 (failed)" in caplog.text
    assert [stage.stage for stage in trainer.curriculum.stages("sign/0")] == [0]
    assert [trainer.curriculum.stage(row.task_id) for row in trainer.rows[1:]] == [1] * 7


def test_slow_solution_raises_limit_of_its_problem(make_trainer, script, problems, caplog):
    script(WRONG)
    slow = "import time\nend = time.process_time() + 0.2\n" + problems[0].canonical_solution
    slow = slow.replace("    if x > 0", "    while time.process_time() < end:\n        pass\n    if x > 0", 1)
    trainer = make_trainer(dataset=with_solution(problems, slow, timeout_s=0.1), max_steps=1)

    trainer.train()

    assert "solutions fail" not in caplog.text
    assert 0.4 < trainer.rows[0].tests["timeout_s"] < 4
    assert all("timeout_s" not in row.tests for row in trainer.rows[1:])


def test_sandbox_failure_does_not_count_as_failing_solution(make_trainer, script, executor, caplog):
    script(WRONG)
    broken = Answers(executor, [None] * 4)
    broken.run_many = lambda programs, tests, on_error: [DISK_FULL] * len(programs)
    trainer = make_trainer(max_steps=1, keywords={"executor": broken}, max_infrastructure_error_rate=1.0)
    before = [trainer.curriculum.stages(row.task_id) for row in trainer.rows]

    trainer.train()

    assert "solutions fail" not in caplog.text
    assert [trainer.curriculum.stages(row.task_id) for row in trainer.rows] == before


def test_resumed_run_does_not_run_solutions_again(make_trainer, script, problems, monkeypatch):
    script(WRONG)
    dataset = with_solution(problems, problems[0].canonical_solution.replace("return -1", "return -2"))
    changes = {"dataset": dataset, "save_strategy": "steps", "save_steps": 1}
    first = make_trainer(**changes)
    first.train()

    again = make_trainer(**changes)
    monkeypatch.setattr(again, "check_solutions", lambda: pytest.fail("ran the solutions"))
    again.train(resume_from_checkpoint=f"{again.args.output_dir}/checkpoint-1")

    assert again.curriculum.state_dict() == first.curriculum.state_dict()
    assert again.rows == first.rows
