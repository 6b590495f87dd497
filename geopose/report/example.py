"""The first picture of the README: one synthetic tile, and what a run makes of it, beside the truth."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from geopose.bench.lean import TILES, load_run, places_of_test_half, predict_heights, see_twice
from geopose.inference.rectify import Rectified, fill_hidden, rectify
from geopose.pictures import HEIGHT_COLORMAP
from geopose.report.hatching import hatch
from geopose.report.panel import draw_flow, save

TILE = "ARG_jwrruc"
GRID_PX = 3  # pixels per face of the 3-D view
VIEW_DEG = {"elev": 42, "azim": -58}


def draw_example(path: Path, run: Path) -> None:
    """Write the picture: a tile of the probe lean's places, which no training has seen, predicted by a run."""
    place = next(place for place in places_of_test_half(TILES) if TILE in place.tile_ids)
    seen = see_twice(place, TILES)
    pose = seen.pose
    agl_m = predict_heights(load_run(run), seen)
    ground = fill_hidden(rectify(seen.rgb, agl_m, pose.scale_px_per_m, pose.angle_rad))
    figure = plt.figure(figsize=(13.5, 9.4), layout="constrained")
    axes = [figure.add_subplot(2, 3, number) for number in range(1, 6)]
    pictures = {
        f"an oblique image, {pose.gsd_m:.2f} m per pixel; arrows: vertical flow": seen.rgb,
        "predicted height above ground": agl_m,
        "true height": seen.agl_m,
        "lean removed (hatched: hidden ground, filled in)": hatch(ground.rgb, ground.hidden),
        "truth: the same ground rendered from straight above": seen.down_rgb,
    }
    for ax, (title, picture) in zip(axes, pictures.items(), strict=True):
        is_height = picture.ndim == 2
        shown = ax.imshow(
            picture, **{"cmap": HEIGHT_COLORMAP, "vmin": 0, "vmax": np.nanmax(seen.agl_m)} if is_height else {}
        )
        ax.set_title(title, fontsize=8.5)
    figure.colorbar(shown if is_height else axes[1].images[0], ax=axes[2], label="m", shrink=0.8)
    draw_flow(axes[0], seen.agl_m, pose.scale_px_per_m, pose.angle_rad)
    view = figure.add_subplot(2, 3, 6, projection="3d")
    draw_relief(view, ground, pose.gsd_m)
    view.set_title("the same in three dimensions", fontsize=8.5)
    save(figure, axes, path)


def draw_relief(ax, ground: Rectified, gsd_m: float) -> None:
    """Draw an image without lean over its heights. Ground without a height lies at 0 m."""
    rgb, agl_m = ground.rgb[::GRID_PX, ::GRID_PX] / 255, np.nan_to_num(ground.agl_m[::GRID_PX, ::GRID_PX])
    rows, columns = np.indices(agl_m.shape) * GRID_PX * gsd_m
    ax.plot_surface(
        columns,
        -rows,
        agl_m,
        facecolors=rgb,
        rcount=rows.shape[0],
        ccount=rows.shape[1],
        shade=False,
        antialiased=False,
        lw=0,
    )
    ax.set_box_aspect((np.ptp(columns), np.ptp(rows), np.ptp(agl_m)), zoom=1.45)
    ax.view_init(**VIEW_DEG)
    ax.set_axis_off()
