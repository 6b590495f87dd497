"""Crops of a tile without lean: moved pixel by pixel, and as a surface, beside the same ground from straight above."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from geopose.bench.lean import TILES, load_run, places_of_test_half, predict_heights, see_twice
from geopose.bench.rectify import rectify_by_sorting
from geopose.inference.rectify import fill_hidden, rectify
from geopose.report.hatching import hatch
from geopose.report.panel import save

TILE = "ATL_OKjuwf"
CROP = np.s_[150:330, 150:330]


def draw_before_after(path: Path, run: Path) -> None:
    """Write the crops: by the tile's true heights in the upper row, by those that a run predicts in the lower."""
    place = next(place for place in places_of_test_half(TILES) if TILE in place.tile_ids)
    seen = see_twice(place, TILES)
    figure, axes = plt.subplots(2, 4, figsize=(15, 7.9), layout="constrained")
    for row, (kind, agl_m) in zip(
        axes, (("true heights", seen.agl_m), ("predicted heights", predict_heights(load_run(run), seen))), strict=True
    ):
        before = rectify_by_sorting(seen.rgb, agl_m, seen.pose.scale_px_per_m, seen.pose.angle_rad)
        after = fill_hidden(rectify(seen.rgb, agl_m, seen.pose.scale_px_per_m, seen.pose.angle_rad))
        pictures = {
            "the image": seen.rgb,
            f"{kind}, before (black: hidden)": before.rgb,
            f"{kind}, after (hatched: hidden, filled in)": hatch(after.rgb, after.hidden),
            "rendered from straight above": seen.down_rgb,
        }
        for ax, (title, picture) in zip(row, pictures.items(), strict=True):
            ax.imshow(picture[CROP], interpolation="nearest")
            ax.set_title(title, fontsize=8.5)
    save(figure, axes.flat, path)
