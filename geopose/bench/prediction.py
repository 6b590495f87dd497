"""Prediction: test-time augmentation, memory format, precision, and reading and writing around the model."""

import pandas as pd
import torch
from torch.utils.data import DataLoader

from geopose.bench.inputs import Inputs
from geopose.bench.process import run_probe
from geopose.bench.table import Row, format_memory, format_seconds
from geopose.bench.timing import alternate
from geopose.config import BlendConfig
from geopose.data.dataset import TileDataset
from geopose.data.store import prefer_prepared
from geopose.devices import is_faster_in_bf16
from geopose.inference.calibration import Calibration
from geopose.inference.ensemble import Ensemble
from geopose.inference.predictions import pack_folder, write_behind, write_tile
from geopose.io.tables import read_test_table


def bench_tta(inputs: Inputs) -> list[Row]:
    """The eight D4 views of a large tile, compared with one plain pass."""
    plain, d4 = run_probe("plain", inputs.run), run_probe("d4", inputs.run)
    memory, seconds = d4["mb"] / plain["mb"], d4["s"] / plain["s"]
    return [
        Row("D4 on 2048 px, memory", format_memory(d4["mb"]), format_memory(plain["mb"]), memory, "1.15 or less"),
        Row("D4 on 2048 px, time", format_seconds(d4["s"]), format_seconds(plain["s"]), seconds, "8.2 or less"),
    ]


def bench_precision(inputs: Inputs) -> list[Row]:
    """Memory format, precision and allocator settings, for the prediction of a large tile."""
    nchw, last = (run_probe(name, inputs.run)["s"] for name in ("plain_nchw", "plain"))
    malloc = run_probe("plain", inputs.run, settings={})["s"]
    comparisons = [
        ("channels last against NCHW", last, nchw, "above 1"),
        ("allocator set against default", last, malloc, "above 1"),
    ]
    if is_faster_in_bf16(torch.device("cpu")):  # others take more than ten times as long in bf16
        bf16 = run_probe("plain_bf16", inputs.run)["s"]
        comparisons.append(("bf16 against fp32", bf16, last, "1.3 or more"))
    return [
        Row(f"predict 2048 px, {what}", format_seconds(ours), format_seconds(common), common / ours, goal)
        for what, ours, common, goal in comparisons
    ]


def bench_overlap(inputs: Inputs) -> list[Row]:
    """Predicting with reading of tiles and writing of the tarball, compared with the model alone on tiles in memory."""
    sources = read_test_table(inputs.small)
    copies = prefer_prepared(sources, inputs.small)
    ensemble = Ensemble([inputs.run], BlendConfig(tta="d4"), torch.device("cpu"), Calibration())
    batches = list(DataLoader(TileDataset(sources), batch_size=1))

    def model_alone() -> None:
        for batch in batches:
            ensemble.predict(batch)

    def whole(table: pd.DataFrame) -> None:
        parts = inputs.small / "parts"
        with write_behind(ensemble.device.type != "cpu") as write:
            for tile in ensemble.predict_tiles(table):
                write(write_tile, parts, tile)
        pack_folder(parts, table.id.tolist(), inputs.small / "out.tar.gz")

    model_alone()
    ours, from_j2k, alone = alternate(lambda: whole(copies), lambda: whole(sources), model_alone, repeats=3)
    item = "predict 20 tiles, with reading and writing, against the model alone"
    return [
        Row(item, format_seconds(ours), format_seconds(alone), ours / alone, "1.05 or less"),
        Row(f"{item}, .j2k", format_seconds(from_j2k), format_seconds(alone), from_j2k / alone, ""),
    ]
