"""Large scenes: what cutting into tiles changes, and how much memory a wide scene takes."""

from pathlib import Path

import numpy as np
import torch

from geopose.bench.inputs import LARGE_PX, Inputs
from geopose.bench.process import run_probe
from geopose.bench.table import Row, format_memory
from geopose.bench.wide_scene import WIDE_PX
from geopose.config import BlendConfig
from geopose.inference.calibration import Calibration
from geopose.inference.ensemble import Ensemble
from geopose.inference.scene import SceneOptions, predict_scene
from geopose.io.rasters import read_agl
from geopose.io.tables import read_test_table


def bench_scene(inputs: Inputs) -> list[Row]:
    """Heights of a scene cut into tiles, compared with one pass over all of it, and the memory of a wide scene."""
    image = Path(read_test_table(inputs.large).rgb[0])
    ensemble = Ensemble([inputs.trained], BlendConfig(tta="none"), torch.device("cpu"), Calibration(), spread=True)
    heights_m = []
    for tile_px in (SceneOptions.tile_px, LARGE_PX):
        predict_scene(image, inputs.large / "scene", ensemble, SceneOptions(tile_px=tile_px))
        heights_m.append(read_agl(inputs.large / "scene" / f"{image.stem}_AGL.tif"))
    seam_m = float(np.median(np.abs(heights_m[0] - heights_m[1])))
    wide_mb = run_probe("scene", inputs.trained)["mb"]
    wide_item = f"scene {WIDE_PX} px wide, predicted and rectified, memory"
    return [
        Row("scene in tiles against one pass, median difference", f"{seam_m:.3f} m", "", seam_m, "0.05 or less"),
        Row(wide_item, format_memory(wide_mb), "", wide_mb, "2500 or less"),
    ]
