"""Charts as inline SVG, in the colours of [`page`]."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from stepcoder_trl.reports.page import text


WIDTH, HEIGHT = 380, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 16, 36  # margins, in which the labels stand
_DASHES = ("", "6 3", "2 3", "8 3 2 3")
_NUM_COLORS = 7

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """
    Chart of curves, or of the parts of a whole, over updates.

    Attributes:
        title (`str`): Heading.
        unit (`str`): Label of the y axis.
        lines (`Mapping[str, Points]`): Points `(update, value)` by name.
        is_share (`bool`): Whether the values are shares in [0, 1], shown in percent.
        note (`str`): Explanation below the heading.
    """

    title: str
    unit: str
    lines: Mapping[str, Points]
    is_share: bool = False
    note: str = ""


def line_chart(chart: Chart) -> str:
    """Return a figure with one curve per name. A curve of one point is a dot. Empty without points."""
    lines = {name: _finite(points) for name, points in chart.lines.items()}
    lines = {name: points for name, points in lines.items() if points}
    if not lines:
        return ""
    values = [y for points in lines.values() for _, y in points]
    low, high = (0.0, 1.0) if chart.is_share else _wide(min(values), max(values))
    axes = _Axes(_span([x for points in lines.values() for x, _ in points]), (low, high), chart)
    shapes = []
    for number, points in enumerate(lines.values()):
        path = " ".join(f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in points)
        shapes.append(f'<polyline points="{path}" {_stroke(number)}/>')
        if len(points) < 12:
            dots = (f'<circle cx="{axes.x(x):.1f}" cy="{axes.y(y):.1f}" r="2.5" {_fill(number)}/>' for x, y in points)
            shapes.extend(dots)
    keys = [(name, f'<polyline points="1,6 23,6" {_stroke(number)}/>') for number, name in enumerate(lines)]
    return _figure(chart, axes, shapes, keys if len(lines) > 1 else [])


def area_chart(chart: Chart, colors: Mapping[str, str] | None = None) -> str:
    """
    Return a figure of the parts of a whole, one above the other. Empty without points.

    All parts have the same updates. `colors` has the CSS class of a part by its name.
    """
    parts = {name: list(points) for name, points in chart.lines.items() if any(y for _, y in points)}
    if not parts:
        return ""
    xs = [x for x, _ in next(iter(parts.values()))]
    below = [0.0] * len(xs)
    top = 1.0 if chart.is_share else max(sum(points[n][1] for points in parts.values()) for n in range(len(xs)))
    axes = _Axes(_span(xs), (0.0, top or 1.0), chart)
    shapes, keys = [], []
    for number, (name, points) in enumerate(parts.items()):
        color = (colors or {}).get(name, f"f{number % _NUM_COLORS}")
        above = [low + y for low, (_, y) in zip(below, points, strict=True)]
        if len(xs) == 1:  # a bar of the whole width
            edge = [(axes.x_span[0], above[0]), (axes.x_span[1], above[0])]
            base = [(axes.x_span[1], below[0]), (axes.x_span[0], below[0])]
        else:
            edge, base = list(zip(xs, above, strict=True)), list(zip(xs, below, strict=True))[::-1]
        path = " ".join(f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in (*edge, *base))
        shapes.append(f'<polygon points="{path}" class="{color}"/>')
        keys.append((name, f'<rect width="24" height="12" class="{color}"/>'))
        below = above
    return _figure(chart, axes, shapes, keys)


class _Axes:
    """Scales, grid and labels of a chart."""

    def __init__(self, x_span: tuple[float, float], y_span: tuple[float, float], chart: Chart) -> None:
        self.x_span, self.y_span, self.chart = x_span, y_span, chart

    def x(self, value: float) -> float:
        """Return the place of an update."""
        low, high = self.x_span
        return _LEFT + (value - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """Return the place of a value."""
        low, high = self.y_span
        return HEIGHT - _BOTTOM - (value - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM)

    def shapes(self) -> Iterator[str]:
        """Yield grid, numbers and labels."""
        bottom, middle = HEIGHT - _BOTTOM, (HEIGHT - _BOTTOM + _TOP) / 2
        for value in ticks(*self.y_span, 4):
            place = self.y(value)
            label = f"{value:.0%}" if self.chart.is_share else short(value)
            yield f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{place:.1f}" y2="{place:.1f}"/>'
            yield f'<text x="{_LEFT - 6}" y="{place + 4:.1f}" text-anchor="end">{label}</text>'
        for value in ticks(*self.x_span, 5, whole=True):
            yield f'<text x="{self.x(value):.1f}" y="{bottom + 15}" text-anchor="middle">{short(value)}</text>'
        yield f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{bottom}" y2="{bottom}"/>'
        center = (_LEFT + WIDTH - _RIGHT) / 2
        yield f'<text x="{center:.0f}" y="{HEIGHT - 4}" text-anchor="middle">update</text>'
        turned = f"translate(11 {middle:.0f}) rotate(-90)"
        yield f'<text transform="{turned}" text-anchor="middle">{text(self.chart.unit)}</text>'


def _figure(chart: Chart, axes: _Axes, shapes: Sequence[str], keys: Sequence[tuple[str, str]]) -> str:
    note = f"<small>{text(chart.note)}</small>" if chart.note else ""
    entries = "".join(
        f'<span><svg viewBox="0 0 24 12" aria-hidden="true">{shape}</svg>{text(name)}</span>' for name, shape in keys
    )
    legend = f'<div class="keys">{entries}</div>' if keys else ""
    label = f"{chart.title}, {chart.unit}, by update"
    drawing = "\n".join((*axes.shapes(), *shapes))
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text(label)}">\n{drawing}\n</svg>'
    return f"<figure><figcaption>{text(chart.title)}{note}</figcaption>\n{svg}{legend}</figure>"


def _stroke(number: int) -> str:
    dash = _DASHES[number // _NUM_COLORS % len(_DASHES)] if number >= _NUM_COLORS else _DASHES[number % len(_DASHES)]
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'class="s{number % _NUM_COLORS}"{dashed}'


def _fill(number: int) -> str:
    return f'class="f{number % _NUM_COLORS}"'


def _finite(points: Points) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points if math.isfinite(y)]


def _span(xs: Sequence[float]) -> tuple[float, float]:
    """Return the first and the last update. A single one stands in the middle."""
    low, high = min(xs), max(xs)
    return (low, high) if high > low else (low - 1, high + 1)


def _wide(low: float, high: float) -> tuple[float, float]:
    """Return an interval with some room around the values."""
    room = (high - low) * 0.05 or abs(high) * 0.1 or 1.0
    return low - room, high + room


def ticks(low: float, high: float, number: int, whole: bool = False) -> list[float]:
    """Return about `number` round values in an interval. With `whole` they are whole numbers."""
    if not high > low:
        return [low]
    raw = (high - low) / number
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= raw * 0.999)
    step = max(1.0, step) if whole else step
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def short(value: float) -> str:
    """Return a number with at most four digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
