"""Check that a run can be reproduced: `python -m geopose verify --run RUN`.

1. The hashes of checkpoints, data and folds are compared with the manifest.
2. The validation score of the best checkpoint is computed again.
3. With --tarball, that tarball is predicted again from the recipe in the file next to it, and the bytes are compared.
   If they differ, the largest differences of heights, scales and angles are shown.
4. With --retrain, the run is trained again with the recorded schedule, and the checkpoints are compared. Only a CPU
   repeats a training bit for bit.
"""

import filecmp
import json
import tempfile
from collections.abc import Iterator
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np

from geopose.cli import Parser, UserError, progress
from geopose.config import BlendConfig
from geopose.data.dataset import split_fold
from geopose.devices import pick_device
from geopose.geometry import angle_error_rad
from geopose.inference.calibration import Calibration, Factors
from geopose.inference.ensemble import Ensemble, score_predictions
from geopose.inference.predictions import pack_folder, write_tile
from geopose.io.names import ARGUMENTS_FILE, label_of
from geopose.io.poses import parse_vflow
from geopose.io.rasters import decode_agl
from geopose.io.tables import read_test_table
from geopose.runs.folder import checkpoint_paths, fingerprint_file, fingerprint_inputs, read_manifest, run_config
from geopose.scoring.submission import read_predictions

SAME_R2 = 1e-6  # another order of summation may change the score by this much
SAME_RENDERED_R2 = 5e-4  # rendering with other instructions may change it by this much; 4e-4 was measured


def main() -> int:
    """Print one line per check. Returns 1 if anything differs, otherwise 0."""
    parser = Parser(
        "Check that a run can be reproduced: compare hashes with its manifest and compute its validation score again.",
        "python -m geopose verify --run runs/lite0_synthetic/fold0",
    )
    parser.add_argument("--run", required=True, type=Path, metavar="RUN", help="a finished run")
    parser.add_argument("--tarball", type=Path, metavar="FILE", help="also predict this tarball again and compare")
    parser.add_argument("--retrain", action="store_true", help="also train the run again and compare its checkpoints")
    args = parser.parse_args()
    checks = [check_hashes(args.run), check_score(args.run)]
    if args.tarball:
        checks.append(check_tarball(args.tarball))
    if args.retrain:
        checks.append(check_training(args.run))
    status = 0
    for same, text in chain.from_iterable(checks):
        print(f"{'same   ' if same else 'DIFFERS'} {text}", flush=True)
        status = status if same else 1
    return status


def check_hashes(run: Path) -> Iterator[tuple[bool, str]]:
    """Compare checkpoints, data and folds with the manifest. Yields (same, text), like all checks."""
    manifest, config = read_manifest(run), run_config(run)
    for kept, path in zip(manifest["checkpoints"], checkpoint_paths(run), strict=True):
        yield fingerprint_file(path) == kept["sha256"], f"bytes of {path}"
    inputs, recorded = fingerprint_inputs(config), manifest["data"]
    yield inputs["fingerprint"] == recorded["fingerprint"], f"data in {config.data.root}"
    yield inputs["folds"] == recorded["folds"], f"folds in {config.data.folds}"
    if "unlabelled" in inputs:
        yield inputs["unlabelled"] == recorded["unlabelled"], f"unlabelled images in {config.train.unlabelled}"


def check_score(run: Path) -> Iterator[tuple[bool, str]]:
    """Compute the best checkpoint's validation score again and compare it."""
    r2, best = validation_r2(run), read_manifest(run)["checkpoints"][0]
    rendered = (Path(run_config(run).data.root) / ARGUMENTS_FILE).exists()
    same = abs(r2 - best["r2"]) <= (SAME_RENDERED_R2 if rendered else SAME_R2)
    yield same, f"validation R2 of {best['file']}: {r2:.6f}, recorded {best['r2']:.6f}"


def validation_r2(run: Path) -> float:
    """Score of a run's best checkpoint on its validation tiles, with the precision and device of training."""
    manifest = read_manifest(run)
    _, tiles, _ = split_fold(run_config(run))
    blend = BlendConfig(tta="none", checkpoint_weights=(1.0,), precision=manifest["precision"])
    ensemble = Ensemble([run], blend, pick_device(manifest["device"].split(":")[0]), Calibration())
    return score_predictions(ensemble.predict_tiles(tiles), tiles)["final_r2"]


def check_tarball(tarball: Path) -> Iterator[tuple[bool, str]]:
    """Predict a tarball again from the recipe next to it. Compare the bytes or, if they differ, the values."""
    path = tarball.with_name(f"{tarball.name}.json")
    if not (tarball.exists() and path.exists()):
        raise UserError(f"{tarball} or {path.name} missing; 'python -m geopose predict' writes both")
    recipe = json.loads(path.read_text())
    blend = BlendConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in recipe["blend"].items()})
    calibration = Calibration({city: Factors(**f) for city, f in recipe["calibration"]["cities"].items()})
    runs = list(dict.fromkeys(str(Path(checkpoint).parent.parent) for checkpoint in recipe["checkpoints"]))
    ensemble = Ensemble(runs, blend, pick_device(recipe["device"]), calibration)
    table = read_test_table(recipe["data"])
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder) / "again.tar.gz"
        for tile in progress(ensemble.predict_tiles(table), "predict again", total=len(table), unit="tile"):
            write_tile(Path(folder) / "parts", tile)
        pack_folder(Path(folder) / "parts", table.id.tolist(), again)
        same = filecmp.cmp(again, tarball, shallow=False)
        yield same, f"bytes of {tarball}" + ("" if same else f": {describe_difference(tarball, again)}")


def describe_difference(one: Path, other: Path) -> str:
    """The largest differences of heights, scales and angles between two tarballs. One file of each is in memory."""
    height_m = scale = angle_rad = 0.0
    for pair in zip_longest(*map(read_predictions, (one, other)), fillvalue=("", b"")):
        (name, other_name), contents = zip(*pair, strict=True)
        if name != other_name:
            return "the files have other names, or another order"
        if label_of(name)[1] == "agl":
            heights = [decode_agl(content, name).agl_m for content in contents]
            height_m = max(height_m, float(np.abs(heights[0] - heights[1]).max()))
        else:
            poses = [parse_vflow(content, name) for content in contents]
            scale = max(scale, abs(poses[0].scale_px_per_m - poses[1].scale_px_per_m))
            angle_rad = max(angle_rad, float(angle_error_rad(poses[0].angle_rad, poses[1].angle_rad)))
    angle_deg = np.degrees(angle_rad)
    return f"heights by up to {height_m:.2f} m, scales by {scale:.4f} px/m, angles by {angle_deg:.3f} degrees"


def check_training(run: Path) -> Iterator[tuple[bool, str]]:
    """Train the run again and compare the checkpoints. The recorded schedule replaces a time budget."""
    from geopose.training.runner import train  # imports Catalyst, which is slow

    manifest, config = read_manifest(run), run_config(run)
    if "released" in manifest:
        raise UserError(f"{run} is the mean of another run's checkpoints; use 'make release' to make it again")
    if config.train.max_minutes:
        config.train.max_minutes, config.train.schedule_boundaries = None, manifest["schedule_boundaries"]
        config.train.schedule_steps = manifest.get("schedule_steps")  # runs of earlier versions ended with an epoch
    config.train.precision = manifest["precision"]  # auto could choose another one on this machine
    config.train.gpus = manifest["processes"]  # torchrun may have started them
    with tempfile.TemporaryDirectory() as folder:
        config.run.dir = folder
        again = read_manifest(train(config))
    for first, second in zip(manifest["checkpoints"], again["checkpoints"], strict=True):
        yield first["sha256"] == second["sha256"], f"{first['file']} trained again (R2 {second['r2']:.6f})"
