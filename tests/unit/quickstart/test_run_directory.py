"""Creation of the run directory."""

import pytest

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.quickstart.run_directory import new_run_directory


def test_existing_run_is_not_overwritten(tmp_path):
    (tmp_path / "summary.json").write_text("{}")

    with pytest.raises(BadInputError, match="exists already"):
        new_run_directory(str(tmp_path))


def test_empty_directory_is_used(tmp_path):
    assert new_run_directory(str(tmp_path)) == tmp_path


def test_file_as_run_directory_raises(tmp_path):
    (tmp_path / "file").write_text("")

    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(BadInputError, match="`--out`"):
            new_run_directory(str(path))
