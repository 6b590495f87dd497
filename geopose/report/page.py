"""The parts of the HTML page about a submission, and how the template joins them."""

import json
import re
import time
from html import escape
from pathlib import Path

from geopose.io.tables import truth_folder
from geopose.report.charts import draw_curves, draw_errors
from geopose.report.tiles import describe_tile, read_tiles, surface_of
from geopose.scoring.evaluate import evaluate

ASSETS = Path(__file__).parent / "assets"
SHOWN = 3  # number of best tiles, and of worst tiles
COLUMNS = {
    "agl_r2": "AGL R2",
    "vflow_r2": "VFLOW R2",
    "r2": "R2",
    "honest_r2": "honest R2",
    "agl_rmse_m": "AGL RMSE m",
    "agl_slope": "AGL slope",
    "angle_error_deg": "angle error deg",
    "scale_error_px_per_m": "scale error px/m",
}


def build_page(data: Path, pred: Path, runs: list[Path]) -> str:
    """The whole page as text, with its style, script, charts and pictures in it.

    data: competition folder with truth/; pred: tarball or folder of predictions; runs: run folders whose training
    curves are drawn.
    """
    scores = evaluate(truth_folder(data), pred).scores
    tiles = read_tiles(data, pred)
    ranked = sorted(tiles, key=lambda tile: tile.rmse_share)
    tallest = max(tiles, key=lambda tile: tile.percentile_m)
    parts = {
        "title": f"{escape(pred.name)}: R2 {scores['final_r2']:.4f}",
        "facts": f"{len(tiles)} test tiles of {escape(data.name)}, "
        f"{escape(', '.join(map(str, runs))) or 'no runs given'}, {time.strftime('%F')}. "
        f"Official score {scores['final_r2']:.4f}, honest {scores['honest_r2']:.4f}, "
        f"{scores['bad_pixels']} pixels predicted as unknown.",
        "scores": score_table(scores),
        "training": "".join(draw_curves(runs)),
        "errors": "".join(draw_errors(tiles)),
        "view_title": f"{tallest.tile_id}, predicted heights",
        "best": "".join(describe_tile(tile) for tile in ranked[:SHOWN]),
        "worst": "".join(describe_tile(tile) for tile in ranked[::-1][:SHOWN]),
        "surface": json.dumps(surface_of(tallest, data)),
    }
    return fill_template("page.html", parts)


def fill_template(name: str, parts: dict[str, str]) -> str:
    """A whole page: the template of this name in frame.html, which holds the head, the style and the script of all.

    In both files each name in double braces is replaced by the part of this name.
    """
    parts = parts | {"style": (ASSETS / "style.css").read_text(), "script": (ASSETS / "script.js").read_text()}
    return _fill("frame.html", parts | {"content": _fill(name, parts)})


def _fill(name: str, parts: dict[str, str]) -> str:
    return re.sub(r"{{(\w+)}}", lambda place: parts[place.group(1)], (ASSETS / name).read_text())


def score_table(scores: dict) -> str:
    """The scores of each city and the final score as an HTML table; scores is the result of PoseScores.compute."""
    head = "".join(f"<th>{title}</th>" for title in ("city", "images", *COLUMNS.values()))
    rows = [
        f"<tr><td>{city}</td><td>{row['images']}</td>"
        + "".join(f"<td>{row[key]:.3f}</td>" for key in COLUMNS)
        + "</tr>"
        for city, row in scores["cities"].items()
    ]
    final = f"<td>{scores['final_r2']:.4f}</td><td>{scores['honest_r2']:.4f}</td>"
    rows.append(f'<tr class="total"><td>final</td><td></td><td></td><td></td>{final}{"<td></td>" * 4}</tr>')
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
