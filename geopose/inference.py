"""Blended prediction of whole tiles by the checkpoints of one or many runs."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader

from geopose.checkpoints import checkpoint_paths, load_model
from geopose.data import TileDataset
from geopose.devices import autocast
from geopose.geometry import direction_angle
from geopose.tta import PoseMean, predict_view, views_of


@dataclass(frozen=True)
class TilePrediction:
    """One tile's blended pose: agl_m float32 [H,W] metres, scale and angle, and the seconds it took."""

    tile_id: str
    agl_m: np.ndarray
    scale_px_per_m: float
    angle_rad: float
    seconds: float


class Ensemble:
    """All kept checkpoints of some runs, averaged over the views of a test-time augmentation.

    Heights and scales are averaged, directions normalised and then averaged: every checkpoint and view weighs the
    same. Sums are float32 on the device; nothing but one tile is held.
    """

    def __init__(self, runs: list[str | Path], tta: str, device: torch.device, precision: str):
        self.views, self.device, self.precision = views_of(tta), device, precision
        autocast(device, precision)  # refuse a bad precision before any model is loaded
        self.models = [load_model(run, path, device) for run in runs for path in checkpoint_paths(run)]

    @torch.inference_mode()
    def predict(self, image: torch.Tensor, gsd_m: torch.Tensor) -> dict:
        """Mean pose of a batch: image uint8 [B,3,H,W], gsd_m [B]; see PoseMean.compute."""
        image = image.to(self.device).contiguous(memory_format=torch.channels_last)
        gsd_m, mean = gsd_m.to(self.device), PoseMean()
        with autocast(self.device, self.precision):
            for model in self.models:
                for view in self.views:
                    mean.add(predict_view(model, image, gsd_m, view))
        return mean.compute()

    def predict_tiles(self, table: pd.DataFrame) -> Iterator[TilePrediction]:
        """Predictions of the tiles of a table (columns id, city, gsd_m, rgb), one at a time, in table order."""
        for batch in DataLoader(TileDataset(table), batch_size=1):
            start = time.perf_counter()
            pose = self.predict(batch["image"], batch["gsd_m"])
            angle_rad = float(direction_angle(pose["direction"])[0])
            agl_m, scale_px_per_m = pose["agl_m"][0, 0].cpu().numpy(), float(pose["scale_px_per_m"][0])
            yield TilePrediction(batch["id"][0], agl_m, scale_px_per_m, angle_rad, time.perf_counter() - start)
