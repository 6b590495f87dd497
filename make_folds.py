"""Write the cross-validation folds of a competition folder: `python make_folds.py --data DIR --out FILE`."""

import sys
from pathlib import Path

from geopose import io
from geopose.cli import Parser, run_command
from geopose.data.folds import SPLITS, count_table, make_folds, scarce_cities


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
    io.write_csv(folds, args.out)
    if folds.fold.nunique() < args.num_folds:
        print(f"note: {folds.fold.nunique()} folds instead of {args.num_folds}: one per city at most", file=sys.stderr)
    scarce = scarce_cities(folds)
    if scarce and args.split != "group":
        print(f"warning: fewer tiles than folds in {', '.join(scarce)}; some folds hold none", file=sys.stderr)
    print(count_table(folds).to_string())


if __name__ == "__main__":
    run_command(main)
