"""How well places are found from images, by threshold: python -m tests.real_data.places DIR

DIR is a rendered folder, whose places.csv says which tiles show one place.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.metrics import adjusted_rand_score

from geopose.data.near_duplicates import cluster_features, image_features
from geopose.io.tables import read_places, read_train_table
from geopose.models.weights import LITE0
from geopose.runs.origin import describe_origin

THRESHOLDS = (0.05, 0.15, 0.25, 0.35)
MOST_PLACES = 9  # of a city


def first_places(root: Path):
    """The tiles of a folder's first places of each city, with their place."""
    table = read_train_table(root)
    table["place"] = read_places(root)[table.id].to_numpy()
    kept = table.place.drop_duplicates().groupby(table.city).head(MOST_PLACES)
    return table[table.place.isin(kept)].reset_index(drop=True)


def row(threshold: float, table, features: np.ndarray) -> str:
    """A row of the table: places found, places whose views are in several, and agreement with the truth."""
    found = table.city + cluster_features(table.city, features, threshold).astype(str)
    split = (found.groupby(table.place).nunique() > 1).mean()
    return f"| {threshold} | {found.nunique()} | {split:.0%} | {adjusted_rand_score(table.place, found):.2f} |"


def main(root: Path) -> None:
    table = first_places(root)
    features = image_features(table.rgb, LITE0)
    print(f"{describe_origin(root)} {len(table)} tiles of {table.place.nunique()} places.\n")
    print("| threshold | places found | places that are split | adjusted Rand index |\n|---|---|---|---|")
    for threshold in THRESHOLDS:
        print(row(threshold, table, features))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
