"""Score predictions as the challenge does: `python -m geopose evaluate --truth DIR --pred DIR_OR_TARBALL`.

Each file is read once, and only a few tiles are in memory at a time. The files of a tile may come in any order. Heights
are reduced to a few sums as soon as they are read. At the end the sums are combined with the poses.
"""

import json
import math
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch

from geopose.cli import Parser, UserError, list_some, progress
from geopose.io.files import make_room, write_bytes
from geopose.io.names import agl_name, city_of, label_of, vflow_name
from geopose.io.poses import VflowLabel, parse_vflow, read_pose
from geopose.io.rasters import MIXED_UNITS, check_heights, decode_agl
from geopose.io.tables import find_labels
from geopose.scoring.metrics import HeightSums, PoseScores, height_sums, mean_score
from geopose.scoring.submission import read_predictions

MAX_WORKERS = 8  # each holds a few float64 tiles: 200 MB at 2048 px


@dataclass(frozen=True)
class ScoredTile:
    """A tile's height sums, its true pose, and the units of its height files, which are also those of its poses."""

    heights: HeightSums
    true_pose: VflowLabel
    pred_centimetres: bool
    true_centimetres: bool


@dataclass
class Evaluation:
    """scores is the result of PoseScores.compute. failed: true ids without a valid prediction -> what scores 0 for it.

    unknown lists predicted files that belong to no true id.
    """

    scores: dict
    failed: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


def evaluate(truth: str | Path, pred: str | Path, each_image: bool = False, true_poses: bool = False) -> Evaluation:
    """Score a folder or tarball of predictions against a folder of truth, both in the competition's file format.

    each_image scores every image for itself, as if each was a city. true_poses takes scale and angle from the truth,
    which shows what predicted heights are worth where metadata give the pose.

    Raises UserError when a file is damaged, sizes differ, the truth mixes units, no true tile has a prediction, or no
    true height is known.
    """
    labels = find_labels(truth).set_index("id")
    pose_texts: dict[str, bytes] = {}
    unknown: list[str] = []

    def height_files() -> Iterator[tuple[str, bytes]]:
        for name, content in read_predictions(pred):
            tile_id, kind = label_of(name) or (name, None)
            if kind is None or tile_id not in labels.index:
                unknown.append(name)
            elif kind == "vflow":
                pose_texts[tile_id] = content
            else:
                yield tile_id, content

    def score(item: tuple[str, bytes]) -> tuple[str, ScoredTile]:
        tile_id, content = item
        return tile_id, _score_heights(tile_id, content, labels.agl[tile_id], labels.vflow[tile_id])

    tiles = dict(progress(_map_bounded(score, height_files()), "evaluate", total=len(labels), unit="tile"))
    if not tiles and not pose_texts:
        raise UserError(f"{pred} has no prediction for any tile of {truth}; give both for the same ids")
    if len({tile.true_centimetres for tile in tiles.values()}) > 1:
        raise UserError(f"{truth}: {MIXED_UNITS}")
    groups = {tile_id: tile_id if each_image else city_of(tile_id) for tile_id in labels.index}
    scores = PoseScores(sorted(set(groups.values())))
    if true_poses:
        pose_texts = dict.fromkeys(tiles)
    failed = {
        tile_id: group for tile_id, group in groups.items() if not _add_tile(scores, group, tile_id, tiles, pose_texts)
    }
    if not failed and not any(tile.heights.pixels for tile in tiles.values()):
        raise UserError(f"{truth}: no pixel of its heights is known, so there is nothing to score; give other labels")
    return Evaluation(scores.compute(), failed, unknown)


def evaluate_complete(truth: str | Path, pred: str | Path, each_image: bool = False) -> dict:
    """The scores of evaluate. Raises UserError when a true tile has no valid prediction, which would score 0."""
    evaluation = evaluate(truth, pred, each_image)
    if evaluation.failed:
        names = list_some(list(evaluation.failed))
        raise UserError(f"{pred}: no complete prediction for {names}; predict their images, or remove their labels")
    return evaluation.scores


def _score_heights(tile_id: str, content: bytes, agl_path: str, vflow_path: str) -> ScoredTile:
    pred = decode_agl(content, f"predicted {agl_name(tile_id)}")
    true = decode_agl(Path(agl_path).read_bytes(), agl_path)
    check_heights(true.agl_m, agl_path)
    if pred.agl_m.shape != true.agl_m.shape:
        (height, width), (true_height, true_width) = pred.agl_m.shape, true.agl_m.shape
        raise UserError(
            f"{agl_name(tile_id)}: {height}x{width}, but its truth is {true_height}x{true_width}; "
            "predict at the size of the image"
        )
    sums = height_sums(pred.agl_m, true.agl_m)
    return ScoredTile(sums, read_pose(vflow_path, true.centimetres), pred.centimetres, true.centimetres)


def _add_tile(
    scores: PoseScores, group: str, tile_id: str, tiles: dict[str, ScoredTile], pose_texts: dict[str, bytes | None]
) -> bool:
    """Add a tile to the scores of its group, a city. None in place of a pose's text means the true pose.

    Returns False if a file is missing or the pose is not finite: the group then scores 0.
    """
    if tile_id not in tiles or tile_id not in pose_texts:
        scores.add_missing(group)
        return False
    tile, text = tiles[tile_id], pose_texts[tile_id]
    where = f"predicted {vflow_name(tile_id)}"
    pose = tile.true_pose if text is None else parse_vflow(text, where, tile.pred_centimetres, finite=False)
    scores.add(group, tile.heights, pose, tile.true_pose)
    return math.isfinite(pose.scale_px_per_m) and math.isfinite(pose.angle_rad)


def _map_bounded(function: Callable, items: Iterable) -> Iterator:
    """Results of function for each item, in order. Threads work on a few items at a time.

    Threads help because rasterio and torch release Python's global lock.
    """
    workers = min(MAX_WORKERS, os.cpu_count() or 1)
    torch_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # per worker, because the workers share the cores
    try:
        with ThreadPoolExecutor(workers) as pool:
            waiting: deque = deque()
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        torch.set_num_threads(torch_threads)


def format_scores(scores: dict) -> str:
    """The scores as a table: one line per city, then the final scores."""
    final = {"r2": scores["final_r2"], "honest_r2": scores["honest_r2"], "bad_pixels": scores["bad_pixels"]}
    columns = {
        "images": ("images", ""),
        "agl_r2": ("AGL R2", ".4f"),
        "vflow_r2": ("VFLOW R2", ".4f"),
        "r2": ("R2", ".4f"),
        "honest_agl_r2": ("honest AGL", ".4f"),
        "honest_vflow_r2": ("VFLOW", ".4f"),
        "honest_r2": ("R2", ".4f"),
        "agl_slope": ("slope", ".2f"),
        "angle_error_deg": ("angle deg", ".2f"),
        "bad_pixels": ("bad pixels", ""),
    }
    return _format_table("city", {**scores["cities"], "final": final}, columns)


def format_images(scores: dict) -> str:
    """The scores of images that were scored one by one, as a table: one line per image, then the means."""
    images = scores["cities"]
    columns = {
        "agl_r2": ("AGL R2", ".4f"),
        "vflow_r2": ("VFLOW R2", ".4f"),
        "agl_slope": ("slope", ".2f"),
        "angle_error_deg": ("angle deg", ".2f"),
        "scale_error_px_per_m": ("scale px/m", ".3f"),
    }
    means = {key: mean_score(scores, key) for key in columns}
    return _format_table("image", {**images, "mean": means}, columns)


def _format_table(first: str, rows: dict[str, dict], columns: dict[str, tuple[str, str]]) -> str:
    """Lines of text. columns: a title and a number format per key of the rows. A key that a row lacks is left blank."""
    lines = [[first, *(title for title, _ in columns.values())]]
    for name, row in rows.items():
        lines.append([name, *(format(row[key], spec) if key in row else "" for key, (_, spec) in columns.items())])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])]).rstrip() for cells in lines
    )


def encode_scores(scores: dict) -> bytes:
    """The scores as JSON. NaN becomes null, because JSON has no NaN."""
    cities = {
        city: {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
        for city, row in scores["cities"].items()
    }
    return (json.dumps({**scores, "cities": cities}, indent=1) + "\n").encode()


def _warn(evaluation: Evaluation) -> None:
    if evaluation.failed:
        groups = sorted(set(evaluation.failed.values()))
        names = list_some(list(evaluation.failed), 10)
        print(f"warning: no complete prediction for {names}: {list_some(groups, 10)} scores 0", file=sys.stderr)
    if evaluation.scores["unscored_cities"]:
        cities = ", ".join(evaluation.scores["unscored_cities"])
        print(f"warning: the truth of {cities} has no known pixel: the mean is over the other cities", file=sys.stderr)
    if evaluation.unknown:
        print(f"warning: ignored {list_some(evaluation.unknown, 10)}: the truth has no such tile", file=sys.stderr)


def main() -> None:
    """Print the table of scores, and write them as JSON on request."""
    parser = Parser(
        "Score predictions as the challenge does, and by the honest score, which counts unknown predicted pixels as "
        "height 0.",
        "python -m geopose evaluate --truth data/synthetic/truth --pred submission.tar.gz --json score.json",
    )
    parser.add_argument("--truth", type=Path, required=True, metavar="DIR", help="folder of true AGL and VFLOW files")
    parser.add_argument("--pred", type=Path, required=True, metavar="DIR_OR_TARBALL", help="predicted files")
    parser.add_argument("--each-image", action="store_true", help="score every image for itself, not every city")
    parser.add_argument(
        "--true-poses", action="store_true", help="score the predicted heights with the true scale and angle"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the scores to this file")
    args = parser.parse_args()
    if args.json:
        make_room(args.json)
    evaluation = evaluate(args.truth, args.pred, args.each_image, args.true_poses)
    _warn(evaluation)
    print((format_images if args.each_image else format_scores)(evaluation.scores))
    if args.json:
        write_bytes(args.json, encode_scores(evaluation.scores))
