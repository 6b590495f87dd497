"""Remove the building lean (relief displacement): move each pixel of an oblique image along its flow to the ground.

`python -m geopose rectify RGB AGL VFLOW --out DIR` writes <stem>_RECT.tif (image), <stem>_RECT_AGL.tif (float32
metres, NaN unknown) and <stem>_RECT_HIDDEN.tif (uint8, the occlusion mask: 1 where no surface of the image lands). If
several surfaces land on the same place, the tallest is kept, because it is the one visible from above. The mask of
<stem>_RECT.tif says where it shows something: neither hidden nor without data in the image. With --fill, image and
heights also show something on hidden ground, and the occlusion mask says where that is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rasterio.windows import Window

from geopose.cli import Parser, UserError, progress
from geopose.geometry import flow_direction
from geopose.inference.fill import paint_hidden, reach_px
from geopose.inference.outputs import refuse_overwriting
from geopose.inference.scene_reader import SceneReader
from geopose.inference.surface import HIDDEN_M, REACH_PX, UNKNOWN_M, close_cracks, land, sample, settle
from geopose.io.files import make_folder
from geopose.io.names import rectified_names
from geopose.io.poses import VflowLabel, read_vflow
from geopose.io.rasters import image_size, open_scene, raster_like, read_agl

BLOCK_PX = 1024  # a scene is processed in squares of this side


@dataclass(frozen=True)
class Rectified:
    """Ground-frame rgb uint8 [H,W,3], agl_m float32 [H,W] metres and hidden bool [H,W].

    Hidden pixels are black and NaN. Unknown heights are NaN too. A fourth plane of rgb is 255 where the image has data,
    and 0 where it has none or is hidden.
    """

    rgb: np.ndarray
    agl_m: np.ndarray
    hidden: np.ndarray

    def cut(self, part: tuple[slice, slice]) -> "Rectified":
        """A part of the rows and columns."""
        return Rectified(self.rgb[part], self.agl_m[part], self.hidden[part])


def rectify(rgb: np.ndarray, agl_m: np.ndarray, scale_px_per_m: float, angle_rad: float) -> Rectified:
    """Move an image uint8 [H,W,3 or 4] and its heights float [H,W] (metres, NaN unknown) to the ground frame.

    The heights are a surface: surface.py says where it is torn apart, and where it only slopes. A ground pixel gets the
    tallest height that lands on it, and the colour of the place in the image where this height appears. A pixel of
    unknown height does not move, stays unknown, and is covered by any pixel of known height.

    Raises ValueError if image and heights differ in size.
    """
    if rgb.shape[:2] != agl_m.shape:
        raise ValueError(f"image {rgb.shape[:2]} and heights {agl_m.shape} differ in size")
    dx, dy = flow_direction(angle_rad) * scale_px_per_m
    agl_m = settle(agl_m.astype(np.float32, copy=False), scale_px_per_m, angle_rad)
    ground_m = land(agl_m, scale_px_per_m, angle_rad)
    ground_rgb, ground_m = close_cracks(sample(rgb, ground_m, dx, dy), ground_m)
    hidden = ground_m == HIDDEN_M
    ground_m[hidden | (ground_m == UNKNOWN_M)] = np.nan
    if rgb.shape[2] == 4:
        ground_rgb[..., 3][ground_rgb[..., 3] < 255] = 0  # mixed with a pixel without data
    return Rectified(ground_rgb, ground_m, hidden)


def fill_hidden(ground: Rectified) -> Rectified:
    """Paint hidden pixels with the ground around them; see fill.py. The mask hidden does not change."""
    return Rectified(*paint_hidden(ground.rgb, ground.agl_m, ground.hidden), ground.hidden)


def rectify_files(image: SceneReader, agl: Path, out: Path, stem: str, pose: VflowLabel, fill: bool = False) -> float:
    """Write a scene's three rasters on the image's grid, block by block, so that any size fits in memory.

    agl is the file of the image's heights. Returns the share of hidden ground.
    """
    height, width = size = image.shape
    starts = [(row, column) for row in range(0, height, BLOCK_PX) for column in range(0, width, BLOCK_PX)]
    blocks = [Window(x, y, min(BLOCK_PX, width - x), min(BLOCK_PX, height - y)) for y, x in starts]
    # The lowest and the largest height decide how far pixels move, and so how far around a block we must read.
    heights = (read_agl(agl, block) for block in blocks)
    limits_m = [(np.nanmin(h, initial=0), np.nanmax(h, initial=0)) for h in heights]
    moved_px = np.multiply.outer(flow_direction(pose.angle_rad) * pose.scale_px_per_m, limits_m)
    forward_px = [math.ceil(px) + REACH_PX for px in moved_px.max(axis=(1, 2))]  # x, y
    backward_px = [math.ceil(-px) + REACH_PX for px in moved_px.min(axis=(1, 2))]
    margin = reach_px() if fill else 0
    hidden_px = 0
    rgb_path, agl_path, hidden_path = (out / name for name in rectified_names(stem))
    with (
        raster_like(rgb_path, image.path, 3, np.uint8) as ground_image,
        raster_like(agl_path, image.path, 1, np.float32) as ground_agl,
        raster_like(hidden_path, image.path, 1, np.uint8) as mask,
    ):
        ground_agl.descriptions, ground_agl.units = ("height above ground",), ("metre",)
        mask.descriptions = ("1 where the ground is hidden",)
        for block in progress(blocks, "rectify", unit="block"):
            painted = grow(block, (margin, margin), (margin, margin), size)
            source = grow(painted, forward_px, backward_px, size)
            rgb, has_data = image.read(source)
            rgba = np.dstack([*rgb, has_data.astype(np.uint8) * 255])
            ground = rectify(rgba, read_agl(agl, source), pose.scale_px_per_m, pose.angle_rad)
            ground = ground.cut(place_in(painted, source))
            if fill:
                ground = fill_hidden(ground)
            ground = ground.cut(place_in(block, painted))
            *rgb, has_data = ground.rgb.transpose(2, 0, 1)
            ground_image.write(np.stack(rgb), window=block)
            ground_image.write_mask(has_data, window=block)
            ground_agl.write(ground.agl_m, 1, window=block)
            mask.write(ground.hidden.astype(np.uint8), 1, window=block)
            hidden_px += int(ground.hidden.sum())
    return hidden_px / (height * width)


def grow(window: Window, before_px: Sequence[int], after_px: Sequence[int], size: tuple[int, int]) -> Window:
    """A window enlarged by (columns, rows) before and after it, and clipped to a raster of size (H, W)."""
    left, top = max(0, window.col_off - before_px[0]), max(0, window.row_off - before_px[1])
    right = min(size[1], window.col_off + window.width + after_px[0])
    bottom = min(size[0], window.row_off + window.height + after_px[1])
    return Window(left, top, right - left, bottom - top)


def place_in(window: Window, whole: Window) -> tuple[slice, slice]:
    """Where a window is in the array of a larger window: slices of rows and columns."""
    return Window(window.col_off - whole.col_off, window.row_off - whole.row_off, *window.flatten()[2:]).toslices()


def main() -> int:
    parser = Parser(
        "Remove the building lean (relief displacement) from an image: move each pixel to the ground below it.",
        "python -m geopose rectify x_RGB.j2k x_AGL.tif x_VFLOW.json --out rectified",
    )
    parser.add_argument("rgb", type=Path, metavar="RGB", help="image of any bands and depth")
    parser.add_argument(
        "agl", type=Path, metavar="AGL", help="heights of its pixels, uint16 centimetres or float metres"
    )
    parser.add_argument("vflow", type=Path, metavar="VFLOW", help="JSON with scale and angle")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the three output files")
    parser.add_argument("--fill", action="store_true", help="fill hidden ground from the pixels around it")
    parser.add_argument("--overwrite", action="store_true", help="replace output files that exist")
    args = parser.parse_args()

    (height, width), (agl_height, agl_width) = image_size(args.rgb), image_size(args.agl)
    if (height, width) != (agl_height, agl_width):
        raise UserError(
            f"{args.agl}: {agl_height}x{agl_width}, but {args.rgb} is {height}x{width}; give heights of this image"
        )
    pose, stem = read_vflow(args.vflow, args.agl), args.rgb.stem.removesuffix("_RGB")
    make_folder(args.out)
    outputs = [(args.rgb, args.out / name) for name in rectified_names(stem)]
    refuse_overwriting(outputs, (args.rgb, args.agl, args.vflow), args.overwrite)
    with open_scene(args.rgb) as image:
        hidden = rectify_files(SceneReader(image, args.rgb, ()), args.agl, args.out, stem, pose, args.fill)
    print(f"{args.out}: {stem}_RECT.tif, _AGL and _HIDDEN; {hidden:.1%} of the ground was hidden")
    return 0
