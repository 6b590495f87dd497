"""Callbacks that measure, record and end a training. The optimizer step is in steps.py, resuming in resume.py."""

import math
import time
from pathlib import Path

import pandas as pd
import torch
from catalyst import dl
from catalyst.callbacks.checkpoint import Checkpoint
from catalyst.core.callback import Callback, CallbackOrder, ICriterionCallback
from catalyst.core.logger import ILogger

from geopose.cli import UserError
from geopose.geometry import direction_angle, fit_scale
from geopose.io.poses import VflowLabel
from geopose.io.tables import write_csv
from geopose.models.checkpoints import CHECKPOINT_SUFFIX, save_weights
from geopose.models.model import count_parameters
from geopose.runs.folder import (
    fingerprint_file,
    fingerprint_inputs,
    read_manifest,
    refuse_other_inputs,
    write_manifest,
)
from geopose.scoring.metrics import PoseScores
from geopose.training.losses import LOSS_PARTS
from geopose.training.manifest import describe_environment
from geopose.training.processes import RunningMeans, all_reduce_sum
from geopose.training.progress import ProgressCallback
from geopose.training.resume import STATE_FILE
from geopose.training.snapshots import snapshot

VALID_METRIC = "r2"  # decides which checkpoints are kept
LOSSES = ("loss", *LOSS_PARTS)


class LossCallback(ICriterionCallback):
    """The loss and its parts for every batch, and their means over a loader, all-reduced over the ranks."""

    def on_loader_start(self, runner) -> None:
        self.means = RunningMeans(*LOSSES)

    def on_batch_end(self, runner) -> None:
        losses = runner.criterion(runner.outputs, runner.batch)
        runner.batch_metrics.update(losses)
        loss, *_ = self.means.add(*(losses[key] for key in LOSSES), count=runner.batch_size)
        if not torch.isfinite(loss):
            raise UserError(
                f"loss is {float(loss)} at epoch {runner.epoch_step}, tiles {', '.join(runner.batch['id'])}; "
                "lower optim.lr or train in fp32"
            )

    def on_loader_end(self, runner) -> None:
        runner.loader_metrics |= self.means.compute(runner.engine.device)


class ScoreCallback(Callback):
    """The challenge's R2 over the validation tiles, pooled per city over all ranks."""

    def __init__(self, cities: list[str]):
        super().__init__(order=CallbackOrder.Metric + 1)
        self.cities = cities

    def on_loader_start(self, runner) -> None:
        self.scores = PoseScores(self.cities)

    def on_batch_end(self, runner) -> None:
        if runner.is_train_loader:
            return
        outputs, batch = runner.outputs, runner.batch
        agl_m = outputs["agl_m"][:, 0].clamp(min=0)  # a submission holds no negative heights
        scale_px_per_m = fit_scale(outputs["mag_px"], outputs["agl_m"])[:, 0]
        angle_rad = direction_angle(outputs["direction"])
        for index, city in enumerate(batch["city"]):
            pose = VflowLabel(scale_px_per_m[index], angle_rad[index])
            true_pose = VflowLabel(batch["scale_px_per_m"][index], batch["angle_rad"][index])
            self.scores.update(city, agl_m[index], batch["agl_m"][index, 0], pose, true_pose)

    def on_loader_end(self, runner) -> None:
        if runner.is_train_loader:
            return
        self.scores.sums = all_reduce_sum(self.scores.sums, runner.engine.device)
        result = self.scores.compute()
        metrics = {VALID_METRIC: result["final_r2"]}
        for key in ("agl_r2", "vflow_r2", "angle_error_deg"):
            metrics[key] = sum(city[key] for city in result["cities"].values()) / len(result["cities"])
        metrics |= {f"{VALID_METRIC}_{name}": city["r2"] for name, city in result["cities"].items()}
        bad = [key for key, value in metrics.items() if not math.isfinite(value)]
        if bad:
            raise UserError(f"validation {bad[0]} is not finite at epoch {runner.epoch_step}; train in fp32")
        runner.loader_metrics.update(metrics)


class SnapshotCallback(Callback):
    """A picture of one validation tile per city in TensorBoard, every few epochs. Rank 0 draws its own tiles."""

    def __init__(self, every: int):
        super().__init__(order=CallbackOrder.Metric + 1)
        self.every = every

    def on_loader_start(self, runner) -> None:
        self.shown = set()

    def on_batch_end(self, runner) -> None:
        due = not runner.is_train_loader and (runner.epoch_step - 1) % self.every == 0
        if not due or not runner.engine.is_main_process:
            return
        for index, city in enumerate(runner.batch["city"]):
            if city in self.shown:
                continue
            self.shown.add(city)
            rgb = runner.batch["image"][index].permute(1, 2, 0).to(torch.uint8).cpu().numpy()
            heights = (runner.batch["agl_m"][index, 0], runner.outputs["agl_m"][index, 0])
            picture = snapshot(rgb, *(height.float().cpu().numpy() for height in heights))
            runner.loggers["tensorboard"].log_image(f"{city}/image_truth_prediction_error", picture, runner)


class CheckpointCallback(dl.CheckpointCallback):
    """The best checkpoints by validation R2, written by rank 0 as safetensors.

    Catalyst's own `*.best.pth` is switched off, because it holds the last weights and not the best ones.
    """

    def __init__(self, folder: Path, topk: int):
        super().__init__(
            logdir=str(folder),
            loader_key="valid",
            metric_key=VALID_METRIC,
            minimize=False,
            topk=topk,
            save_last=False,
            save_best=False,
        )

    def _handle_epoch(self, runner, score: float) -> None:
        """Write a checkpoint and drop the worst one from the list.

        Catalyst's version also removes the file of the worst one, which the saved state of the training still names.
        """
        path = Path(self.logdir) / f"model.{runner.epoch_step:04d}{CHECKPOINT_SUFFIX}"
        save_weights(runner.evaluated_model(), path)
        ranked = sorted([*self._storage, Checkpoint(None, str(path), score)], key=lambda c: c.metric, reverse=True)
        self._storage = ranked[: self.topk]

    def remove_others(self) -> None:
        """Remove the checkpoints that are not kept. Call it after the state that no longer names them was saved."""
        kept = {c["file"] for c in self.kept()}
        for path in Path(self.logdir).glob(f"*{CHECKPOINT_SUFFIX}"):
            if path.name not in kept:
                path.unlink()

    def on_epoch_end_best(self, runner) -> None:
        if runner.engine.is_main_process:
            super().on_epoch_end_best(runner)
        runner.engine.wait_for_everyone()

    def on_experiment_end(self, runner) -> None:
        """Do nothing. Catalyst's version prints scores and loads weights."""

    def kept(self) -> list[dict]:
        """File name and score of each kept checkpoint, best first."""
        return [{"file": Path(c.logpath).name, VALID_METRIC: c.metric} for c in self._storage]

    state = kept

    def restore(self, state: list[dict]) -> None:
        folder = Path(self.logdir)
        missing = [folder / kept["file"] for kept in state if not (folder / kept["file"]).exists()]
        if missing:
            raise UserError(
                f"{missing[0]} missing, but {STATE_FILE} names it; restore it, or remove {folder.parent} to train again"
            )
        self._storage = [Checkpoint(None, str(folder / kept["file"]), kept[VALID_METRIC]) for kept in state]


class EarlyStoppingCallback(dl.EarlyStoppingCallback):
    """Catalyst's early stopping with a state that can be restored."""

    def state(self) -> dict:
        return {"best_score": self.best_score, "num_no_improvement_epochs": self.num_no_improvement_epochs}

    def restore(self, state: dict) -> None:
        vars(self).update(state)


class EpochLine(ProgressCallback):
    """Losses and scores of an epoch, and in the progress bar the loss and the best R2."""

    def __init__(self):
        super().__init__()
        self.best = -math.inf

    def state(self) -> float:
        return self.best

    def restore(self, state: float) -> None:
        self.best = state

    def postfix(self, runner) -> dict[str, str]:
        return {"loss": f"{float(runner.batch_metrics['loss']):.3f}", "best_r2": f"{self.best:.4f}"}

    def describe(self, runner) -> str:
        train, valid = runner.epoch_metrics["train"], runner.epoch_metrics["valid"]
        self.best = max(self.best, valid[VALID_METRIC])
        return (
            f"loss {train['loss']:.3f}, validation loss {valid['loss']:.3f}, "
            f"R2 {valid[VALID_METRIC]:.4f} (AGL {valid['agl_r2']:.4f}, VFLOW {valid['vflow_r2']:.4f}), "
            f"angle error {valid['angle_error_deg']:.1f} deg, best R2 {self.best:.4f}"
        )


class MetricsCsv(ILogger):
    """metrics.csv with one row per epoch: epoch, optimizer_step, and a column per loader and metric (train_loss)."""

    def __init__(self, path: Path):
        super().__init__(log_batch_metrics=False, log_epoch_metrics=True)
        self.path = path

    @property
    def logger(self):
        return self.path

    def forget_after(self, epoch: int) -> None:
        """Remove the rows of later epochs, which will be trained again."""
        table = pd.read_csv(self.path, dtype=str)
        write_csv(table[table.epoch.astype(int) <= epoch], self.path)

    def log_metrics(self, metrics, scope: str, runner) -> None:
        if scope != "epoch":
            return
        row = {"epoch": runner.epoch_step, "optimizer_step": runner.optimizer_steps}
        for loader in runner.loaders:
            row |= {f"{loader}_{key}": value for key, value in metrics[loader].items()}
        first = runner.epoch_step == 1
        with self.path.open("w" if first else "a") as stream:
            if first:
                stream.write(",".join(row) + "\n")
            stream.write(",".join(f"{value:.6g}" for value in row.values()) + "\n")


class ManifestCallback(Callback):
    """Writes manifest.json when training ends well: everything needed to identify and repeat the run."""

    def __init__(self):
        super().__init__(order=CallbackOrder.External + 1)

    def on_experiment_start(self, runner) -> None:
        self.start = time.monotonic()
        self.config, origin = runner.config, runner.config.train.start_from
        # Read now, because code, data and the run at start_from may change before training ends.
        self.origin = {"started_from": read_manifest(origin)} if origin else {}
        self.environment = describe_environment()
        self.inputs = fingerprint_inputs(self.config)

    def state(self) -> dict:
        return {"seconds": time.monotonic() - self.start, "origin": self.origin, "inputs": self.inputs}

    def restore(self, state: dict) -> None:
        refuse_other_inputs(Path(self.config.run.dir), "an unfinished run", state["inputs"], self.config)
        self.start = time.monotonic() - state["seconds"]
        self.origin = state["origin"]

    def on_experiment_end(self, runner) -> None:
        if not runner.engine.is_main_process:
            return
        config, folder = runner.config, runner.run_dir / "checkpoints"
        kept = runner.callbacks["checkpoint"].kept()
        manifest = {
            "finished": time.strftime("%F %T"),
            "seed": config.seed,
            "epochs": runner.epoch_step,
            "optimizer_steps": runner.optimizer_steps,
            "crops_seen": runner.crops_seen,
            "seconds": round(time.monotonic() - self.start, 1),
            "schedule_steps": runner.schedule.steps if runner.schedule else None,
            "schedule_boundaries": runner.schedule.boundaries if runner.schedule else None,
            "processes": runner.engine.num_processes,
            "device": str(runner.engine.device),
            "precision": runner.precision,
            "parameters": count_parameters(runner.model),
            "data": {
                "root": config.data.root,
                **self.inputs,
                "train_tiles": len(runner.train_table),
                "gsd_m": [float(runner.train_table.gsd_m.min()), float(runner.train_table.gsd_m.max())],
                "valid_tiles": len(runner.valid_table),
                "unlabelled_images": 0 if runner.unlabelled_table is None else len(runner.unlabelled_table),
                "skipped_tiles": runner.skipped_tiles,
            },
            "checkpoints": [c | {"sha256": fingerprint_file(folder / c["file"])} for c in kept],
            **self.origin,
            **self.environment,
        }
        write_manifest(runner.run_dir, manifest)
        (runner.run_dir / STATE_FILE).unlink(missing_ok=True)
