"""Figure: a plot of a study's scores or training, as SVG for the page and PNG for print."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg.report.blocks import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["FOLD_COLOURS", "Estimate", "draw", "plot_curves", "plot_estimates", "plot_points", "plot_scatter"]

INK, MUTED, RULE, ACCENT, WARM = "#1c2733", "#66727f", "#d9dfe5", "#0f6e6e", "#b4530a"
FOLD_COLOURS = (
    "#0f6e6e",
    "#b4530a",
    "#4953b8",
    "#a8326e",
    "#4f7a12",
    "#7a5c2e",
    "#2b7bb0",
    "#8a3fa0",
    "#c0392b",
    "#555",
)
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "medseg",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#edf0f3",
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}
_WIDTH_INCHES = 4.5


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval.

    Attributes:
        name: What it is of.
        mean: The mean.
        low: Lower end of the interval; nan without one.
        high: Upper end of the interval; nan without one.
    """

    name: str
    mean: float
    low: float = math.nan
    high: float = math.nan


def draw(plot: Callable[[Axes], None], *, caption: str, alternative: str, height: float = 2.9) -> Figure:
    """Draw one figure.

    Args:
        plot: Draws into the axes it is given.
        caption: What is to be seen.
        alternative: The same for someone who cannot see it.
        height: Inches; the width is fixed so that text has one size in all figures.

    Returns:
        The figure without a date, a host or a program's name in it.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    with mpl.rc_context(_STYLE):
        canvas = Canvas(figsize=(_WIDTH_INCHES, height), layout="constrained")
        FigureCanvasAgg(canvas)
        plot(canvas.subplots())
        png, svg = io.BytesIO(), io.StringIO()
        canvas.savefig(png, format="png", dpi=200, metadata={"Software": None})
        canvas.savefig(svg, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return Figure(
        png=png.getvalue(), svg=_inline(svg.getvalue(), alternative), caption=caption, alternative=alternative
    )


def plot_points(
    groups: Mapping[str, Sequence[float]], estimates: Sequence[Estimate], *, label: str
) -> Callable[[Axes], None]:
    """One row a group: every case a point, its median a bar, the mean with its interval above.

    Args:
        groups: Name to the cases' values.
        estimates: Mean and interval of each group, in the same order.
        label: What the axis shows.
    """

    def plot(axes: Axes) -> None:
        generator = np.random.default_rng(0)
        for row, (values, estimate) in enumerate(zip(groups.values(), estimates, strict=True)):
            defined = np.array([v for v in values if not math.isnan(v)])
            jitter = generator.uniform(-0.16, 0.16, len(defined))
            axes.scatter(defined, row + 0.16 + jitter, s=13, color=ACCENT, alpha=0.42, linewidths=0)
            if len(defined):
                axes.plot([np.median(defined)] * 2, [row - 0.06, row + 0.38], color=INK, linewidth=1.6)
            _whisker(axes, estimate, row - 0.24)
        axes.set_yticks(range(len(groups)), _short(groups))
        axes.set_ylim(len(groups) - 0.4, -0.6)
        _unit_axis(axes, [v for values in groups.values() for v in values], axis="x")
        axes.set_xlabel(label)
        axes.grid(visible=False, axis="y")

    return plot


def plot_estimates(estimates: Sequence[Estimate], *, label: str) -> Callable[[Axes], None]:
    """One row an estimate: the mean with its interval.

    Args:
        estimates: What to show, from the top.
        label: What the axis shows.
    """

    def plot(axes: Axes) -> None:
        for row, estimate in enumerate(estimates):
            _whisker(axes, estimate, row)
        axes.set_yticks(range(len(estimates)), _short([e.name for e in estimates]))
        axes.set_ylim(len(estimates) - 0.4, -0.6)
        _unit_axis(axes, [v for e in estimates for v in (e.mean, e.low, e.high)], axis="x")
        axes.set_xlabel(label)
        axes.grid(visible=False, axis="y")

    return plot


def plot_curves(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, xlabel: str, ylabel: str, unit: bool = False
) -> Callable[[Axes], None]:
    """Lines over training time.

    Args:
        curves: Name to x and y.
        xlabel: What the x axis shows.
        ylabel: What the y axis shows.
        unit: Whether y lies between 0 and 1.
    """

    def plot(axes: Axes) -> None:
        for (name, (x, y)), colour in zip(curves.items(), _cycle(len(curves)), strict=True):
            # A line of one point would not be seen.
            axes.plot(x, y, color=colour, linewidth=1.4, label=name, marker="o" if len(x) < 3 else "", markersize=4)
        if len(curves) > 1:
            # Above the axes: inside, any corner may hold a line.
            axes.legend(ncols=min(3, len(curves)), loc="lower left", bbox_to_anchor=(0, 1), handlelength=1.2)
        if unit:
            _unit_axis(axes, [v for _, y in curves.values() for v in y], axis="y")
        else:
            axes.set_ylim(bottom=min(0.0, *(float(np.nanmin(y)) for _, y in curves.values())))
        axes.set_xlim(left=0)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)

    return plot


def plot_scatter(
    groups: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, xlabel: str, ylabel: str
) -> Callable[[Axes], None]:
    """Points of each case, x on a logarithmic axis.

    Args:
        groups: Name to x (above 0) and y (0 to 1).
        xlabel: What the x axis shows.
        ylabel: What the y axis shows.
    """

    def plot(axes: Axes) -> None:
        from matplotlib.ticker import LogLocator, NullFormatter

        for (name, (x, y)), colour in zip(groups.items(), _cycle(len(groups)), strict=True):
            axes.scatter(x, y, s=15, color=colour, alpha=0.55, linewidths=0, label=name)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(lambda value, _place: f"{value:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        if len(groups) > 1:
            axes.legend(loc="lower right", handletextpad=0.2)
        _unit_axis(axes, [v for _, y in groups.values() for v in y], axis="y")
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)

    return plot


def _whisker(axes: Axes, estimate: Estimate, row: float) -> None:
    if math.isnan(estimate.mean):
        return
    if not math.isnan(estimate.low):
        axes.plot([estimate.low, estimate.high], [row, row], color=WARM, linewidth=2.2, solid_capstyle="round")
    axes.scatter([estimate.mean], [row], s=30, color=WARM, zorder=3, linewidths=0)


def _unit_axis(axes: Axes, values: Sequence[float], *, axis: str) -> None:
    """From 0 to 1, or from further up where all values lie high, so that differences are seen."""
    defined = [v for v in values if not math.isnan(v)]
    lowest = min(defined, default=0.0)
    start = 0.0 if lowest < 0.4 else math.floor(lowest * 10 - 0.5) / 10
    limits = (start - 0.02 if start == 0 else start, 1.01)
    (axes.set_xlim if axis == "x" else axes.set_ylim)(*limits)


def _short(names: Sequence[str] | Mapping[str, object]) -> list[str]:
    return [name if len(name) <= 18 else f"{name[:17]}…" for name in names]


def _cycle(count: int) -> list[str]:
    return [FOLD_COLOURS[i % len(FOLD_COLOURS)] for i in range(count)]


def _inline(svg: str, alternative: str) -> str:
    """The bare ``<svg>`` element: no prologue, no metadata, no fixed size, a label for screen readers."""
    from html import escape

    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)
    # Groups are numbered alike in every figure and nothing refers to them; an id may stand in a page once.
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    opening, rest = body.split(">", 1)
    opening = re.sub(r'\s(?:width|height|xmlns(?::xlink)?|version)="[^"]*"', "", opening)
    return f'{opening} role="img" aria-label="{escape(alternative, quote=True)}">{rest}'.strip()
