"""Lean removed: every pixel of an oblique image moved along its flow to the ground it stands on.

`python -m geopose rectify RGB AGL VFLOW --out DIR` writes <stem>_RECT.tif (image), <stem>_RECT_AGL.tif (float32
metres, NaN unknown) and <stem>_RECT_HIDDEN.tif (uint8: 1 where no pixel of the image lands, so the ground was hidden).
Where several pixels land on one, the tallest wins, as what stands highest is what one would see from above.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numba import njit
from rasterio.fill import fillnodata
from rasterio.windows import Window

from geopose.cli import Parser, UserError, progress
from geopose.geometry import flow_direction
from geopose.io.poses import VflowLabel, read_vflow
from geopose.io.rasters import image_size, raster_like, read_agl, read_rgb

BLOCK_PX = 1024  # side of the squares of a scene that are done one at a time
FILL_PX = 100  # how far filled ground may lie from what was seen


@dataclass(frozen=True)
class Rectified:
    """Ground-frame rgb uint8 [H,W,3], agl_m float32 [H,W] (NaN unknown) and hidden bool [H,W]; black where hidden."""

    rgb: np.ndarray
    agl_m: np.ndarray
    hidden: np.ndarray

    def cut(self, part: tuple[slice, slice]) -> "Rectified":
        """Some of its rows and columns."""
        return Rectified(self.rgb[part], self.agl_m[part], self.hidden[part])


def rectify(rgb: np.ndarray, agl_m: np.ndarray, scale_px_per_m: float, angle_rad: float) -> Rectified:
    """Image uint8 [H,W,3] and heights float [H,W] (metres, NaN unknown) on the ground's grid, the image's own size.

    A pixel p of height h lands on the pixel nearest to p + h * scale * d. The tallest wins; among equals the one that
    lands nearest to the pixel's middle, then the first in reading order. Unknown heights count as ground that any
    known height covers, and stay unknown.
    """
    if rgb.shape[:2] != agl_m.shape:
        raise ValueError(f"image {rgb.shape[:2]} and heights {agl_m.shape} differ in size")
    dx, dy = flow_direction(angle_rad) * scale_px_per_m
    agl_m = agl_m.astype(np.float32, copy=False)
    source = _land(agl_m, dx, dy)
    hidden = source < 0
    ground_rgb = rgb.reshape(-1, rgb.shape[2])[source]  # hidden ground, -1, is overwritten next
    ground_rgb[hidden] = 0
    ground_agl_m = agl_m.reshape(-1)[source]
    ground_agl_m[hidden] = np.nan
    return Rectified(ground_rgb, ground_agl_m, hidden)


@njit(cache=True)
def _land(agl_m, dx_px_per_m, dy_px_per_m):
    """Flat index of the pixel that lands on each ground pixel [H,W], -1 where none does."""
    height, width = agl_m.shape
    source = np.full((height, width), -1, np.int32)
    tallest_m = np.full((height, width), -np.inf, np.float32)
    nearest = np.zeros((height, width), np.float32)
    for y in range(height):
        for x in range(width):
            known = not np.isnan(agl_m[y, x])
            rank_m = agl_m[y, x] if known else np.float32(-1e30)
            shift_m = agl_m[y, x] if known else np.float32(0.0)
            ground_x, ground_y = x + shift_m * dx_px_per_m, y + shift_m * dy_px_per_m
            column, row = int(np.floor(ground_x + 0.5)), int(np.floor(ground_y + 0.5))
            if not (0 <= column < width and 0 <= row < height):
                continue
            distance = np.float32((ground_x - column) ** 2 + (ground_y - row) ** 2)
            taller = rank_m > tallest_m[row, column]
            if taller or (rank_m == tallest_m[row, column] and distance < nearest[row, column]):
                source[row, column] = y * width + x
                tallest_m[row, column], nearest[row, column] = rank_m, distance
    return source


def fill_hidden(ground: Rectified) -> Rectified:
    """Hidden ground painted with what lies around it, weighted by distance; hidden itself stays as it is.

    Ground farther than FILL_PX from anything visible stays black and NaN.
    """
    seen = ~ground.hidden
    rgb = np.stack([fillnodata(band, seen, FILL_PX) for band in ground.rgb.transpose(2, 0, 1)], axis=2)
    known = seen & ~np.isnan(ground.agl_m)
    near = fillnodata(np.where(known, ground.agl_m, np.float32(np.nan)), known, FILL_PX)
    return Rectified(rgb, np.where(seen, ground.agl_m, near), ground.hidden)


def rectify_files(
    read_image: Callable[[Window], np.ndarray],
    agl: Path,
    out: Path,
    stem: str,
    like: Path,
    pose: VflowLabel,
    fill: bool = False,
) -> float:
    """Write a scene's three rasters on the grid of the image like; memory holds a block of it, whatever its size.

    read_image gives a window of the image, uint8 [h,w,3]; agl names the file of its heights. Returns the share of the
    ground that was hidden.
    """
    height, width = size = image_size(like)
    starts = [(row, column) for row in range(0, height, BLOCK_PX) for column in range(0, width, BLOCK_PX)]
    blocks = [Window(x, y, min(BLOCK_PX, width - x), min(BLOCK_PX, height - y)) for y, x in starts]
    # How far pixels of the lowest and the tallest height move tells from how far away they reach a block.
    heights = (read_agl(agl, block) for block in blocks)
    limits_m = [(np.nanmin(h, initial=0), np.nanmax(h, initial=0)) for h in heights]
    moved_px = np.multiply.outer(flow_direction(pose.angle_rad) * pose.scale_px_per_m, limits_m)
    forward_px = [math.ceil(px) + 1 for px in moved_px.max(axis=(1, 2))]  # x, y
    backward_px = [math.ceil(-px) + 1 for px in moved_px.min(axis=(1, 2))]
    margin = FILL_PX if fill else 0
    hidden_px = 0
    with (
        raster_like(out / f"{stem}_RECT.tif", like, 3, np.uint8) as image,
        raster_like(out / f"{stem}_RECT_AGL.tif", like, 1, np.float32) as ground_agl,
        raster_like(out / f"{stem}_RECT_HIDDEN.tif", like, 1, np.uint8) as mask,
    ):
        for block in progress(blocks, "rectify", unit="block"):
            painted = grow(block, (margin, margin), (margin, margin), size)
            source = grow(painted, forward_px, backward_px, size)
            ground = rectify(read_image(source), read_agl(agl, source), pose.scale_px_per_m, pose.angle_rad)
            ground = ground.cut(place_in(painted, source))
            if fill:
                ground = fill_hidden(ground)
            ground = ground.cut(place_in(block, painted))
            image.write(ground.rgb.transpose(2, 0, 1), window=block)
            ground_agl.write(ground.agl_m, 1, window=block)
            mask.write(ground.hidden.astype(np.uint8), 1, window=block)
            hidden_px += int(ground.hidden.sum())
    return hidden_px / (height * width)


def grow(window: Window, before_px: Sequence[int], after_px: Sequence[int], size: tuple[int, int]) -> Window:
    """A window with so many more columns and rows (x, y) before and after it, cut to a raster of size (H, W)."""
    left, top = max(0, window.col_off - before_px[0]), max(0, window.row_off - before_px[1])
    right = min(size[1], window.col_off + window.width + after_px[0])
    bottom = min(size[0], window.row_off + window.height + after_px[1])
    return Window(left, top, right - left, bottom - top)


def place_in(window: Window, whole: Window) -> tuple[slice, slice]:
    """Rows and columns of a larger window's array that a window is."""
    return Window(window.col_off - whole.col_off, window.row_off - whole.row_off, *window.flatten()[2:]).toslices()


def main() -> int:
    parser = Parser(
        "Remove the lean of an image.",
        "python -m geopose rectify x_RGB.j2k x_AGL.tif x_VFLOW.json --out rectified",
    )
    parser.add_argument("rgb", type=Path, metavar="RGB", help="image, 3 bands of uint8")
    parser.add_argument("agl", type=Path, metavar="AGL", help="heights in the image's frame, centimetres or metres")
    parser.add_argument("vflow", type=Path, metavar="VFLOW", help="JSON with scale and angle")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the three files go")
    parser.add_argument("--fill", action="store_true", help="paint hidden ground with what lies around it")
    args = parser.parse_args()

    size, agl_size = image_size(args.rgb), image_size(args.agl)
    if size != agl_size:
        raise UserError(f"{args.agl}: {agl_size[0]}x{agl_size[1]}, but {args.rgb} is {size[0]}x{size[1]}")
    pose, stem = read_vflow(args.vflow, args.agl), args.rgb.stem.removesuffix("_RGB")
    read_image = partial(read_rgb, args.rgb)
    hidden = rectify_files(read_image, args.agl, args.out, stem, args.rgb, pose, args.fill)
    print(f"{args.out}: {stem}_RECT.tif, _AGL and _HIDDEN; {hidden:.1%} of the ground was hidden")
    return 0
