"""Synthetic tiles: the speed of the renderer and of the height stretch, and where their time goes."""

import cProfile
import tempfile
import time
from pathlib import Path

from rasterio.windows import Window

from geopose.bench.inputs import CROP_PX, Inputs
from geopose.bench.table import Row, format_seconds
from geopose.bench.timing import median_seconds, time_shares
from geopose.data.stretch import stretch_heights
from geopose.geometry import Pose
from geopose.io.poses import read_vflow
from geopose.io.rasters import read_agl, read_rgb
from geopose.io.tables import read_train_table
from geopose.synthetic.dataset import Options, make_dataset

RENDER_PARTS = "plan_place", "build_scene", "render", "expose", "clean_label", "add_faults", "write_tile"
STRETCH_PARTS = "_filled", "_largest_landing", "_look_back"
# MP/s by size of the tiles in px
RENDER_GOALS = {512: "1.5 or more", 1024: "1.0 or more"}


def bench_renderer(inputs: Inputs) -> list[Row]:
    """Rendering of finished tiles and one height stretch, each on one core."""
    with tempfile.TemporaryDirectory() as folder:
        make_dataset(Path(folder) / "warm", Options(train=4, test=4, size=64), workers=1)
        rates = {size_px: _rendering_rate(Path(folder) / str(size_px), size_px) for size_px in RENDER_GOALS}
        with cProfile.Profile() as rendering:
            make_dataset(Path(folder) / "profiled", Options(train=24, test=8, size=512), workers=1)
    row = next(read_train_table(inputs.large).itertuples())
    label = read_vflow(row.vflow, row.agl)
    crop = Window(0, 0, CROP_PX, CROP_PX)
    rgb, agl_m = read_rgb(row.rgb, crop), read_agl(row.agl, crop)
    pose = Pose(label.angle_rad, label.scale_px_per_m, row.gsd_m)
    stretch_heights(rgb, agl_m, pose, 1.4)
    stretch = median_seconds(lambda: stretch_heights(rgb, agl_m, pose, 1.4), 9)
    with cProfile.Profile() as stretching:
        stretch_heights(rgb, agl_m, pose, 1.4)
    return [
        *(
            Row(f"render {size_px} px tiles, processor time", f"{rate:.2f} MP/s", "", rate, RENDER_GOALS[size_px])
            for size_px, rate in rates.items()
        ),
        Row("where the time at 512 px goes", time_shares(rendering, "make_dataset", RENDER_PARTS), "", None, ""),
        Row("height stretch of 768 px, one core", format_seconds(stretch), "", stretch * 1000, "60 or less"),
        Row("where that time goes", time_shares(stretching, "stretch_heights", STRETCH_PARTS), "", None, ""),
    ]


def _rendering_rate(folder: Path, size_px: int) -> float:
    """Megapixels per second of processor time of one core. Other processes hardly change it."""
    start = time.process_time()
    tiles = make_dataset(folder, Options(train=12, test=4, size=size_px), workers=1)
    return tiles * size_px**2 / 1e6 / (time.process_time() - start)
