"""All settings of an experiment as dataclasses with defaults. OmegaConf loads them from YAML and key=value words.

ranges.py holds the choices and ranges of their values.
"""

import difflib
import math
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from geopose.cli import UserError, one_line
from geopose.io.files import write_bytes
from geopose.ranges import COMBINATIONS, PRECISIONS, SHUFFLES, TTA, check_values


@dataclass
class DataConfig:
    """Where the tiles are and how they are read."""

    root: str = "data/synthetic"
    folds: str = "${data.root}/folds-stratified10.csv"  # the file that `make folds` writes by default
    fold: int = 0  # the validation fold; all other folds are trained on
    batch_size: int = 8  # crops per process and batch
    balance_cities: bool = False  # draw tiles of small cities more often, because the score is a mean over cities
    on_bad_tile: str = "fail"  # fail: a damaged file ends the run; skip: read all tiles first and leave out bad ones
    cache_mb: int = 0  # decoded training tiles kept in memory, per loader process
    workers: int = 0  # loader processes; 0 reads in the training process, which is fastest on two cores


@dataclass
class AugmentConfig:
    """Training crops and their augmentation; see geopose/data/transforms.py."""

    level: str = "light"  # none | d4 | safe | sensor | light | medium | hard
    turn_probability: float = 1.0  # share of crops drawn in one of eight orientations (D4); 0: the north stays up
    crop_px: int = 192  # side of the crops that the network sees
    crop_jitter: float = 0.9  # crops have sides crop_px * [jitter, 1 / jitter] and are resized to crop_px
    wide_probability: float = 0.0  # share of crops that show up to wide_factor times the width, at a coarser gsd
    wide_factor: float = 2.0
    tall_probability: float = 0.0  # share of crops that are the highest of four random ones of the same city
    stretch_probability: float = 0.0  # share of crops whose heights are multiplied by a random factor
    stretch_factor: float = 1.5  # the largest such factor; the smallest is 1 / stretch_factor
    speckle_probability: float = 0.0  # share of crops in which speckle_share of the known heights is replaced
    speckle_share: float = 0.01


@dataclass
class ModelConfig:
    """Encoder, decoder and heads; see geopose/models."""

    encoder: str = "tf_efficientnet_lite0"  # a timm name
    encoder_weights: str = "packaged"  # packaged | none | download | path of a weight file of timm
    encoder_layers: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4])  # feature maps used, fine to coarse
    encoder_frozen: list[str] = field(default_factory=list)  # name prefixes of encoder weights that are not trained
    encoder_drop_path: float = 0.0  # stochastic depth of the encoder while training
    even_tone: bool = False  # brightness of every image is brought to one median, see geopose/models/tone.py
    input_zoom: float = 1.0  # images are resized by this factor before the network; 0.5 works at half resolution
    decoder: str = "unet"  # unet | fpn
    decoder_channels: list[int] = field(default_factory=lambda: [32, 48, 96, 160])  # unet: one per map but the last
    decoder_block: str = "plain"  # unet: plain | residual
    upsample: str = "bilinear"  # unet: for example residual_deconv
    activation: str = "silu"
    head_channels: int = 24  # width of the dense heads and of the upsampling before them
    head_stride: int = 1  # with 2 or 4 the dense heads work at this stride, and their planes are enlarged
    refiner_channels: int = 0  # above 0, a small network corrects both planes at full resolution; its width
    head_unit: float = 1.0  # factor of a dense head's output; with 10 it counts in tens of metres or px
    gsd_plane: bool = True  # the height head gets gsd as an input
    cities: list[str] = field(default_factory=list)  # the height head gets the image's city, one of these or unknown
    direction_head: str = "pooled"  # pooled | attention (over height gradients) | standing (over heights)
    direction_dropout: float = 0.2  # pooled
    direction_maps: int = 1  # pooled: number of encoder maps that the head gets, counted from the coarsest
    scale_head: bool = False  # predict one scale per image, which multiplies all magnitudes
    scale_dropout: float = 0.0  # share of training images whose scale comes from gsd alone; with 1 every scale does

    @property
    def dense_stride(self) -> int:
        """The stride up to which the dense planes show detail."""
        return 1 if self.refiner_channels else self.head_stride


@dataclass
class LossConfig:
    """Kind and weight of each part of the loss; see geopose/training/losses.py."""

    agl: str = "huber"  # huber | smooth_l1 | l1 | mse | log_cosh | wing | r2 (per city)
    agl_weight: float = 1.0
    agl_delta_m: float = 10.0  # where huber, smooth_l1 and wing change their slope
    mag: str = "huber"
    mag_weight: float = 1.0
    mag_delta_px: float = 5.0
    log_height: bool = False  # compare sign(h) log(1 + |h|) instead of h
    trim: float = 0.0  # share of an image's known pixels, those with the largest loss, that is left out
    focal_gamma: float = 0.0  # above 0, a pixel's loss is multiplied by tanh(error / delta) ** gamma
    tall_m: float = 0.0  # above 0, a pixel of height h has weight 1 + h / tall_m in the dense losses, but not in r2
    cosine_weight: float = 1.0
    direction_mse_weight: float = 0.1
    lean_px: float = 0.0  # above 0, an image's direction has weight m / (m + lean_px), m its mean known magnitude
    scale_weight: float = 0.0  # squared error of the scale head or, without one, of the least-squares scale, px/m
    feature_tie_weight: float = 0.0  # keeps the encoder's last features similar to those of its pretrained weights


@dataclass
class OptimConfig:
    """AdamW and its learning rate schedule."""

    lr: float = 1e-4
    fresh_lr_factor: float = 1.0  # the learning rate of decoder and heads, which are not pretrained, is lr times this
    eps: float = 1e-6
    weight_decay: float = 1e-6
    schedule: str = "cosine"  # cosine | plateau | constant
    min_lr: float = 1e-5  # last learning rate of cosine
    warmup_steps: int = 0
    plateau_factor: float = 0.5
    plateau_patience: int = 20
    grad_clip_norm: float | None = None


@dataclass
class TrainConfig:
    """Length, precision and what is kept."""

    start_from: str | None = None  # a finished run whose best checkpoint is the start; it may lack the refiner
    start_share: float = 0.0  # share of the starting weights in the mean with the trained ones, which is kept
    parts: list[str] = field(default_factory=list)  # parts of the model that are trained, e.g. [refiner]; empty: all
    epochs: int = 20
    steps_per_epoch: int | None = None  # batches per epoch; null: as many as see every training tile once
    max_minutes: float | None = None  # replaces epochs: the schedule is fitted to this time and training ends with it
    schedule_boundaries: list[float] | None = None  # from a manifest: repeats a run that ended on its time budget
    schedule_steps: list[int] | None = None  # optimizer steps at these boundaries; null: the ends of epochs
    accumulation_steps: int = 1  # batches per optimizer step
    # fp32 | tf32 (float32 with products of fewer digits; GPU only) | bf16 | fp16 (GPU only) | auto: bf16 where the
    # device is faster with it, otherwise fp32
    precision: str = "fp32"
    device: str = "auto"  # auto | cpu | cuda
    gpus: int = 1  # processes on this machine; more than one trains with DistributedDataParallel
    channels_last: bool = True
    compile: bool = False  # torch.compile: minutes at the start, and no gain on two CPU cores
    ema_decay: float | None = None  # validate and keep an exponential moving average (EMA) of the weights
    keep_checkpoints: int = 3
    snapshot_epochs: int = 5  # every so many epochs a validation picture per city goes to TensorBoard; 0: none
    early_stop_patience: int | None = None  # epochs without a better validation R2 until training ends; null: never
    # self-training, see docs/self_training.md
    unlabelled: str | None = None  # a folder of images, or a competition folder; the moving average labels them
    unlabelled_weight: float = 1.0  # weight of their loss; 0 leaves them out
    unlabelled_start_step: int = 500  # optimizer steps before that, so that the moving average has learned something
    unlabelled_agreement: float = 1.55  # the larger of two predicted heights divided by the smaller: below, they agree
    unlabelled_views: int = 2  # turned views of a crop that the moving average predicts
    unlabelled_gsd_m: float | None = None  # metres per pixel; null: from metadata.csv or the georeference

    @property
    def self_training(self) -> bool:
        """Whether training uses unlabelled images."""
        return self.unlabelled is not None and self.unlabelled_weight > 0


@dataclass
class PredictConfig:
    """Defaults of predict.py and the demo for this run."""

    # turned views of an image. none suits a network that has learned the sun's side, see augment.turn_probability
    tta: str = "d4"  # none | flips | d2 | d4
    # sizes at which an image is predicted, 1 being its own. A network knows smaller ones from augment.wide_probability.
    zooms: list[float] = field(default_factory=lambda: [1.0])
    zoom_weights: list[float] = field(default_factory=list)  # one per size; empty: equal weights


@dataclass
class RunConfig:
    """Where results are written."""

    dir: str = "runs/${run.name}/fold${data.fold}"
    name: str = "???"  # default: the name of the config file


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
    """How checkpoints and views are blended into one prediction.

    zoom_weights has one weight per size in zooms, run_weights one per run, and checkpoint_weights one per rank within a
    run, best first; checkpoints beyond that list are not used. An empty tuple means equal weights. average_weights
    averages the weights of a run's checkpoints into one model instead of averaging their predictions.
    normalise_directions gives the directions of all views and checkpoints equal weights.
    """

    tta: str = "d4"
    zooms: tuple[float, ...] = (1.0,)
    zoom_weights: tuple[float, ...] = ()
    combine: str = "mean"
    run_weights: tuple[float, ...] = ()
    checkpoint_weights: tuple[float, ...] = ()
    average_weights: bool = False
    normalise_directions: bool = False
    precision: str = "fp32"

    def __post_init__(self):
        for flag, choices in (("tta", TTA), ("combine", COMBINATIONS), ("precision", PRECISIONS)):
            if getattr(self, flag) not in choices:
                raise UserError(f"--{flag} {getattr(self, flag)} is unknown; there are {', '.join(choices)}")
        for flag in ("zooms", "zoom_weights", "run_weights", "checkpoint_weights"):
            if not all(0 < value < math.inf for value in getattr(self, flag)):
                raise UserError(f"--{flag.replace('_', '-')} {list(getattr(self, flag))}: give positive numbers")
        if len(set(self.zooms)) < len(self.zooms):
            raise UserError(f"--zooms {list(self.zooms)}: name each size once; --zoom-weights sets its weight")
        weights, sizes = len(self.zoom_weights), len(self.zooms)
        if weights not in (0, sizes):
            raise UserError(f"--zoom-weights: {weights} weights for {sizes} sizes of views; give one per size")


def load_config(path: str | Path, overrides: list[str] = ()) -> Config:
    """Settings of a training, see load_settings. Raises UserError for values that check_config refuses, too."""
    schema = OmegaConf.structured(Config)
    schema.run.name = Path(path).stem
    config = load_settings(schema, path, overrides)
    check_config(config)
    return config


def read_yaml(path: str | Path, example: str) -> DictConfig:
    """The mapping in a YAML file. Raises UserError when there is none. example says what to look at."""
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; {example}")
    try:
        content = OmegaConf.load(path)
    except (YAMLError, OmegaConfBaseException, ValueError) as error:
        raise UserError(f"{path}: not valid YAML ({one_line(error)})") from None
    if not OmegaConf.is_dict(content):
        raise UserError(f"{path}: holds no keys; {example}")
    return content


def load_settings(schema: DictConfig, path: str | Path | None, overrides: list[str] = ()):
    """The dataclass of a schema, filled from a YAML file and key=value overrides. Interpolations are resolved.

    Without a file (None) the defaults of the schema hold. The value of an override is YAML, except that a text is taken
    as it is: paths may look like numbers or comments.

    Raises UserError for a missing file, an unknown key (with the nearest known one), a value of the wrong type, an
    unknown choice, or a number outside its range.
    """
    where, written = "command line", OmegaConf.create()
    if path is not None:
        folder = Path(path).parent
        there = ", ".join(sorted(str(p) for p in folder.glob("*.yaml"))) or "no .yaml file"
        where, written = str(path), read_yaml(path, f"{folder} holds {there}")
    for override in overrides:
        if "=" not in override:
            raise UserError(f"'{override}' is not key=value; write for example train.epochs=2")
    try:
        layers = written, parse_overrides(overrides, OmegaConf.get_type(schema))
        for layer, source in zip(layers, (where, "command line"), strict=True):
            _refuse_unknown_keys(layer, schema, source)
        config = OmegaConf.to_object(OmegaConf.merge(schema, *layers))
    except YAMLError as error:
        raise UserError(f"{' '.join(overrides)}: {one_line(error)}; close brackets and quotes") from None
    except (OmegaConfBaseException, ValueError) as error:
        module = OmegaConf.get_type(schema).__module__.replace(".", "/")
        raise UserError(f"{where}: {one_line(error)}; compare with {module}.py") from None
    check_values(flatten(OmegaConf.structured(config)))
    return config


def parse_overrides(overrides: list[str], kind: type) -> DictConfig:
    """key=value words for a nested dataclass. An empty text is null; where null is allowed, null and ~ are too."""
    layer = OmegaConf.create()
    for override in overrides:
        key, _, text = override.partition("=")
        value_type = type_of(kind, key)
        if value_type not in (str, str | None):
            layer.merge_with_dotlist([override])
        elif not text or (value_type is not str and text in ("null", "~")):
            OmegaConf.update(layer, key, None)
        else:
            OmegaConf.update(layer, key, text)
    return layer


def type_of(kind: type, key: str) -> object:
    """The type of the field that a dotted key names in a nested dataclass. None for an unknown key."""
    for name in key.split("."):
        kind = get_type_hints(kind).get(name) if is_dataclass(kind) else None
    return kind


def check_config(config: Config) -> None:
    """Refuse settings that do not fit each other."""
    try:
        BlendConfig(zooms=tuple(config.predict.zooms), zoom_weights=tuple(config.predict.zoom_weights))
    except UserError as error:  # its text names the flags of predict.py
        raise UserError(f"predict.zooms, predict.zoom_weights: {error}") from None
    check_length(config)
    check_model(config.model)
    check_adaptation(config)


def check_length(config: Config) -> None:
    """Refuse lengths of a training that its schedule cannot have."""
    train, steps = config.train, config.train.schedule_steps or []
    if config.optim.schedule == "plateau" and (train.max_minutes or train.schedule_boundaries):
        raise UserError(
            "optim.schedule=plateau waits for the score and cannot be fitted to train.max_minutes; "
            "give train.epochs and train.max_minutes=null, or another schedule"
        )
    if config.optim.schedule == "plateau" and config.optim.warmup_steps:
        raise UserError("optim.schedule=plateau has no warm-up; give optim.warmup_steps=0 or another schedule")
    if steps and (len(steps) != len(train.schedule_boundaries or []) or steps != sorted(set(steps))):
        raise UserError("train.schedule_steps must ascend and hold one step per train.schedule_boundaries")
    if train.max_minutes and (train.schedule_boundaries or steps):
        raise UserError(
            "train.max_minutes plans the schedule anew; give train.max_minutes=null to repeat the train.schedule_steps "
            "and train.schedule_boundaries of a manifest"
        )
    if train.start_share and not train.start_from:
        raise UserError("train.start_share keeps a share of a run's weights; name the run with train.start_from")


def check_adaptation(config: Config) -> None:
    """Refuse adaptation to other images without what it rests on."""
    if config.train.self_training and config.train.ema_decay is None:
        raise UserError("train.unlabelled takes its labels from the moving average; set train.ema_decay, such as 0.995")
    if config.loss.feature_tie_weight and config.model.encoder_weights == "none":
        raise UserError(
            "loss.feature_tie_weight needs pretrained weights, but model.encoder_weights=none; set one of both"
        )


def check_model(cfg: ModelConfig) -> None:
    """Refuse numbers that do not fit each other. create_model checks what depends on the encoder."""
    layers, channels = cfg.encoder_layers, cfg.decoder_channels
    if not layers or list(layers) != sorted(set(layers)):
        raise UserError(f"model.encoder_layers={list(layers)} must name layers from fine to coarse, each once")
    if cfg.direction_maps > len(layers):
        raise UserError(f"model.direction_maps={cfg.direction_maps}, but there are {len(layers)} encoder layers")
    wanted = 1 if cfg.decoder == "fpn" else len(layers) - 1
    if len(channels) != wanted:
        raise UserError(
            f"model.decoder_channels has {len(channels)} entries, but {cfg.decoder} over "
            f"{len(layers)} encoder layers takes {wanted}"
        )
    if cfg.decoder == "unet" and cfg.upsample in SHUFFLES and any(width % 4 for width in channels):
        raise UserError(f"model.decoder_channels={list(channels)} must be multiples of 4 for {cfg.upsample}")


def save_config(config: Config, path: Path) -> None:
    """Write every setting, including defaults, so that the file alone is enough to repeat the experiment."""
    write_bytes(path, OmegaConf.to_yaml(OmegaConf.structured(config)).encode())


def list_differences(old: Config, new: Config) -> list[str]:
    """The settings that differ, as "key=new value (was old value)", without those on where results are written."""
    before, now = (flatten(OmegaConf.structured(config)) for config in (old, new))
    keys = [key for key in before if before[key] != now[key] and not key.startswith("run.")]
    return [f"{key}={now[key]} (was {before[key]})" for key in keys]


def flatten(node, prefix: str = "") -> dict[str, object]:
    """Dotted key -> value of a nested config. Interpolations are resolved where possible."""
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
