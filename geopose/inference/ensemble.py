"""Predicting whole tiles with the checkpoints of one or several runs, and scoring the predictions."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from geopose.cli import UserError
from geopose.config import BlendConfig
from geopose.data.dataset import TileDataset
from geopose.data.loader import OneThreadLoader
from geopose.devices import autocast, pick_precision
from geopose.geometry import direction_angle
from geopose.inference.blend import Blend
from geopose.inference.calibration import Calibration
from geopose.inference.tta import VIEWS, TTAModel, predict_view
from geopose.io.poses import VflowLabel, read_vflow
from geopose.io.rasters import read_agl
from geopose.models.checkpoints import load_average_model, load_model
from geopose.models.nonfinite import count_nonfinite
from geopose.runs.folder import checkpoint_paths
from geopose.scoring.metrics import HeightSums, PoseScores, height_sums


@dataclass(frozen=True)
class TilePrediction:
    """Predicted heights agl_m float32 [H,W] metres, scale and angle of a tile, and how long the prediction took."""

    tile_id: str
    agl_m: np.ndarray
    scale_px_per_m: float
    angle_rad: float
    seconds: float = 0.0


class NotFiniteError(UserError):
    """A prediction has NaN or infinite values. The text names the layer where they began.

    layers: number of such values by layer.
    """

    def __init__(self, message: str, layers: dict[str, int]):
        super().__init__(message)
        self.layers = layers


@dataclass(frozen=True)
class Member:
    """One model of an ensemble: a function that returns it, its weight, and the size of its file."""

    load: Callable[[], torch.nn.Module]
    weight: float
    megabytes: float


class Ensemble:
    """Models of the checkpoints that some runs kept. Their predictions of all views are combined in one Blend.

    Sums are float32 and on the device. Memory holds the predictions of one view, except with combine="median", which
    keeps all. keep_models=True loads every model once and keeps it. Otherwise each model is loaded again for every
    tile, so that memory holds one model. spread=True adds spread_m, the standard deviation of the heights over models
    and views, to what predict returns.
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
        self.runs, self.cfg, self.device, self.calibration = runs, cfg, device, calibration
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
            load()  # a damaged file is reported now, not at the first tile
        return Member(load, weight, megabytes)

    def describe_memory(self) -> str:
        """One line on the memory of all models, compared with loading each again for every tile."""
        total, largest = sum(m.megabytes for m in self.members), max(m.megabytes for m in self.members)
        count = len(self.members)
        if self.keep_models:
            return f"{count} models in memory, {total:.0f} MB of weights; one at a time would take {largest:.0f} MB"
        return f"{count} models, loaded again for every tile: {largest:.0f} MB of weights at a time, not {total:.0f} MB"

    @torch.inference_mode()
    def predict(self, batch: dict) -> dict:
        """Combined prediction of a batch of tiles. Returns what Blend.compute returns.

        All models and views count directly in one Blend: the median and the normalised sum of directions would differ
        if each model's views were combined first.
        """
        on_device = {key: batch[key].to(self.device) for key in ("image", "gsd_m")} | {"city": batch["city"]}
        blend = Blend(self.cfg.combine, self.spread, self.cfg.normalise_directions)
        with autocast(self.device, self.precision):
            for member in self.members:
                TTAModel(member.load(), self.views, self.sizes).add_views(blend, on_device, member.weight)
            pose = blend.compute()
            if not all(bool(torch.isfinite(values).all()) for values in pose.values()):
                raise self._explain_nonfinite(on_device, batch["id"][0])
        return pose

    def _explain_nonfinite(self, batch: dict, tile_id: str) -> NotFiniteError:
        """Predict again, and find the layer where the first NaN or infinite value appeared."""
        for member in self.members:
            model = member.load()
            for view, zoom in product(self.views, self.sizes):
                with count_nonfinite(model) as counts:
                    predict_view(model, batch, view, zoom)
                if counts:
                    layer, count = next(iter(counts.items()))
                    remedy = "train the run again" if self.precision == "fp32" else "predict in fp32"
                    return NotFiniteError(
                        f"{tile_id}: not finite in {self.precision}: NaN or infinity begins in layer {layer} "
                        f"({count} values) and reaches {len(counts) - 1} other layers; {remedy}",
                        counts,
                    )
        return NotFiniteError(f"{tile_id}: scale or direction is not finite, though all layers are; train longer", {})

    def predict_tiles(self, table: pd.DataFrame) -> Iterator[TilePrediction]:
        """Predictions of the tiles of a table (columns id, city, gsd_m, rgb), one at a time, in table order."""
        for batch in create_tile_loader(table, self.device):
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


def create_tile_loader(table: pd.DataFrame, device: torch.device) -> OneThreadLoader:
    """Whole tiles, one at a time and in table order, for a model on this device.

    For a GPU, a worker process reads the next two tiles while the model works on one. For a CPU, tiles are read
    between predictions: there the threads of the model wait for each other whenever a reader takes a core from one of
    them, which cost several times what the reading itself took.
    """
    workers = 0 if device.type == "cpu" else 1
    return OneThreadLoader(TileDataset(table), batch_size=1, num_workers=workers)


class ComparedTile(NamedTuple):
    """A predicted tile's row in the table of labels, its height sums, and its predicted and true pose."""

    row: NamedTuple
    heights: HeightSums
    pose: VflowLabel
    true_pose: VflowLabel


def compare_tiles(pairs: Iterable[tuple[TilePrediction, NamedTuple]]) -> Iterator[ComparedTile]:
    """Compare each prediction with the label of its row, which has the columns of read_train_table.

    Heights below 0 count as 0, as in a submission.
    """
    for tile, row in pairs:
        heights = height_sums(np.maximum(tile.agl_m, 0), read_agl(row.agl))
        pose = VflowLabel(tile.scale_px_per_m, tile.angle_rad)
        yield ComparedTile(row, heights, pose, read_vflow(row.vflow, row.agl))


def score_predictions(predictions: Iterable[TilePrediction], tiles: pd.DataFrame) -> dict:
    """The challenge's score of predictions of labelled tiles, as PoseScores.compute returns it.

    tiles has the columns of read_train_table. The predictions are in the same order.
    """
    scores = PoseScores(sorted(tiles.city.unique()))
    for row, heights, *poses in compare_tiles(zip(predictions, tiles.itertuples(), strict=True)):
        scores.add(row.city, heights, *poses)
    return scores.compute()


def weigh_runs(runs: list[str | Path], cfg: BlendConfig) -> list[tuple[Path, float]]:
    """Each run with its weight. Raises UserError unless there is one weight per run."""
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
