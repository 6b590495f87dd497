"""Reading: crops from large tiles, and whole training samples."""

from pathlib import Path

import cv2
import numpy as np
from rasterio.windows import Window

from geopose.bench.inputs import CROP_PX, LARGE_PX, Inputs
from geopose.bench.table import Row, format_file_size, format_seconds
from geopose.bench.timing import alternate, median_seconds
from geopose.config import AugmentConfig, ModelConfig
from geopose.data.dataset import CropDataset
from geopose.data.store import prefer_prepared
from geopose.io.rasters import read_agl, read_rgb
from geopose.io.tables import read_train_table


def bench_store(inputs: Inputs) -> list[Row]:
    """Random crops of image and heights, from prepared copies and from whole files."""
    sources = read_train_table(inputs.large)
    copies = prefer_prepared(sources, inputs.large)
    row, copy = next(sources.itertuples()), next(copies.itertuples())
    png = inputs.large / "tile.png"
    cv2.imwrite(str(png), read_rgb(row.rgb)[..., ::-1])
    rng = np.random.default_rng(0)

    def from_copies() -> None:
        column, line = rng.integers(LARGE_PX - CROP_PX, size=2)
        window = Window(int(column), int(line), CROP_PX, CROP_PX)
        read_rgb(copy.rgb, window), read_agl(copy.agl, window)

    def from_png() -> None:
        column, line = rng.integers(LARGE_PX - CROP_PX, size=2)
        inside = np.s_[line : line + CROP_PX, column : column + CROP_PX]
        np.ascontiguousarray(cv2.imread(str(png))[inside]), read_agl(row.agl)[inside]

    def from_j2k() -> None:
        read_rgb(row.rgb), read_agl(row.agl)

    ours, common = alternate(from_copies, from_png, repeats=30)
    j2k = median_seconds(from_j2k, 3)
    disk = Path(copy.rgb).stat().st_size / png.stat().st_size
    return [
        Row(
            "768 px crop against whole PNG and deflate TIFF",
            format_seconds(ours),
            format_seconds(common),
            common / ours,
            "8 or more",
        ),
        Row("768 px crop against whole .j2k", format_seconds(ours), format_seconds(j2k), j2k / ours, "100 or more"),
        Row(
            "disk, prepared image against PNG",
            format_file_size(copy.rgb),
            format_file_size(png),
            disk,
            "1.15 or less",
        ),
    ]


def bench_loader(inputs: Inputs) -> list[Row]:
    """Reading and augmenting a training sample on one core."""
    cfg = AugmentConfig(level="medium", crop_px=CROP_PX)
    sources = read_train_table(inputs.large)
    prepared, original = (
        CropDataset(table, cfg, ModelConfig(), seed=0) for table in (prefer_prepared(sources, inputs.large), sources)
    )
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    draws = iter(range(10**6))
    ours, common = median_seconds(lambda: prepared[next(draws)], 30), median_seconds(lambda: original[0], 3)
    cv2.setNumThreads(threads)
    item = "768 px medium sample, against .j2k"
    return [Row(item, format_seconds(ours), format_seconds(common), common / ours, "ours 60 ms or less")]
