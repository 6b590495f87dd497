"""What a folder of the challenge's size costs before the first step: seconds, memory and disk.

Each part is measured on some hundred hard links to rendered tiles and extrapolated to 5,923 training tiles. Seconds are
processor time, that is what one core takes on an idle machine. Waiting for a cold disk is not part of them.
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.cluster import AgglomerativeClustering

from geopose.bench.timing import forget_peak, peak_memory_mb
from geopose.config import load_config
from geopose.data.dataset import create_train_loader
from geopose.data.folds import make_folds
from geopose.data.near_duplicates import image_features
from geopose.data.store import prefer_prepared, prepare
from geopose.io.tables import check_labels, read_folds, read_train_table, write_csv
from geopose.runs.folder import fingerprint_inputs
from tests.real_data.folder import TEST_TILES, TRAIN_TILES

CONFIG = "configs/b7_unet.yaml"
ENCODER, FEATURES = "tf_efficientnet_lite0", 1280  # the packaged encoder, and how many features it gives
FOLDS = "`make folds`, stratified"


def measure_startup(root: Path, few: Path, distinct: Path, city_shares: dict[str, int]) -> list[str]:
    """Rows of the table. Features are measured on the tiles of few, copies on those of distinct, all else on root.

    city_shares: city -> number of tiles whose clusters are measured, on random features.
    """
    for part in parts_of(few).values():
        part()  # what a part costs at its first call does not grow with the number of tiles
    rows = measure_parts(parts_of(root), len(read_train_table(root)))
    return rows + measure_places(read_train_table(few).rgb.tolist(), city_shares) + measure_prepare(distinct)


def measure_parts(parts: dict[str, Callable], tiles: int) -> list[str]:
    """Rows on the seconds of each part, on those of all, and on the memory that they need beyond what is held now."""
    rows, start_up = [], 0.0
    forget_peak()
    before_mb = peak_memory_mb()
    for name, part in parts.items():
        seconds = time_of(part)
        start_up += seconds if name != FOLDS else 0
        rows.append(row(name, tiles, seconds))
    rows.append(row("**all parts of a training's start**", tiles, start_up))
    return [*rows, memory_row(tiles, peak_memory_mb() - before_mb)]


def parts_of(root: Path) -> dict[str, Callable]:
    """What happens before the first step of a training, and how the folds are made before it."""
    table, folds = read_train_table(root), root / "folds.csv"
    return {
        FOLDS: lambda: write_csv(make_folds(root, num_folds=10), folds),
        "read the tables": lambda: read_train_table(root),
        "look for prepared copies": lambda: prefer_prepared(table, root),
        "check sizes and units by the headers": lambda: check_labels(table),
        "read the folds": lambda: read_folds(folds, table),
        "fingerprint of data and folds": lambda: fingerprint_inputs(settings(root, folds)),
        "read the poses": lambda: create_train_loader(table, settings(root, folds)),
    }


def measure_places(images: list[str], city_shares: dict[str, int]) -> list[str]:
    """Rows on the features and the clusters of `make folds SPLIT=cluster`."""
    image_features(images[:1], ENCODER)
    seconds = time_of(lambda: image_features(images, ENCODER))
    rows = [row("`make folds SPLIT=cluster`: features", len(images), seconds)]
    seconds = sum(time_of(lambda count=count: cluster(count)) for count in city_shares.values())
    count = sum(city_shares.values())
    return [*rows, f"| `make folds SPLIT=cluster`: clusters | {count} | {seconds:.3g} s | {seconds:.0f} s |"]


def settings(root: Path, folds: Path):
    """The config of the recipe on a folder."""
    return load_config(CONFIG, [f"data.root={root}", f"data.folds={folds}"])


def time_of(part: Callable) -> float:
    """Processor seconds of a call, over all threads of this process."""
    start = time.process_time()
    part()
    return time.process_time() - start


def cluster(count: int) -> None:
    """Cluster as many random features as a city has tiles."""
    features = np.random.default_rng(0).normal(size=(count, FEATURES)).astype(np.float32)
    AgglomerativeClustering(n_clusters=None, distance_threshold=0.05, metric="cosine", linkage="complete").fit(features)


def measure_prepare(root: Path) -> list[str]:
    """Rows on seconds and disk of `make prepare`, which copies training and test tiles."""
    seconds = time_of(lambda: prepare(root, 1))
    images, image_mb = mean_size(root, "RGB")
    _, height_mb = mean_size(root, "AGL")
    everything = TRAIN_TILES + TEST_TILES
    gigabytes = (image_mb * everything + height_mb * TRAIN_TILES) / 1e3
    minutes = seconds * everything / images / 60
    megabytes = f"{image_mb:.1f} MB an image, {height_mb:.1f} MB its heights"
    return [
        f"| `make prepare` | {images} | {seconds:.3g} s | {minutes:.0f} min |",
        f"| disk of `make prepare` | {images} | {megabytes} | {gigabytes:.0f} GB |",
    ]


def mean_size(root: Path, kind: str) -> tuple[int, float]:
    """Number and mean size in MB of the prepared copies of a kind, RGB or AGL."""
    sizes = [file.stat().st_size for file in (root / "prepared").glob(f"*/*_{kind}.tif")]
    return len(sizes), sum(sizes) / len(sizes) / 1e6


def row(what: str, tiles: int, seconds: float) -> str:
    """A row of the table: seconds of some tiles, and of all training tiles of the challenge."""
    return f"| {what} | {tiles} | {seconds:.3g} s | {seconds * TRAIN_TILES / tiles:.3g} s |"


def memory_row(tiles: int, megabytes: float) -> str:
    """A row of the table on memory."""
    return f"| memory of these parts | {tiles} | {megabytes:.0f} MB | {megabytes * TRAIN_TILES / tiles:.0f} MB |"
