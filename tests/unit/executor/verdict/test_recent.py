"""Tests that were checked before are not checked again."""

from __future__ import annotations

import copy
import enum
import json
import threading

import pytest

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.executor.verdict import recent
from stepcoder_trl.executor.verdict.recent import RecentTests
from stepcoder_trl.executor.verdict.schema import Tests


ROW = {"type": "call", "fn_name": "f", "inputs": [[1], [2]], "outputs": [1, 2]}


def test_equal_tests_are_parsed_once():
    known = RecentTests()

    assert known.parse(copy.deepcopy(ROW)) is known.parse(copy.deepcopy(ROW))
    assert known.parse(json.dumps(ROW)) is known.parse(json.dumps(ROW))
    assert known.parse(ROW) == Tests.parse(ROW)


@pytest.mark.parametrize("outputs", [[1, 3], [1.0, 2], [True, 2], ["1", 2], [1, [2]]])
def test_tests_that_differ_in_a_value_or_its_type_are_other_tests(outputs):
    known = RecentTests()
    first = known.parse(ROW)

    other = known.parse({**ROW, "outputs": outputs})

    assert other is not first
    assert list(map(repr, other["outputs"])) == list(map(repr, outputs))


def test_change_of_a_row_is_seen():
    known, row = RecentTests(), copy.deepcopy(ROW)
    known.parse(row)
    row["outputs"][0] = 5

    assert known.parse(row)["outputs"] == [5, 2]


def test_objects_of_other_classes_are_checked_each_time():
    known = RecentTests()
    number = enum.IntEnum("Number", "ONE TWO")

    for _ in range(2):
        assert known.parse({**ROW, "outputs": [number.ONE, number.TWO]})["outputs"] == [1, 2]
    parsed = Tests.parse(ROW)
    assert known.parse(parsed) is parsed


def test_error_is_raised_each_time():
    known = RecentTests()
    for _ in range(2):
        with pytest.raises(BadInputError, match="must be"):
            known.parse({**ROW, "fn_name": 3})


def test_oldest_tests_are_forgotten(monkeypatch):
    monkeypatch.setattr(recent, "_MAX_BYTES", 2000)
    known = RecentTests()
    first = known.parse(ROW)
    for number in range(100):
        known.parse({**ROW, "outputs": [number, 2]})

    assert len(known._known) < 40
    assert known.parse(ROW) is not first


def test_threads_share_recent_tests(monkeypatch):
    monkeypatch.setattr(recent, "_MAX_BYTES", 2000)
    known, failures = RecentTests(), []

    def parse() -> None:
        for number in range(300):
            if known.parse({**ROW, "outputs": [number % 50, 2]})["outputs"][0] != number % 50:
                failures.append(number)

    threads = [threading.Thread(target=parse) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
