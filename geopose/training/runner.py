"""Training one fold of one config: `train` and its Catalyst runner.

Reading order: PoseRunner builds model, loss, loaders, optimizer and schedule from the config. Catalyst then calls
handle_batch for every batch, and the callbacks of steps.py, callbacks.py and resume.py around it. engine.py holds what
all trainings share: devices and processes.
"""

import math
import sys
from pathlib import Path

import torch
from catalyst import dl

from geopose.adaptation.unlabelled import read_unlabelled, warn_of_unknown_poses
from geopose.config import Config, save_config
from geopose.data.dataset import create_train_loader, create_valid_loader, split_fold
from geopose.data.store import advise_preparing
from geopose.devices import allow_tf32, autocast, pick_device, pick_precision
from geopose.models.checkpoints import load_weights, save_state
from geopose.models.model import create_model
from geopose.models.zoom import forward_zoomed
from geopose.runs.folder import checkpoint_paths, refuse_other_settings
from geopose.training.budget import SETTLING_STEPS, BudgetCallback
from geopose.training.callbacks import (
    VALID_METRIC,
    CheckpointCallback,
    EarlyStoppingCallback,
    EpochLine,
    LossCallback,
    ManifestCallback,
    MetricsCsv,
    ScoreCallback,
    SnapshotCallback,
)
from geopose.training.engine import EngineRunner
from geopose.training.losses import PoseLoss
from geopose.training.processes import check_processes, copy_from_first, value_of_first
from geopose.training.resume import STATE_FILE, ResumeCallback, training_state
from geopose.training.schedule import Schedule, epoch_ends, fixed_boundaries
from geopose.training.self_training import FeatureTieCallback, SelfTrainingCallback
from geopose.training.start_share import StartShareCallback
from geopose.training.steps import StepCallback


def train(config: Config) -> Path:
    """Train one fold to the end and return its run folder, which then holds a manifest.

    An interrupted run resumes after its last complete epoch. Everything random depends on the seed, the epoch, the rank
    and the number of processes only, so on a CPU it reaches exactly the weights of an uninterrupted run. On a GPU the
    weights differ a little from run to run. Raises UserError when the folder holds an unfinished run with other
    settings, data or folds.
    """
    run_dir = Path(config.run.dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    if (run_dir / STATE_FILE).exists():
        refuse_other_settings(run_dir, "an unfinished run", config)
    save_config(config, run_dir / "config.yaml")
    PoseRunner(config).run()
    return run_dir


class PoseRunner(EngineRunner):
    """One fold's training. Every rank builds its own parts from the config, and rank 0 writes files."""

    schedule: Schedule | None = None  # None with optim.schedule=plateau

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.run_dir = Path(config.run.dir)
        self.device, self.gpus = pick_device(config.train.device), config.train.gpus
        name = config.train.precision
        self.precision = name if name == "auto" else pick_precision(name, self.device)
        origin = config.train.start_from
        self.start_checkpoint = checkpoint_paths(origin)[0] if origin else None
        self.train_table, self.valid_table, self.skipped_tiles = split_fold(config)
        check_processes(config.train.gpus, self.device, len(self.valid_table))
        self.cities = sorted(self.valid_table.city.unique())
        self.unlabelled_table = read_unlabelled(config) if config.train.self_training else None

    # --- what Catalyst asks for ---------------------------------------------------------------------------------

    @property
    def seed(self) -> int:
        return self.config.seed

    @property
    def num_epochs(self) -> int:
        if self.config.train.max_minutes:
            return sys.maxsize
        return math.ceil(self.schedule.steps[-1] / self.steps_per_epoch) if self.schedule else self.config.train.epochs

    def get_loaders(self):
        rank, world_size = self.engine.process_index, self.engine.num_processes
        if self.engine.is_main_process:
            advise_preparing(self.train_table)
            if self.unlabelled_table is not None:
                advise_preparing(self.unlabelled_table)
                warn_of_unknown_poses(self.unlabelled_table)
            for fault in self.skipped_tiles.values():
                print(f"skipped: {fault}", flush=True)
        return {
            "train": create_train_loader(self.train_table, self.config, rank, world_size),
            "valid": create_valid_loader(self.valid_table, self.config, rank, world_size),
        }

    def get_model(self):
        model = create_model(self.config.model)
        if self.start_checkpoint:
            load_weights(model, self.start_checkpoint, new_part="refiner")
        model.train_only(self.config.train.parts)
        if self.config.train.compile:
            model.compile()  # in place, so that the weights keep their names
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
            # An absolute threshold, because a relative one takes every score for an improvement while R2 is below 0.
            return torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer,
                mode="max",
                factor=cfg.plateau_factor,
                patience=cfg.plateau_patience,
                threshold=1e-4,
                threshold_mode="abs",
            )
        steps, boundaries = self.plan_schedule()
        self.schedule = Schedule(cfg.schedule, cfg.warmup_steps, cfg.min_lr / cfg.lr, steps, boundaries)
        return torch.optim.lr_scheduler.LambdaLR(optimizer, self.schedule)

    def plan_schedule(self) -> tuple[list[int], list[float]]:
        """Steps and boundaries of the schedule: the ends of epochs, those of a manifest, or the start of a budget."""
        train, length = self.config.train, self.steps_per_epoch
        if train.max_minutes:
            steps = sorted({1, min(SETTLING_STEPS, length)})  # the first step is slower than all others
            return steps, [0.0] * len(steps)
        boundaries = train.schedule_boundaries or fixed_boundaries(train.epochs)
        return train.schedule_steps or epoch_ends(len(boundaries), length), boundaries

    def get_callbacks(self):
        train = self.config.train
        callbacks = {
            "criterion": LossCallback(),
            "step": StepCallback(self.config, VALID_METRIC),
            "scores": ScoreCallback(self.cities),
            "checkpoint": CheckpointCallback(self.run_dir / "checkpoints", train.keep_checkpoints),
            "progress": EpochLine(),
            "manifest": ManifestCallback(),
            "resume": ResumeCallback(),
        }
        if train.start_share:
            callbacks["start_share"] = StartShareCallback(train.start_share)
        if self.config.loss.feature_tie_weight:
            callbacks["feature_tie"] = FeatureTieCallback(self.config)
        if self.unlabelled_table is not None:
            callbacks["self_training"] = SelfTrainingCallback(self.config, self.unlabelled_table)
        if train.snapshot_epochs:
            callbacks["snapshots"] = SnapshotCallback(train.snapshot_epochs)
        if train.max_minutes:
            callbacks["budget"] = BudgetCallback(train.max_minutes * 60)
        if train.early_stop_patience:
            callbacks["early_stop"] = EarlyStoppingCallback(
                patience=train.early_stop_patience, loader_key="valid", metric_key=VALID_METRIC, minimize=False
            )
        return callbacks

    def get_loggers(self):
        return {
            "csv": MetricsCsv(self.run_dir / "metrics.csv"),
            "tensorboard": dl.TensorboardLogger(str(self.run_dir / "tensorboard"), log_batch_metrics=False),
        }

    # --- while training -----------------------------------------------------------------------------------------

    def on_experiment_start(self, runner):
        super().on_experiment_start(runner)
        if self.precision == "auto":  # measured once for all ranks; a resumed training takes it from its state
            first = self.engine.is_main_process
            picked = pick_precision("auto", self.device) if first else None
            self.precision = value_of_first(picked, self.engine.device)
        allow_tf32(self.precision == "tf32")  # for the backward pass, which autocast does not cover

    def on_loader_start(self, runner):
        super().on_loader_start(runner)
        if not self.is_train_loader:  # the ranks' batch norms differ: each has followed its own last batches
            copy_from_first(self.trained_model())

    def handle_batch(self, batch):
        if self.config.train.channels_last:
            batch["image"] = batch["image"].contiguous(memory_format=torch.channels_last)
        with autocast(self.device, self.precision):
            if self.is_train_loader:  # crops already have the resolution that the network works at
                self.outputs = self.model(batch["image"], batch["gsd_m"], batch["city"], batch["native_gsd_m"])
            else:
                model, zoom = self.evaluated_model(), self.config.model.input_zoom
                self.outputs = forward_zoomed(model, batch["image"], batch["gsd_m"], batch["city"], zoom)

    def on_batch_end(self, runner):
        super().on_batch_end(runner)
        if self.is_train_loader and self.is_over and not self.is_last_batch:
            self.need_early_stop = True  # Catalyst ends the loader, not the training, when this is set between batches

    def on_epoch_end(self, runner):
        super().on_epoch_end(runner)  # writes the epoch's metrics, so the saved state never lacks their row
        if self.engine.is_main_process:
            save_state(training_state(self), self.run_dir / STATE_FILE)
            self.callbacks["checkpoint"].remove_others()  # only now: the state before this one named them
        self.engine.wait_for_everyone()

    def evaluated_model(self) -> torch.nn.Module:
        """The model that is validated and kept: the mean of start and trained model if there is one."""
        start_share = self.callbacks.get("start_share")
        return start_share.model if start_share else self.trained_model()

    def trained_model(self) -> torch.nn.Module:
        """The result of the steps so far: the moving average if there is one.

        It is never the distributed wrapper, because ranks may hold unequal numbers of tiles.
        """
        average = self.callbacks["step"].average
        return average.module if average else self.engine.unwrap_model(self.model)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch."""
        return math.ceil(len(self.loaders["train"]) / self.config.train.accumulation_steps)

    @property
    def is_last_batch(self) -> bool:
        """Whether this batch is the last one of an epoch that is not cut short."""
        return self.loader_batch_step // self.engine.num_processes == self.loader_batch_len

    @property
    def is_over(self) -> bool:
        """Whether all steps of the schedule are done. The plateau schedule has no end of its own."""
        return self.schedule is not None and self.optimizer_steps >= self.schedule.steps[-1]

    @property
    def crops_seen(self) -> int:
        """Training crops of all ranks since training began. A time budget may have cut the last epoch short."""
        epochs, steps = divmod(self.optimizer_steps, self.steps_per_epoch)
        batches = epochs * len(self.loaders["train"]) + steps * self.config.train.accumulation_steps
        return batches * self.config.data.batch_size * self.engine.num_processes

    @property
    def optimizer_steps(self) -> int:
        """Optimizer steps since training began, also over interruptions."""
        return self.callbacks["step"].steps
