"""All settings of a translation as dataclasses with defaults, and the values that they may have."""

from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import OmegaConf

from geopose.cli import UserError
from geopose.config import flatten, load_settings
from geopose.ranges import check_values

METHODS = ("gan", "fda", "histogram")


@dataclass
class DataConfig:
    """Crops of both kinds of images."""

    crop_px: int = 128
    batch_size: int = 4  # pairs of crops per process and step
    workers: int = 0  # loader processes; 0 reads in the training process


@dataclass
class NetworkConfig:
    """Sizes of the networks; see networks.py."""

    width: int = 16  # channels of the generator at full resolution; four times as many at a quarter of it
    blocks: int = 4  # residual blocks at a quarter of the resolution
    discriminator_width: int = 32


@dataclass
class LossConfig:
    """Weights of the generator's losses, beside 1 for the discriminator's opinion; see losses.py."""

    nce_weight: float = 5.0
    nce_patches: int = 128  # places per crop that are compared with each other
    nce_temperature: float = 0.07
    edge_weight: float = 2.0


@dataclass
class OptimConfig:
    """Adam of both networks. The learning rate falls from lr to min_lr along half a cosine."""

    lr: float = 2e-4
    min_lr: float = 1e-5


@dataclass
class TrainConfig:
    """Length, device and processes."""

    epochs: int = 20
    steps_per_epoch: int = 100
    precision: str = "fp32"  # fp32 | tf32 (GPU only) | bf16
    device: str = "auto"  # auto | cpu | cuda
    gpus: int = 1  # processes on this machine; more than one trains with DistributedDataParallel


@dataclass
class ColourConfig:
    """The methods without a network. Each tile draws its strength from the interval."""

    fda_beta: list[float] = field(default_factory=lambda: [0.005, 0.03])  # part of the spectrum that is exchanged
    histogram_blend: list[float] = field(default_factory=lambda: [0.7, 1.0])  # 1 takes the whole histogram


@dataclass
class CheckConfig:
    """The check that no image moves; see registration.py."""

    tiles: int = 8  # training tiles that no network is trained on
    limit_px: float = 0.3


@dataclass
class TranslateConfig:
    """Everything that determines a translation except the images."""

    seed: int = 42
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    colour: ColourConfig = field(default_factory=ColourConfig)
    check: CheckConfig = field(default_factory=CheckConfig)


# Beside those of ranges.py.
CHOICES = {"train.precision": ("fp32", "tf32", "bf16")}
RANGES = {
    "[64, inf)": ("data.crop_px",),
    "[0, inf)": ("loss.nce_weight", "loss.edge_weight"),
    "[1, inf)": ("network.width", "network.blocks", "network.discriminator_width", "check.tiles"),
    "[2, inf)": ("loss.nce_patches",),
    "(0, inf)": ("loss.nce_temperature", "check.limit_px"),
    "[0, 0.5]": ("colour.fda_beta",),
    "[0, 1]": ("colour.histogram_blend",),
}


def load_translate_config(path: str | Path | None, overrides: list[str] = ()) -> TranslateConfig:
    """Settings of a file of configs/translate/, or the defaults without one.

    Raises UserError as load_settings does, and for unfit values.
    """
    config = load_settings(OmegaConf.structured(TranslateConfig), path, overrides)
    check_values(flatten(OmegaConf.structured(config)), CHOICES, RANGES)
    for name, interval in vars(config.colour).items():
        if len(interval) != 2 or interval[0] > interval[1]:
            raise UserError(f"colour.{name}={interval} must be an interval: two numbers, the smaller one first")
    if config.data.crop_px % 4:
        raise UserError(f"data.crop_px={config.data.crop_px} must be a multiple of 4")
    return config
