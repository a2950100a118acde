from __future__ import annotations

import io
import re

from PIL import Image

from medseg.report.blocks import Figure
from medseg.report.figures import Estimate, draw, plot_curves, plot_points, plot_scatter


def _figure() -> Figure:
    plot = plot_points({"a <b>": [0.5, 0.9, float("nan")]}, [Estimate("a", 0.7, 0.6, 0.8)], label="Dice")
    return draw(plot, caption="Dice", alternative='Dice of "a" & <b>')


def test_a_figure_holds_no_date_no_program_and_no_outside_reference() -> None:
    figure = _figure()
    assert not re.search(r"matplotlib|http|<metadata|<!DOCTYPE|\d{4}-\d\d-\d\d", figure.svg)
    assert not Image.open(io.BytesIO(figure.png)).info.keys() - {"dpi"}


def test_the_same_figure_is_the_same_bytes() -> None:
    assert _figure() == _figure()


def test_names_in_a_figure_cannot_break_out_of_it() -> None:
    figure = _figure()
    assert "a <b>" not in figure.svg
    assert "a &lt;b&gt;" in figure.svg
    assert 'aria-label="Dice of &quot;a&quot; &amp; &lt;b&gt;"' in figure.svg


def test_curves_and_scatter_are_drawn_with_their_axes_named() -> None:
    curves = draw(
        plot_curves({"Fold 1": ([1, 2], [0.1, 0.5])}, xlabel="minutes", ylabel="Dice", unit=True),
        caption="",
        alternative="",
    )
    scatter = draw(
        plot_scatter({"x": ([1, 900], [0.2, 0.9])}, xlabel="size", ylabel="Dice"), caption="", alternative=""
    )
    assert ">minutes<" in curves.svg
    assert ">500<" in scatter.svg
