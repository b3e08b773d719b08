"""Plots of one style, twice: for light and for dark pages."""

import io

import numpy as np
from matplotlib.image import imread

from bert_jax.plotting import COLOURS, Drawing, draw


def pixels(png):
    return imread(io.BytesIO(png))[..., :3]


def test_a_plot_has_both_papers_and_depends_on_its_numbers_alone():
    drawing = Drawing(name="x", title="title", draw=lambda axes: axes.plot([0, 1], color=COLOURS[0]))
    plot = draw(drawing)
    assert (plot.name, plot.title, plot.caption) == ("x", "title", "")
    light, dark = pixels(plot.light), pixels(plot.dark)
    assert light.shape == dark.shape
    np.testing.assert_allclose(light[0, 0], [1, 1, 1])
    np.testing.assert_allclose(dark[0, 0], np.array([0x0D, 0x11, 0x17]) / 255, atol=0.002)
    assert draw(drawing) == plot
    assert b"matplotlib" not in plot.light.lower()
