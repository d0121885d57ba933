"""Questions of a newcomer, and the rows that the documentation shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from stepcoder_trl import CodeExecutor, Outcome, load_problems


DOCS = Path(__file__).parents[3] / "docs"


# Words of each question on the page, and of its answer.
QUESTIONS = {
    "my tests look": '"type": "unittest"',
    "reward `None`": "The *sandbox* failed, not the program",
    "memory": "GiB",
    "resume": "resume_from_checkpoint",
    "learnt": "stepcoder-trl check",
    "reward of my own": "reward_funcs=[",
    "vLLM": "use_vllm=True",
    "several GPUs": "--accelerate_config zero3",
    "safe": "What is not stopped",
    "evaluate": "stepcoder-trl evaluate --model",
    "publish": "push_to_hub=True",
}


def section(target: str) -> str:
    """Return the text to which a link leads: a page, or the part of it below a heading."""
    name, _, anchor = target.partition("#")
    page = (DOCS / name).read_text(encoding="utf-8")
    if not anchor:
        return page
    for mark, title in re.findall(r"^(#+) (.+)$", page, re.MULTILINE):
        if re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") == anchor:
            text = page.partition(f"\n{mark} {title}\n")[2]
            return re.split(rf"^#{{1,{len(mark)}}} ", text, flags=re.MULTILINE)[0]
    raise AssertionError(f"{name} has no heading {anchor}")


@pytest.mark.parametrize(("question", "answer"), QUESTIONS.items())
def test_one_click_from_the_start_answers_the_question(question, answer):
    start = (DOCS / "index.md").read_text(encoding="utf-8")

    (link,) = re.findall(rf"^\| [^|]*{re.escape(question)}[^|]*\? .*\| \[[^]]*\]\(([^)]+)\) \|$", start, re.MULTILINE)

    assert answer in section(link)


@pytest.mark.sandbox
def test_rows_of_every_form_are_read_and_pass(tmp_path):
    (rows,) = re.findall(r"^```json\n(.*?)^```", (DOCS / "data.md").read_text(encoding="utf-8"), re.M | re.S)
    path = tmp_path / "mine.jsonl"
    path.write_text(rows, encoding="utf-8")
    kinds = [json.loads(row)["tests"]["type"] for row in rows.splitlines()]

    problems = load_problems(str(path))
    with CodeExecutor() as executor:
        found = executor.run_many([one.canonical_solution for one in problems], [one.tests for one in problems])

    assert kinds == ["stdio", "call", "assert", "unittest", "checker"]
    assert [execution.outcome for execution in found] == [Outcome.PASSED] * 5
