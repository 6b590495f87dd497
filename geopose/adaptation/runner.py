"""Training a translation network: `train_generator` and its Catalyst runner with two optimizers."""

from pathlib import Path

import numpy as np
import torch
from catalyst import dl
from catalyst.core.callback import (
    Callback,
    CallbackOrder,
    IBackwardCallback,
    IOptimizerCallback,
    ISchedulerCallback,
)

from geopose.adaptation.config import TranslateConfig
from geopose.adaptation.images import PairDataset
from geopose.adaptation.losses import edge_loss, patch_nce, realness_loss
from geopose.adaptation.networks import Generator, Translator, create_discriminator, to_signed, translate_rgb
from geopose.adaptation.registration import moved_px
from geopose.cli import UserError
from geopose.config import save_config
from geopose.data.dataset import DrawSampler
from geopose.data.loader import OneThreadLoader
from geopose.devices import allow_tf32, autocast, pick_device, pick_precision
from geopose.io.rasters import read_rgb
from geopose.models.checkpoints import load_weights, save_state, save_weights
from geopose.training.callbacks import MetricsCsv
from geopose.training.engine import EngineRunner
from geopose.training.processes import RunningMeans, check_processes
from geopose.training.progress import ProgressCallback
from geopose.training.resume import STATE_FILE, common_state, resume
from geopose.training.schedule import Schedule, epoch_ends, fixed_boundaries

WEIGHTS = "generator.safetensors"
BETAS = (0.5, 0.999)  # of Adam, as usual for adversarial losses
LOSSES = ("adversarial", "nce", "edge", "discriminator")
PICTURE_PX = 256


def train_generator(config: TranslateConfig, folder: Path, pairs: PairDataset, held_out: list[str]) -> Generator:
    """The trained generator on the config's device. Its folder holds the weights, the curves and sample pictures.

    A finished one is loaded. An interrupted training resumes after its last complete epoch, and on a CPU it reaches
    exactly the weights of an uninterrupted one. held_out: paths of tiles for the pictures.
    """
    if not (folder / WEIGHTS).exists():
        folder.mkdir(parents=True, exist_ok=True)
        save_config(config, folder / "config.yaml")
        TranslationRunner(config, folder, pairs, held_out).run()
    generator = Generator(config.network.width, config.network.blocks)
    load_weights(generator, folder / WEIGHTS)
    (folder / STATE_FILE).unlink(missing_ok=True)  # here, because a kill may come after the weights were written
    return generator.to(pick_device(config.train.device))


class TranslationRunner(EngineRunner):
    """The training of a generator against a discriminator. Every rank draws its own crops, and rank 0 writes files."""

    def __init__(self, config: TranslateConfig, folder: Path, pairs: PairDataset, held_out: list[str]):
        super().__init__()
        self.config, self.run_dir, self.pairs, self.held_out = config, folder, pairs, held_out
        self.device, self.gpus = pick_device(config.train.device), config.train.gpus
        self.precision = pick_precision(config.train.precision, self.device)
        check_processes(self.gpus, self.device)

    @property
    def seed(self) -> int:
        return self.config.seed

    @property
    def num_epochs(self) -> int:
        return self.config.train.epochs

    @property
    def optimizer_steps(self) -> int:
        """Steps of each optimizer since training began, also over interruptions."""
        return self.epoch_step * self.config.train.steps_per_epoch

    def get_loaders(self):
        cfg, rank, world_size = self.config.data, self.engine.process_index, self.engine.num_processes
        draws = self.config.train.steps_per_epoch * cfg.batch_size * world_size
        loader = OneThreadLoader(
            self.pairs,
            batch_size=cfg.batch_size,
            sampler=DrawSampler(draws, rank, world_size),
            num_workers=cfg.workers,
            persistent_workers=cfg.workers > 0,
            pin_memory=self.device.type == "cuda",
        )
        return {"train": loader}

    def get_model(self):
        cfg = self.config.network
        models = {
            "translator": Translator(Generator(cfg.width, cfg.blocks)),
            "discriminator": create_discriminator(cfg.discriminator_width),
        }
        return {name: model.to(memory_format=torch.channels_last) for name, model in models.items()}

    def get_criterion(self):
        """None: the losses need both networks, see AdversarialStep."""

    def get_optimizer(self, model):
        lr = self.config.optim.lr
        return {name: torch.optim.Adam(part.parameters(), lr=lr, betas=BETAS) for name, part in model.items()}

    def get_scheduler(self, optimizer):
        train, optim = self.config.train, self.config.optim
        steps, boundaries = epoch_ends(train.epochs, train.steps_per_epoch), fixed_boundaries(train.epochs)
        schedule = Schedule("cosine", 0, optim.min_lr / optim.lr, steps, boundaries)
        return {name: torch.optim.lr_scheduler.LambdaLR(part, schedule) for name, part in optimizer.items()}

    def get_callbacks(self):
        return {"step": AdversarialStep(), "samples": SampleCallback(), "progress": EpochLine()}

    def get_loggers(self):
        return {
            "csv": MetricsCsv(self.run_dir / "metrics.csv"),
            "tensorboard": dl.TensorboardLogger(str(self.run_dir / "tensorboard"), log_batch_metrics=False),
        }

    def on_experiment_start(self, runner):
        super().on_experiment_start(runner)
        allow_tf32(self.precision == "tf32")  # for the backward pass, which autocast does not cover
        resume(self, self.restore)

    def handle_batch(self, batch):
        self.source, self.target = (to_signed(batch[kind]) for kind in ("source", "target"))
        with autocast(self.device, self.precision):
            self.outputs = self.model["translator"](self.source, self.config.loss.nce_patches)

    def on_epoch_end(self, runner):
        super().on_epoch_end(runner)  # writes the epoch's metrics, so the saved state never lacks their row
        if self.engine.is_main_process:
            save_state(self.state(), self.run_dir / STATE_FILE)
        self.engine.wait_for_everyone()

    def on_experiment_end(self, runner):
        if self.engine.is_main_process:
            save_weights(self.generator, self.run_dir / WEIGHTS)
        self.engine.wait_for_everyone()
        super().on_experiment_end(runner)

    @property
    def generator(self) -> Generator:
        """The generator without the wrapper of distributed training."""
        return self.engine.unwrap_model(self.model["translator"]).generator

    def stateful_parts(self) -> dict:
        """Everything with a state, by name."""
        models = {name: self.engine.unwrap_model(model) for name, model in self.model.items()}
        kinds = {"model": models, "optimizer": self.optimizer, "scheduler": self.scheduler}
        return {f"{kind} {name}": part for kind, parts in kinds.items() for name, part in parts.items()}

    def state(self) -> dict:
        """Everything that the remaining epochs depend on, taken between two epochs."""
        return common_state(self) | {name: part.state_dict() for name, part in self.stateful_parts().items()}

    def restore(self, state: dict) -> None:
        """Put the parts into the state that state() returned; see resume."""
        for name, part in self.stateful_parts().items():
            part.load_state_dict(state[name])


class AdversarialStep(IBackwardCallback, IOptimizerCallback, ISchedulerCallback):
    """One step of the discriminator, then one of the generator, and the means of their losses over all ranks."""

    def __init__(self):
        Callback.__init__(self, order=CallbackOrder.Backward)  # the interfaces' own orders differ

    def on_loader_start(self, runner) -> None:
        self.means = RunningMeans(*LOSSES)

    def on_batch_end(self, runner) -> None:
        judge, translated = runner.model["discriminator"], runner.outputs["translated"]
        with autocast(runner.device, runner.precision):
            of_translated, of_target = judge(torch.cat([translated.detach(), runner.target])).chunk(2)
        losses = {"discriminator": (realness_loss(of_translated, 0) + realness_loss(of_target, 1)) / 2}
        self.step(runner, "discriminator", losses["discriminator"])

        judge = runner.engine.unwrap_model(judge).requires_grad_(False)
        with autocast(runner.device, runner.precision):
            losses["adversarial"] = realness_loss(judge(translated), 1)
        cfg = runner.config.loss
        losses["nce"] = patch_nce(runner.outputs["queries"], runner.outputs["keys"], cfg.nce_temperature)
        losses["edge"] = edge_loss(runner.source, translated)
        total = losses["adversarial"] + cfg.nce_weight * losses["nce"] + cfg.edge_weight * losses["edge"]
        self.step(runner, "translator", total)
        judge.requires_grad_(True)

        self.means.add(*(losses[name] for name in LOSSES))

    def step(self, runner, name: str, loss: torch.Tensor) -> None:
        """Apply the gradients of a loss to one of the networks. Raises UserError when the loss is not finite."""
        if not torch.isfinite(loss):
            raise UserError(f"the {name}'s loss is {float(loss)} at epoch {runner.epoch_step}; lower optim.lr")
        runner.engine.backward(loss)
        runner.optimizer[name].step()
        runner.optimizer[name].zero_grad()
        runner.scheduler[name].step()

    def on_loader_end(self, runner) -> None:
        runner.loader_metrics |= self.means.compute(runner.engine.device)
        runner.loader_metrics["lr"] = runner.optimizer["translator"].param_groups[0]["lr"]


class SampleCallback(Callback):
    """After every epoch, tiles that no network is trained on: pictures in TensorBoard, and by how much they moved."""

    def __init__(self):
        super().__init__(order=CallbackOrder.Metric + 1)

    def on_loader_end(self, runner) -> None:
        if not runner.engine.is_main_process:
            return
        distances_px = []
        for number, path in enumerate(runner.held_out[:4]):
            rgb = middle(read_rgb(path))
            translated = translate_rgb(runner.generator, rgb)
            distances_px.append(moved_px(rgb, translated))
            picture = np.hstack([rgb, translated])
            runner.loggers["tensorboard"].log_image(f"sample{number}/tile_translated", picture, runner)
        runner.loader_metrics["moved_px"] = float(np.median(np.concatenate(distances_px)))


def middle(rgb: np.ndarray) -> np.ndarray:
    """The middle of an image [H,W,3], at most PICTURE_PX high and wide."""
    top, left = (max(0, (side - PICTURE_PX) // 2) for side in rgb.shape[:2])
    return np.ascontiguousarray(rgb[top : top + PICTURE_PX, left : left + PICTURE_PX])


class EpochLine(ProgressCallback):
    """The losses of an epoch, and by how much the sample pictures moved."""

    def describe(self, runner) -> str:
        metrics = runner.epoch_metrics["train"]
        return ", ".join(f"{name} {metrics[name]:.3f}" for name in (*LOSSES, "moved_px"))
