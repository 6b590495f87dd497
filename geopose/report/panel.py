"""One picture of one prediction: the image, the height, and the image without building lean."""

from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")  # draws without a display

from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg

from geopose.cli import UserError
from geopose.geometry import flow_direction
from geopose.inference.rectify import fill_hidden, rectify
from geopose.io.files import writing
from geopose.pictures import HEIGHT_COLORMAP
from geopose.report.hatching import hatch

POINTS = 6  # roofs whose flow is shown


def draw_panel(
    path: Path, rgb: np.ndarray, agl_m: np.ndarray, scale_px_per_m: float, angle_rad: float, titles: tuple[str, str]
) -> None:
    """Write a picture of the image with the flow of its tallest points, the height, and the image without lean.

    rgb uint8 [H,W,3]; agl_m float [H,W] metres, NaN unknown. titles: the titles of the image and of the height.
    """
    ground = fill_hidden(rectify(rgb, agl_m, scale_px_per_m, angle_rad))
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13.5, 4.9), layout="constrained")
    left.imshow(rgb)
    draw_flow(left, agl_m, scale_px_per_m, angle_rad)
    left.set_title(titles[0], fontsize=8.5)
    shown = middle.imshow(agl_m, cmap=HEIGHT_COLORMAP, vmin=0, vmax=max(1.0, np.nanpercentile(agl_m, 99.5)))
    middle.set_title(titles[1], fontsize=8.5)
    figure.colorbar(shown, ax=middle, label="m", shrink=0.8)
    right.imshow(hatch(ground.rgb, ground.hidden))
    right.set_title("lean removed (hatched: hidden ground, filled in)", fontsize=8.5)
    save(figure, (left, middle, right), path)


def draw_flow(ax, agl_m: np.ndarray, scale_px_per_m: float, angle_rad: float, apart_px: int = 60) -> None:
    """Draw arrows from a few of the tallest points to the ground below them; see roof_points."""
    for x, y in roof_points(agl_m, apart_px):
        ends = flow_direction(angle_rad) * agl_m[y, x] * scale_px_per_m
        arrow = {"arrowstyle": "->", "color": "#ffd43b", "lw": 2}
        ax.annotate("", (x + ends[0], y + ends[1]), (x, y), arrowprops=arrow)


def roof_points(agl_m: np.ndarray, apart_px: int = 60) -> list[tuple[int, int]]:
    """(x, y) of up to POINTS of the tallest known pixels. Any two of them are more than apart_px apart."""
    points: list[tuple[int, int]] = []
    lowest_first = np.argsort(np.where(np.isnan(agl_m), -np.inf, agl_m), axis=None)
    for index in lowest_first[np.isnan(agl_m).sum() :][::-1]:
        y, x = np.unravel_index(index, agl_m.shape)
        if all((x - px) ** 2 + (y - py) ** 2 > apart_px**2 for px, py in points):
            points.append((int(x), int(y)))
        if len(points) == POINTS:
            break
    return points


def check_picture(path: Path, flag: str) -> None:
    """Raise UserError when Matplotlib cannot write a picture with a file's suffix. flag names the path in the error."""
    known = FigureCanvasAgg.filetypes
    if path.suffix[1:].lower() not in known:
        raise UserError(f"{flag} {path}: name a picture, such as {path.name}.png; there are {', '.join(sorted(known))}")


def save(figure, axes, path: Path) -> None:
    """Write a figure as a picture without axis ticks, and close it."""
    for ax in axes:
        ax.set_xticks([])
        ax.set_yticks([])
    with writing(path) as temporary:
        figure.savefig(temporary, dpi=80)
    plt.close(figure)
