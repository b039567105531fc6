"""The pictures of a report as data URIs: learning curves, a large confusion matrix, thumbnails of photos."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.ticker
import numpy as np
import tensorflow as tf
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from tlkeras.data.images import decode_and_resize


@dataclasses.dataclass(frozen=True)
class Theme:
    """Colours of a chart; the background is the page's own."""

    ink: str
    faint: str
    training: str
    validation: str


LIGHT = Theme(ink="#475063", faint="#d9dee7", training="#9aa5b8", validation="#2f6fde")
DARK = Theme(ink="#aab4c5", faint="#333b49", training="#6d788b", validation="#79a8ff")


@dataclasses.dataclass(frozen=True)
class Chart:
    """One chart drawn twice, for light and for dark pages; each a PNG as a data URI."""

    light: str
    dark: str


def learning_curve(
    title: str, training: Sequence[float], validation: Sequence[float], fine_tuning_from: int | None = None
) -> Chart:
    """Draws a figure of each epoch, on the training and on the validation part; epochs count from 1.

    Args:
        title: What the figure is.
        training: Values on the training part, one an epoch.
        validation: Values on the validation part; may be empty.
        fine_tuning_from: First epoch of fine-tuning, marked by a line.
    """

    def draw(axes: Axes, theme: Theme) -> None:
        epochs = np.arange(1, len(training) + 1)
        marker = "o" if len(training) <= 30 else None
        for label, values, colour in [
            ("training", training, theme.training),
            ("validation", validation, theme.validation),
        ]:
            if len(values):
                axes.plot(epochs, values, color=colour, label=label, marker=marker, markersize=4, linewidth=2)
        if fine_tuning_from is not None:
            axes.axvline(fine_tuning_from - 0.5, color=theme.ink, linewidth=1, linestyle=(0, (4, 3)))
            axes.annotate(
                " fine-tuning",
                (fine_tuning_from - 0.5, 1),
                xycoords=("data", "axes fraction"),
                va="top",
                color=theme.ink,
            )
        axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=theme.ink)
        axes.set_xlabel("epoch", color=theme.ink)
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True, min_n_ticks=1))
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.grid(axis="y", color=theme.faint, linewidth=0.8)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.legend(frameon=False, labelcolor=theme.ink, loc="best")

    return _chart((5.4, 3.3), draw)


def confusion_picture(shares: np.ndarray) -> Chart:
    """Draws a confusion matrix that is too large for numbers: rows are shares of their class, 0..1, dark is much."""

    def draw(axes: Axes, theme: Theme) -> None:
        colours = LinearSegmentedColormap.from_list("shares", [(*_rgb(theme.validation), 0.0), theme.validation])
        # The square root lifts the few mistakes out of the background.
        axes.imshow(np.sqrt(shares), cmap=colours, vmin=0, vmax=1, interpolation="nearest")
        axes.set_xlabel("predicted class", color=theme.ink)
        axes.set_ylabel("true class", color=theme.ink)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
        axes.spines[:].set_color(theme.faint)

    return _chart((6.5, 6.5), draw)


def thumbnail(path: Path, side: int = 160) -> str | None:
    """Shows an image file as the model sees it, cut to a square: a JPEG as a data URI, or None if it cannot be read."""
    try:
        pixels = decode_and_resize(tf.constant(path.read_bytes()), side)
    except (OSError, tf.errors.InvalidArgumentError):
        return None
    pixels = tf.cast(tf.round(tf.clip_by_value(pixels, 0, 255)), tf.uint8)
    return _data_uri("jpeg", tf.io.encode_jpeg(pixels, quality=82).numpy())


def _chart(inches: tuple[float, float], draw: Callable[[Axes, Theme], None]) -> Chart:
    return Chart(_png(inches, draw, LIGHT), _png(inches, draw, DARK))


def _png(inches: tuple[float, float], draw: Callable[[Axes, Theme], None], theme: Theme) -> str:
    # A figure of its own has no part in pyplot's global state, and needs no display.
    figure = Figure(inches, dpi=144, layout="constrained")
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    axes.tick_params(colors=theme.ink, length=0)
    axes.spines["bottom"].set_color(theme.faint)
    draw(axes, theme)
    png = io.BytesIO()
    figure.savefig(png, format="png", transparent=True)
    return _data_uri("png", png.getvalue())


def _rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
