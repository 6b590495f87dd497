"""The report's charts, as SVG that is readable on light and on dark pages."""

import io as text
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("Agg")  # draws without a display

from matplotlib import pyplot as plt

from geopose.report.tiles import TestTile

INK = "#808a96"  # grey that is visible on white and on black
STYLE = {
    "svg.fonttype": "none",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "legend.frameon": False,
    "font.size": 10,
}
CLASSES_M = (0, 2, 5, 10, 20, 50, np.inf)
SAMPLE = 4000  # points in the scatter plot


def draw_curves(runs: list[Path]) -> list[str]:
    """Charts of validation R2 and of loss over the optimizer steps, with one colour per run.

    Runs without metrics.csv are left out. Returns an empty list when no run has one.
    """
    tables = {str(run): pd.read_csv(run / "metrics.csv") for run in runs if (run / "metrics.csv").exists()}
    if not tables:
        return []
    charts = []
    for column, title in (("valid_r2", "validation R2"), ("loss", "loss (dashed: validation)")):
        with plt.rc_context(STYLE):
            figure, ax = plt.subplots(figsize=(5, 3.2), layout="constrained")
            for number, (name, table) in enumerate(tables.items()):
                ink = f"C{number % 10}"
                if column == "loss":
                    ax.plot(table.optimizer_step, table.train_loss, color=ink, label=name)
                    ax.plot(table.optimizer_step, table.valid_loss, color=ink, linestyle="--")
                else:
                    ax.plot(table.optimizer_step, table[column], color=ink, label=name)
            ax.set(xlabel="optimizer steps", title=title)
            ax.legend(fontsize=8)
            charts.append(to_svg(figure))
    return charts


def draw_errors(tiles: list[TestTile]) -> list[str]:
    """Charts of predicted over true height, of errors by height class, and of the errors of angle and scale.

    Pixels count whose true and predicted heights are known.
    """
    true_m, agl_m = (np.concatenate([getattr(t, n).ravel() for t in tiles]) for n in ("true_m", "agl_m"))
    known = np.isfinite(true_m) & np.isfinite(agl_m)
    true_m, agl_m = true_m[known], agl_m[known]
    with plt.rc_context(STYLE):
        return [draw_scatter(true_m, agl_m), draw_errors_by_height(true_m, agl_m), draw_pose_errors(tiles)]


def draw_scatter(true_m: np.ndarray, agl_m: np.ndarray) -> str:
    """Predicted over true height of a sample of pixels.

    One half of the sample is higher than 5 m, because few pixels of an image are.
    """
    rng = np.random.default_rng(0)
    groups = [np.flatnonzero(true_m <= 5), np.flatnonzero(true_m > 5)]
    chosen = np.concatenate([rng.choice(g, min(len(g), SAMPLE // 2), replace=False) for g in groups if len(g)])
    figure, ax = plt.subplots(figsize=(5, 3.6), layout="constrained")
    ax.scatter(true_m[chosen], agl_m[chosen], s=3, alpha=0.35, rasterized=True)
    highest = float(max(true_m[chosen].max(), agl_m[chosen].max(), 1))
    ax.plot([0, highest], [0, highest], color=INK, linewidth=1)
    ax.set(xlabel="true height, m", ylabel="predicted height, m", title="heights of a sample of pixels")
    return to_svg(figure)


def draw_errors_by_height(true_m: np.ndarray, agl_m: np.ndarray) -> str:
    """Root mean squared error and mean error of each class of true height."""
    which = np.digitize(true_m, CLASSES_M) - 1
    error_m = agl_m - true_m
    names, rmse, bias = [], [], []
    for index, (low, high) in enumerate(pairwise(CLASSES_M)):
        inside = error_m[which == index]
        if len(inside):
            names.append(f"{low}-{high}" if np.isfinite(high) else f"{low}+")
            rmse.append(float(np.sqrt((inside**2).mean())))
            bias.append(float(inside.mean()))
    figure, ax = plt.subplots(figsize=(5, 3.6), layout="constrained")
    place = np.arange(len(names))
    ax.bar(place - 0.2, rmse, 0.4, label="RMSE")
    ax.bar(place + 0.2, bias, 0.4, label="mean error")
    ax.axhline(0, color=INK, linewidth=0.8)
    ax.set_xticks(place, names)
    ax.set(xlabel="true height, m", ylabel="m", title="error by height")
    ax.legend()
    return to_svg(figure)


def draw_pose_errors(tiles: list[TestTile]) -> str:
    """The errors of angle and scale, one point per tile."""
    figure, ax = plt.subplots(figsize=(5, 3.6), layout="constrained")
    angles = [tile.angle_error_deg for tile in tiles]
    scales = [tile.pose.scale_px_per_m - tile.true_pose.scale_px_per_m for tile in tiles]
    ax.scatter(angles, scales, s=14)
    ax.axhline(0, color=INK, linewidth=0.8)
    ax.set(xlabel="error of the angle, degrees", ylabel="error of the scale, px/m", title="pose, one point a tile")
    return to_svg(figure)


def to_svg(figure) -> str:
    """A figure as an SVG element that a page can contain. Closes the figure."""
    stream = text.StringIO()
    figure.savefig(stream, format="svg")
    plt.close(figure)
    return stream.getvalue()[stream.getvalue().index("<svg") :]
