"""Places that are found from the images only: clusters of near-duplicate tiles."""

import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pandas as pd
import timm
import torch
from sklearn.cluster import AgglomerativeClustering
from torch import nn

from geopose.cli import UserError, one_line, progress
from geopose.io.rasters import read_rgb_thumbnail
from geopose.models.weights import LITE0, load_lite0_weights

# A whole tile still shows streets and large roofs. A .j2k of 2048 px is decoded at an eighth of its resolution, in a
# fiftieth of the time of the whole.
THUMBNAIL_PX = 256
BATCH = 16
PACE_BATCHES = 4  # after so many, the time that all take is known


def cluster_images(table: pd.DataFrame, threshold: float, encoder: str | None = None) -> np.ndarray:
    """Cluster number of each tile, int [N], counted from 0 in each city.

    table has the columns city and rgb. The cosine distance between any two images of a cluster is at most threshold
    (complete linkage). encoder is a timm name, or None for lite0.
    Source: a winner of the challenge found near-duplicate places in this way.
    """
    return cluster_features(table.city, image_features(table.rgb, encoder or LITE0), threshold)


def cluster_features(cities: pd.Series, features: np.ndarray, threshold: float) -> np.ndarray:
    """Cluster number of each row of features float [N,C], int [N], counted from 0 in each city. See cluster_images."""
    clusters = np.zeros(len(cities), dtype=int)
    for city in sorted(cities.unique()):
        rows = np.flatnonzero(cities == city)
        if len(rows) > 1:  # the clustering rejects a single tile
            clustering = AgglomerativeClustering(
                n_clusters=None, distance_threshold=threshold, metric="cosine", linkage="complete"
            )
            clusters[rows] = clustering.fit_predict(features[rows])
    return clusters


@torch.inference_mode()
def image_features(rgb_paths: Sequence[str], encoder: str) -> np.ndarray:
    """Pooled features float32 [N,C] of whole images, reduced to THUMBNAIL_PX."""
    model = feature_encoder(encoder)
    config = timm.data.resolve_model_data_config(model)
    mean, std = (torch.tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))
    features = []
    start = time.monotonic()
    with progress(None, "features", len(rgb_paths), "image") as bar:
        for thumbnails in _batches(rgb_paths):
            images = torch.from_numpy(thumbnails).permute(0, 3, 1, 2).float() / 255
            features.append(model((images - mean) / std).numpy())
            bar.update(len(thumbnails))
            if bar.disable and len(features) == PACE_BATCHES:
                _announce(len(rgb_paths), (time.monotonic() - start) / (PACE_BATCHES * BATCH))
    return np.concatenate(features)


def feature_encoder(name: str) -> nn.Module:
    """A timm model [B,3,H,W] -> [B,C] with pretrained weights: packaged for lite0, otherwise downloaded by timm."""
    if name not in timm.list_models():
        near = ", ".join(timm.list_models(f"*{name}*")[:5]) or f"{LITE0}, resnet18, ..."
        raise UserError(f"no encoder '{name}' in timm; similar names are {near}")
    if name == LITE0:
        return load_lite0_weights(timm.create_model(LITE0, num_classes=0)).eval()
    try:
        return timm.create_model(name, pretrained=True, num_classes=0).eval()
    except Exception as error:  # no network or no weights: timm and its libraries raise many types
        raise UserError(f"no weights for encoder '{name}' ({one_line(error)}); use --encoder {LITE0}") from None


def _batches(rgb_paths: Sequence[str]) -> Iterator[np.ndarray]:
    """Thumbnails uint8 [B,H,W,3] of up to BATCH images at a time. Threads decode the next batch meanwhile."""
    paths, read = list(rgb_paths), partial(read_rgb_thumbnail, side_px=THUMBNAIL_PX)
    first, *others = [paths[start : start + BATCH] for start in range(0, len(paths), BATCH)]
    with ThreadPoolExecutor() as pool:
        thumbnails = pool.map(read, first)
        for batch in [*others, []]:
            done, thumbnails = thumbnails, pool.map(read, batch)
            yield np.stack(list(done))


def _announce(images: int, seconds_each: float) -> None:
    """Say on standard error how long it takes, where no progress bar is shown."""
    minutes = images * seconds_each / 60
    print(f"comparing {images} images to find those of one place: {minutes:.1f} minutes", file=sys.stderr, flush=True)
