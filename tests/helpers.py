"""Tiny competition folders and commands run as a user runs them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import rasterio
from forked import run_forked, run_ranks

from geopose.config import Config, load_config
from geopose.io.names import agl_name, tile_id_of, vflow_name
from geopose.training.processes import free_port

REPO = Path(__file__).resolve().parent.parent
RELEASED = REPO / "runs" / "synthetic_lite0" / "fold0"
CITIES = ("ARG", "ATL", "JAX", "OMA")
SUFFIXES = ("aaaaaa", "bbbbbb", "cccccc", "dddddd")


def write_tif(path: Path, values: np.ndarray, **profile) -> None:
    """Write values [H,W] or [bands,H,W] as they are."""
    bands = values[None] if values.ndim == 2 else values
    count, height, width = bands.shape
    options = {"driver": "GTiff", "compress": "deflate", **profile}
    with rasterio.open(path, "w", count=count, height=height, width=width, dtype=bands.dtype, **options) as raster:
        raster.write(bands)


def half_written(folder: Path) -> None:
    """Leave in a folder what a process leaves that is killed while it writes there."""
    before = set(folder.iterdir())
    begin = "writing('whole.tif').__enter__().write_bytes(b'half')"
    code = f"import os; from geopose.io.files import writing; {begin}; os.kill(os.getpid(), 9)"
    env = os.environ | {"PYTHONPATH": str(REPO)}
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, check=False)
    assert len(set(folder.iterdir()) - before) == 1


def write_label(folder: Path, tile_id: str, agl_m: np.ndarray, scale_px_per_m: float, angle_rad: float) -> None:
    """A label in centimetres and px/cm, NaN as 65535; written here without the package's own encoder."""
    agl_cm = np.where(np.isnan(agl_m), 65535, np.rint(np.nan_to_num(agl_m) * 100)).astype(np.uint16)
    write_tif(folder / f"{tile_id}_AGL.tif", agl_cm)
    pose = {"scale": scale_px_per_m / 100, "angle": angle_rad}
    (folder / f"{tile_id}_VFLOW.json").write_text(json.dumps(pose))


def write_competition(root: Path, per_city: int = 2, size: tuple[int, int] = (24, 32), cities=CITIES) -> list[str]:
    """A competition folder with per_city train and test tiles per city, and truth/. Returns the ids."""
    rng = np.random.default_rng(0)
    for folder in ("train", "test", "truth"):
        (root / folder).mkdir(parents=True)
    ids = [f"{city}_{suffix}" for city in cities for suffix in SUFFIXES[:per_city]]
    for tile_id in ids:
        image = rng.integers(0, 255, (3, *size), dtype=np.uint8)
        agl_m = rng.uniform(0, 30, size).round(2)
        agl_m[:2] = np.nan
        write_tif(root / "train" / f"{tile_id}_RGB.tif", image)
        write_tif(root / "test" / f"{tile_id}_RGB.tif", image)
        for folder in ("train", "truth"):
            write_label(root / folder, tile_id, agl_m, rng.uniform(0.5, 1.5), rng.uniform(0, 6))
    write_tables(root, ids)
    return ids


def images_only(root: Path, folder: Path) -> Path:
    """The test half of a competition folder as images in test/ and labels of their names in truth/, without tables."""
    shutil.copytree(root / "test", folder / "test")
    shutil.copy(root / "metadata.csv", folder)
    (folder / "truth").mkdir()
    for image in (folder / "test").iterdir():
        for name in (agl_name, vflow_name):
            shutil.copy(root / "truth" / name(tile_id_of(image)), folder / "truth" / name(image.stem))
    return folder


def write_tables(root: Path, ids: list[str], bare: bool = False) -> None:
    """The three CSVs for full ids; bare writes the id columns without the city, as the challenge's files do."""
    root.mkdir(parents=True, exist_ok=True)
    shown = {tile_id: tile_id.split("_")[1] if bare else tile_id for tile_id in ids}
    metadata = [f"{shown[i]},{i.split('_')[0]},0.35" for i in ids]
    train = [f"{shown[i]},{i}_AGL.tif,{i}_VFLOW.json,{i}_RGB.tif" for i in ids]
    test = [f"{shown[i]},{i}_RGB.tif" for i in ids]
    (root / "metadata.csv").write_text("\n".join(["id,city,gsd", *metadata]) + "\n")
    (root / "geopose_train.csv").write_text("\n".join(["id,agl,json,rgb", *train]) + "\n")
    (root / "geopose_test.csv").write_text("\n".join(["id,rgb", *test]) + "\n")


def run(*command) -> subprocess.CompletedProcess:
    """Run `python ...`, a script or a module, in the repository root."""
    return run_forked([str(word) for word in command], REPO)


def run_together(*command, count: int = 2) -> list[subprocess.CompletedProcess]:
    """Run `python ...` in processes that form a group, with the variables that torchrun sets. Rank 0 comes first."""
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    group |= {name: str(count) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")}
    ranks = [group | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]
    return run_ranks([str(word) for word in command], REPO, ranks)


def run_alone(*command, **environment: str) -> subprocess.CompletedProcess:
    """Run `python ...` with some environment variables set, in a process that imports everything itself."""
    words, env = [sys.executable, *map(str, command)], os.environ | environment
    return subprocess.run(words, cwd=REPO, capture_output=True, text=True, check=False, env=env)


def assert_user_error(result: subprocess.CompletedProcess, *words: str) -> None:
    """Exit status 2 and one line on standard error that holds the words, no traceback."""
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    for word in words:
        assert word in result.stderr


# --- the scripts on tiny settings ---

DEFAULT = "configs/lite0_synthetic.yaml"
FROM_IMAGENET = "configs/lite0_imagenet.yaml"  # tiny networks start from it, because released weights do not fit them
# Two steps of the default, which starts from the released run: its heights are real. Those of a network that has
# learned nothing are below 0.
TINY = [
    "train.device=cpu",  # only a CPU repeats a training bit for bit
    "train.precision=fp32",
    "train.max_minutes=null",
    "train.epochs=1",
    "train.steps_per_epoch=2",
    "train.ema_decay=null",
    "optim.lr=1e-5",
    "optim.min_lr=1e-6",
    "optim.warmup_steps=0",
    "data.batch_size=2",
    "augment.crop_px=64",
]


def ok(result) -> str:
    """What a command printed; it must have ended well."""
    assert result.returncode == 0, result.stderr + result.stdout
    return result.stdout


def make_folds(data, folds) -> None:
    """Two folds by the real script."""
    ok(run("make_folds.py", "--data", data, "--out", folds, "--num-folds", 2))


def train(data, folds, run_dir, *overrides) -> subprocess.CompletedProcess:
    """Two steps by the real script."""
    return run("train.py", DEFAULT, f"data.root={data}", f"data.folds={folds}", f"run.dir={run_dir}", *TINY, *overrides)


def predict(data, run_dir, out, *flags) -> subprocess.CompletedProcess:
    """A tarball by the real script."""
    return run("predict.py", "--data", data, "--runs", run_dir, "--out", out, "--device", "cpu", *flags)


TINY_CONFIG = [
    "train.device=cpu",
    "train.max_minutes=null",
    "train.steps_per_epoch=2",
    "data.batch_size=2",
    "augment.crop_px=32",
    "model.decoder_channels=[8,8,8]",
    "model.encoder_layers=[0,1,2,3]",
    "model.head_channels=8",
    "model.direction_maps=1",
    "train.precision=fp32",
]


def config_of(data, run_dir, *overrides) -> Config:
    """A tiny config for training in this process; data must hold folds.csv."""
    paths = [f"data.root={data}", f"data.folds={data / 'folds.csv'}", f"run.dir={run_dir}"]
    return load_config(FROM_IMAGENET, [*paths, *TINY_CONFIG, *overrides])
