"""Blended prediction of whole tiles by the checkpoints of one or many runs."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader

from geopose.cli import UserError
from geopose.config import BlendConfig
from geopose.data.dataset import TileDataset
from geopose.devices import autocast, pick_precision
from geopose.geometry import direction_angle
from geopose.inference.calibration import Calibration
from geopose.inference.prefetch import read_ahead
from geopose.inference.tta import VIEWS, Blend, predict_sizes, predict_view
from geopose.io.poses import read_vflow
from geopose.io.rasters import read_agl
from geopose.models.checkpoints import load_average_model, load_model
from geopose.models.nonfinite import count_nonfinite
from geopose.runs.folder import checkpoint_paths
from geopose.scoring.metrics import PoseScores


@dataclass(frozen=True)
class TilePrediction:
    """One tile's blended pose: agl_m float32 [H,W] metres, scale and angle, and the seconds it took."""

    tile_id: str
    agl_m: np.ndarray
    scale_px_per_m: float
    angle_rad: float
    seconds: float


class NotFiniteError(UserError):
    """A prediction holds NaN or infinity; the text names the layer where it began, layers counts them by layer."""

    def __init__(self, message: str, layers: dict[str, int]):
        super().__init__(message)
        self.layers = layers


@dataclass(frozen=True)
class Member:
    """One model of an ensemble: how to get it, its weight, the size of its file."""

    load: Callable[[], torch.nn.Module]
    weight: float
    megabytes: float


class Ensemble:
    """The kept checkpoints of some runs, blended over the views of a test-time augmentation.

    Sums are float32 on the device; but for combine="median", no more is held than one view's predictions. keep_models
    loads every model once and keeps it, else each is loaded anew for every tile, so that memory holds one. spread adds
    the heights' standard deviation over models and views to what predict returns.
    """

    def __init__(
        self,
        runs: list[str | Path],
        cfg: BlendConfig,
        device: torch.device,
        calibration: Calibration,
        keep_models: bool = True,
        spread: bool = False,
    ):
        self.cfg, self.device, self.calibration = cfg, device, calibration
        self.keep_models, self.spread = keep_models, spread
        self.views = VIEWS[cfg.tta]
        self.sizes = dict(zip(cfg.zooms, cfg.zoom_weights or (1.0,) * len(cfg.zooms), strict=True))
        self.precision = pick_precision(cfg.precision, device)
        self.members = [member for run, w in weigh_runs(runs, cfg) for member in self._members(run, w)]

    def _members(self, run: Path, run_weight: float) -> list[Member]:
        """Models of a run with their weights."""
        ranked = weigh_checkpoints(checkpoint_paths(run), self.cfg)
        megabytes = [path.stat().st_size / 1e6 for path, _ in ranked]
        if self.cfg.average_weights:
            return [self._member(megabytes[0], run_weight, load_average_model, run, ranked, self.device)]
        return [
            self._member(size, run_weight * weight, load_model, run, path, self.device)
            for size, (path, weight) in zip(megabytes, ranked, strict=True)
        ]

    def _member(self, megabytes: float, weight: float, load: Callable, *args) -> Member:
        load = partial(load, *args)
        if self.keep_models:
            load = cache(load)
            load()  # a damaged file shows now, not at the first tile
        return Member(load, weight, megabytes)

    def describe_memory(self) -> str:
        """What keeping all models costs against loading each for every tile, in one line."""
        total, largest = sum(m.megabytes for m in self.members), max(m.megabytes for m in self.members)
        count = len(self.members)
        if self.keep_models:
            return f"{count} models kept, {total:.0f} MB of weights; one at a time would hold {largest:.0f} MB"
        return f"{count} models loaded anew for every tile, {largest:.0f} MB at a time instead of {total:.0f}"

    @torch.inference_mode()
    def predict(self, batch: dict) -> dict:
        """Blended pose of a batch of tiles; see Blend.compute."""
        on_device = {key: batch[key].to(self.device) for key in ("image", "gsd_m")} | {"city": batch["city"]}
        blend = Blend(self.cfg.combine, self.spread)
        with autocast(self.device, self.precision):
            for member in self.members:
                model = member.load()
                for view in self.views:
                    blend.add(predict_sizes(model, on_device, view, self.sizes), member.weight)
            pose = blend.compute()
            if not all(bool(torch.isfinite(values).all()) for values in pose.values()):
                raise self._explain_nonfinite(on_device, batch["id"][0])
        return pose

    def _explain_nonfinite(self, batch: dict, tile_id: str) -> NotFiniteError:
        """Where a prediction that is not finite began, found by predicting it again."""
        for member in self.members:
            model = member.load()
            for view, zoom in product(self.views, self.sizes):
                with count_nonfinite(model) as counts:
                    predict_view(model, batch, view, zoom)
                if counts:
                    layer, count = next(iter(counts.items()))
                    remedy = "train the run again" if self.precision == "fp32" else "predict in fp32"
                    return NotFiniteError(
                        f"{tile_id}: not finite in {self.precision}, first {count} values of layer {layer}, "
                        f"{len(counts)} layers in all; {remedy}",
                        counts,
                    )
        return NotFiniteError(f"{tile_id}: scale or direction is not finite, though all layers are; train longer", {})

    def predict_tiles(self, table: pd.DataFrame) -> Iterator[TilePrediction]:
        """Predictions of the tiles of a table (columns id, city, gsd_m, rgb), one at a time, in table order."""
        for batch in read_ahead(DataLoader(TileDataset(table), batch_size=1), self.device.type != "cpu"):
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


def score_predictions(predictions: Iterable[TilePrediction], tiles: pd.DataFrame) -> dict:
    """The challenge's score, as PoseScores.compute gives it, of predictions of labelled tiles, in the table's order.

    tiles has the columns of read_train_table. Heights below 0 count as 0, as a submission holds them.
    """
    scores = PoseScores(sorted(tiles.city.unique()))
    for tile, row in zip(predictions, tiles.itertuples(), strict=True):
        true = read_vflow(row.vflow, row.agl)
        pose = (tile.scale_px_per_m, true.scale_px_per_m, tile.angle_rad, true.angle_rad)
        scores.update(row.city, np.maximum(tile.agl_m, 0), read_agl(row.agl), *pose)
    return scores.compute()


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
