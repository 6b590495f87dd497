"""One self-contained HTML page about a submission: `python -m geopose report --data DIR --pred FILE --out report.html`.

Scores, training curves, errors by height, the best and the worst tiles with their lean removed, one tile to turn in
three dimensions. DATA must have the truth of its test half. The page needs no network and no other file.
"""

import json
import time
from pathlib import Path

from geopose.cli import Parser, UserError
from geopose.io.files import write_bytes
from geopose.report import charts
from geopose.report.tiles import compare_tiles, describe_tile, surface_of
from geopose.runs.folder import finished_runs
from geopose.scoring.evaluate import evaluate

PAGE = Path(__file__).parent / "page"
SHOWN = 3  # best, and as many worst


def main() -> int:
    parser = Parser(__doc__.split("\n")[0], "python -m geopose report --data data/synthetic --pred submission.tar.gz")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="competition folder with truth/")
    parser.add_argument(
        "--pred", type=Path, default=Path("submission.tar.gz"), metavar="FILE", help="tarball or folder"
    )
    parser.add_argument("--runs", nargs="*", default=[], metavar="RUN", help="runs whose curves to draw; none: all")
    parser.add_argument("--out", type=Path, default=Path("report.html"), metavar="FILE", help="page to write")
    args = parser.parse_args()
    if not (args.data / "truth").is_dir():
        raise UserError(f"{args.data} has no truth/ folder to compare with; a report needs it")
    runs = [Path(run) for run in args.runs] or finished_runs("runs", args.data)
    write_bytes(args.out, build_page(args.data, args.pred, runs).encode())
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB")
    return 0


def build_page(data: Path, pred: Path, runs: list[Path]) -> str:
    """The whole page as text."""
    scores = evaluate(data / "truth", pred).scores
    tiles = compare_tiles(data, pred)
    ranked = sorted(tiles, key=lambda tile: tile.rmse_share)
    tallest = max(tiles, key=lambda tile: tile.percentile_m)
    parts = {
        "title": f"{pred.name}: R2 {scores['final_r2']:.4f}",
        "facts": f"{len(tiles)} test tiles of {data.name}, {', '.join(map(str, runs)) or 'no run named'}, "
        f"{time.strftime('%F')}. Official score {scores['final_r2']:.4f}, honest {scores['honest_r2']:.4f}, "
        f"{scores['bad_pixels']} unknown pixels predicted.",
        "scores": score_table(scores),
        "training": "".join(charts.draw_curves(runs)),
        "errors": "".join(charts.draw_errors(tiles)),
        "view_title": f"{tallest.tile_id}, predicted heights",
        "best": "".join(describe_tile(tile) for tile in ranked[:SHOWN]),
        "worst": "".join(describe_tile(tile) for tile in ranked[::-1][:SHOWN]),
        "surface": json.dumps(surface_of(tallest, data)),
        "style": (PAGE / "style.css").read_text(),
        "script": (PAGE / "script.js").read_text(),
    }
    page = (PAGE / "page.html").read_text()
    for name, content in parts.items():
        page = page.replace("{{" + name + "}}", content)
    return page


def score_table(scores: dict) -> str:
    """Scores by city and in all, official and honest, with angle and scale errors."""
    columns = {
        "agl_r2": "AGL R2",
        "vflow_r2": "VFLOW R2",
        "r2": "R2",
        "honest_r2": "honest R2",
        "agl_rmse_m": "AGL RMSE m",
        "angle_error_deg": "angle error deg",
        "scale_error_px_per_m": "scale error px/m",
    }
    head = "".join(f"<th>{title}</th>" for title in ("city", "images", *columns.values()))
    rows = [
        f"<tr><td>{city}</td><td>{row['images']}</td>"
        + "".join(f"<td>{row[key]:.3f}</td>" for key in columns)
        + "</tr>"
        for city, row in scores["cities"].items()
    ]
    final = f"<td>{scores['final_r2']:.4f}</td><td>{scores['honest_r2']:.4f}</td>"
    rows.append(f'<tr class="total"><td>final</td><td></td><td></td><td></td>{final}<td></td><td></td><td></td></tr>')
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
