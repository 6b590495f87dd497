"""Test tiles in the report: truth and prediction as pictures, and the data of the 3D view."""

import base64
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from geopose.cli import UserError
from geopose.geometry import Pose, angle_error_rad, flow_direction
from geopose.inference.rectify import Rectified, fill_hidden, rectify
from geopose.io.names import agl_name, label_of, vflow_name
from geopose.io.poses import VflowLabel, parse_vflow, read_vflow
from geopose.io.rasters import decode_agl, read_agl, read_rgb
from geopose.io.tables import find_labels, read_test_table, truth_folder
from geopose.pictures import HEIGHT_COLORMAP, colour_plane
from geopose.report.hatching import hatch
from geopose.report.panel import roof_points
from geopose.scoring.submission import read_predictions

PICTURE_PX = 420  # longest side of a picture in the page
SURFACE_CELLS = 160  # per side; WebGL's 16-bit indices allow 65,536 points
ERROR_COLORMAP = "RdBu_r"
GREY = 128  # unknown pixels


@dataclass(frozen=True)
class TestTile:
    """One tile's true and predicted heights [H,W] in metres (NaN unknown) and poses."""

    tile_id: str
    rgb_path: str
    true_m: np.ndarray
    agl_m: np.ndarray
    true_pose: VflowLabel
    pose: VflowLabel

    @property
    def error_m(self) -> np.ndarray:
        """Predicted minus true height, NaN unknown."""
        return self.agl_m - self.true_m

    @property
    def rmse_m(self) -> float:
        """Root mean squared error over known pixels."""
        return float(np.sqrt(np.nanmean(self.error_m**2)))

    @property
    def rmse_share(self) -> float:
        """RMSE divided by the spread of the true heights, so that a flat tile does not rank best because it is flat."""
        return self.rmse_m / (float(np.nanstd(self.true_m)) + 1.0)

    @property
    def percentile_m(self) -> float:
        """The 95th percentile of the predicted heights."""
        return float(np.nanpercentile(self.agl_m, 95))

    @property
    def angle_error_deg(self) -> float:
        """The angle between the predicted and the true direction, 0 to 180."""
        return float(np.degrees(angle_error_rad(self.pose.angle_rad, self.true_pose.angle_rad)))


def read_tiles(data: Path, pred: Path) -> list[TestTile]:
    """All test tiles of the folder data that can be compared: truth/ and pred both know a height of the same pixel.

    pred is a tarball or a folder. Raises UserError when there is no such tile.
    """
    labels = find_labels(truth_folder(data)).set_index("id")
    images = read_test_table(data).set_index("id").rgb
    files: dict[tuple[str, str], bytes] = {}
    for name, content in read_predictions(pred):
        if label_of(name):
            files[label_of(name)] = content
    tiles = []
    for tile_id in labels.index.intersection(images.index):
        if (tile_id, "agl") not in files or (tile_id, "vflow") not in files:
            continue
        heights = decode_agl(files[tile_id, "agl"], agl_name(tile_id))
        pose = parse_vflow(files[tile_id, "vflow"], vflow_name(tile_id), heights.centimetres)
        label = labels.loc[tile_id]
        true_pose = read_vflow(label.vflow, label.agl)
        tile = TestTile(tile_id, images[tile_id], read_agl(label.agl), heights.agl_m, true_pose, pose)
        if np.isfinite(tile.error_m).any():
            tiles.append(tile)
    if not tiles:
        raise UserError(
            f"{pred}: no test tile of {data} has a complete prediction and known heights in truth/; predict all tiles"
        )
    return tiles


def describe_tile(tile: TestTile) -> str:
    """A tile as HTML: the image with its flow, true and predicted height, error, and a slider that removes the lean."""
    rgb = read_rgb(tile.rgb_path)
    tall_m = max(3.0, float(np.nanpercentile(np.stack([tile.true_m, tile.agl_m]), 99.5)))
    wrong_m = max(1.0, float(np.nanpercentile(np.abs(tile.error_m), 99)))
    ground = fill_hidden(rectify(rgb, tile.agl_m, tile.pose.scale_px_per_m, tile.pose.angle_rad))
    pictures = {
        "image; predicted (blue) and true flow (yellow)": draw_flows(rgb, tile),
        f"true height, 0 to {tall_m:.0f} m": colour_plane(tile.true_m, 0, tall_m, HEIGHT_COLORMAP, GREY),
        "predicted height": colour_plane(tile.agl_m, 0, tall_m, HEIGHT_COLORMAP, GREY),
        f"error, {-wrong_m:.0f} (blue) to {wrong_m:.0f} m (red)": colour_plane(
            tile.error_m, -wrong_m, wrong_m, ERROR_COLORMAP, GREY
        ),
    }
    figures = "".join(
        f'<figure><img src="{encode_jpeg(picture)}" alt="{title}"><figcaption>{title}</figcaption></figure>'
        for title, picture in pictures.items()
    )
    slider = compare_lean(rgb, ground, "image | lean removed by the predicted pose")
    facts = (
        f"{tile.tile_id}: RMSE {tile.rmse_m:.2f} m, angle error {tile.angle_error_deg:.1f}°, scale "
        f"{tile.pose.scale_px_per_m:.2f} px/m (truth {tile.true_pose.scale_px_per_m:.2f})"
    )
    return f'<section class="tile"><h3>{facts}</h3><div class="pictures">{figures}{slider}</div></section>'


def compare_lean(rgb: np.ndarray, ground: Rectified, caption: str, longest_px: int = PICTURE_PX) -> str:
    """The image uint8 [H,W,3] and the image without lean as HTML: a slider moves the border between them.

    Hidden ground of `ground` should be filled. It is hatched, and a check box takes the hatching away.
    """
    filled, hatched = ground.rgb, hatch(ground.rgb, ground.hidden)
    return (
        f'<figure><div class="compare"><img src="{encode_jpeg(rgb, longest_px)}" alt="image">'
        f'<img class="after" src="{encode_jpeg(filled, longest_px)}" alt="lean removed">'
        f'<img class="after hatched" src="{encode_jpeg(hatched, longest_px)}" alt="lean removed, hatched">'
        '<input type="range" min="0" max="100" value="50" aria-label="image against lean removed"></div>'
        f'<figcaption>{caption}. <label><input type="checkbox" class="hatching" checked>hatch hidden ground</label>'
        "</figcaption></figure>"
    )


def draw_flows(rgb: np.ndarray, tile: TestTile) -> np.ndarray:
    """The image with two arrows at each of the tallest true points: the true flow and the predicted flow, if known."""
    picture = rgb.copy()
    for x, y in roof_points(tile.true_m):
        for pose, height_m, ink in (
            (tile.true_pose, tile.true_m[y, x], (255, 212, 59)),
            (tile.pose, tile.agl_m[y, x], (64, 160, 255)),
        ):
            if np.isnan(height_m):
                continue
            end = np.array([x, y]) + flow_direction(pose.angle_rad) * height_m * pose.scale_px_per_m
            cv2.arrowedLine(picture, (x, y), tuple(int(v) for v in np.rint(end)), ink, 2, cv2.LINE_AA, tipLength=0.15)
    return picture


def encode_jpeg(picture: np.ndarray, longest_px: int = PICTURE_PX) -> str:
    """A picture uint8 [H,W,3], reduced to a longest side, as a JPEG in a data URL."""
    factor = min(1.0, longest_px / max(picture.shape[:2]))
    small = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    _, content = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    return "data:image/jpeg;base64," + base64.b64encode(content).decode()


def surface_of(tile: TestTile, data: Path) -> dict:
    """The data of the page's 3D view of a test tile; see drape."""
    gsd_m = float(read_test_table(data).set_index("id").gsd_m[tile.tile_id])
    return drape(read_rgb(tile.rgb_path), tile.agl_m, Pose(tile.pose.angle_rad, tile.pose.scale_px_per_m, gsd_m))


def drape(rgb: np.ndarray, agl_m: np.ndarray, pose: Pose, longest_px: int = PICTURE_PX) -> dict:
    """The data of a 3D view: heights and depth divided by the image's width, and the image, all without lean.

    rgb uint8 [H,W,3]; agl_m float [H,W] metres, NaN unknown. Hidden ground gets the heights and colours of the ground
    around it.
    """
    ground = fill_hidden(rectify(rgb, agl_m, pose.scale_px_per_m, pose.angle_rad))
    height, width = agl_m.shape
    rows, columns = (min(SURFACE_CELLS, side) for side in (height, width))
    heights_m = cv2.resize(np.nan_to_num(ground.agl_m), (columns, rows), interpolation=cv2.INTER_NEAREST)
    shares = heights_m / (width * pose.gsd_m)
    return {
        "rows": rows,
        "columns": columns,
        "depth": height / width,
        "heights": [round(float(share), 4) for share in shares.ravel()],
        "image": encode_jpeg(ground.rgb, longest_px),
    }
