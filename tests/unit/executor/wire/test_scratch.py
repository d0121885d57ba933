"""Test emptying and measuring the scratch folder."""

from __future__ import annotations

import os

from stepcoder_trl.executor.wire.scratch import empty, remove, size_of


def test_very_deep_folders_are_removed(tmp_path):
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


def test_links_and_locked_folders_are_removed(tmp_path):
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


def test_size_counts_files_and_folders(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(b"x" * 8192)
    (tmp_path / "empty").touch()

    assert size_of(str(tmp_path), 10**9) == 3 * 4096 + 8192
    assert 5000 < size_of(str(tmp_path), 5000) <= 3 * 4096 + 8192
