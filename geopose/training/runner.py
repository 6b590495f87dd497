"""Training: a Catalyst runner and its callbacks. The only importer of Catalyst."""

import math
import socket
import sys
import time
from pathlib import Path

import pandas as pd
import torch
from catalyst import dl
from catalyst.callbacks.checkpoint import Checkpoint
from catalyst.core.callback import Callback, CallbackOrder, ICriterionCallback
from catalyst.core.logger import ILogger
from timm.utils import ModelEmaV3
from torch import distributed
from torch.multiprocessing import ProcessRaisedException

from geopose.cli import UserError, progress
from geopose.config import Config, save_config
from geopose.data.dataset import create_train_loader, create_valid_loader, split_fold
from geopose.data.store import advise_preparing
from geopose.devices import autocast, pick_device, pick_precision
from geopose.geometry import direction_angle, fit_scale
from geopose.io.files import remove_unfinished
from geopose.io.tables import write_csv
from geopose.models.checkpoints import CHECKPOINT_SUFFIX, load_weights, save_state, save_weights
from geopose.models.model import count_parameters, create_model
from geopose.models.zoom import forward_zoomed, input_zoom
from geopose.runs.folder import checkpoint_paths, fingerprint_file, read_manifest, run_config, write_manifest
from geopose.scoring.metrics import PoseScores
from geopose.training.losses import PoseLoss
from geopose.training.manifest import describe_environment, fingerprint_data
from geopose.training.schedule import Schedule, fixed_boundaries, next_boundary
from geopose.training.snapshots import snapshot

VALID_METRIC = "r2"
STEPS = ("epoch_step", "batch_step", "sample_step", "need_early_stop")
LOSSES = ("loss", "loss_agl", "loss_mag", "loss_cosine", "loss_direction", "loss_scale")


STATE_FILE = "state.pt"  # in the run folder while the run is unfinished


def train(config: Config) -> Path:
    """Train one fold to the end and return its run folder, which then holds a manifest.

    A run that was broken off goes on after its last whole epoch, to the very weights it would have had: whatever is
    drawn at random depends on the seed, the epoch and the rank alone. Raises UserError when it had other settings.
    """
    run_dir = Path(config.run.dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    if (run_dir / STATE_FILE).exists() and run_config(run_dir) != config:
        raise UserError(f"{run_dir} holds an unfinished run with other settings; remove it or give run.dir=DIR")
    save_config(config, run_dir / "config.yaml")
    PoseRunner(config).run()
    return run_dir


class PoseRunner(dl.Runner):
    """One fold's training. Every rank builds its own parts from the config; rank 0 writes files."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.run_dir = Path(config.run.dir)
        self.device = pick_device(config.train.device)
        self.precision = pick_precision(config.train.precision, self.device)
        origin = config.train.start_from
        self.start_checkpoint = checkpoint_paths(origin)[0] if origin else None
        self.train_table, self.valid_table, self.skipped_tiles = split_fold(config)
        self.cities = sorted(self.valid_table.city.unique())

    @property
    def seed(self) -> int:
        return self.config.seed

    @property
    def num_epochs(self) -> int:
        if self.config.train.max_minutes:
            return sys.maxsize
        return len(self.config.train.schedule_boundaries or range(self.config.train.epochs))

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch."""
        return math.ceil(len(self.loaders["train"]) / self.config.train.accumulation_steps)

    def get_engine(self):
        # Autocast is ours, explicit around each forward; the engine adds the gradient scaler that fp16 needs.
        precision = "fp16" if self.precision == "fp16" else "no"
        if self.config.train.gpus > 1:
            backend = "nccl" if self.device.type == "cuda" else "gloo"
            return dl.DistributedDataParallelEngine(
                port=free_port(),  # Catalyst's own, 2112, is one for all trainings on a machine
                num_node_workers=self.config.train.gpus,
                process_group_kwargs={"backend": backend},
                cpu=self.device.type == "cpu",
                mixed_precision=precision,
            )
        return (dl.CPUEngine if self.device.type == "cpu" else dl.GPUEngine)(mixed_precision=precision)

    def get_loaders(self):
        rank, world_size = self.engine.process_index, self.engine.num_processes
        if self.engine.is_main_process:
            advise_preparing(self.train_table, self.config.data.root)
            for fault in self.skipped_tiles.values():
                print(f"left out: {fault}", flush=True)
        return {
            "train": create_train_loader(self.train_table, self.config, rank, world_size),
            "valid": create_valid_loader(self.valid_table, self.config, rank, world_size),
        }

    def _setup_loaders(self) -> None:
        # Catalyst would have accelerate shard loaders that shard themselves, and pad the validation tiles.
        self.loaders = self.get_loaders()

    def get_model(self):
        model = create_model(self.config.model)
        if self.start_checkpoint:
            load_weights(model, self.start_checkpoint)
        if self.config.train.compile:
            model.compile()  # in place: the weights keep their names
        return model.to(memory_format=torch.channels_last) if self.config.train.channels_last else model

    def get_criterion(self):
        return PoseLoss(self.config.loss)

    def get_optimizer(self, model):
        cfg = self.config.optim
        encoder = list(model.encoder.parameters())
        known = {id(parameter) for parameter in encoder}
        fresh = [parameter for parameter in model.parameters() if id(parameter) not in known]
        groups = [{"params": encoder}, {"params": fresh, "lr": cfg.lr * cfg.fresh_lr_factor}]
        return torch.optim.AdamW(groups, lr=cfg.lr, eps=cfg.eps, weight_decay=cfg.weight_decay, fused=True)

    def get_scheduler(self, optimizer):
        cfg = self.config.optim
        if cfg.schedule == "plateau":
            # Absolute: below 0, where R2 may start, a relative threshold takes every score for a better one.
            return torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer,
                mode="max",
                factor=cfg.plateau_factor,
                patience=cfg.plateau_patience,
                threshold=1e-4,
                threshold_mode="abs",
            )
        train = self.config.train
        self.schedule = Schedule(
            cfg.schedule,
            steps_per_epoch=self.steps_per_epoch,
            warmup_steps=cfg.warmup_steps,
            min_factor=cfg.min_lr / cfg.lr,
            # On a time budget the first epoch keeps the peak rate, and its duration plans the rest.
            boundaries=[0.0] if train.max_minutes else train.schedule_boundaries or fixed_boundaries(train.epochs),
        )
        return torch.optim.lr_scheduler.LambdaLR(optimizer, self.schedule)

    def get_callbacks(self):
        train = self.config.train
        callbacks = {
            "criterion": LossCallback(),
            "backward": BackwardCallback(train.accumulation_steps, self.config.optim.grad_clip_norm),
            "optimizer": OptimizerCallback("loss", accumulation_steps=train.accumulation_steps),
            "scores": ScoreCallback(self.cities),
            "checkpoint": CheckpointCallback(self.run_dir / "checkpoints", train.keep_checkpoints),
            "progress": ProgressCallback(),
            "manifest": ManifestCallback(),
        }
        if train.snapshot_epochs:
            callbacks["snapshots"] = SnapshotCallback(train.snapshot_epochs)
        if train.ema_decay:
            callbacks["ema"] = EmaCallback(train.ema_decay, train.accumulation_steps)
        if self.config.optim.schedule == "plateau":
            callbacks["scheduler"] = dl.SchedulerCallback(mode="epoch", loader_key="valid", metric_key=VALID_METRIC)
        else:
            callbacks["scheduler"] = OptimizerStepScheduler(train.accumulation_steps)
        if train.max_minutes:
            callbacks["budget"] = BudgetCallback(train.max_minutes * 60)
        if train.early_stop_patience:
            callbacks["early_stop"] = EarlyStoppingCallback(
                patience=train.early_stop_patience, loader_key="valid", metric_key=VALID_METRIC, minimize=False
            )
        callbacks["resume"] = ResumeCallback()
        return callbacks

    def get_loggers(self):
        return {
            "csv": MetricsCsv(self.run_dir / "metrics.csv"),
            "tensorboard": dl.TensorboardLogger(str(self.run_dir / "tensorboard"), log_batch_metrics=False),
        }

    def run(self):
        """Train. What a process of several tells its user is told here too, without the others' traces."""
        try:
            return super().run()
        except ProcessRaisedException as error:
            _, found, message = str(error).strip().splitlines()[-1].partition("UserError: ")
            if not found:
                raise
            raise UserError(message) from None

    def on_epoch_start(self, runner):
        super().on_epoch_start(runner)
        self.loaders["train"].sampler.epoch = self.epoch_step

    def on_epoch_end(self, runner):
        super().on_epoch_end(runner)
        if self.engine.is_main_process:
            save_state(self.state(), self.run_dir / STATE_FILE)
        self.engine.wait_for_everyone()

    def state(self) -> dict:
        """All that the epochs to come depend on, between two epochs."""
        scaler = self.engine.scaler
        return {
            "steps": {name: getattr(self, name) for name in STEPS},
            "model": self.engine.unwrap_model(self.model).state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": scaler.state_dict() if scaler else None,
            "callbacks": {name: c.state() for name, c in self.callbacks.items() if hasattr(c, "state")},
        }

    def restore(self, state: dict) -> None:
        """Go on from what state() gave."""
        for name in STEPS:
            setattr(self, name, state["steps"][name])
        self.engine.unwrap_model(self.model).load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        if self.engine.scaler:
            self.engine.scaler.load_state_dict(state["scaler"])
        for name, values in state["callbacks"].items():
            self.callbacks[name].restore(values)

    def on_batch_start(self, runner):
        self.batch = {
            key: value.to(self.engine.device, non_blocking=True) if torch.is_tensor(value) else value
            for key, value in self.batch.items()
        }
        super().on_batch_start(runner)

    def handle_batch(self, batch):
        if self.config.train.channels_last:
            batch["image"] = batch["image"].contiguous(memory_format=torch.channels_last)
        with autocast(self.device, self.precision):
            if self.is_train_loader:  # crops come at the resolution the network works at
                self.outputs = self.model(batch["image"], batch["gsd_m"], batch["city"], batch["native_gsd_m"])
            else:
                zoom = input_zoom(self.config.model, float(batch["gsd_m"][0]))
                model = self.evaluated_model()
                self.outputs = forward_zoomed(model, batch["image"], batch["gsd_m"], batch["city"], zoom)

    def evaluated_model(self) -> torch.nn.Module:
        """What is validated and kept: the moving average where there is one.

        Never the distributed wrapper: ranks may hold unequal numbers of tiles.
        """
        ema = self.callbacks.get("ema")
        return ema.average.module if ema else self.engine.unwrap_model(self.model)


class LossCallback(ICriterionCallback):
    """The loss and its parts of every batch; their means over a loader, all-reduced over the ranks."""

    def on_loader_start(self, runner) -> None:
        self.sums = torch.zeros(len(LOSSES) + 1, dtype=torch.float64)

    def on_batch_end(self, runner) -> None:
        losses = runner.criterion(runner.outputs, runner.batch)
        runner.batch_metrics.update(losses)
        values = torch.stack([losses[key].detach() for key in LOSSES]).double().cpu()
        if not torch.isfinite(values[0]):
            raise UserError(
                f"loss is {float(values[0])} at epoch {runner.epoch_step}, tiles {', '.join(runner.batch['id'])}; "
                "lower optim.lr or train in fp32"
            )
        self.sums[:-1] += values * runner.batch_size
        self.sums[-1] += runner.batch_size

    def on_loader_end(self, runner) -> None:
        sums = all_reduce_sum(self.sums, runner.engine.device)
        means = (sums[:-1] / sums[-1]).tolist()
        runner.loader_metrics.update(dict(zip(LOSSES, means, strict=True)))


class BackwardCallback(dl.BackwardCallback):
    """Gradients of the loss divided by the accumulation steps, optionally clipped by their norm when a step is due.

    Gradients that are not finite stop the run before they reach the weights. In fp16 the scaler skips such steps and
    lowers its scale; there the run stops when the scale has become too small to be of use.
    """

    LEAST_SCALE = 2.0**-10

    def __init__(self, accumulation_steps: int, clip_norm: float | None):
        super().__init__(metric_key="loss")
        self.accumulation_steps, self.clip_norm = accumulation_steps, clip_norm

    def on_batch_end(self, runner) -> None:
        if not runner.is_train_loader:
            return
        runner.engine.backward(runner.batch_metrics[self.metric_key] / self.accumulation_steps)
        if not step_is_due(runner, self.accumulation_steps):
            return
        if self.clip_norm:
            runner.engine.clip_grad_norm_(runner.model.parameters(), self.clip_norm)
        scaler = runner.engine.scaler
        if scaler:
            broken = scaler.get_scale() < self.LEAST_SCALE
        else:
            gradients = [p.grad for p in runner.model.parameters() if p.grad is not None]
            broken = not torch.isfinite(torch.nn.utils.get_total_norm(gradients))
        if broken:
            raise UserError(
                f"gradients are not finite at epoch {runner.epoch_step}, tiles {', '.join(runner.batch['id'])}; "
                "lower optim.lr or train in fp32"
            )


class OptimizerCallback(dl.OptimizerCallback):
    """A step every accumulation_steps batches and at the end of the epoch, so that no gradient crosses epochs."""

    def on_batch_end(self, runner) -> None:
        if runner.is_train_loader and step_is_due(runner, self.accumulation_steps):
            self.optimizer.step()
            self.optimizer.zero_grad()
        runner.batch_metrics["lr"] = self.optimizer.param_groups[0]["lr"]

    def on_loader_end(self, runner) -> None:
        if runner.is_train_loader:
            runner.loader_metrics["lr"] = self.optimizer.param_groups[0]["lr"]


class OptimizerStepScheduler(dl.SchedulerCallback):
    """Steps the schedule once per optimizer step rather than once per batch."""

    def __init__(self, accumulation_steps: int):
        super().__init__(mode="batch")
        self.accumulation_steps = accumulation_steps

    def on_batch_end(self, runner) -> None:
        if runner.is_train_loader and step_is_due(runner, self.accumulation_steps):
            self.make_batch_step(runner)


class EmaCallback(Callback):
    """An exponential moving average of the weights, updated after every optimizer step."""

    def __init__(self, decay: float, accumulation_steps: int):
        super().__init__(order=CallbackOrder.Optimizer + 1)
        self.decay, self.accumulation_steps = decay, accumulation_steps

    def on_experiment_start(self, runner) -> None:
        # The warm-up lets the average follow fast at first, instead of clinging to the initial weights.
        self.average = ModelEmaV3(runner.engine.unwrap_model(runner.model), decay=self.decay, use_warmup=True)

    def state(self) -> dict:
        return self.average.module.state_dict()

    def restore(self, state: dict) -> None:
        self.average.module.load_state_dict(state)

    def on_batch_end(self, runner) -> None:
        if runner.is_train_loader and step_is_due(runner, self.accumulation_steps):
            self.average.update(runner.engine.unwrap_model(runner.model), step=runner.batch_step)


def step_is_due(runner, accumulation_steps: int) -> bool:
    """Whether the batch just done completes an optimizer step."""
    done = runner.loader_batch_step // runner.engine.num_processes
    return done % accumulation_steps == 0 or done == runner.loader_batch_len


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
        agl_m = outputs["agl_m"][:, 0].clamp(min=0)  # as a submission holds it
        scale_px_per_m = fit_scale(outputs["mag_px"], outputs["agl_m"])[:, 0]
        angle_rad = direction_angle(outputs["direction"])
        for index, city in enumerate(batch["city"]):
            self.scores.update(
                city,
                agl_m[index],
                batch["agl_m"][index, 0],
                scale_px_per_m[index],
                batch["scale_px_per_m"][index],
                angle_rad[index],
                batch["angle_rad"][index],
            )

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
            raise UserError(f"validation gave no finite {bad[0]} at epoch {runner.epoch_step}; train in fp32")
        runner.loader_metrics.update(metrics)


class SnapshotCallback(Callback):
    """Pictures of each city's first validation tile (of rank 0's) in TensorBoard, every few epochs."""

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
    """The top checkpoints by validation R2, as safetensors written by rank 0 alone.

    Catalyst's own `*.best.pth` is switched off: it holds the last weights, not the best.
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

    def _save(self, runner, obj, logprefix: str) -> str:
        path = Path(f"{logprefix}{CHECKPOINT_SUFFIX}")
        save_weights(runner.evaluated_model(), path)
        return str(path)

    def on_epoch_end_best(self, runner) -> None:
        if runner.engine.is_main_process:
            super().on_epoch_end_best(runner)
        runner.engine.wait_for_everyone()

    def on_experiment_end(self, runner) -> None:
        """Nothing is printed or loaded here."""

    def kept(self) -> list[dict]:
        """File name and score of what is kept, best first."""
        return [{"file": Path(c.logpath).name, VALID_METRIC: c.metric} for c in self._storage]

    state = kept

    def restore(self, state: list[dict]) -> None:
        folder = Path(self.logdir)
        self._storage = [Checkpoint(None, str(folder / kept["file"]), kept[VALID_METRIC]) for kept in state]


class EarlyStoppingCallback(dl.EarlyStoppingCallback):
    """Catalyst's, able to go on where it stopped."""

    def state(self) -> dict:
        return {"best_score": self.best_score, "num_no_improvement_epochs": self.num_no_improvement_epochs}

    def restore(self, state: dict) -> None:
        vars(self).update(state)


class BudgetCallback(Callback):
    """Ends training on a time budget, with the schedule fitted to it epoch by epoch."""

    def __init__(self, seconds: float):
        super().__init__(order=CallbackOrder.External)
        self.seconds = seconds

    def on_experiment_start(self, runner) -> None:
        self.start = time.monotonic()

    def state(self) -> float:
        return time.monotonic() - self.start

    def restore(self, state: float) -> None:
        self.start = time.monotonic() - state

    def on_epoch_start(self, runner) -> None:
        self.epoch_start = time.monotonic()

    def on_epoch_end(self, runner) -> None:
        now = time.monotonic()
        spent = torch.tensor([now - self.epoch_start, now - self.start])
        if distributed.is_initialized():  # every rank plans by rank 0's clock
            spent = spent.to(runner.engine.device)
            distributed.broadcast(spent, 0)
        epoch_seconds, total_seconds = spent.tolist()
        boundaries = runner.schedule.boundaries
        if boundaries[-1] >= 1:
            runner.need_early_stop = True
        else:
            boundaries.append(next_boundary(boundaries, epoch_seconds, self.seconds - total_seconds))


class ProgressCallback(Callback):
    """A bar with loss and best R2 on a terminal, one line per epoch otherwise."""

    def __init__(self):
        super().__init__(order=CallbackOrder.External)
        self.best = -math.inf

    def state(self) -> float:
        return self.best

    def restore(self, state: float) -> None:
        self.best = state

    def on_loader_start(self, runner) -> None:
        if runner.engine.is_main_process:
            self.bar = progress(None, f"epoch {runner.epoch_step} {runner.loader_key}", len(runner.loader), "batch")

    def on_batch_end(self, runner) -> None:
        if runner.engine.is_main_process:
            if not self.bar.disable:
                self.bar.set_postfix(loss=f"{float(runner.batch_metrics['loss']):.3f}", best_r2=f"{self.best:.4f}")
            self.bar.update()

    def on_loader_end(self, runner) -> None:
        if runner.engine.is_main_process:
            self.bar.close()

    def on_epoch_end(self, runner) -> None:
        if runner.engine.is_main_process:
            train, valid = runner.epoch_metrics["train"], runner.epoch_metrics["valid"]
            self.best = max(self.best, valid[VALID_METRIC])
            line = (
                f"epoch {runner.epoch_step}: loss {train['loss']:.3f}, validation loss {valid['loss']:.3f}, "
                f"R2 {valid[VALID_METRIC]:.4f} (AGL {valid['agl_r2']:.4f}, VFLOW {valid['vflow_r2']:.4f}), "
                f"angle error {valid['angle_error_deg']:.1f} deg, best R2 {self.best:.4f}"
            )
            print(line, flush=True)
            with (runner.run_dir / "train.log").open("a") as log:
                log.write(f"{time.strftime('%F %T')} {line}\n")


class ManifestCallback(Callback):
    """Writes manifest.json when training has ended well: all it takes to know and repeat the run."""

    def __init__(self):
        super().__init__(order=CallbackOrder.External + 1)

    def on_experiment_start(self, runner) -> None:
        self.start = time.monotonic()
        origin = runner.config.train.start_from
        # As they are now: the code's commit, or the run begun from, may be another when training ends or goes on.
        self.origin = {"started_from": read_manifest(origin)} if origin else {}
        self.environment = describe_environment()

    def state(self) -> dict:
        return {"seconds": time.monotonic() - self.start, "origin": self.origin}

    def restore(self, state: dict) -> None:
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
            "optimizer_steps": runner.epoch_step * runner.steps_per_epoch,
            "crops_seen": runner.epoch_step * len(runner.loaders["train"].sampler) * runner.engine.num_processes,
            "seconds": round(time.monotonic() - self.start, 1),
            "schedule_boundaries": getattr(getattr(runner, "schedule", None), "boundaries", None),
            "processes": runner.engine.num_processes,
            "device": str(runner.engine.device),
            "precision": runner.precision,
            "parameters": count_parameters(runner.model),
            "data": {
                "root": config.data.root,
                "fingerprint": fingerprint_data(config.data.root),
                "folds": fingerprint_file(Path(config.data.folds)),
                "train_tiles": len(runner.train_table),
                "valid_tiles": len(runner.valid_table),
                "skipped_tiles": runner.skipped_tiles,
            },
            "checkpoints": [c | {"sha256": fingerprint_file(folder / c["file"])} for c in kept],
            **self.origin,
            **self.environment,
        }
        write_manifest(runner.run_dir, manifest)
        (runner.run_dir / STATE_FILE).unlink(missing_ok=True)


class ResumeCallback(Callback):
    """Lets a run that was broken off go on; after the other callbacks, which start anew, have started."""

    def __init__(self):
        super().__init__(order=CallbackOrder.External + 2)

    def on_experiment_start(self, runner) -> None:
        path = runner.run_dir / STATE_FILE
        if runner.engine.is_main_process:
            remove_unfinished(runner.run_dir)
        if not path.exists():
            return
        runner.restore(torch.load(path, map_location=runner.engine.device, weights_only=True))
        if runner.engine.is_main_process:
            runner.loggers["csv"].forget_after(runner.epoch_step)
            print(f"going on after epoch {runner.epoch_step}", flush=True)


class MetricsCsv(ILogger):
    """One row per epoch in metrics.csv: epoch, train_* and valid_* columns."""

    def __init__(self, path: Path):
        super().__init__(log_batch_metrics=False, log_epoch_metrics=True)
        self.path = path

    @property
    def logger(self):
        return self.path

    def forget_after(self, epoch: int) -> None:
        """Drop the rows of later epochs, which are going to be trained again."""
        table = pd.read_csv(self.path, dtype=str)
        write_csv(table[table.epoch.astype(int) <= epoch], self.path)

    def log_metrics(self, metrics, scope: str, runner) -> None:
        if scope != "epoch":
            return
        row = {"epoch": runner.epoch_step, "optimizer_step": runner.epoch_step * runner.steps_per_epoch}
        for loader in ("train", "valid"):
            row |= {f"{loader}_{key}": value for key, value in metrics[loader].items()}
        first = runner.epoch_step == 1
        with self.path.open("w" if first else "a") as stream:
            if first:
                stream.write(",".join(row) + "\n")
            stream.write(",".join(f"{value:.6g}" for value in row.values()) + "\n")


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def all_reduce_sum(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Sum of a float64 tensor over all ranks; the tensor itself in a single process."""
    if not distributed.is_initialized():
        return values
    values = values.to(device)
    distributed.all_reduce(values)
    return values.cpu()
