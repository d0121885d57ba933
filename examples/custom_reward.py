"""
Write a reward function, and try it on programs before a model is trained on it. It needs no model and no GPU.

    python examples/custom_reward.py

`share_of_tests` gives a partial score to programs that pass some of their tests. Rewards are called with the
completions and every column of the dataset, as lists. Our trainers add `execution`, `program`, `prefix` and `task_id`.
Train on it, alone or in a weighted sum with others:

    stepcoder-trl grpo --problems problems.jsonl --model_name_or_path MODEL --output_dir runs/partial \\
        --reward_funcs examples.custom_reward:share_of_tests stepcoder --reward_weights 1.0 0.5

This script does what the trainers do: it runs four programs for one problem and calls the function. It prints for each
the verdict of the sandbox, the compiler feedback, and the reward:

    right program            passed          3 of 3 tests   feedback  1.0   reward  1.00
    forgets the lower bound  failed          2 of 3 tests   feedback -0.3   reward  0.67
    misspelt name            runtime_error   0 of 3 tests   feedback -0.6   reward  0.00
    not Python               compile_error   0 of 3 tests   feedback -1.0   reward -1.00
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stepcoder_trl import CodeExecutor, Execution, Outcome, load_problems, unit_test_reward


PROBLEMS = Path(__file__).parent / "data" / "problems.jsonl"
COMPLETIONS = {
    "right program": "    return max(low, min(x, high))\n",
    "forgets the lower bound": "    if x > high:\n        return high\n    return x\n",
    "misspelt name": "    return clip(x, low, high)\n",
    "not Python": "    return the nearest number\n",
}


def share_of_tests(completions: list[Any], execution: list[Execution | None], **columns: Any) -> list[float | None]:
    """
    Return the share of tests that passed, -1 for a program that does not compile, and `None` for one that was not run.

    `execution` has one result per completion. A completion whose score is `None` in every reward is left out of the
    loss.
    """
    return [None if run is None else partial_score(run) for run in execution]


def partial_score(execution: Execution) -> float:
    """Return the score of one program."""
    if execution.outcome is Outcome.COMPILE_ERROR:
        return -1.0
    return execution.num_passed / len(execution.tests)


def main() -> None:
    (problem,) = (problem for problem in load_problems(PROBLEMS) if problem.task_id == "clamp")
    completions = list(COMPLETIONS.values())
    programs = [problem.starter_code + completion for completion in completions]
    with CodeExecutor() as executor:
        executions = executor.run_many(programs, [problem.tests] * len(programs))
    feedback = unit_test_reward(completions, execution=executions)
    rewards = share_of_tests(completions, execution=executions)
    for name, run, score, reward in zip(COMPLETIONS, executions, feedback, rewards, strict=True):
        tests = f"{run.num_passed} of {len(run.tests)} tests"
        print(f"{name:<24} {run.outcome:<15} {tests}   feedback {score:4.1f}   reward {reward:5.2f}")


if __name__ == "__main__":
    main()
