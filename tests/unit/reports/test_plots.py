"""Test plots."""

import importlib.util
import subprocess
import sys

import pytest

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.reports import plots


needs_matplotlib = pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="matplotlib, the extra `plots`, is not installed"
)


@needs_matplotlib
def test_plot_curves_writes_png(tmp_path):
    path = tmp_path / "curves.png"

    plots.plot_curves({"pass@1": {"train": [(0, 0.1), (1, 0.4)]}, "loss": {"sft": [(0, 3.0)]}}, path)

    assert path.read_bytes().startswith(b"\x89PNG")


def test_missing_matplotlib_error_names_extra(monkeypatch, tmp_path):
    monkeypatch.setattr(plots, "can_plot", lambda: False)

    with pytest.raises(ImportError, match=r"pip install stepcoder-trl\[plots\]"):
        plots.plot_curves({"a": {"b": [(0, 1)]}}, tmp_path / "x.png")


@needs_matplotlib
def test_plot_without_curves_raises_bad_input(tmp_path):
    with pytest.raises(BadInputError, match="no curves"):
        plots.plot_curves({}, tmp_path / "x.png")


def test_reports_import_neither_torch_nor_matplotlib():
    code = (
        "import sys, stepcoder_trl.reports, stepcoder_trl.reports.terminal, stepcoder_trl.reports.plots\n"
        "print(sorted({'torch', 'transformers', 'matplotlib'} & set(sys.modules)))"
    )

    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert output == "[]\n"
