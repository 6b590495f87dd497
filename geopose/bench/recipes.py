"""Speed and memory of configs on this machine: `python -m geopose bench --recipes CONFIG [CONFIG ...]`.

Each config is measured in each precision: a training step on a batch of the config's size, and the prediction of a
large image with one view and with the eight D4 views. The network is random and so are images and targets, because
speed does not depend on them. Nothing is downloaded, and reading of tiles is not part of any figure.
"""

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import torch

from geopose.bench.inputs import LARGE_PX
from geopose.config import Config, load_config
from geopose.devices import autocast, is_faster_in_bf16, tf32
from geopose.inference.tta import VIEWS, TTAModel
from geopose.models.model import PoseModel, create_model
from geopose.training.losses import PoseLoss

PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
CITIES = ("ARG", "ATL", "JAX", "OMA")
HEADER = "| config | precision | step s | steps/s | crops/s | GB | image s | GB | D4 s | GB | not measured |"
WARM_UP_STEPS, STEPS = 3, 10
IMAGES = 3  # of each kind


@dataclass(frozen=True)
class Speed:
    """Median time of a call in seconds, and the most GPU memory that tensors held meanwhile in GB; None on a CPU."""

    seconds: float
    gb: float | None


@dataclass(frozen=True)
class RecipeRow:
    """One config in one precision. What was not measured is None, and why_not says why."""

    config: str
    precision: str
    batch_size: int
    step: Speed | None = None
    image: Speed | None = None
    d4: Speed | None = None
    why_not: str = ""


def measure_recipes(paths: list[Path], device: torch.device, compiled: bool = False) -> Iterator[str]:
    """The lines of a Markdown table, each as soon as it is measured. compiled=True measures compiled training steps."""
    yield HEADER
    yield "|" + "---|" * HEADER.count(" |")
    configs = [load_config(path, ["model.encoder_weights=none"]) for path in paths]  # a typo ends it at once
    for config in configs:
        for precision in PRECISIONS:
            yield format_row(measure_recipe(config, precision, device, compiled))


def measure_recipe(
    config: Config, precision: str, device: torch.device, compiled: bool = False, image_px: int = LARGE_PX
) -> RecipeRow:
    """Training steps and, unless compiled, the prediction of an image of image_px x image_px.

    Predictions are not compiled, because `predict` does not compile either.
    """
    row = RecipeRow(config.run.name, precision, config.data.batch_size, why_not=what_lacks(precision, device))
    if row.why_not:
        return row
    try:
        with tf32(precision == "tf32"):  # for the backward pass too
            if not compiled:
                image, d4 = image_speeds(config, precision, device, image_px)
                row = replace(row, image=image, d4=d4)
            return replace(row, step=step_speed(config, precision, device, compiled))
    except torch.cuda.OutOfMemoryError:
        return replace(row, why_not="the GPU's memory is too small")


def what_lacks(precision: str, device: torch.device) -> str:
    """Why the device cannot be measured in this precision; empty if it can."""
    if device.type == "cpu" and precision in ("tf32", "fp16"):
        return "needs a GPU"
    if precision in ("tf32", "bf16") and not is_faster_in_bf16(device):
        return "this processor is slower in bf16" if device.type == "cpu" else "needs a GPU of Ampere or later"
    return ""


def step_speed(config: Config, precision: str, device: torch.device, compiled: bool) -> Speed:
    """A training step: forward, loss, backward, AdamW. Clipping and the moving average of weights are left out."""
    model = network(config, device).train()
    if compiled:
        model.compile()
    criterion = PoseLoss(config.loss)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.optim.lr, fused=True)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    batch = random_batch(config, device)
    image = batch["image"].contiguous(memory_format=torch.channels_last)

    def step() -> None:
        with autocast(device, precision):
            outputs = model(image, batch["gsd_m"], batch["city"])
        scaler.scale(criterion(outputs, batch)["loss"]).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()

    return measure_speed(step, device, WARM_UP_STEPS, STEPS)


@torch.inference_mode()
def image_speeds(config: Config, precision: str, device: torch.device, image_px: int) -> list[Speed]:
    """The prediction of one image of image_px x image_px: one view, and the eight D4 views one after the other."""
    model = network(config, device).eval()
    image = random_image(1, image_px, device)
    gsd_m = torch.tensor([0.35], device=device)
    speeds = []
    with autocast(device, precision):
        for views, warm_up in ((VIEWS["none"], 1), (VIEWS["d4"], 0)):  # the view warms up the device for the eight
            predict = partial(TTAModel(model, views), image, gsd_m, [CITIES[0]])
            speeds.append(measure_speed(predict, device, warm_up, IMAGES))
    return speeds


def measure_speed(function: Callable[[], object], device: torch.device, warm_up: int, repeats: int) -> Speed:
    """Speed of a function after some calls that do not count. A GPU finishes each call before the next one starts."""
    on_gpu = device.type == "cuda"
    times = []
    for call in range(warm_up + repeats):
        if on_gpu and call == warm_up:
            torch.cuda.reset_peak_memory_stats(device)
        start = time.perf_counter()
        function()
        if on_gpu:
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return Speed(median(times[warm_up:]), torch.cuda.max_memory_allocated(device) / 1e9 if on_gpu else None)


def network(config: Config, device: torch.device) -> PoseModel:
    """The config's network with random weights, alone on the device."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return create_model(config.model).to(device, memory_format=torch.channels_last)


def random_batch(config: Config, device: torch.device) -> dict:
    """A batch as the training loader gives it, of the config's size, with random values. A tenth of it is unknown."""
    count, crop_px = config.data.batch_size, config.augment.crop_px
    agl_m = torch.rand(count, 1, crop_px, crop_px, device=device) * 30
    agl_m[:, :, : crop_px // 10] = torch.nan
    return {
        "image": random_image(count, crop_px, device),
        "agl_m": agl_m,
        "scale_px_per_m": torch.rand(count, device=device) + 0.5,
        "angle_rad": torch.rand(count, device=device) * 6,
        "gsd_m": torch.full((count,), 0.35, device=device),
        "city": list(islice(cycle(CITIES), count)),
    }


def random_image(count: int, side_px: int, device: torch.device) -> torch.Tensor:
    """Noise, uint8 [count,3,side_px,side_px]."""
    return torch.randint(0, 256, (count, 3, side_px, side_px), dtype=torch.uint8, device=device)


def format_row(row: RecipeRow) -> str:
    """The row as a line of the Markdown table."""
    rate = 1 / row.step.seconds if row.step else None
    crops = rate * row.batch_size if rate else None
    step, image, d4 = (astuple(speed) if speed else (None, None) for speed in (row.step, row.image, row.d4))
    figures = [step[0], rate, crops, step[1], *image, *d4]
    cells = [row.config, row.precision, *("" if x is None else f"{x:.3g}" for x in figures), row.why_not]
    return f"| {' | '.join(cells)} |"
