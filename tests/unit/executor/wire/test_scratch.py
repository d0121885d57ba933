"""Test measuring and removing folders of programs."""

from __future__ import annotations

import contextlib
import errno
import os

from stepcoder_trl.executor.wire.scratch import free_bytes, random_name, remove, remove_all, size_of


def test_very_deep_folder_is_removed(tmp_path):
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

    assert remove(str(top))

    assert list(tmp_path.iterdir()) == []


def test_links_and_locked_folders_are_removed(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    top = tmp_path / "server" / "top"
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "b" / "file").write_text("x")
    (top / "link").symlink_to(outside)
    (top / "a" / "link").symlink_to(outside)
    (top / "a").chmod(0)
    (top / os.fsdecode(b"\xff\n")).mkdir()

    assert remove(str(top))

    assert list((tmp_path / "server").iterdir()) == []
    assert (outside / "kept").read_text() == "x"


def test_folder_that_cannot_be_removed_is_reported(tmp_path, monkeypatch):
    top = tmp_path / "top"
    top.mkdir()

    def fail(path, dir_fd):
        raise PermissionError(path)

    monkeypatch.setattr(os, "rmdir", fail)

    assert not remove(str(top))


def test_nothing_outside_changes_if_a_folder_becomes_a_link_meanwhile(tmp_path, monkeypatch):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    outside.chmod(0o755)
    top = tmp_path / "server" / "top"
    (top / "a").mkdir(parents=True)
    listed = os.scandir

    def exchanging(folder):
        entries = list(listed(folder))
        if (top / "a").is_dir() and not (top / "a").is_symlink():
            (top / "a").rename(tmp_path / "moved")
            (top / "a").symlink_to(outside)
        return contextlib.nullcontext(entries)

    monkeypatch.setattr(os, "scandir", exchanging)

    assert not remove(str(top))

    assert [path.name for path in outside.iterdir()] == ["kept"]
    assert outside.stat().st_mode & 0o777 == 0o755


def test_folder_of_a_server_is_removed_with_its_programs(tmp_path):
    base = tmp_path / "base"
    (base / "a" / "b").mkdir(parents=True)
    (base / "file").touch()

    remove_all(str(base))

    assert not base.exists()


def test_names_are_random():
    assert len({random_name() for _ in range(100)}) == 100


def test_size_counts_files_and_folders(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(b"x" * 8192)
    (tmp_path / "empty").touch()

    assert size_of(str(tmp_path), 10**9) == 2 * 2**16 + 2**18 + 8192
    assert 5000 < size_of(str(tmp_path), 5000) <= 2 * 2**16 + 2**18 + 8192


def test_folder_that_is_hidden_by_a_long_path_counts_as_too_large(tmp_path):
    before = os.getcwd()
    try:
        os.chdir(tmp_path)
        for _ in range(20):
            os.mkdir("d" * 250)
            os.chdir("d" * 250)
    finally:
        os.chdir(before)

    assert size_of(str(tmp_path), 10**9) > 10**9


def test_folder_that_cannot_be_read_counts_as_too_large(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "no", path)

    monkeypatch.setattr(os, "scandir", refuse)  # root reads everything

    assert size_of(str(tmp_path), 10**9) > 10**9


def test_free_bytes_are_those_of_the_disk(tmp_path):
    assert free_bytes(str(tmp_path)) > 0
