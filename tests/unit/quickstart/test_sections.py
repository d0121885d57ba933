"""Selection of the completions to show."""

from stepcoder_trl.quickstart.sections import most_masked
from stepcoder_trl.reports.rollouts import RolloutView


def rollout(task_id, loss_mask):
    tokens = ("x",) * len(loss_mask)
    return RolloutView(task_id, "", "", tokens, tuple(loss_mask), "passed", 1.0, 0, 1, 1)


def test_most_masked_completions_come_first_and_once_per_problem():
    rollouts = [rollout("a", [True, True]), rollout("b", [True, False]), rollout("a", [False, False])]

    assert most_masked(rollouts, limit=2) == [rollouts[2], rollouts[1]]
    assert most_masked(rollouts, limit=1) == [rollouts[2]]
