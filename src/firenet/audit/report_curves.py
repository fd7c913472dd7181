"""Draws the curves of the report as SVG."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from html import escape

# Okabe and Ito's colours, darkened to a contrast of 4.5 on white; marks and dashes distinguish the lines without
# colour.
COLOURS = ("#0068a3", "#b34700", "#00734f", "#8c4a78", "#6b5900", "#1b1b1b", "#5f5f5f", "#7a2d8f")
MARKS = ("circle", "square", "triangle", "diamond")


def finite(values: Iterable[float | None]) -> list[float]:
    """Returns those of the numbers that are finite."""
    return [v for v in values if v is not None and math.isfinite(v)]


# --- curves -----------------------------------------------------------------------------------------------------------

Series = tuple[str, Sequence[float | None], Sequence[float | None] | None, bool]


def curve(series: Sequence[Series], at: Sequence[float], x_label: str, y_label: str, *, log: bool = False) -> str:
    """Draws lines as SVG.

    Args:
        series: For each line its name, which is escaped, its values, the upper ends of its bars, and whether it is
            dashed.
        at: The horizontal positions of the values.
        x_label: The label of the horizontal axis.
        y_label: The label of the vertical axis.
        log: Whether both axes are logarithmic.
    """
    width, height, left, bottom, top = 640, 380, 64, 48, 12
    legend = 17 * len(series) + 8
    right = 14
    values = finite(v for _, line, upper, _ in series for v in (*line, *(upper or ())))
    values = [v for v in values if v > 0] if log else values
    if not values:
        return f'<svg viewBox="0 0 {width} 40" role="img"><text x="10" y="25">No finite values</text></svg>'
    change: Callable[[float], float] = math.log10 if log else lambda v: v
    low, high = change(min(values)), change(max(values))
    margin = 0.05 * (high - low) or 0.5
    low, high = low - margin, high + margin
    first, last = change(min(at)) if not log or min(at) > 0 else 0.0, change(max(at))
    span = (last - first) or 1.0

    def x(v: float) -> float:
        return left + (change(v) - first) / span * (width - left - right)

    def y(v: float) -> float:
        return top + (high - change(v)) / (high - low) * (height - top - bottom)

    label = f"{escape(y_label)} by {escape(x_label)}"
    parts = [f'<svg viewBox="0 0 {width} {height + legend}" role="img" aria-label="{label}">']
    parts.append(f'<path d="M{left} {top}V{height - bottom}H{width - right}" fill="none" stroke="#1b1b1b"/>')
    for v in _ticks(low, high, log):
        parts.append(f'<path d="M{left - 4} {y(v):.1f}H{width - right}" stroke="#dddddd"/>')
        parts.append(f'<text x="{left - 8}" y="{y(v) + 4:.1f}" text-anchor="end">{_tick(v, log)}</text>')
    for v in at:
        parts.append(f'<path d="M{x(v):.1f} {height - bottom}v5" stroke="#1b1b1b"/>')
        parts.append(f'<text x="{x(v):.1f}" y="{height - bottom + 18}" text-anchor="middle">{100 * v:.3g} %</text>')
    parts.append(f'<text x="{(left + width) / 2}" y="{height - 8}" text-anchor="middle">{escape(x_label)}</text>')
    middle = (top + height - bottom) / 2
    turned = f'transform="rotate(-90 14 {middle})"'
    parts.append(f'<text x="14" y="{middle}" text-anchor="middle" {turned}>{escape(y_label)}</text>')
    colours = {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(dict.fromkeys(_root(s[0]) for s in series))}
    for number, (name, line, upper, dashed) in enumerate(series):
        colour = colours[_root(name)]
        mark = MARKS[list(colours).index(_root(name)) % len(MARKS)]
        bars = upper or [None] * len(at)
        points = [(x(a), y(v), u) for a, v, u in zip(at, line, bars, strict=True) if v is not None and _drawn(v, log)]
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b, _ in points)
        if points:
            parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        for a, b, u in points:
            parts.append(_mark(mark, a, b, colour, hollow=dashed))
            if u is not None and _drawn(u, log):
                parts.append(f'<path d="M{a:.1f} {b:.1f}V{y(u):.1f}M{a - 4:.1f} {y(u):.1f}h8" stroke="{colour}"/>')
        row = height + 12 + 17 * number
        parts.append(f'<path d="M{left} {row - 4}h34" stroke="{colour}" stroke-width="2"{dash}/>')
        parts.append(_mark(mark, left + 17, row - 4, colour, hollow=dashed))
        parts.append(f'<text x="{left + 42}" y="{row}">{escape(name)}</text>')
    return "".join([*parts, "</svg>"])


def _root(name: str) -> str:
    """Returns the model's name in that of a line: the worst and the random line of a model have the same colour."""
    return re.sub(", (worst|random)$", "", name)


def _drawn(value: float | None, log: bool) -> bool:
    return value is not None and math.isfinite(value) and (not log or value > 0)


def _mark(kind: str, x: float, y: float, colour: str, *, hollow: bool) -> str:
    fill = "#ffffff" if hollow else colour
    drawn = f'fill="{fill}" stroke="{colour}"'
    if kind == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" {drawn}/>'
    shapes = {"square": "M-3.5 -3.5h7v7h-7z", "triangle": "M0 -4.5L4.5 3.5H-4.5z", "diamond": "M0 -5L5 0L0 5L-5 0z"}
    return f'<path d="{shapes[kind]}" transform="translate({x:.1f} {y:.1f})" {drawn}/>'


def _ticks(low: float, high: float, log: bool) -> list[float]:
    if log:
        powers = range(math.floor(low), math.ceil(high) + 1)
        return [m * 10.0**p for p in powers for m in (1, 2, 5) if low <= math.log10(m * 10.0**p) <= high]
    step = 10 ** math.floor(math.log10((high - low) / 4))
    step *= next((m for m in (1, 2, 5) if (high - low) / (m * step) <= 6), 10)
    return [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _tick(value: float, log: bool) -> str:
    return f"{100 * value:.3g} %" if log else f"{value:.4g}"
