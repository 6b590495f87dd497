"""Blended prediction of whole tiles by the checkpoints of one or many runs."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader

from geopose.calibration import Calibration
from geopose.checkpoints import load_average_model, load_model
from geopose.cli import UserError
from geopose.config import BlendConfig
from geopose.data import TileDataset
from geopose.devices import autocast, pick_precision
from geopose.geometry import direction_angle
from geopose.runs import checkpoint_paths
from geopose.tta import VIEWS, Blend, predict_view


@dataclass(frozen=True)
class TilePrediction:
    """One tile's blended pose: agl_m float32 [H,W] metres, scale and angle, and the seconds it took."""

    tile_id: str
    agl_m: np.ndarray
    scale_px_per_m: float
    angle_rad: float
    seconds: float


class Ensemble:
    """The kept checkpoints of some runs, blended over the views of a test-time augmentation.

    Sums are float32 on the device; but for combine="median", nothing more than one prediction is held.
    """

    def __init__(self, runs: list[str | Path], cfg: BlendConfig, device: torch.device, calibration: Calibration):
        self.cfg, self.device, self.calibration = cfg, device, calibration
        self.views = [(view, zoom) for view in VIEWS[cfg.tta] for zoom in cfg.zooms]
        self.precision = pick_precision(cfg.precision, device)
        self.members = [member for run, w in weigh_runs(runs, cfg) for member in self._members(run, w)]

    def _members(self, run: Path, run_weight: float) -> list[tuple[torch.nn.Module, float]]:
        """Models of a run with their weights."""
        ranked = weigh_checkpoints(checkpoint_paths(run), self.cfg)
        if self.cfg.average_weights:
            return [(load_average_model(run, ranked, self.device), run_weight)]
        return [(load_model(run, path, self.device), run_weight * weight) for path, weight in ranked]

    @torch.inference_mode()
    def predict(self, batch: dict) -> dict:
        """Blended pose of a batch of tiles; see Blend.compute."""
        on_device = {key: batch[key].to(self.device) for key in ("image", "gsd_m")} | {"city": batch["city"]}
        blend = Blend(self.cfg.combine)
        with autocast(self.device, self.precision):
            for model, weight in self.members:
                for view, zoom in self.views:
                    blend.add(predict_view(model, on_device, view, zoom), weight)
        return blend.compute()

    def predict_tiles(self, table: pd.DataFrame) -> Iterator[TilePrediction]:
        """Predictions of the tiles of a table (columns id, city, gsd_m, rgb), one at a time, in table order."""
        for batch in DataLoader(TileDataset(table), batch_size=1):
            start = time.perf_counter()
            pose = self.predict(batch)
            factors = self.calibration.factors(batch["city"][0])
            yield TilePrediction(
                tile_id=batch["id"][0],
                agl_m=pose["agl_m"][0, 0].cpu().numpy() * np.float32(factors.agl),
                scale_px_per_m=float(pose["scale_px_per_m"][0]) * factors.scale,
                angle_rad=float(direction_angle(pose["direction"])[0]),
                seconds=time.perf_counter() - start,
            )


def weigh_runs(runs: list[str | Path], cfg: BlendConfig) -> list[tuple[Path, float]]:
    """Each run with its weight. Raises UserError when the weights do not fit the runs."""
    weights = cfg.run_weights or (1.0,) * len(runs)
    if len(weights) != len(runs):
        raise UserError(f"--run-weights: {len(weights)} weights for {len(runs)} runs; give one per run")
    return [(Path(run), weight) for run, weight in zip(runs, weights, strict=True)]


def weigh_checkpoints(paths: list[Path], cfg: BlendConfig) -> list[tuple[Path, float]]:
    """A run's checkpoints, best first, with weights that sum to 1."""
    weights = cfg.checkpoint_weights or (1.0,) * len(paths)
    ranked = list(zip(paths, weights, strict=False))
    total = sum(weight for _, weight in ranked)
    return [(path, weight / total) for path, weight in ranked]
