"""The memory of a wide scene, row by row: `python -m geopose bench --memory RUN` writes memory.csv and memory.md.

A scene is predicted and rectified in a process of its own under each of SETTINGS: with the defaults of this machine,
and where glibc's allocator and GDAL would keep most. A tenth of the scene is noise, and the rest has no data: it needs
the same arrays and files, and less time.
"""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
import torch
from rasterio.windows import Window

from geopose.bench.process import MAKEFILE_ALLOCATOR, run_probe
from geopose.bench.table import describe_machine
from geopose.bench.timing import forget_peak, peak_memory_mb
from geopose.cli import progress
from geopose.config import BlendConfig
from geopose.inference.calibration import Calibration
from geopose.inference.ensemble import Ensemble
from geopose.inference.rectify import BLOCK_PX, rectify_files
from geopose.inference.scene import SceneOptions, predict_scene, tile_starts
from geopose.inference.scene_reader import SceneReader
from geopose.io.files import write_bytes
from geopose.io.poses import read_vflow
from geopose.io.rasters import CACHE_BYTES, open_scene

WIDE_PX, HIGH_PX = 20_000, 3_000
NOISE_PX = range(9_000, 11_000)  # columns
LARGE_MACHINE = {"GDAL_CACHEMAX": "13107"}  # MB: GDAL's default, a twentieth of the memory, where that is 256 GB
SETTINGS = {
    "defaults": {},
    "the Makefile's allocator, GDAL's default on 256 GB": MAKEFILE_ALLOCATOR | LARGE_MACHINE,
}


class RowPeaks:
    """Peak memory in MB of each row of tiles or blocks. pieces: how many of them a row has."""

    def __init__(self, pieces: int):
        self.pieces, self.begun = pieces, 0
        self.mb: list[float] = []
        forget_peak()

    def begin_piece(self) -> None:
        """To be called before every tile or block."""
        if self.begun and self.begun % self.pieces == 0:
            self.end_row()
        self.begun += 1

    def end_row(self) -> None:
        """To be called after the last row. The rows before end where the next one begins."""
        self.mb.append(peak_memory_mb())
        forget_peak()


class WatchedEnsemble(Ensemble):
    """An ensemble that says when it predicts a tile."""

    peaks: RowPeaks

    def predict(self, batch: dict) -> dict:
        self.peaks.begin_piece()
        return super().predict(batch)


class WatchedReader(SceneReader):
    """A reader that says when it reads a block."""

    peaks: RowPeaks

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        self.peaks.begin_piece()
        return super().read(window)


def probe_scene(run: Path) -> dict[str, float]:
    """Peak memory in MB of predicting and rectifying a wide scene: of all ("mb"), at its start, and of every row.

    A row is named by "predict" or "rectify" and by its first row of pixels. The last one of both also includes the
    translation of the written rasters into Cloud-Optimized GeoTIFFs.
    """
    ensemble = WatchedEnsemble([run], BlendConfig(tta="none"), torch.device("cpu"), Calibration(), spread=True)
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "wide.tif"
        write_scene(image)
        peaks = {"start": peak_memory_mb(), **watch_prediction(image, ensemble), **watch_rectification(image)}
    return {"mb": max(peaks.values()), **peaks}


def write_scene(path: Path, strip_px: int = 250) -> None:
    """The image: three bands of uint8, where 0 is no data."""
    profile = {"width": WIDE_PX, "height": HIGH_PX, "count": 3, "dtype": "uint8", "nodata": 0, "compress": "deflate"}
    with (
        rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES),
        rasterio.open(path, "w", driver="GTiff", tiled=True, **profile) as raster,
    ):
        for row in range(0, HIGH_PX, strip_px):
            noise = np.random.default_rng(row).integers(1, 256, (3, strip_px, len(NOISE_PX)), dtype=np.uint8)
            raster.write(noise, window=Window(NOISE_PX.start, row, len(NOISE_PX), strip_px))


def watch_prediction(image: Path, ensemble: WatchedEnsemble) -> dict[str, float]:
    """The peak of each row of tiles while a scene is predicted."""
    tile_px = SceneOptions.tile_px
    with_data = [x for x in tile_starts(WIDE_PX, tile_px) if NOISE_PX.start - tile_px < x < NOISE_PX.stop]
    ensemble.peaks = RowPeaks(len(with_data))
    predict_scene(image, image.parent, ensemble, SceneOptions(gsd_m=0.35))
    ensemble.peaks.end_row()
    return {f"predict {y}": mb for y, mb in zip(tile_starts(HIGH_PX, tile_px), ensemble.peaks.mb, strict=True)}


def watch_rectification(image: Path) -> dict[str, float]:
    """The peak of each row of blocks while a predicted scene is rectified and filled."""
    agl = image.with_name(f"{image.stem}_AGL.tif")
    pose = read_vflow(image.with_name(f"{image.stem}_VFLOW.json"), agl)
    with open_scene(image) as raster:
        reader = WatchedReader(raster, image, ())
        reader.peaks = RowPeaks(len(range(0, WIDE_PX, BLOCK_PX)))
        rectify_files(reader, agl, image.parent, image.stem, pose, fill=True)
    reader.peaks.end_row()
    return {f"rectify {y}": mb for y, mb in zip(range(0, HIGH_PX, BLOCK_PX), reader.peaks.mb, strict=True)}


def measure_memory(run: Path, out: Path) -> str:
    """Run the probe under all SETTINGS, write memory.csv and memory.md, and return the text of the latter."""
    peaks = {name: run_probe("scene", run, changes) for name, changes in progress(SETTINGS.items(), "memory")}
    table = pd.DataFrame(peaks).round().astype(int)
    write_bytes(out / "memory.csv", table.to_csv(index_label="row").encode())
    write_bytes(out / "memory.md", describe(table).encode())
    return describe(table)


def describe(table: pd.DataFrame) -> str:
    """The table in Markdown, with the peak of all at its end, after a line that says what made it."""
    rows = {name: name for name in table.index[1:]} | {"mb": "all"}
    lines = [f"| {name} | {' | '.join(f'{mb:,}' for mb in table.loc[row])} |" for row, name in rows.items()]
    head = f"| MB at most, while | {' | '.join(table)} |"
    made_by = f"`python -m geopose bench --memory RUN --out docs` wrote this table. Machine: {describe_machine()}."
    return "\n".join([made_by, "", head, "|---" * (len(table.columns) + 1) + "|", *lines]) + "\n"
