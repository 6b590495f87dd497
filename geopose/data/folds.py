"""Cross-validation folds: by city in proportion, by city apart, or by place apart; scikit-learn's splitters."""

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


def make_folds(
    data_root: str | Path,
    split: str = "stratified",
    num_folds: int = 10,
    seed: int = 42,
    threshold: float = 0.05,
    encoder: str | None = None,
) -> pd.DataFrame:
    """Fold of each training tile of a competition folder: columns id, city, fold, sorted by id.

    stratified: every fold holds every city in proportion. group: a city is in one fold alone, num_folds or as many as
    there are cities if fewer. cluster: images of one place are in one fold alone; places come from places.csv or, in
    its absence, from near-duplicate images (threshold: cosine distance; encoder: a timm name, None for the packaged
    lite0). Only the last reads images. Raises UserError when there are fewer tiles or places than folds.
    """
    table = read_train_table(data_root).sort_values("id", ignore_index=True)
    if not 2 <= num_folds <= len(table):
        raise UserError(f"{num_folds} folds of {len(table)} tiles; choose from 2 to the number of tiles")
    if split == "stratified":
        folds = fold_of(StratifiedKFold(num_folds, shuffle=True, random_state=seed), table.city)
    elif split == "group":
        if table.city.nunique() < 2:
            raise UserError(f"{data_root}: one city alone cannot be split by city; use stratified or cluster")
        num_folds = min(num_folds, table.city.nunique())
        folds = number_by_city(table.city, fold_of(GroupKFold(num_folds), table.city, table.city))
    elif split == "cluster":
        # A place is named within its city; two cities may both have a place 0.
        places = table.city + "/" + pd.Series(find_places(data_root, table, threshold, encoder)).astype(str)
        folds = fold_of(StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed), table.city, places)
    else:
        raise UserError(f"no split '{split}'; there are {', '.join(SPLITS)}")
    return pd.DataFrame({"id": table.id, "city": table.city, "fold": folds})


def fold_of(splitter, cities: pd.Series, groups: pd.Series | None = None) -> np.ndarray:
    """Fold of each tile, int [N], by one of scikit-learn's splitters. Raises UserError when a fold stays empty."""
    folds = np.full(len(cities), -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a city with fewer tiles than folds: the command warns in its own words
        try:
            for fold, (_, tiles) in enumerate(splitter.split(cities, cities, groups)):
                folds[tiles] = fold
        except ValueError as error:
            raise UserError(f"too few tiles or places for this many folds ({one_line(error)}); choose fewer") from None
    empty = set(range(splitter.get_n_splits())) - set(folds)
    if empty:
        raise UserError(f"folds {sorted(empty)} stay empty: too few places for this many folds; choose fewer")
    return folds


def number_by_city(cities: Sequence[str], folds: np.ndarray) -> np.ndarray:
    """The same folds renumbered in the order of their alphabetically first city."""
    first = pd.Series(list(cities)).groupby(folds).min()
    order = {fold: number for number, fold in enumerate(first.sort_values().index)}
    return np.array([order[fold] for fold in folds])


def count_table(folds: pd.DataFrame) -> pd.DataFrame:
    """Tiles by city and fold, with totals. folds has the columns city and fold."""
    return pd.crosstab(folds.city, folds.fold, margins=True, margins_name="all")


def scarce_cities(folds: pd.DataFrame) -> list[str]:
    """Cities with fewer tiles than there are folds, so that some folds hold none of them."""
    sizes = folds.city.value_counts()
    return sorted(sizes.index[sizes < folds.fold.nunique()])


def find_places(data_root: str | Path, table: pd.DataFrame, threshold: float, encoder: str | None) -> np.ndarray:
    """Place of each row of table [N]: from the folder's places.csv, else clusters of near-duplicate images."""
    places = read_places(data_root)
    if places is None:
        from geopose.data.near_duplicates import cluster_images  # here, because torch and timm take seconds to import

        return cluster_images(table, threshold, encoder)
    missing = sorted(set(table.id) - set(places.index))
    if missing:
        raise UserError(
            f"{Path(data_root) / 'places.csv'}: no place for {len(missing)} ids ({missing[0]}, ...); "
            "add their rows, or remove the file to find places from the images"
        )
    return places[table.id].to_numpy()


def main() -> None:
    """Write id,city,fold and print how many tiles of each city each fold holds."""
    parser = Parser(
        "Divide the training tiles into folds. stratified: every fold holds every city in proportion. group: a city "
        "is in one fold alone. cluster: images of one place are in one fold alone.",
        "python make_folds.py --data data/synthetic --out data/synthetic/folds.csv --split stratified --num-folds 10",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="competition folder")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="CSV to write: id,city,fold")
    parser.add_argument("--split", choices=SPLITS, default="stratified", help="what folds share or keep apart")
    parser.add_argument("--num-folds", type=int, default=10, help="number of folds; group makes one per city at most")
    parser.add_argument("--seed", type=int, default=42, help="orders what is otherwise equal")
    parser.add_argument("--threshold", type=float, default=0.05, help="cluster: cosine distance within a place")
    parser.add_argument("--encoder", help="cluster: timm model to compare images by (default: the packaged lite0)")
    args = parser.parse_args()
    folds = make_folds(args.data, args.split, args.num_folds, args.seed, args.threshold, args.encoder)
    write_csv(folds, args.out)
    if folds.fold.nunique() < args.num_folds:
        print(f"note: {folds.fold.nunique()} folds instead of {args.num_folds}: one per city at most", file=sys.stderr)
    scarce = scarce_cities(folds)
    if scarce and args.split != "group":
        print(f"warning: fewer tiles than folds in {', '.join(scarce)}; some folds hold none", file=sys.stderr)
    print(count_table(folds).to_string())
