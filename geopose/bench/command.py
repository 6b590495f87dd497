"""Speed, each item our way beside the common way in one run: `python -m geopose bench`, or `make bench`.

Makes its own data in a temporary folder (a few 2048 px .j2k tiles, twenty of 512 px, a run of two steps), measures
medians in turn, and writes bench.json and bench.md. Run it on an idle machine.
"""

import cProfile
import json
import os
import platform
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import pandas as pd
import rasterio
import torch
from numba import set_num_threads
from rasterio.windows import Window
from torch.utils.data import DataLoader

from geopose.cli import Parser, UserError, progress
from geopose.config import AugmentConfig, BlendConfig, ModelConfig, load_config
from geopose.data.dataset import CropDataset, TileDataset, create_train_loader, split_fold
from geopose.data.store import prefer_prepared, prepare
from geopose.data.stretch import stretch_heights
from geopose.devices import autocast, is_faster_in_bf16, pick_precision
from geopose.geometry import Pose, flow_direction
from geopose.inference.calibration import Calibration
from geopose.inference.ensemble import Ensemble
from geopose.inference.predictions import pack_folder, write_tile
from geopose.inference.prefetch import write_behind
from geopose.inference.rectify import rectify
from geopose.inference.scene import CACHE_MB, SceneOptions, predict_scene, rectify_scene
from geopose.inference.tta import VIEWS, Blend, predict_view
from geopose.io.files import write_bytes
from geopose.io.names import agl_name, city_of, vflow_name
from geopose.io.poses import read_vflow
from geopose.io.rasters import read_agl, read_rgb
from geopose.io.tables import find_labels, read_test_table, read_train_table
from geopose.models import model as model_module
from geopose.models.model import create_model
from geopose.scoring.evaluate import evaluate
from geopose.scoring.metrics import DENOMINATOR_FLOOR
from geopose.scoring.submission import encode_prediction
from geopose.synthetic.dataset import Options, make_dataset
from geopose.training.losses import PoseLoss

CONFIG = "configs/lite0_synthetic.yaml"
LARGE_PX, CROP_PX, WIDE_PX = 2048, 768, 20_000
LARGE_TEST = 4  # tiles in the large test half


@dataclass(frozen=True)
class Row:
    """One comparison. ratio: the common way's figure over ours where less is better, else as goal says; if any."""

    item: str
    ours: str
    common: str
    ratio: float | None
    goal: str


@dataclass(frozen=True)
class Workplace:
    """What items measure on: folders of large and small tiles, a run trained on the small ones, a run to trust."""

    large: Path
    small: Path
    run: Path
    trained: Path


def main() -> int:
    parser = Parser(__doc__.split("\n")[0], "python -m geopose bench --only store rectify")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), metavar="DIR", help="bench.json and bench.md")
    parser.add_argument("--only", nargs="+", default=list(ITEMS), metavar="ITEM", help=f"of {', '.join(ITEMS)}")
    parser.add_argument("--run", type=Path, metavar="RUN", help="trained run for the seams; default: one of two steps")
    parser.add_argument("--probe", nargs=2, metavar=("WHAT", "DIR"), help="one measurement in a process of its own")
    args = parser.parse_args()
    if args.probe:
        print(json.dumps(PROBES[args.probe[0]](Path(args.probe[1]))))
        return 0
    unknown = sorted(set(args.only) - set(ITEMS))
    if unknown:
        raise UserError(f"--only {unknown[0]} is unknown; there are {', '.join(ITEMS)}")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        place = set_up(Path(folder), args.run)
        for name in progress(args.only, "bench", unit="item"):
            rows += ITEMS[name](place)
    table = format_table(rows)
    result = {"machine": describe_machine(), "rows": [asdict(row) for row in rows]}
    write_bytes(args.out / "bench.json", (json.dumps(result, indent=2) + "\n").encode())
    write_bytes(args.out / "bench.md", table.encode())
    print(table)
    return 0


def set_up(root: Path, trained: Path | None) -> Workplace:
    """Make the data and a run. Nothing here is timed."""
    make_dataset(root / "large", Options(train=2, test=LARGE_TEST, size=LARGE_PX, rgb_format="j2k"))
    make_dataset(root / "small", Options(train=8, test=20, size=512, rgb_format="j2k"))
    for tiles in ("large", "small"):
        prepare(root / tiles, os.cpu_count())
    python("make_folds.py", "--data", root / "small", "--out", root / "folds.csv", "--num-folds", 2)
    python("train.py", CONFIG, *train_settings(root), f"run.dir={root / 'run'}", "train.steps_per_epoch=2")
    return Workplace(root / "large", root / "small", root / "run", trained or root / "run")


def train_settings(root: Path) -> list[str]:
    """Overrides of CONFIG that train one epoch on the small tiles."""
    data = [f"data.root={root / 'small'}", f"data.folds={root / 'folds.csv'}", "data.fold=0"]
    return [*data, "train.max_minutes=null", "train.epochs=1"]


# --- items ------------------------------------------------------------------------------------------------------


def bench_store(place: Workplace) -> list[Row]:
    """Random crops of image and heights out of large tiles."""
    sources = read_train_table(place.large)
    copies = prefer_prepared(sources, place.large)
    row, copy = next(sources.itertuples()), next(copies.itertuples())
    png = place.large / "tile.png"
    cv2.imwrite(str(png), read_rgb(row.rgb)[..., ::-1])
    rng = np.random.default_rng(0)

    def window() -> Window:
        column, line = rng.integers(LARGE_PX - CROP_PX, size=2)
        return Window(int(column), int(line), CROP_PX, CROP_PX)

    def from_copies() -> None:
        where = window()
        read_rgb(copy.rgb, where), read_agl(copy.agl, where)

    def from_png() -> None:
        column, line = rng.integers(LARGE_PX - CROP_PX, size=2)
        inside = np.s_[line : line + CROP_PX, column : column + CROP_PX]
        np.ascontiguousarray(cv2.imread(str(png))[inside]), read_agl(row.agl)[inside]

    def from_j2k() -> None:
        read_rgb(row.rgb), read_agl(row.agl)

    ours, common = in_turn(from_copies, from_png, repeats=30)
    (j2k,) = in_turn(from_j2k, repeats=3)
    disk = Path(copy.rgb).stat().st_size / png.stat().st_size
    return [
        Row("768 px crop against whole PNG and deflate TIFF", ms(ours), ms(common), common / ours, "8 or more"),
        Row("768 px crop against whole .j2k", ms(ours), ms(j2k), j2k / ours, "100 or more"),
        Row("disk, prepared image against PNG", *sizes(copy.rgb, png), disk, "1.15 or less"),
    ]


def bench_loader(place: Workplace) -> list[Row]:
    """Reading and augmenting a sample on one core."""
    cfg = AugmentConfig(level="medium", crop_px=CROP_PX)
    sources = read_train_table(place.large)
    datasets = [CropDataset(t, cfg, ModelConfig(), seed=0) for t in (prefer_prepared(sources, place.large), sources)]
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    draws = iter(range(10**6))
    ours, common = median_seconds(lambda: datasets[0][next(draws)], 30), median_seconds(lambda: datasets[1][0], 3)
    cv2.setNumThreads(threads)
    return [Row("768 px medium sample, against .j2k", ms(ours), ms(common), common / ours, "ours 60 ms or less")]


def bench_tta(place: Workplace) -> list[Row]:
    """D4 views of a large tile against one plain pass."""
    plain, d4 = probe("plain", place.run), probe("d4", place.run)
    return [
        Row("D4 on 2048 px, memory", mb(d4["mb"]), mb(plain["mb"]), d4["mb"] / plain["mb"], "1.15 or less"),
        Row("D4 on 2048 px, time", ms(d4["s"]), ms(plain["s"]), d4["s"] / plain["s"], "8.2 or less"),
    ]


def bench_precision(place: Workplace) -> list[Row]:
    """Memory format, precision and allocator for prediction of a large tile, and the training step."""
    nchw, last, bf16 = (probe(name, place.run)["s"] for name in ("plain_nchw", "plain", "plain_bf16"))
    malloc = probe("plain", place.run, allocator_set=False)["s"]
    goal = "1.3 or more" if is_faster_in_bf16(torch.device("cpu")) else "processor gains nothing in bf16"
    return [
        Row("predict 2048 px, channels last against NCHW", ms(last), ms(nchw), nchw / last, "above 1"),
        Row("predict 2048 px, bf16 against fp32", ms(bf16), ms(last), last / bf16, goal),
        Row("predict 2048 px, allocator set against default", ms(last), ms(malloc), malloc / last, "above 1"),
    ]


def bench_overlap(place: Workplace) -> list[Row]:
    """Reading tiles and writing the tarball, against the model's own time on tiles in memory."""
    sources = read_test_table(place.small)
    copies = prefer_prepared(sources, place.small)
    ensemble = Ensemble([place.run], BlendConfig(tta="d4"), torch.device("cpu"), Calibration())
    batches = list(DataLoader(TileDataset(sources), batch_size=1))

    def model_alone() -> None:
        for batch in batches:
            ensemble.predict(batch)

    def whole(table: pd.DataFrame) -> None:
        parts = place.small / "parts"
        with write_behind(ensemble.device.type != "cpu") as write:
            for tile in ensemble.predict_tiles(table):
                write(write_tile, parts, tile)
        pack_folder(parts, table.id.tolist(), place.small / "out.tar.gz")

    model_alone()
    ours, from_j2k, alone = in_turn(lambda: whole(copies), lambda: whole(sources), model_alone, repeats=3)
    item = "predict 20 tiles, with reading and writing, against the model alone"
    return [
        Row(item, ms(ours), ms(alone), ours / alone, "1.05 or less"),
        Row(f"{item}, .j2k", ms(from_j2k), ms(alone), from_j2k / alone, ""),
    ]


def bench_score(place: Workplace) -> list[Row]:
    """The score of tiles as large as the competition's, and of small ones."""
    large, small = f"{LARGE_TEST} tiles of {LARGE_PX} px", "20 tiles of 512 px"
    return [score_both_ways(place.large, large), score_both_ways(place.small, small)]


def score_both_ways(root: Path, tiles: str) -> Row:
    """One pass over the files against the official program's two, with the same score."""
    truth, predictions, scores = root / "truth", root / "noisy", []
    spoil(truth, predictions)
    ours, common = in_turn(
        lambda: scores.append(evaluate(truth, predictions).scores["final_r2"]),
        lambda: scores.append(score_in_two_passes(truth, predictions)),
        repeats=5,
    )
    if max(scores) - min(scores) > 1e-5:
        raise UserError(f"the two ways of scoring differ: {min(scores)} and {max(scores)}; mend metrics.py first")
    return Row(f"score {tiles}, one pass against two", ms(ours), ms(common), common / ours, "5 or more")


def spoil(truth: Path, out: Path) -> None:
    """Predictions of a folder of true labels: heights with noise of a metre, true poses."""
    rng = np.random.default_rng(0)
    for row in find_labels(truth).itertuples():
        label, agl_m = read_vflow(row.vflow, row.agl), np.nan_to_num(read_agl(row.agl))
        noisy_m = agl_m + rng.normal(size=agl_m.shape)
        for name, content in encode_prediction(row.id, noisy_m, label.scale_px_per_m, label.angle_rad):
            write_bytes(out / name, content)


def bench_rectify(place: Workplace) -> list[Row]:
    """Lean removed from a large tile on one core, against sorting by height in NumPy."""
    row = next(read_train_table(place.large).itertuples())
    rgb, agl_m, label = read_rgb(row.rgb), read_agl(row.agl), read_vflow(row.vflow, row.agl)
    pose = (label.scale_px_per_m, label.angle_rad)
    set_num_threads(1)
    rectify(rgb, agl_m, *pose)
    ours, common = in_turn(lambda: rectify(rgb, agl_m, *pose), lambda: rectify_by_sorting(rgb, agl_m, *pose), repeats=5)
    return [Row("rectify 2048 px, against a sort in NumPy", ms(ours), ms(common), common / ours, "ours 250 ms or less")]


def bench_scene(place: Workplace) -> list[Row]:
    """A scene cut into tiles against one pass over the whole, and the memory that a wide one takes."""
    image = Path(read_test_table(place.large).rgb[0])
    ensemble = Ensemble([place.trained], BlendConfig(tta="none"), torch.device("cpu"), Calibration(), spread=True)
    heights_m = []
    for tile_px in (SceneOptions.tile_px, LARGE_PX):
        predict_scene(image, place.large / "scene", ensemble, SceneOptions(tile_px=tile_px))
        heights_m.append(read_agl(place.large / "scene" / f"{image.stem}_AGL.tif"))
    seam_m = float(np.median(np.abs(heights_m[0] - heights_m[1])))
    wide = probe("scene", place.trained)
    return [
        Row("scene in tiles against one pass, median difference", f"{seam_m:.3f} m", "", seam_m, "0.05 or less"),
        Row(
            f"scene {WIDE_PX} px wide, predicted and rectified, memory", mb(wide["mb"]), "", wide["mb"], "3000 or less"
        ),
    ]


def bench_renderer(place: Workplace) -> list[Row]:
    """Finished tiles on one core, and a height stretch."""
    with tempfile.TemporaryDirectory() as folder:
        make_dataset(Path(folder) / "warm", Options(train=4, test=4, size=64), workers=1)
        start = time.perf_counter()
        tiles = make_dataset(Path(folder) / "timed", Options(train=24, test=8, size=512), workers=1)
        rate = tiles * 512**2 / 1e6 / (time.perf_counter() - start)
        with cProfile.Profile() as rendering:
            make_dataset(Path(folder) / "profiled", Options(train=24, test=8, size=512), workers=1)
    row = next(read_train_table(place.large).itertuples())
    label = read_vflow(row.vflow, row.agl)
    crop = Window(0, 0, CROP_PX, CROP_PX)
    rgb, agl_m = read_rgb(row.rgb, crop), read_agl(row.agl, crop)
    pose = Pose(label.angle_rad, label.scale_px_per_m, row.gsd_m)
    stretch_heights(rgb, agl_m, pose, 1.4)
    stretch = median_seconds(lambda: stretch_heights(rgb, agl_m, pose, 1.4), 9)
    with cProfile.Profile() as stretching:
        stretch_heights(rgb, agl_m, pose, 1.4)
    render_parts = "plan_place", "build_scene", "render", "expose", "clean_label", "add_faults", "write_tile"
    stretch_parts = "_filled", "_largest_landing", "_look_back"
    return [
        Row("render 512 px tiles, one core", f"{rate:.2f} MP/s", "", rate, "1.5 or more"),
        Row("where that time goes", shares(rendering, "make_dataset", render_parts), "", None, ""),
        Row("height stretch of 768 px, one core", ms(stretch), "", stretch * 1000, "60 or less"),
        Row("where that time goes", shares(stretching, "stretch_heights", stretch_parts), "", None, ""),
    ]


def bench_step(place: Workplace) -> list[Row]:
    """A training step in the Catalyst loop against a bare PyTorch loop, and faster depthwise gradients against none."""
    root = place.small.parent
    settings = [*train_settings(root), f"run.dir={root / 'step'}", "train.steps_per_epoch=20"]
    config = load_config(CONFIG, settings)
    loops = {"catalyst": [], "bare": [], "plain": []}
    for _ in range(3):
        loops["catalyst"].append(seconds_per_step_in_catalyst(config))
        loops["bare"].append(seconds_per_step_bare(config))
        fast, model_module.fast_depthwise = model_module.fast_depthwise, lambda device: torch.enable_grad()
        loops["plain"].append(seconds_per_step_bare(config))
        model_module.fast_depthwise = fast
    catalyst, bare, plain = (median(loops[name]) for name in ("catalyst", "bare", "plain"))
    return [
        Row("training step, Catalyst against a bare loop", ms(catalyst), ms(bare), catalyst / bare, "1.05 or less"),
        Row("training step, depthwise gradients ours against oneDNN's", ms(bare), ms(plain), plain / bare, "above 1"),
    ]


ITEMS: dict[str, Callable[[Workplace], list[Row]]] = {
    "store": bench_store,
    "loader": bench_loader,
    "tta": bench_tta,
    "precision": bench_precision,
    "overlap": bench_overlap,
    "score": bench_score,
    "rectify": bench_rectify,
    "scene": bench_scene,
    "renderer": bench_renderer,
    "step": bench_step,
}


# --- the ways compared ------------------------------------------------------------------------------------------


def score_in_two_passes(truth: Path, predictions: Path) -> float:
    """R2 as the official program goes about it: every file read for the errors, and once more for the means."""
    labels = find_labels(truth)
    finals = []
    for _, tiles in labels.groupby(labels.id.map(city_of)):
        sums = {"agl": [0.0, 0], "flow": [0.0, 0]}
        for tile_id, agl, vflow in tiles.itertuples(index=False):
            for name, (true, _) in fields(truth, predictions, tile_id, agl, vflow).items():
                sums[name][0] += np.nansum(true, dtype=np.float64)
                sums[name][1] += np.count_nonzero(~np.isnan(true))
        errors, totals = {"agl": 0.0, "flow": 0.0}, {"agl": 0.0, "flow": 0.0}
        for tile_id, agl, vflow in tiles.itertuples(index=False):
            for name, (true, predicted) in fields(truth, predictions, tile_id, agl, vflow).items():
                errors[name] += np.nansum((predicted - true) ** 2, dtype=np.float64)
                totals[name] += np.nansum((true - sums[name][0] / sums[name][1]) ** 2, dtype=np.float64)
        finals.append(np.mean([1 - errors[name] / (totals[name] + DENOMINATOR_FLOOR) for name in errors]))
    return float(np.mean(finals))


def fields(truth: Path, predictions: Path, tile_id: str, agl: str, vflow: str) -> dict:
    """True and predicted heights [H,W] and flows [H,W,2] of a tile, float64."""
    true, predicted = read_agl(agl).astype(np.float64), predictions / agl_name(tile_id)
    true_pose = read_vflow(vflow, agl)
    pose, heights = read_vflow(predictions / vflow_name(tile_id), predicted), read_agl(predicted)
    flows = [
        (h * p.scale_px_per_m)[..., None] * flow_direction(p.angle_rad)
        for h, p in ((true, true_pose), (heights.astype(np.float64), pose))
    ]
    return {"agl": (true, heights), "flow": tuple(flows)}


def rectify_by_sorting(rgb: np.ndarray, agl_m: np.ndarray, scale_px_per_m: float, angle_rad: float) -> np.ndarray:
    """The image moved to the ground with plain NumPy: pixels written from the lowest to the tallest."""
    height, width = agl_m.shape
    heights = np.nan_to_num(agl_m).ravel()
    dx, dy = flow_direction(angle_rad) * scale_px_per_m
    y, x = np.divmod(np.arange(height * width), width)
    ground_x = np.floor(x + heights * dx + 0.5).astype(np.int64)
    ground_y = np.floor(y + heights * dy + 0.5).astype(np.int64)
    inside = (ground_x >= 0) & (ground_x < width) & (ground_y >= 0) & (ground_y < height)
    order = np.argsort(heights, kind="stable")
    order = order[inside[order]]
    ground = np.zeros_like(rgb)
    ground[ground_y[order], ground_x[order]] = rgb.reshape(-1, 3)[order]
    return ground


def seconds_per_step_in_catalyst(config) -> float:
    """Median step of one epoch, between the ends of its batches."""
    from geopose.training.runner import PoseRunner, ProgressCallback  # imports Catalyst, slow: not for the probes

    class Clock(ProgressCallback):
        def __init__(self):
            super().__init__()
            self.times = []

        def on_batch_end(self, runner):
            super().on_batch_end(runner)
            if runner.is_train_loader:
                self.times.append(time.perf_counter())

    class TimedRunner(PoseRunner):
        def get_callbacks(self):
            return super().get_callbacks() | {"progress": clock}

    clock = Clock()
    TimedRunner(config).run()
    return median(np.diff(clock.times[2:]))


def seconds_per_step_bare(config) -> float:
    """Median step of the same model, loss, optimizer and crops in a plain loop, the shortest one could write."""
    model = create_model(config.model).to(memory_format=torch.channels_last).train()
    criterion = PoseLoss(config.loss)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.optim.lr, fused=True)
    precision = pick_precision("auto", torch.device("cpu"))
    times = []
    for batch in create_train_loader(split_fold(config)[0], config):
        image = batch["image"].contiguous(memory_format=torch.channels_last)
        with autocast(torch.device("cpu"), precision):
            outputs = model(image, batch["gsd_m"], batch["city"])
        criterion(outputs, batch)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter())
    return median(np.diff(times[2:]))


# --- probes: measured in processes of their own, so that one's memory does not hide another's -------------------


def probe_views(views: tuple[str, ...], channels_last: bool = True, precision: str = "fp32") -> Callable[[Path], dict]:
    """A probe that predicts a 2048 px image of noise in some views; seconds and peak memory."""

    def measure(run: Path) -> dict:
        model = Ensemble([run], BlendConfig(), torch.device("cpu"), Calibration()).members[0].load()
        image = torch.randint(0, 256, (1, 3, LARGE_PX, LARGE_PX), dtype=torch.uint8)
        batch = {"image": image, "gsd_m": torch.tensor([0.35]), "city": ["JAX"]}
        if not channels_last:
            model = model.to(memory_format=torch.contiguous_format)

        def predict() -> None:
            blend = Blend()
            for view in views:
                if channels_last:
                    blend.add(predict_view(model, batch, view))
                else:
                    model(image, batch["gsd_m"], batch["city"])
            if channels_last:
                blend.compute()

        with torch.inference_mode(), autocast(torch.device("cpu"), precision):
            predict()
            seconds = median_seconds(predict, 3)
        return {"s": seconds, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}

    return measure


def probe_scene(run: Path) -> dict:
    """Peak memory of predicting and rectifying a wide scene of noise. Strips and blocks bound it, not the height."""
    ensemble = Ensemble([run], BlendConfig(tta="none"), torch.device("cpu"), Calibration(), spread=True)
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "wide.tif"
        profile = {"driver": "GTiff", "tiled": True, "width": WIDE_PX, "height": LARGE_PX, "count": 3, "dtype": "uint8"}
        with rasterio.Env(GDAL_CACHEMAX=CACHE_MB), rasterio.open(image, "w", **profile) as raster:
            for row in range(0, LARGE_PX, 256):
                noise = np.random.default_rng(row).integers(0, 256, (3, 256, WIDE_PX), dtype=np.uint8)
                raster.write(noise, window=Window(0, row, WIDE_PX, 256))
        predict_scene(image, Path(folder), ensemble, SceneOptions(gsd_m=0.35))
        rectify_scene(image, Path(folder), (), fill=True)
    return {"mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


PROBES = {
    "scene": probe_scene,
    "plain": probe_views(("e",)),
    "plain_nchw": probe_views(("e",), channels_last=False),
    "plain_bf16": probe_views(("e",), precision="bf16"),
    "d4": probe_views(VIEWS["d4"]),
}


def probe(what: str, run: Path, allocator_set: bool = True) -> dict:
    """Run a probe, with or without what the Makefile tells glibc's allocator."""
    variables = {k: v for k, v in os.environ.items() if allocator_set or not k.startswith("MALLOC_")}
    command = [sys.executable, "-m", "geopose", "bench", "--probe", what, str(run)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"probe {what} failed: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


# --- measuring and showing --------------------------------------------------------------------------------------


def median_seconds(function: Callable[[], object], repeats: int) -> float:
    """Median time of a call."""
    return in_turn(function, repeats=repeats)[0]


def in_turn(*functions: Callable[[], object], repeats: int) -> list[float]:
    """Median times of calls made in turn, so that a slow minute of the machine meets all of them."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, taken in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            taken.append(time.perf_counter() - start)
    return [median(taken) for taken in times]


def shares(profile: cProfile.Profile, whole: str, parts: tuple[str, ...]) -> str:
    """How much of a function's time goes into some of the functions it calls."""
    seconds = dict.fromkeys((whole, *parts), 0.0)
    for (_, _, name), (_, _, _, cumulative, _) in pstats.Stats(profile).stats.items():
        if name in seconds:
            seconds[name] += cumulative
    return ", ".join(f"{name.lstrip('_')} {seconds[name] / seconds[whole]:.0%}" for name in parts)


def python(*words) -> None:
    """Run one of the repository's scripts quietly."""
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{words[0]} failed: {done.stderr.strip().splitlines()[-1]}")


def ms(seconds: float) -> str:
    """Seconds as milliseconds with three figures."""
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def mb(megabytes: float) -> str:
    """Memory in MB."""
    return f"{megabytes:.0f} MB"


def sizes(ours: str | Path, common: str | Path) -> tuple[str, str]:
    """Sizes of two files in MB."""
    return tuple(f"{Path(path).stat().st_size / 1e6:.2f} MB" for path in (ours, common))


def describe_machine() -> str:
    """Processor and number of cores."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, torch {torch.__version__}"


def format_table(rows: list[Row]) -> str:
    """The rows as markdown, with the machine named."""
    lines = [f"Machine: {describe_machine()}.", "", "| what | ours | common | ratio | goal |", "|---|---|---|---|---|"]
    for r in rows:
        lines.append(f"| {r.item} | {r.ours} | {r.common} | {'' if r.ratio is None else f'{r.ratio:.3g}'} | {r.goal} |")
    return "\n".join(lines) + "\n"
