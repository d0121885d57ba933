"""Reports read from files."""

from __future__ import annotations

import pytest

from benchmarks.ablation.files import read_reported


@pytest.mark.parametrize("text", ['{"a":', "[1]"])
def test_unusable_report_is_refused(tmp_path, text):
    (tmp_path / "concepts.json").write_text(text)

    with pytest.raises(SystemExit, match=r"concepts.json .* Move it away"):
        read_reported(tmp_path / "concepts.json")
    assert read_reported(tmp_path / "none.json") == {}
