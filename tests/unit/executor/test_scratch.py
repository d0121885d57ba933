"""Emptying a folder that a program has made hard to empty."""

from __future__ import annotations

import os

from stepcoder_trl.executor.scratch import empty, remove, size_of


def test_folders_deeper_than_any_path_are_removed(tmp_path):
    top = tmp_path / "top"
    top.mkdir()
    before = os.getcwd()
    try:
        os.chdir(top)
        for _ in range(3000):
            os.mkdir("d" * 10)
            os.chdir("d" * 10)
    finally:
        os.chdir(before)

    empty(str(top))

    assert list(top.iterdir()) == []


def test_links_and_folders_without_permissions_are_removed_and_nothing_else(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    top = tmp_path / "top"
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "b" / "file").write_text("x")
    (top / "link").symlink_to(outside)
    (top / "a" / "link").symlink_to(outside)
    (top / "a").chmod(0)

    remove(str(top))

    assert not top.exists()
    assert (outside / "kept").read_text() == "x"


def test_size_counts_files_folders_and_what_they_hold(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(b"x" * 8192)
    (tmp_path / "empty").touch()

    assert size_of(str(tmp_path), 10**9) == 3 * 4096 + 8192
    assert 5000 < size_of(str(tmp_path), 5000) <= 3 * 4096 + 8192
