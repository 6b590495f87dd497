"""Training beyond the labels: crops without labels, which the moving average labels, and the tie of features."""

import pandas as pd
import torch
from catalyst.core.callback import Callback, CallbackOrder
from torch.nn import functional as F

from geopose.adaptation.feature_tie import FeatureTie
from geopose.adaptation.teacher import Targets, predict_targets
from geopose.adaptation.unlabelled import create_unlabelled_loader
from geopose.cli import UserError
from geopose.config import Config, LossConfig
from geopose.devices import autocast, move_batch
from geopose.geometry import magnitude
from geopose.training.losses import lean_weight
from geopose.training.processes import RunningMeans


class FeatureTieCallback(Callback):
    """Adds loss.feature_tie_weight times the tie of the labelled crops to the loss, after it was computed."""

    def __init__(self, config: Config):
        super().__init__(order=CallbackOrder.MetricAggregation)  # between loss and backward pass
        self.cfg, self.weight = config.model, config.loss.feature_tie_weight
        self.tie: FeatureTie | None = None

    def on_epoch_start(self, runner) -> None:
        if self.tie is None:  # not earlier, because the moving average begins as a copy of the model with its hooks
            self.tie = FeatureTie(self.cfg, runner.engine.device)
            self.tie.watch(runner.engine.unwrap_model(runner.model))

    def on_loader_start(self, runner) -> None:
        self.means = RunningMeans("loss_feature_tie")

    def on_batch_end(self, runner) -> None:
        if runner.is_train_loader:
            loss = self.loss(runner)
            self.means.add(loss)
            runner.batch_metrics["loss"] = runner.batch_metrics["loss"] + loss

    def loss(self, runner):
        """The weighted loss of the last crops that the model has seen."""
        with autocast(runner.device, runner.precision):
            return self.weight * self.tie.loss()

    def on_loader_end(self, runner) -> None:
        if runner.is_train_loader:
            runner.loader_metrics |= self.means.compute(runner.engine.device)


class SelfTrainingCallback(Callback):
    """Gradients of a batch of unlabelled crops, before each batch of labelled ones.

    They begin after train.unlabelled_start_step steps.

    Both parts have a forward and a backward pass of their own, and their gradients add up until the optimizer steps.
    So memory holds one part at a time, and DistributedDataParallel sees each forward pass followed by its backward.
    """

    def __init__(self, config: Config, table: pd.DataFrame):
        super().__init__(order=CallbackOrder.Internal)
        self.config, self.table = config, table

    def on_experiment_start(self, runner) -> None:
        rank, world_size = runner.engine.process_index, runner.engine.num_processes
        steps = len(runner.loaders["train"])
        self.loader = create_unlabelled_loader(self.table, self.config, steps, rank, world_size)

    def on_loader_start(self, runner) -> None:
        self.loader.sampler.epoch = runner.epoch_step
        self.batches = None
        self.means = RunningMeans("loss_unlabelled", "agreeing_share", "agreeing_directions")

    def on_batch_start(self, runner) -> None:
        train = self.config.train
        if not runner.is_train_loader or runner.optimizer_steps < train.unlabelled_start_step:
            return
        if self.batches is None:
            self.batches = iter(self.loader)
        batch = move_batch(next(self.batches), runner.engine.device)
        loss, targets = self.loss(runner, batch)
        if not torch.isfinite(loss):
            raise UserError(
                f"loss of unlabelled images is {float(loss)} at epoch {runner.epoch_step}, {', '.join(batch['id'])}; "
                "lower optim.lr or train in fp32"
            )
        total = train.unlabelled_weight * loss
        if "feature_tie" in runner.callbacks:
            total = total + runner.callbacks["feature_tie"].loss(runner)
        runner.engine.backward(total / train.accumulation_steps)
        shares = ((weight > 0).float().mean() for weight in (targets.agl_weight, targets.direction_weight))
        self.means.add(loss, *shares)

    def loss(self, runner, batch: dict) -> tuple[torch.Tensor, Targets]:
        """Loss of the student on a batch of unlabelled crops, and the labels of the teacher."""
        train, inputs = self.config.train, (batch["gsd_m"], batch["city"], batch["native_gsd_m"])
        layout = torch.channels_last if train.channels_last else torch.contiguous_format
        with autocast(runner.device, runner.precision):
            teacher = runner.trained_model()
            targets = predict_targets(teacher, batch, train.unlabelled_views, train.unlabelled_agreement)
            outputs = runner.model(batch["image"].contiguous(memory_format=layout), *inputs)
        return unlabelled_loss(outputs, targets, self.config.loss), targets

    def on_loader_end(self, runner) -> None:
        if runner.is_train_loader:
            runner.loader_metrics |= self.means.compute(runner.engine.device)


def unlabelled_loss(outputs: dict, targets: Targets, cfg: LossConfig):
    """The loss of PoseLoss for labels that count by their weights, with its factors and with Huber for both planes.

    The sums are divided by the number of pixels or crops and not by the sum of weights, so that a batch in which little
    agrees has a small gradient.
    """
    target_mag_px = magnitude(targets.agl_m, targets.scale_px_per_m[:, None])
    lean = lean_weight(target_mag_px, cfg.lean_px)
    agl = F.huber_loss(outputs["agl_m"].float(), targets.agl_m, reduction="none", delta=cfg.agl_delta_m)
    mag = F.huber_loss(outputs["mag_px"].float(), target_mag_px, reduction="none", delta=cfg.mag_delta_px)
    dense = cfg.agl_weight * agl + cfg.mag_weight * mag * targets.scale_weight.view(-1, 1, 1, 1)
    direction = outputs["direction"].float()
    cosine = 1 - F.cosine_similarity(direction, targets.direction, dim=-1)
    error = (direction - targets.direction).square().mean(-1)
    crop = (cfg.cosine_weight * cosine + cfg.direction_mse_weight * error) * targets.direction_weight
    if "scale_px_per_m" in outputs:
        error = (outputs["scale_px_per_m"] - targets.scale_px_per_m).square()
        crop = crop + cfg.scale_weight * error * targets.scale_weight
    return (dense * targets.agl_weight).mean() + (crop * lean).mean()
