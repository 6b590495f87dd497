"""Out-of-fold predictions: predict every training tile with the runs that were not trained on it.

`python -m geopose oof --runs runs/a/fold0 runs/a/fold1 ... --data DIR --out DIR` writes <id>_AGL.tif and
<id>_VFLOW.json of every training tile, the cross-validated score as scores.json, and a height calibration as
calibration.json (see calibration.py). Existing predictions are skipped.
"""

from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from geopose.cli import Parser, UserError, progress
from geopose.config import PRECISIONS, BlendConfig
from geopose.data.store import prefer_prepared
from geopose.devices import pick_device
from geopose.geometry import flow_direction
from geopose.inference.calibration import Calibration, encode_calibration, fit_calibration
from geopose.inference.ensemble import Ensemble, compare_tiles
from geopose.inference.predictions import made_of, missing_tiles, read_tile, start_folder, write_tile
from geopose.io.files import write_bytes
from geopose.io.poses import VflowLabel
from geopose.io.tables import read_folds, read_train_table
from geopose.ranges import TTA_HELP
from geopose.runs.folder import (
    checkpoint_paths,
    fingerprint_checkpoints,
    fingerprint_data,
    fingerprint_file,
    fingerprint_images,
    finished_runs,
    read_manifest,
    run_config,
    usual_views,
)
from geopose.scoring.evaluate import encode_scores, format_scores
from geopose.scoring.metrics import HeightSums, PoseScores


def main() -> int:
    """Write predictions, scores and calibration."""
    parser = Parser(
        "Predict every training tile with the runs that were not trained on it, and fit a height calibration.",
        "python -m geopose oof --data data/synthetic --runs runs/lite0_synthetic/fold* --out runs/lite0_synthetic/oof",
    )
    parser.add_argument("--data", required=True, metavar="DIR", help="competition folder")
    parser.add_argument("--runs", nargs="*", metavar="RUN", help="run folders (default: all runs trained on DIR)")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for predictions, scores and calibration"
    )
    parser.add_argument("--tta", help=f"{TTA_HELP} (default: the runs' own, as in predictions)")
    parser.add_argument("--precision", default="fp32", help=f"number format: {', '.join(PRECISIONS)}")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    args = parser.parse_args()

    table = read_train_table(args.data)
    images = fingerprint_images(args.data, "geopose_train.csv", table.rgb)
    table = prefer_prepared(table, args.data)
    runs_of_fold, folds = assign_runs(args.runs or finished_runs("runs", args.data), args.data, table)
    table["fold"] = folds.reindex(table.id).to_numpy()
    views = usual_views([run for runs in runs_of_fold.values() for run in runs])
    blend = BlendConfig(**(views | {"tta": args.tta} if args.tta else views), precision=args.precision)
    start_or_resume(args.out, images, runs_of_fold, blend)
    device = pick_device(args.device)
    for fold, tiles in table.groupby("fold"):
        predict_fold(tiles, runs_of_fold[fold], blend, device, args.out)

    sums, scores = score_tiles(table, args.out)
    calibration, report = fit_calibration(sums)
    write_bytes(args.out / "scores.json", encode_scores(scores))
    write_bytes(args.out / "calibration.json", encode_calibration(calibration))
    print(format_scores(scores))
    print(format_calibration(report, scores))
    print(f"{args.out}: {len(table)} out-of-fold tiles, scores.json, calibration.json")
    return 0


def assign_runs(runs: list[str | Path], data_root: str, table: pd.DataFrame) -> tuple[dict[int, list[Path]], pd.Series]:
    """Runs by the fold that they were not trained on, and the fold of each tile by id.

    Raises UserError if a run was trained on other data or folds than those of now, or if a fold has no run.
    """
    runs_of_fold, data = defaultdict(list), fingerprint_data(data_root)
    folds, folds_of_first = None, ""
    for run in map(Path, runs):
        checkpoint_paths(run)  # raises UserError if the run is not finished
        cfg, recorded = run_config(run).data, read_manifest(run)["data"]
        if recorded["fingerprint"] != data:
            raise UserError(f"{run} was trained on other data than {data_root} holds now; train it again")
        if folds is None:
            folds, folds_of_first = read_folds(cfg.folds, table), fingerprint_file(Path(cfg.folds))
            where = cfg.folds
        if recorded["folds"] != folds_of_first:
            raise UserError(f"{run} was trained on other folds than {where} holds now; give runs of these folds")
        runs_of_fold[cfg.fold].append(run)
    if folds is None:
        raise UserError("no finished run; train every fold with 'make train FOLD=0', 'make train FOLD=1', ...")
    missing = sorted(set(folds) - set(runs_of_fold))
    if missing:
        raise UserError(
            f"no finished run for folds {missing}; train them with 'make train FOLD={missing[0]}' and so on"
        )
    return runs_of_fold, folds


def start_or_resume(out: Path, images: str, runs_of_fold: dict[int, list[Path]], blend: BlendConfig) -> None:
    """Record what the folder's predictions are made of. Raises UserError if it has predictions of something else.

    images: fingerprint of the images.
    """
    runs = [run for fold in sorted(runs_of_fold) for run in runs_of_fold[fold]]
    recipe = {
        "images": images,
        "blend": asdict(blend),
        "checkpoints": fingerprint_checkpoints(runs),
    }
    if not made_of(out, recipe):
        raise UserError(
            f"{out} holds predictions of other images, checkpoints or views; remove it or give another --out"
        )
    start_folder(out, recipe)


def predict_fold(tiles: pd.DataFrame, runs: list[Path], blend: BlendConfig, device, out: Path) -> None:
    """Write the predictions of one fold's tiles. Existing predictions are skipped."""
    todo = missing_tiles(out, tiles)
    if todo.empty:
        return
    ensemble = Ensemble(runs, blend, device, Calibration())
    for tile in progress(ensemble.predict_tiles(todo), f"fold {tiles.fold.iloc[0]}", total=len(todo), unit="tile"):
        write_tile(out, tile)


def score_tiles(table: pd.DataFrame, out: Path) -> tuple[pd.DataFrame, dict]:
    """Score the predictions in a folder. Returns sums per tile, for fit_calibration, and the cross-validated scores."""
    scores, rows = PoseScores(sorted(table.city.unique())), []
    tiles = progress(table.itertuples(), "score", total=len(table), unit="tile")
    for row, heights, *poses in compare_tiles((read_tile(out, row.id), row) for row in tiles):
        scores.add(row.city, heights, *poses)
        rows.append({"city": row.city, "fold": row.fold, **calibration_sums(heights, *poses)})
    return pd.DataFrame(rows), scores.compute()


def calibration_sums(heights: HeightSums, pose: VflowLabel, true_pose: VflowLabel) -> dict[str, float]:
    """Sums that fit_calibration needs of one tile: products of predicted (p) and true (t) heights and flow vectors.

    They are over the pixels of known truth.
    """
    pp, pt = heights.tt + 2 * heights.et + heights.ee, heights.tt + heights.et
    scale, true_scale = pose.scale_px_per_m, true_pose.scale_px_per_m
    cosine = float(np.dot(flow_direction(pose.angle_rad), flow_direction(true_pose.angle_rad)))
    return {
        "pp": pp,
        "pt": pt,
        "tt": heights.tt,
        "flow_pp": pp * scale**2,
        "flow_pt": pt * scale * true_scale * cosine,
        "flow_tt": heights.tt * true_scale**2,
    }


def format_calibration(report: pd.DataFrame, scores: dict) -> str:
    """R2 of each city before and after calibration, as text. Each fold uses factors fitted on the other folds."""
    lines = ["calibration (each fold with factors fitted on the other folds; factors that do not help are left out):"]
    for row in report.itertuples():
        city = scores["cities"][row.city]
        parts = []
        for name, r2, factor, change, kept in (
            ("AGL", city["agl_r2"], row.agl_factor, row.agl_error_change, row.agl_kept),
            ("VFLOW", city["vflow_r2"], row.flow_factor, row.flow_error_change, row.flow_kept),
        ):
            after = 1 - (1 - r2) * (1 + change)
            parts.append(f"{name} x {factor:.4f}: R2 {r2:.4f} -> {after:.4f}{'' if kept else ' (left out)'}")
        lines.append(f"  {row.city:6} {',  '.join(parts)}")
    return "\n".join(lines)
