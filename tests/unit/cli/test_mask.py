"""Test `stepcoder-trl mask`."""

from __future__ import annotations

import json

import pytest

from stepcoder_trl.cli.main import main
from stepcoder_trl.reports.rollouts import rollout_row
from tests.unit.reports.test_html import Page, view
from tests.unit.tokenizers_by_kind import unigram_byte_fallback_tokenizer


pytestmark = pytest.mark.sandbox
PREFIX = "n = int(input())\n"
COMPLETION = "if n > 9:\n    print(1)\nelse:\n    print(2 * n)\n"
TESTS = {"type": "stdio", "inputs": ["3"], "outputs": ["6"]}


@pytest.fixture
def tokenizer_folder(tokenizer, tmp_path):
    folder = tmp_path / "tokenizer"
    tokenizer.save_pretrained(folder)
    return folder


def mask(folder, tmp_path, *rows, page=None):
    rollouts, out = tmp_path / "rollouts.jsonl", tmp_path / "masks.jsonl"
    rollouts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["mask", "--tokenizer", str(folder), str(rollouts), "--out", str(out), "--workers", "1"]
    with pytest.raises(SystemExit) as stop:
        main([*arguments, *(["--html", str(page)] if page else [])])
    return stop.value.code, [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def kept_text(row):
    return "".join(token for token, kept in zip(row["tokens"], row["loss_mask"], strict=True) if kept)


def test_text_and_token_ids_give_same_mask(tokenizer, tokenizer_folder, tmp_path):
    ids = tokenizer(COMPLETION, add_special_tokens=False)["input_ids"]

    status, (by_text, by_ids) = mask(
        tokenizer_folder,
        tmp_path,
        {"id": "text", "prefix": PREFIX, "completion": COMPLETION, "tests": TESTS},
        {"id": "ids", "prefix": PREFIX, "completion_ids": ids, "tests": json.dumps(TESTS)},
    )

    assert status == 0
    assert by_text.keys() == {"id", "token_ids", "tokens", "loss_mask", "outcome", "score"}
    assert by_text["token_ids"] == by_ids["token_ids"] == ids
    assert by_text["loss_mask"] == by_ids["loss_mask"]
    assert (by_text["outcome"], by_text["score"]) == ("passed", 1.0)
    assert "print(1)" not in kept_text(by_text)
    assert kept_text(by_text).split() == ["if", "n", ">", "9:", "else:", "print(2", "*", "n)"]


def test_page_escapes_hostile_text(tokenizer_folder, tmp_path):
    page = tmp_path / "page.html"
    hostile = "print('<script>alert(1)</script>')\n"

    status, _ = mask(
        tokenizer_folder, tmp_path, {"id": 1, "prefix": "", "completion": hostile, "tests": TESTS}, page=page
    )

    assert status == 0
    assert "<script>alert" not in page.read_text()


def test_prose_and_fence_have_a_colour_of_their_own(tokenizer_folder, tmp_path):
    page = tmp_path / "page.html"
    fenced = f"Sure:\n```python\n{PREFIX}print(2 * n)\n```\n"

    status, _ = mask(tokenizer_folder, tmp_path, {"id": 1, "completion": fenced, "tests": TESTS}, page=page)

    spans = Page(page.read_text()).spans
    outside = "".join(text for text, kind in spans if kind == "outside")
    assert status == 0
    assert outside.startswith("Sure:\n```python\n")
    assert "print" not in outside
    assert "print(2 * n)" in "".join(text for text, kind in spans if kind == "kept")


def test_page_says_what_came_instead_of_the_expected(tokenizer_folder, tmp_path):
    page = tmp_path / "page.html"

    mask(tokenizer_folder, tmp_path, {"id": 1, "completion": "print(7)\n", "tests": TESTS}, page=page)

    text = page.read_text()
    assert "Test 1: failed" in text
    assert "wrong standard output" in text


@pytest.mark.parametrize("of_run", [False, True])
def test_rollouts_that_training_wrote_are_shown_as_they_were(tmp_path, of_run, capsys):
    rows = [rollout_row(3, view(token_ids=tuple(range(8))))]
    path, out, page = (tmp_path / name for name in ("record/rollouts.jsonl", "masks.jsonl", "page.html"))
    path.parent.mkdir()
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    with pytest.raises(SystemExit) as stop:
        main(["mask", str(tmp_path if of_run else path), "--out", str(out), "--html", str(page), "--show", "1"])

    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert "trained on" in shown.splitlines()[0]
    assert "task/1" in shown
    (row,) = [json.loads(line) for line in out.read_text().splitlines()]
    assert row["token_ids"] == list(range(8))
    assert row["loss_mask"] == [1, 1, 1, 0, 0, 1, 1, 1]
    assert (row["id"], row["outcome"], row["score"]) == ("task/1", "passed", 1.0)
    assert 'data-update="3"' in page.read_text()


def test_folder_without_rollouts_is_one_error(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["mask", str(tmp_path), "--out", str(tmp_path / "masks.jsonl")])

    assert stop.value.code == 2
    assert "the folder has no record/rollouts.jsonl. Pass the run directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"task_id": "a", "prompt": "p", "tests": TESTS}, "A problem has no tokens to mask: pass rollouts"),
        ({"loss_mask": [1]}, "is not a rollout that training wrote"),
        ({"id": 1, "completion": "", "tests": TESTS}, "`--tok"),
    ],
)
def test_missing_field_or_tokenizer_is_one_error(tmp_path, capsys, row, complaint):
    path = tmp_path / "rollouts.jsonl"
    path.write_text(json.dumps(row))

    with pytest.raises(SystemExit) as stop:
        main(["mask", str(path), "--out", str(tmp_path / "masks.jsonl")])

    assert stop.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"id": 1, "prefix": "", "tests": TESTS}, "exactly one of `completion` and `completion_ids`"),
        ({"id": 1, "prefix": "", "completion_ids": ["a"], "tests": TESTS}, "list of token ids"),
        ({"id": 1, "prefix": "", "completion_ids": [10**9], "tests": TESTS}, "the tokenizer has"),
    ],
)
def test_invalid_row_is_an_error(tokenizer_folder, tmp_path, capsys, row, complaint):
    status, rows = mask(tokenizer_folder, tmp_path, row)

    assert (status, rows) == (2, [])
    assert complaint in capsys.readouterr().err


def test_byte_tokens_around_a_line_end_go_with_their_own_lines(tmp_path):
    folder = tmp_path / "tokenizer"
    unigram_byte_fallback_tokenizer().save_pretrained(folder)
    completion = "if n > 9: # \u6f22\n    print(1)\nprint(2 * n)\n"  # three bytes, then that of the line end

    status, (row,) = mask(folder, tmp_path, {"id": 1, "prefix": PREFIX, "completion": completion, "tests": TESTS})

    line_end = row["tokens"].index("\n")
    assert status == 0
    assert row["loss_mask"][line_end - 1 : line_end + 1] == [1, 0]
