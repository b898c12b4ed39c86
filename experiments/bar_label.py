"""The number over a bar."""

from __future__ import annotations

from matplotlib.axes import Axes


def label_bar(axes: Axes, x: float, top: float, text: str) -> None:
    """Writes `text` upright over the bar at `x` that ends, spread included, at `top`."""
    axes.annotate(
        text,
        (x, top),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=6.5,
        rotation=90,
    )
