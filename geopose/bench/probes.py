"""The probes: measurements that need a process of their own, so that nothing else counts in their peak memory."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from geopose.bench.edges import probe_edges
from geopose.bench.inputs import LARGE_PX
from geopose.bench.timing import median_seconds, peak_memory_mb
from geopose.bench.wide_scene import probe_scene
from geopose.config import BlendConfig
from geopose.devices import autocast
from geopose.inference.calibration import Calibration
from geopose.inference.ensemble import Ensemble
from geopose.inference.tta import VIEWS, TTAModel


def probe_views(
    run: Path, views: tuple[str, ...] = ("e",), channels_last: bool = True, precision: str = "fp32"
) -> dict[str, float]:
    """Seconds and peak memory in MB of predicting some views of a 2048 px image of noise.

    channels_last=False predicts one plain view.
    """
    model = Ensemble([run], BlendConfig(), torch.device("cpu"), Calibration()).members[0].load()
    image = torch.randint(0, 256, (1, 3, LARGE_PX, LARGE_PX), dtype=torch.uint8)
    gsd_m = torch.tensor([0.35])
    # TTAModel makes the images channels-last, as the weights of a loaded model are.
    model = TTAModel(model, views) if channels_last else model.to(memory_format=torch.contiguous_format)

    def predict() -> None:
        model(image, gsd_m, ["JAX"])

    with torch.inference_mode(), autocast(torch.device("cpu"), precision):
        predict()
        seconds = median_seconds(predict, 3)
    return {"s": seconds, "mb": peak_memory_mb()}


PROBES: dict[str, Callable[[Path], dict[str, float]]] = {
    "edges": probe_edges,
    "scene": probe_scene,
    "plain": probe_views,
    "plain_nchw": partial(probe_views, channels_last=False),
    "plain_bf16": partial(probe_views, precision="bf16"),
    "d4": partial(probe_views, views=VIEWS["d4"]),
}
