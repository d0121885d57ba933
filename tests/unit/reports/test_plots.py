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


@pytest.fixture
def figure(monkeypatch, tmp_path):
    """Return a function that draws with a function of the module, and returns the figure that it saved."""

    def draw(function, *arguments):
        made = []
        make = plots._figure
        monkeypatch.setattr(plots, "_figure", lambda *size: made.append(make(*size)) or made[-1])
        function(*arguments)
        return made[-1]

    return draw


MANY = {f"panel {number}": {"a": [(1, 0.0), (2, 1.0)]} for number in range(7)}


@needs_matplotlib
def test_panels_have_labels_and_units(figure, tmp_path):
    drawn = figure(plots.plot_curves, MANY, tmp_path / "x.png", {"panel 0": "tokens"})

    labels = [(one.get_xlabel(), one.get_ylabel()) for one in drawn.axes if one.get_visible()]
    assert labels == [("update", "tokens"), *[("update", "value")] * 6]


@needs_matplotlib
def test_one_run_needs_no_legend_and_no_tall_page(figure, tmp_path):
    drawn = figure(plots.plot_curves, MANY, tmp_path / "x.png")

    assert not drawn.legends
    assert not any(panel.get_legend() for panel in drawn.axes)
    assert drawn.get_size_inches()[1] < 11


@needs_matplotlib
def test_several_runs_have_one_legend_with_one_colour_each(figure, tmp_path):
    curves = {"one": {"a": [(1, 0.0)], "b": [(1, 1.0)]}, "two": {"b": [(1, 1.0)]}}

    drawn = figure(plots.plot_curves, curves, tmp_path / "x.png")

    (legend,) = drawn.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]
    assert (
        drawn.axes[0].lines[1].get_color() == drawn.axes[1].lines[0].get_color() != drawn.axes[0].lines[0].get_color()
    )


@needs_matplotlib
def test_no_text_leaves_the_picture(figure, tmp_path):
    title = "A rather long title of a panel, which goes on for more than a line of text"
    curves = {title: {f"runs/of/somebody/{name}": [(1, 0.0), (9, 1.0)] for name in ("a", "b", "c" * 200)}}
    unit = "share of all programs of an update"

    drawn = figure(plots.plot_curves, curves, tmp_path / "x.png", dict.fromkeys(curves, unit))

    panel, (legend,) = drawn.axes[0], drawn.legends
    texts = [panel.title, panel._left_title, panel.xaxis.label, panel.yaxis.label, *legend.get_texts()]
    width, height = drawn.bbox.width, drawn.bbox.height
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    assert len(boxes) == 6
    assert all(box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height for box in boxes)


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
