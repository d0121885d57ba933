"""Test `stepcoder-trl mask`."""

from __future__ import annotations

import json

import pytest

from stepcoder_trl.cli.main import main


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
