"""The values that settings may have: choices of words and ranges of numbers.

They are those of config.py. Settings of the same names in adaptation/config.py have the same choices and ranges.
"""

from omegaconf import OmegaConf

from geopose.cli import UserError

TTA = {"none": 1, "flips": 3, "d2": 4, "d4": 8}  # sets of flipped and rotated views: how many views each has
TTA_HELP = "flipped and rotated views of an image, whose predictions are combined: " + ", ".join(
    f"{name} ({views})" for name, views in TTA.items()
)
COMBINATIONS = ("mean", "median")
PRECISIONS = ("auto", "fp32", "tf32", "bf16", "fp16")
LOSS_NAMES = ("huber", "smooth_l1", "l1", "mse", "log_cosh", "wing", "r2")
SHUFFLES = ("pixel_shuffle", "residual_deconv")  # these turn each four channels into one of twice the size
UPSAMPLINGS = ("nearest", "bilinear", "deconv", "pixel_shuffle_linear", *SHUFFLES)
ACTIVATIONS = ("celu", "elu", "gelu", "hard_swish", "leaky_relu", "mish", "relu", "relu6", "selu", "silu", "softplus")
ACTIVATIONS += ("swish", "sigmoid", "hard_sigmoid", "none")
CHOICES = {
    "data.on_bad_tile": ("fail", "skip"),
    "augment.level": ("none", "d4", "safe", "sensor", "light", "medium", "hard"),
    "model.decoder": ("unet", "fpn"),
    "model.decoder_block": ("plain", "residual"),
    "model.upsample": UPSAMPLINGS,
    "model.activation": ACTIVATIONS,
    "model.direction_head": ("pooled", "attention", "standing"),
    "loss.agl": LOSS_NAMES,
    "loss.mag": LOSS_NAMES,
    "optim.schedule": ("cosine", "plateau", "constant"),
    "train.precision": PRECISIONS,
    "train.device": ("auto", "cpu", "cuda"),
    "predict.tta": tuple(TTA),
}
# The keys whose numbers lie in an interval. In a list, every element must lie in it.
# fmt: off
RANGES = {
    "[0, 2147483647]": ("seed",),  # Catalyst adds the epoch and the rank, and NumPy takes 32 bits
    "[0, inf)": (
        "data.fold", "data.cache_mb", "data.workers", "model.encoder_layers", "loss.agl_weight", "loss.mag_weight",
        "loss.focal_gamma", "loss.tall_m", "loss.cosine_weight", "loss.direction_mse_weight", "loss.lean_px",
        "loss.scale_weight",
        "optim.weight_decay", "optim.min_lr", "optim.warmup_steps", "optim.plateau_patience", "train.snapshot_epochs",
        "model.refiner_channels", "loss.feature_tie_weight", "train.unlabelled_weight", "train.unlabelled_start_step",
    ),
    "[1, inf)": (
        "data.batch_size", "augment.crop_px", "augment.wide_factor", "augment.stretch_factor", "model.decoder_channels",
        "model.head_channels", "model.head_stride", "model.direction_maps", "train.epochs", "train.steps_per_epoch",
        "train.accumulation_steps", "train.gpus", "train.keep_checkpoints", "train.early_stop_patience",
        "train.schedule_steps",
    ),
    "(1, inf)": ("train.unlabelled_agreement",),
    "[2, 8]": ("train.unlabelled_views",),
    "(0, 10]": ("train.unlabelled_gsd_m",),
    "(0, 1]": ("augment.crop_jitter",),
    "[0, 1]": (
        "augment.turn_probability", "augment.wide_probability", "augment.tall_probability",
        "augment.stretch_probability", "augment.speckle_probability", "augment.speckle_share",
        "train.schedule_boundaries", "model.scale_dropout",
    ),
    "[0, 1)": ("model.encoder_drop_path", "model.direction_dropout", "loss.trim", "train.start_share"),
    "(0, inf)": (
        "model.input_zoom", "model.head_unit", "loss.agl_delta_m", "loss.mag_delta_px", "optim.lr",
        "optim.fresh_lr_factor", "optim.eps", "optim.grad_clip_norm", "train.max_minutes",
    ),
    "(0, 1)": ("optim.plateau_factor", "train.ema_decay"),
}
# fmt: on


def check_values(
    values: dict[str, object],
    choices_of: dict[str, tuple[str, ...]] = CHOICES,
    ranges: dict[str, tuple[str, ...]] = RANGES,
) -> None:
    """Raise UserError for the first value outside its choices or range. values: dotted key -> value, see flatten."""
    for key, choices in choices_of.items():
        if key in values and values[key] not in choices:
            raise UserError(f"{key}={values[key]} is unknown; there are {', '.join(choices)}")
    for interval, keys in ranges.items():
        for key in (key for key in keys if key in values):
            given = values[key] if OmegaConf.is_list(values[key]) else [values[key]]
            if not all(value is None or lies_in(value, interval) for value in given):
                raise UserError(f"{key}={values[key]} must {describe_interval(interval)}")


def lies_in(value: float, interval: str) -> bool:
    """Whether a number lies in an interval such as "[0, 1)". NaN lies in none."""
    low, high = map(float, interval[1:-1].split(","))
    above = low <= value if interval[0] == "[" else low < value
    return above and (value <= high if interval[-1] == "]" else value < high)


def describe_interval(interval: str) -> str:
    """What a number must do to lie in an interval: "be 1 or more"."""
    low, high = interval[1:-1].split(", ")
    if high == "inf":
        return f"be {low} or more" if interval[0] == "[" else f"be above {low}"
    return f"lie in {interval}"
