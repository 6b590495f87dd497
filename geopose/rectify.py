"""Lean removed: every pixel of an oblique image moved along its flow to the ground it stands on.

`python -m geopose.rectify RGB AGL VFLOW --out DIR` writes <stem>_RECT.tif (image), <stem>_RECT_AGL.tif (float32
metres, NaN unknown) and <stem>_RECT_HIDDEN.tif (uint8: 1 where no pixel of the image lands, so the ground was hidden).
Where several pixels land on one, the tallest wins, as what stands highest is what one would see from above.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import njit

from geopose import io
from geopose.cli import Parser, UserError, run_command
from geopose.geometry import flow_direction


@dataclass(frozen=True)
class Rectified:
    """Ground-frame rgb uint8 [H,W,3], agl_m float32 [H,W] (NaN unknown) and hidden bool [H,W]; black where hidden."""

    rgb: np.ndarray
    agl_m: np.ndarray
    hidden: np.ndarray


def rectify(rgb: np.ndarray, agl_m: np.ndarray, scale_px_per_m: float, angle_rad: float) -> Rectified:
    """Image uint8 [H,W,3] and heights float [H,W] (metres, NaN unknown) on the ground's grid, the image's own size.

    A pixel p of height h lands on the pixel nearest to p + h * scale * d. The tallest wins; among equals the one that
    lands nearest to the pixel's middle, then the first in reading order. Unknown heights count as ground that any
    known height covers, and stay unknown.
    """
    if rgb.shape[:2] != agl_m.shape:
        raise ValueError(f"image {rgb.shape[:2]} and heights {agl_m.shape} differ in size")
    dx, dy = flow_direction(angle_rad) * scale_px_per_m
    source = _land(agl_m.astype(np.float32), dx, dy)
    hidden = source < 0
    source = np.maximum(source, 0)
    flat_rgb, flat_agl_m = rgb.reshape(-1, rgb.shape[2]), agl_m.reshape(-1)
    ground_rgb = np.where(hidden[..., None], np.uint8(0), flat_rgb[source])
    ground_agl_m = np.where(hidden, np.float32(np.nan), flat_agl_m[source].astype(np.float32))
    return Rectified(ground_rgb, ground_agl_m, hidden)


@njit(cache=True)
def _land(agl_m, dx_px_per_m, dy_px_per_m):
    """Flat index of the pixel that lands on each ground pixel [H,W], -1 where none does."""
    height, width = agl_m.shape
    source = np.full((height, width), -1, np.int64)
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


def write_rectified(ground: Rectified, out: Path, stem: str, like: Path) -> None:
    """Write the three rasters into a folder, on the grid of the image like."""
    for suffix, raster in (("", ground.rgb), ("_AGL", ground.agl_m), ("_HIDDEN", ground.hidden.astype(np.uint8))):
        io.write_raster_like(out / f"{stem}_RECT{suffix}.tif", raster, like)


def main() -> int:
    parser = Parser(
        "Remove the lean of an image.", "python -m geopose.rectify x_RGB.j2k x_AGL.tif x_VFLOW.json --out rectified"
    )
    parser.add_argument("rgb", type=Path, metavar="RGB", help="image, 3 bands of uint8")
    parser.add_argument("agl", type=Path, metavar="AGL", help="heights in the image's frame, centimetres or metres")
    parser.add_argument("vflow", type=Path, metavar="VFLOW", help="JSON with scale and angle")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the three files go")
    args = parser.parse_args()

    rgb, agl_m, label = io.read_rgb(args.rgb), io.read_agl(args.agl), io.read_vflow(args.vflow, args.agl)
    if rgb.shape[:2] != agl_m.shape:
        raise UserError(
            f"{args.agl}: {agl_m.shape[0]}x{agl_m.shape[1]}, but {args.rgb} is {rgb.shape[0]}x{rgb.shape[1]}"
        )
    ground = rectify(rgb, agl_m, label.scale_px_per_m, label.angle_rad)
    stem = args.rgb.stem.removesuffix("_RGB")
    write_rectified(ground, args.out, stem, args.rgb)
    print(f"{args.out}: {stem}_RECT.tif, _AGL and _HIDDEN; {ground.hidden.mean():.1%} of the ground was hidden")
    return 0


if __name__ == "__main__":
    run_command(main)
