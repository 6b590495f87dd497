"""Cross-validation folds of the training tiles: `python -m geopose folds --data DIR --out FILE`.

There are three splits, made by scikit-learn's splitters:

- stratified: every fold has the same share of each city. Images of one place may be in several folds.
- group: all tiles of a city are in one fold.
- cluster: all images of a place are in one fold.
"""

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, StratifiedKFold

from geopose.cli import Parser, UserError, one_line
from geopose.io.tables import read_places, read_train_table, write_csv

SPLITS = ("stratified", "group", "cluster")
# Of rendered places, lite0's features split all at 0.05 and few at 0.35 (python -m tests.real_data.places).
THRESHOLD = 0.35
MAX_SEED = 2**32 - 1  # of NumPy's generator in scikit-learn


def make_folds(
    data_root: str | Path,
    split: str = "stratified",
    num_folds: int = 10,
    seed: int = 42,
    threshold: float = THRESHOLD,
    encoder: str | None = None,
) -> pd.DataFrame:
    """Fold of each training tile of a competition folder: columns id, city, fold, sorted by id.

    split is one of SPLITS. group makes at most one fold per city and does not use seed. cluster reads the places from
    places.csv. Without this file it finds near-duplicate images, the only case in which images are read: threshold is
    the largest cosine distance in a place, encoder a timm name or None for the packaged lite0. Raises UserError when
    there are fewer tiles or places than folds, or for a threshold or seed that cannot be.
    """
    if not 0 <= threshold <= 2:
        raise UserError(f"--threshold {threshold}: a cosine distance lies in [0, 2]")
    if not 0 <= seed <= MAX_SEED:
        raise UserError(f"--seed {seed}: must lie in [0, {MAX_SEED}]")
    table = read_train_table(data_root).sort_values("id", ignore_index=True)
    if not 2 <= num_folds <= len(table):
        raise UserError(f"{num_folds} folds of {len(table)} tiles; choose from 2 to the number of tiles")
    if split == "stratified":
        folds = fold_of(StratifiedKFold(num_folds, shuffle=True, random_state=seed), table.city)
    elif split == "group":
        if table.city.nunique() < 2:
            raise UserError(f"{data_root}: group needs more than one city; use stratified or cluster")
        num_folds = min(num_folds, table.city.nunique())
        folds = number_by_city(table.city, fold_of(GroupKFold(num_folds), table.city, table.city))
    elif split == "cluster":
        # The name of a place is unique only within its city: two cities may both have a place 0.
        places = table.city + "/" + pd.Series(find_places(data_root, table, threshold, encoder)).astype(str)
        folds = fold_of(StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed), table.city, places)
    else:
        raise UserError(f"unknown split '{split}'; choose one of {', '.join(SPLITS)}")
    return pd.DataFrame({"id": table.id, "city": table.city, "fold": folds})


def fold_of(splitter, cities: pd.Series, groups: pd.Series | None = None) -> np.ndarray:
    """Fold of each tile, int [N], by one of scikit-learn's splitters. Raises UserError when a fold is empty."""
    folds = np.full(len(cities), -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a city with fewer tiles than folds; main prints its own warning
        try:
            for fold, (_, tiles) in enumerate(splitter.split(cities, cities, groups)):
                folds[tiles] = fold
        except ValueError as error:
            raise UserError(f"too few tiles or places for this many folds ({one_line(error)}); choose fewer") from None
    empty = set(range(splitter.get_n_splits())) - set(folds)
    if empty:
        raise UserError(f"folds {sorted(empty)} are empty: too few places for this many folds; choose fewer")
    return folds


def number_by_city(cities: Sequence[str], folds: np.ndarray) -> np.ndarray:
    """The same folds, int [N], renumbered in the alphabetical order of their first city."""
    first = pd.Series(list(cities)).groupby(folds).min()
    order = {fold: number for number, fold in enumerate(first.sort_values().index)}
    return np.array([order[fold] for fold in folds])


def count_table(folds: pd.DataFrame) -> pd.DataFrame:
    """Number of tiles by city and fold, with totals. folds has the columns city and fold."""
    return pd.crosstab(folds.city, folds.fold, margins=True, margins_name="all")


def scarce_cities(folds: pd.DataFrame) -> list[str]:
    """Cities that have fewer tiles than there are folds, so that some folds contain none of their tiles."""
    sizes = folds.city.value_counts()
    return sorted(sizes.index[sizes < folds.fold.nunique()])


def find_places(data_root: str | Path, table: pd.DataFrame, threshold: float, encoder: str | None) -> np.ndarray:
    """Place of each row of table [N]: from places.csv, otherwise from clusters of near-duplicate images."""
    places = read_places(data_root)
    if places is None:
        from geopose.data.near_duplicates import cluster_images  # imports torch and timm, which takes seconds

        places = cluster_images(table, threshold, encoder)
        found = len(set(zip(table.city, places, strict=True)))
        print(f"{found} places in {len(table)} images; more with a lower --threshold", file=sys.stderr)
        return places
    missing = sorted(set(table.id) - set(places.index))
    if missing:
        raise UserError(
            f"{Path(data_root) / 'places.csv'}: no place for {len(missing)} ids ({missing[0]}, ...); "
            "add their rows, or remove the file to find places from the images"
        )
    return places[table.id].to_numpy()


def find_limits(folds: pd.DataFrame, split: str, num_folds: int) -> list[str]:
    """One line for each way in which the folds are not what was requested."""
    made, scarce = folds.fold.nunique(), scarce_cities(folds)
    lines = []
    if made < num_folds:
        lines.append(f"note: {made} folds instead of {num_folds}, one per city")
    if scarce and split != "group":
        lines.append(f"warning: fewer tiles than folds in {', '.join(scarce)}; some folds contain none of them")
    return lines


def main() -> None:
    """Write the folds as a CSV and print how many tiles of each city each fold has."""
    parser = Parser(
        "Split the training tiles of a competition folder into cross-validation folds.",
        "python -m geopose folds --data data/synthetic --out data/synthetic/folds.csv --split cluster --num-folds 5",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="competition folder")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="CSV to write: id,city,fold")
    parser.add_argument(
        "--split",
        choices=SPLITS,
        default="stratified",
        help="stratified: every fold has the same share of each city; group: all tiles of a city are in one fold; "
        "cluster: all images of a place are in one fold",
    )
    parser.add_argument(
        "--num-folds", type=int, default=10, metavar="N", help="number of folds; group makes at most one per city"
    )
    parser.add_argument("--seed", type=int, default=42, metavar="N", help="seed of the random order; not for group")
    parser.add_argument(
        "--threshold",
        type=float,
        default=THRESHOLD,
        metavar="D",
        help="cluster without places.csv: images are of one place if the cosine distance of their features is at most "
        "this",
    )
    parser.add_argument(
        "--encoder",
        metavar="NAME",
        help="cluster without places.csv: timm model that gives these features (default: the packaged lite0)",
    )
    args = parser.parse_args()
    if args.split != "cluster" or read_places(args.data) is not None:
        parser.refuse_ignored(args, ["threshold", "encoder"], "--split cluster and a folder without places.csv")
    if args.split == "group":
        parser.refuse_ignored(args, ["seed"], "--split stratified or cluster")
    folds = make_folds(args.data, args.split, args.num_folds, args.seed, args.threshold, args.encoder)
    write_csv(folds, args.out)
    for line in find_limits(folds, args.split, args.num_folds):
        print(line, file=sys.stderr)
    print(count_table(folds).to_string())
