"""Predict a competition folder's test tiles into a submission tarball, blending checkpoints of one or many runs."""

import json
from pathlib import Path

import numpy as np

from geopose import io
from geopose.checkpoints import checkpoint_paths, finished_runs
from geopose.cli import Parser, UserError, progress, run_command
from geopose.devices import pick_device
from geopose.inference import Ensemble
from geopose.manifest import fingerprint_file
from geopose.submission import SubmissionWriter, validate
from geopose.tta import VIEWS


def main() -> int:
    parser = Parser(__doc__, "python predict.py --data data/synthetic --runs runs/lite0_synthetic/fold0 --tta d4")
    parser.add_argument("--data", required=True, metavar="DIR", help="competition folder whose test half to predict")
    parser.add_argument("--runs", nargs="*", default=[], metavar="RUN", help="run folders; none: all finished on DATA")
    parser.add_argument("--out", default="submission.tar.gz", metavar="FILE", help="tarball to write")
    parser.add_argument("--tta", default="d4", help=f"test-time augmentation: {', '.join(VIEWS)}")
    parser.add_argument("--precision", default="fp32", help="fp32, bf16 or fp16")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    args = parser.parse_args()

    runs = [Path(run) for run in args.runs] or finished_runs("runs", args.data)
    if not runs:
        raise UserError(f"no finished run trained on {args.data} under runs/; run 'make train' or name --runs")
    table = io.read_test_table(args.data)
    recipe = describe(args, runs, table.id.tolist())
    recipe_path = Path(f"{args.out}.json")
    if is_done(Path(args.out), recipe_path, recipe):
        print(f"{args.out} is up to date with {len(runs)} runs; delete it to predict again")
        return 0
    recipe_path.unlink(missing_ok=True)

    ensemble = Ensemble(runs, args.tta, pick_device(args.device), args.precision)
    seconds = []
    with SubmissionWriter(args.out) as tarball:
        for tile in progress(ensemble.predict_tiles(table), "predict", total=len(table), unit="tile"):
            tarball.add(tile.tile_id, tile.agl_m, tile.scale_px_per_m, tile.angle_rad)
            seconds.append(tile.seconds)
    faults = validate(args.out, args.data)
    if faults:
        print("\n".join(faults))
        return 1
    io.write_bytes(recipe_path, (json.dumps(recipe, indent=2) + "\n").encode())
    print(
        f"{args.out}: {len(table)} tiles, {Path(args.out).stat().st_size / 1e6:.1f} MB, valid; "
        f"{len(ensemble.models)} checkpoints x {len(ensemble.views)} views, {np.median(seconds):.2f} s per image"
    )
    return 0


def describe(args, runs: list[Path], ids: list[str]) -> dict:
    """All that decides the tarball's content, but for the code."""
    checkpoints = [path for run in runs for path in checkpoint_paths(run)]
    return {
        "data": args.data,
        "ids": ids,
        "tta": args.tta,
        "precision": args.precision,
        "device": pick_device(args.device).type,
        "checkpoints": {str(path): fingerprint_file(path) for path in checkpoints},
    }


def is_done(out: Path, recipe_path: Path, recipe: dict) -> bool:
    """Whether the tarball of exactly this recipe stands already."""
    return out.exists() and recipe_path.exists() and json.loads(recipe_path.read_text()) == recipe


if __name__ == "__main__":
    run_command(main)
