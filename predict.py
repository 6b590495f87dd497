"""Predict a competition folder's test tiles into a submission tarball, blending checkpoints of one or many runs."""

import json
from dataclasses import asdict
from pathlib import Path
from statistics import median

from geopose import io
from geopose.calibration import read_calibration
from geopose.cli import Parser, UserError, progress, run_command
from geopose.config import COMBINATIONS, PRECISIONS, TTA, BlendConfig
from geopose.runs import fingerprint_checkpoints, finished_runs


def main() -> int:
    parser = Parser(__doc__, "python predict.py --data data/synthetic --runs runs/lite0_synthetic/fold0 --tta d4")
    parser.add_argument("--data", required=True, metavar="DIR", help="competition folder whose test half to predict")
    parser.add_argument("--runs", nargs="*", default=[], metavar="RUN", help="run folders; none: all finished on DATA")
    parser.add_argument("--out", default="submission.tar.gz", metavar="FILE", help="tarball to write")
    parser.add_argument("--tta", default="d4", help=f"views: {', '.join(TTA)}")
    parser.add_argument("--zooms", nargs="+", type=float, default=[1.0], metavar="Z", help="views at other sizes")
    parser.add_argument(
        "--combine", default="mean", help=f"heights of views and checkpoints: {', '.join(COMBINATIONS)}"
    )
    parser.add_argument("--run-weights", nargs="+", type=float, default=[], metavar="W", help="one per run")
    parser.add_argument(
        "--checkpoint-weights", nargs="+", type=float, default=[], metavar="W", help="by rank within a run, best first"
    )
    parser.add_argument("--average-weights", action="store_true", help="one model per run: its checkpoints' mean")
    parser.add_argument("--calibration", metavar="FILE", help="per-city factors written by 'make oof'")
    parser.add_argument("--precision", default="fp32", help=", ".join(PRECISIONS))
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    args = parser.parse_args()

    runs = [Path(run) for run in args.runs] or finished_runs("runs", args.data)
    if not runs:
        raise UserError(f"no finished run trained on {args.data} under runs/; run 'make train' or name --runs")
    table, calibration = io.read_test_table(args.data), read_calibration(args.calibration)
    blend = BlendConfig(
        tta=args.tta,
        zooms=tuple(args.zooms),
        combine=args.combine,
        run_weights=tuple(args.run_weights),
        checkpoint_weights=tuple(args.checkpoint_weights),
        average_weights=args.average_weights,
        precision=args.precision,
    )
    recipe = {  # all that decides the tarball's bytes, but for the code
        "data": args.data,
        "ids": table.id.tolist(),
        "blend": asdict(blend),
        "calibration": asdict(calibration),
        "device": args.device,
        "checkpoints": fingerprint_checkpoints(runs),
    }
    recipe_path = Path(f"{args.out}.json")
    if is_done(Path(args.out), recipe_path, recipe):
        print(f"{args.out} is up to date with {len(runs)} runs; delete it to predict again")
        return 0
    recipe_path.unlink(missing_ok=True)

    from geopose.devices import pick_device  # torch and timm take seconds to import: not for a typo or a finished job
    from geopose.inference import Ensemble
    from geopose.submission import SubmissionWriter, validate

    ensemble = Ensemble(runs, blend, pick_device(args.device), calibration)
    seconds = []
    with SubmissionWriter(args.out) as tarball:
        for tile in progress(ensemble.predict_tiles(table), "predict", total=len(table), unit="tile"):
            tarball.add(tile.tile_id, tile.agl_m, tile.scale_px_per_m, tile.angle_rad)
            seconds.append(tile.seconds)
    faults = validate(args.out, args.data)
    if faults:
        print("\n".join(faults))
        return 1
    io.write_bytes(recipe_path, encode(recipe))
    print(
        f"{args.out}: {len(table)} tiles, {Path(args.out).stat().st_size / 1e6:.1f} MB, valid; "
        f"{len(ensemble.members)} models x {len(ensemble.views)} views, {median(seconds):.2f} s per image"
    )
    return 0


def encode(recipe: dict) -> bytes:
    """The recipe as it stands beside the tarball."""
    return (json.dumps(recipe, indent=2) + "\n").encode()


def is_done(out: Path, recipe_path: Path, recipe: dict) -> bool:
    """Whether the tarball of exactly this recipe stands already."""
    return out.exists() and recipe_path.exists() and recipe_path.read_bytes() == encode(recipe)


if __name__ == "__main__":
    run_command(main)
