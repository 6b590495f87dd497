"""One experiment's settings: dataclasses with defaults, loaded from YAML plus key=value overrides by OmegaConf."""

import difflib
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from geopose.cli import UserError, one_line
from geopose.io.files import write_bytes

TTA = ("none", "flips", "d2", "d4")
COMBINATIONS = ("mean", "median")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
LOSSES = ("huber", "smooth_l1", "l1", "mse", "log_cosh", "wing", "r2")


@dataclass
class DataConfig:
    """Where the tiles are and how they are fed."""

    root: str = "data/synthetic"
    folds: str = "${data.root}/folds-stratified10.csv"  # what `make folds` writes unless told otherwise
    fold: int = 0
    batch_size: int = 8  # crops per process and optimizer step / accumulation
    balance_cities: bool = False  # tiles of small cities are drawn more often: the score is a mean over cities
    on_bad_tile: str = "fail"  # fail: a damaged file ends the run; skip: all are read first, the manifest lists the bad
    cache_mb: int = 0  # decoded training tiles kept in memory, by each loader process
    workers: int = 0  # loader processes; 0 reads in the training process, the fastest choice on two cores


@dataclass
class AugmentConfig:
    """Training crops and what is done to them."""

    level: str = "light"  # none | d4 | safe | sensor | light | medium | hard; see geopose/data/transforms.py
    crop_px: int = 192
    crop_jitter: float = 0.9  # sides drawn from crop_px * [jitter, 1 / jitter] and resized to crop_px: gsd varies too
    wide_probability: float = 0.0  # of a crop up to wide_factor times as wide, resized to crop_px: more to see, coarser
    wide_factor: float = 2.0
    stretch_probability: float = 0.0  # of making everything up to stretch_factor times taller or lower
    stretch_factor: float = 1.5
    speckle_probability: float = 0.0  # of replacing speckle_share of the known heights by heights of other pixels
    speckle_share: float = 0.01


@dataclass
class ModelConfig:
    """Encoder, decoder and heads; see geopose/models."""

    encoder: str = "tf_efficientnet_lite0"  # a timm name, or B6Encoder / B7Encoder of pytorch-toolbelt
    encoder_weights: str = "packaged"  # packaged | none | download | path of a state dict
    encoder_layers: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4])  # feature maps used, fine to coarse
    encoder_frozen: list[str] = field(default_factory=list)  # prefixes of encoder weights that stay as loaded
    input_zoom: float = 1.0  # images are enlarged by this before the network sees them: 0.5 works at half resolution
    reference_gsd_m: float | None = None  # when set, every image is resampled to this gsd first
    decoder: str = "unet"  # unet | fpn
    decoder_channels: list[int] = field(default_factory=lambda: [32, 48, 96, 160])  # unet: one per map but the last
    decoder_block: str = "plain"  # unet: plain | residual
    upsample: str = "bilinear"  # unet: any UpsampleLayerType of pytorch-toolbelt, such as residual_deconv
    activation: str = "silu"
    head_channels: int = 24  # width of the dense heads and of the way to their stride
    head_stride: int = 1  # 2 or 4: the dense heads work at this stride and their planes are enlarged, cheap and softer
    head_unit: float = 1.0  # metres and px that a dense head's last layer counts in: 10 lets it reach towers sooner
    gsd_plane: bool = True  # the height head sees gsd
    cities: list[str] = field(default_factory=list)  # the height head sees which of these, or none, the image is of
    city_dropout: float = 0.1  # share of training images whose city is withheld, so that "none of these" is learnt
    direction_head: str = "pooled"  # pooled | attention
    direction_dropout: float = 0.2  # pooled
    direction_maps: int = 1  # pooled: how many of the encoder's maps, from the coarsest, the head sees
    scale_head: bool = False  # an image-wide scale, from the pooled direction's maps and gsd, multiplies all magnitudes
    attention_detach: bool = True  # attention: the direction's loss does not reach the height


@dataclass
class LossConfig:
    """What each part of the loss is and weighs; see geopose/training/losses.py."""

    agl: str = "huber"  # huber | smooth_l1 | l1 | mse | log_cosh | wing | r2 (per city)
    agl_weight: float = 1.0
    agl_delta_m: float = 10.0  # where huber, smooth_l1 and wing turn from quadratic or steep to linear
    mag: str = "huber"
    mag_weight: float = 1.0
    mag_delta_px: float = 5.0
    log_height: bool = False  # compare sign(h) log(1 + |h|) instead of h
    trim: float = 0.0  # share of an image's known pixels, the worst, that are left out
    focal_gamma: float = 0.0  # above 0, pixels count by tanh(error / delta) ** gamma
    cosine_weight: float = 1.0
    direction_mse_weight: float = 0.1
    lean_px: float = 0.0  # above 0, an image's direction counts by m / (m + lean_px), m its mean known magnitude
    scale_weight: float = 0.0  # squared error of the scale head or, without one, the least-squares scale, px/m


@dataclass
class OptimConfig:
    """AdamW and its learning-rate schedule."""

    lr: float = 1e-4
    fresh_lr_factor: float = 1.0  # decoder and heads, which start from nothing, learn this much faster than the encoder
    eps: float = 1e-6
    weight_decay: float = 1e-6
    schedule: str = "cosine"  # cosine | plateau | constant
    min_lr: float = 1e-5  # where cosine ends
    warmup_steps: int = 0
    plateau_factor: float = 0.5
    plateau_patience: int = 20
    grad_clip_norm: float | None = None


@dataclass
class TrainConfig:
    """Length, precision and what is kept."""

    start_from: str | None = None  # a finished run of the same model, whose best checkpoint training goes on from
    epochs: int = 20
    steps_per_epoch: int | None = None  # null: as many as it takes to see every training tile once
    max_minutes: float | None = None  # when set, replaces epochs: training fits its schedule to this time and ends
    schedule_boundaries: list[float] | None = None  # a manifest's: repeats a run that ended by its time budget
    accumulation_steps: int = 1
    precision: str = "fp32"  # fp32 | bf16 | fp16 (on a GPU only) | auto: bf16 where the device is faster in it
    device: str = "auto"  # auto | cpu | cuda
    gpus: int = 1  # processes on this machine; more than one trains with DistributedDataParallel
    channels_last: bool = True
    compile: bool = False  # torch.compile the network: minutes at the start, and on two CPU cores no gain
    ema_decay: float | None = None  # when set, an exponential moving average of the weights is validated and kept
    keep_checkpoints: int = 3
    snapshot_epochs: int = 5  # a picture of a validation tile of each city to TensorBoard every so many; 0: none
    early_stop_patience: int | None = None  # epochs without a better validation R2; null: never


@dataclass
class PredictConfig:
    """How predict.py and the demo look at images with this run, unless told otherwise."""

    zooms: list[float] = field(default_factory=lambda: [1.0])  # sizes of views; others than 1 want wide_probability
    zoom_weights: list[float] = field(default_factory=list)  # one per size; none for equal


@dataclass
class RunConfig:
    """Where results go."""

    dir: str = "runs/${run.name}/fold${data.fold}"
    name: str = "???"  # the config file's name unless given


@dataclass
class Config:
    """A complete experiment."""

    seed: int = 42
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    predict: PredictConfig = field(default_factory=PredictConfig)
    run: RunConfig = field(default_factory=RunConfig)


@dataclass(frozen=True)
class BlendConfig:
    """How checkpoints and views join into one prediction.

    zoom_weights: one per size of zooms, run_weights: one per run, none for equal. checkpoint_weights: by rank within a
    run, best first; checkpoints beyond the list are left out, none for equal. average_weights: one model per run, the
    mean of its checkpoints' weights.
    """

    tta: str = "d4"
    zooms: tuple[float, ...] = (1.0,)
    zoom_weights: tuple[float, ...] = ()
    combine: str = "mean"
    run_weights: tuple[float, ...] = ()
    checkpoint_weights: tuple[float, ...] = ()
    average_weights: bool = False
    precision: str = "fp32"

    def __post_init__(self):
        for flag, choices in (("tta", TTA), ("combine", COMBINATIONS), ("precision", PRECISIONS)):
            if getattr(self, flag) not in choices:
                raise UserError(f"--{flag} {getattr(self, flag)} is unknown; there are {', '.join(choices)}")
        for flag in ("zooms", "zoom_weights", "run_weights", "checkpoint_weights"):
            if any(value <= 0 for value in getattr(self, flag)):
                raise UserError(f"--{flag.replace('_', '-')} {list(getattr(self, flag))}: all must be positive")
        if len(set(self.zooms)) < len(self.zooms):
            raise UserError(f"--zooms {list(self.zooms)}: name each size once, and weigh it by --zoom-weights")
        weights, sizes = len(self.zoom_weights), len(self.zooms)
        if weights not in (0, sizes):
            raise UserError(f"--zoom-weights: {weights} weights for {sizes} sizes of views; give one per size")


CHOICES = {
    "data.on_bad_tile": ("fail", "skip"),
    "augment.level": ("none", "d4", "safe", "sensor", "light", "medium", "hard"),
    "model.decoder": ("unet", "fpn"),
    "model.decoder_block": ("plain", "residual"),
    "model.direction_head": ("pooled", "attention"),
    "loss.agl": LOSSES,
    "loss.mag": LOSSES,
    "optim.schedule": ("cosine", "plateau", "constant"),
    "train.precision": PRECISIONS,
    "train.device": ("auto", "cpu", "cuda"),
}


def load_config(path: str | Path, overrides: list[str] = ()) -> Config:
    """Settings of a YAML file with key=value overrides on top; interpolations resolved.

    Raises UserError for a missing file, an unknown key (naming the nearest one), a value of the wrong type or an
    unknown choice.
    """
    path = Path(path)
    if not path.exists():
        there = ", ".join(sorted(str(p) for p in path.parent.glob("*.yaml"))) or "no .yaml file"
        raise UserError(f"{path}: no such config; {path.parent} holds {there}")
    schema = OmegaConf.structured(Config)
    schema.run.name = path.stem
    for override in overrides:
        if "=" not in override:
            raise UserError(f"'{override}' is no key=value; write for example train.epochs=2")
    try:
        layers = OmegaConf.load(path), OmegaConf.from_dotlist(list(overrides))
        for layer, source in zip(layers, (str(path), "command line"), strict=True):
            _refuse_unknown_keys(layer, schema, source)
        config = OmegaConf.to_object(OmegaConf.merge(schema, *layers))
    except (OmegaConfBaseException, ValueError) as error:
        raise UserError(f"{path}: {one_line(error)}; compare with geopose/config.py") from None
    check_config(config)
    return config


def check_config(config: Config) -> None:
    """Refuse unknown choices and impossible numbers in a loaded config."""
    values = flatten(OmegaConf.structured(config))
    for key, choices in CHOICES.items():
        if values[key] not in choices:
            raise UserError(f"{key}={values[key]} is unknown; there are {', '.join(choices)}")
    for key in ("data.batch_size", "augment.crop_px", "train.epochs", "train.accumulation_steps", "train.gpus"):
        if values[key] < 1:
            raise UserError(f"{key}={values[key]} must be 1 or more")
    if not 0 < config.augment.crop_jitter <= 1:
        raise UserError(f"augment.crop_jitter={config.augment.crop_jitter} must lie in (0, 1]")
    if config.augment.wide_factor < 1:
        raise UserError(f"augment.wide_factor={config.augment.wide_factor} must be 1 or more")
    if not 0 <= config.loss.trim < 1:
        raise UserError(f"loss.trim={config.loss.trim} must lie in [0, 1)")
    try:
        BlendConfig(zooms=tuple(config.predict.zooms), zoom_weights=tuple(config.predict.zoom_weights))
    except UserError as error:  # which names predict.py's flags
        raise UserError(f"predict.zooms, predict.zoom_weights: {error}") from None
    wanted = 1 if config.model.decoder == "fpn" else len(config.model.encoder_layers) - 1
    if len(config.model.decoder_channels) != wanted:
        raise UserError(
            f"model.decoder_channels has {len(config.model.decoder_channels)} entries, but {config.model.decoder} over "
            f"{len(config.model.encoder_layers)} encoder layers takes {wanted}"
        )


def save_config(config: Config, path: Path) -> None:
    """Write every setting, defaults included, so that the file alone repeats the experiment."""
    write_bytes(path, OmegaConf.to_yaml(OmegaConf.structured(config)).encode())


def flatten(node, prefix: str = "") -> dict[str, object]:
    """Dotted key -> value of a nested config, with interpolations resolved where they can be."""
    flat = {}
    for key in node:
        if OmegaConf.is_dict(node) and not OmegaConf.is_missing(node, key) and OmegaConf.is_dict(node[key]):
            flat |= flatten(node[key], f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = None if OmegaConf.is_missing(node, key) else node[key]
    return flat


def _refuse_unknown_keys(layer, schema, source: str) -> None:
    known = list(flatten(schema))
    groups = list(schema)
    for key in flatten(OmegaConf.create(OmegaConf.to_container(layer, resolve=False))) if layer else ():
        if key not in known and key not in groups:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
            raise UserError(f"{source}: unknown key {key}; did you mean {near}?")
