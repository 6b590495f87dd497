"""`python -m geopose report`: write one HTML page about a submission."""

from pathlib import Path

from geopose.cli import Parser, UserError
from geopose.io.files import write_bytes
from geopose.io.tables import truth_folder
from geopose.report.page import build_page
from geopose.runs.folder import finished_runs

DESCRIPTION = (
    "Write one HTML page about a submission: scores, training curves, errors, the best and the worst tiles, and a tile "
    "in 3D. The page needs no network and no other file."
)


def main() -> int:
    parser = Parser(DESCRIPTION, "python -m geopose report --data data/synthetic --pred submission.tar.gz")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="competition folder with the labels of its test half"
    )
    parser.add_argument(
        "--pred",
        type=Path,
        default=Path("submission.tar.gz"),
        metavar="FILE",
        help="the submission: a tarball, or a folder of predictions",
    )
    parser.add_argument(
        "--runs",
        nargs="*",
        default=[],
        metavar="RUN",
        help="runs whose training curves the page shows (default: all finished runs on this data)",
    )
    parser.add_argument("--out", type=Path, default=Path("report.html"), metavar="FILE", help="page to write")
    args = parser.parse_args()
    truth_folder(args.data)  # raises UserError where there are no labels
    runs = [Path(run) for run in args.runs] or finished_runs("runs", args.data)
    for run in map(Path, args.runs):
        if not (run / "metrics.csv").exists():
            raise UserError(f"{run / 'metrics.csv'} missing: {run} has no training curves; correct or leave out --runs")
    write_bytes(args.out, build_page(args.data, args.pred, runs).encode())
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB")
    return 0
