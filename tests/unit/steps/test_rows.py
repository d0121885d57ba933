"""Rows of a training set."""

from __future__ import annotations

import json

import pandas
import pytest
import torch
from datasets import Dataset, IterableDataset
from transformers import DataCollatorWithPadding

from stepcoder_trl.data.formats import load_problems
from stepcoder_trl.errors import BadInputError
from stepcoder_trl.jsonl import write_rows
from stepcoder_trl.steps.rows import as_rows, collate, read_dataset


TESTS = '{"type": "stdio", "inputs": [""], "outputs": ["1"]}'


def test_rows_of_a_data_set_become_problems_with_all_their_columns():
    row = {"task_id": "a", "prompt": "Print 1.", "tests": TESTS, "starter_code": None, "source": "mine"}

    (read,) = as_rows(Dataset.from_list([row]))

    assert (read.task_id, read.prompt, read.starter_code, read.token_ids) == ("a", "Print 1.", "", None)
    assert read.tests["type"] == "stdio"
    assert read.columns["source"] == "mine"


def test_problems_are_rows_too(problems):
    read = as_rows(problems)

    assert [row.task_id for row in read] == [problem.task_id for problem in problems]
    assert read[0].tests == problems[0].tests


def test_files_of_problems_are_loaded(problems, tmp_path):
    paths = [tmp_path / "a.jsonl", str(tmp_path / "b.jsonl")]
    for path, some in zip(paths, (problems[:3], problems[3:]), strict=True):
        write_rows(path, [problem.to_row() for problem in some])

    assert [problem.task_id for problem in read_dataset(paths)] == [problem.task_id for problem in problems]
    assert len(read_dataset(paths[0])) == 3


def streamed():
    yield {"prompt": "a"}
    yield {"prompt": "b"}


STREAMS = {
    "streamed dataset": lambda: Dataset.from_list(list(streamed())).to_iterable_dataset(),
    "dataset of a generator": lambda: IterableDataset.from_generator(streamed),
    "mapped dataset": lambda: IterableDataset.from_generator(streamed).map(lambda row: {"tests": None}),
    "generator": streamed,
    "iterator": lambda: iter(list(streamed())),
}


@pytest.mark.parametrize("name", STREAMS)
def test_streamed_rows_are_read_once(name):
    rows = read_dataset(STREAMS[name]())

    assert len(rows) == 2
    assert [row.prompt for row in as_rows(rows)] == [row.prompt for row in as_rows(rows)] == ["a", "b"]


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (None, "`eval_dataset` is missing"),
        (iter(()), "`eval_dataset` has no rows"),
        ({"train": [], "test": []}, r"`eval_dataset` has the splits \['test', 'train'\]. Pass one of them"),
        ("gone.jsonl", "gone.jsonl"),
    ],
)
def test_what_is_no_dataset_is_refused(dataset, message):
    with pytest.raises(BadInputError, match=message):
        read_dataset(dataset, "eval_dataset")


def test_rows_without_tests_are_for_a_reward_function():
    (row,) = as_rows([{"prompt": "Say something."}])

    assert (row.task_id, row.tests) == ("0", None)


def test_rows_of_upstreams_kind_keep_their_tokens():
    (row,) = as_rows(Dataset.from_list([{"input_ids": [5, 6]}]))

    assert row.token_ids == (5, 6)


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        ([{"text": "x"}], ["train_dataset[0]", "['text']", "`prompt`", "`input_ids`"]),
        ([{"task_id": "a", "prompt": "p", "tests": "{}"}], ["train_dataset[0]"]),
        ([{"task_id": "a", "prompt": "p"}, {"task_id": "a", "prompt": "q"}], ["Rows 0 and 1", "'a'"]),
        ([{"prompt": "p"}, {"input_ids": [1]}], ["Use one kind"]),
    ],
)
def test_error_names_invalid_row(rows, parts):
    with pytest.raises(BadInputError) as error:
        as_rows(rows)

    for part in parts:
        assert part in str(error.value)


def test_a_collator_may_replace_rows():
    rows = as_rows([{"task_id": "a", "prompt": "p"}])

    (row,) = collate(rows, lambda batch: [{**one, "prompt": one["prompt"] + "!"} for one in batch], pad=0)

    assert (row.task_id, row.prompt) == ("a", "p!")


def test_upstreams_collator_gives_the_tokens_without_its_padding(tokenizer):
    rows = as_rows([{"input_ids": [5, 6, 7]}, {"input_ids": [8]}])

    collated = collate(rows, DataCollatorWithPadding(tokenizer), tokenizer.pad_token_id)

    assert [row.token_ids for row in collated] == [(5, 6, 7), (8,)]


def test_padding_token_marks_padding_without_attention_mask():
    rows = as_rows([{"input_ids": [5, 6]}, {"input_ids": [8]}])

    collated = collate(rows, lambda _: {"input_ids": torch.tensor([[5, 6], [0, 8]])}, pad=0)

    assert [row.token_ids for row in collated] == [(5, 6), (8,)]


def test_own_columns_of_a_problem_reach_reward_functions(tmp_path):
    path = tmp_path / "p.jsonl"
    tests = {"type": "stdio", "inputs": [""], "outputs": ["1"]}
    path.write_text(json.dumps({"id": 1, "prompt": "p", "tests": tests, "topic": "sums"}) + "\n")

    (row,) = as_rows(load_problems(path))

    assert (row.task_id, row.columns["topic"]) == ("1", "sums")


def test_table_of_pandas_is_refused_in_one_line():
    table = pandas.DataFrame({"prompt": ["Add."]})

    with pytest.raises(BadInputError, match=r"train_dataset\[0\] is 'prompt' \(str\), .* `table.to_dict"):
        as_rows(table)
    assert as_rows(table.to_dict("records"))[0].prompt == "Add."
