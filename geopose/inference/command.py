"""Predict heights and lean: of a competition folder's test tiles into a submission tarball, or of images of your own.

Checkpoints of one or many runs are blended, over the views of a test-time augmentation.
"""

import shutil
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from statistics import median

from geopose.cli import Parser, UserError, progress
from geopose.config import COMBINATIONS, PRECISIONS, TTA, BlendConfig
from geopose.data.store import prefer_prepared
from geopose.inference.calibration import read_calibration
from geopose.io.files import write_bytes
from geopose.io.tables import read_test_table
from geopose.runs.folder import (
    encode_recipe,
    fingerprint_checkpoints,
    fingerprint_images,
    finished_runs,
    newest_run,
    usual_sizes,
)

EXAMPLE = "python predict.py --data data/synthetic --runs runs/lite0_synthetic/fold0 --tta d4"


def main() -> int:
    parser = Parser(__doc__.split("\n")[0], EXAMPLE)
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="GeoTIFF, .j2k, PNG or JPEG of any size")
    parser.add_argument("--data", metavar="DIR", help="competition folder whose test half to predict")
    parser.add_argument(
        "--runs", nargs="*", default=[], metavar="RUN", help="run folders; none: all finished on DATA, or the newest"
    )
    parser.add_argument("--out", metavar="PATH", help="tarball (submission.tar.gz), or the folder for images (.)")
    parser.add_argument("--tta", default="d4", help=f"views: {', '.join(TTA)}")
    parser.add_argument(
        "--zooms", nargs="+", type=float, default=[], metavar="Z", help="views at these sizes; none: the runs' own"
    )
    parser.add_argument(
        "--zoom-weights", nargs="+", type=float, default=[], metavar="W", help="one per size in --zooms"
    )
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
    parser.add_argument(
        "--one-model-at-a-time", action="store_true", help="load each model for every tile: less memory, more time"
    )
    images = parser.add_argument_group("images")
    images.add_argument("--gsd", type=float, metavar="M_PER_PX", help="metres per pixel, instead of the georeference's")
    images.add_argument("--bands", nargs="+", type=int, default=[], metavar="N", help="red, green and blue, from 1")
    images.add_argument("--tile", type=int, default=512, metavar="PX", help="side of the tiles a scene is cut into")
    images.add_argument("--rectify", action="store_true", help="write the image without lean as well")
    images.add_argument("--fill", action="store_true", help="with --rectify: paint hidden ground from around it")
    args = parser.parse_args()
    if bool(args.images) == bool(args.data):
        parser.error("give --data DIR or images, one of the two")
    return predict_images(args) if args.images else predict_folder(args)


def read_blend(args: Namespace, runs: list[Path]) -> BlendConfig:
    """How the command line wants the runs blended."""
    if args.zoom_weights and not args.zooms:
        raise UserError("--zoom-weights without --zooms: name the sizes that they weigh")
    given = {"zooms": tuple(args.zooms), "zoom_weights": tuple(args.zoom_weights)}
    return BlendConfig(
        tta=args.tta,
        **(given if args.zooms else usual_sizes(runs)),
        combine=args.combine,
        run_weights=tuple(args.run_weights),
        checkpoint_weights=tuple(args.checkpoint_weights),
        average_weights=args.average_weights,
        precision=args.precision,
    )


def predict_images(args: Namespace) -> int:
    """Heights and pose of each image, and with --rectify its view without lean."""
    if args.gsd is not None and not args.gsd > 0:
        raise UserError(f"--gsd {args.gsd}: give metres per pixel, above 0")
    if args.fill and not args.rectify:
        raise UserError("--fill paints what --rectify leaves hidden; give --rectify too")
    if args.tile < 64:
        raise UserError(f"--tile {args.tile}: give 64 px or more; small tiles show too little around them")
    runs = [Path(run) for run in args.runs] or [newest_run("runs")]
    out, blend = Path(args.out or "."), read_blend(args, runs)
    calibration = read_calibration(args.calibration)

    from geopose.devices import pick_device
    from geopose.inference.ensemble import Ensemble
    from geopose.inference.scene import SceneOptions, predict_scene, rectify_scene

    device = pick_device(args.device)
    ensemble = Ensemble(runs, blend, device, calibration, not args.one_model_at_a_time, spread=True)
    options = SceneOptions(args.gsd, tuple(args.bands), args.tile)
    for image in map(Path, args.images):
        pose = predict_scene(image, out, ensemble, options)
        lean = f"scale {pose.scale_px_per_m:.3f} px/m, angle {pose.angle_rad:.3f} rad, gsd {pose.gsd_m:.3f} m"
        print(f"{out / image.stem}_AGL.tif, _VFLOW.json: {lean}")
        if args.rectify:
            hidden = rectify_scene(image, out, options.bands, args.fill)
            print(f"{out / image.stem}_RECT.tif, _AGL and _HIDDEN: {hidden:.1%} of the ground was hidden")
    return 0


def predict_folder(args: Namespace) -> int:
    """The test half of a competition folder, into a validated tarball."""
    runs = [Path(run) for run in args.runs] or finished_runs("runs", args.data)
    if not runs:
        raise UserError(f"no finished run trained on {args.data} under runs/; run 'make train' or name --runs")
    table, calibration = read_test_table(args.data), read_calibration(args.calibration)
    blend = read_blend(args, runs)
    recipe = {  # all that decides the tarball's bytes, but for the code
        "data": args.data,
        "images": fingerprint_images(args.data, "geopose_test.csv", table.rgb),
        "blend": asdict(blend),
        "calibration": asdict(calibration),
        "device": args.device,
        "checkpoints": fingerprint_checkpoints(runs),
    }
    out = Path(args.out or "submission.tar.gz")
    recipe_path = out.with_name(f"{out.name}.json")
    if out.exists() and recipe_path.exists() and recipe_path.read_bytes() == encode_recipe(recipe):
        print(f"{out} is up to date with {len(runs)} runs; delete it to predict again")
        return 0

    from geopose.devices import pick_device  # torch and timm take seconds to import: not for a typo or a finished job
    from geopose.inference.ensemble import Ensemble
    from geopose.inference.predictions import made_of, missing_tiles, pack_folder, start_folder, write_tile
    from geopose.inference.prefetch import write_behind
    from geopose.inference.ranks import join_ranks
    from geopose.scoring.submission import validate

    with join_ranks() as ranks:
        parts = out.with_name(f".{out.name}.parts")
        if ranks.is_first:
            recipe_path.unlink(missing_ok=True)
            if not made_of(parts, recipe):
                shutil.rmtree(parts)
            start_folder(parts, recipe)
        ranks.wait()
        share = prefer_prepared(table, args.data).iloc[ranks.rank :: ranks.world_size]
        todo = missing_tiles(parts, share)
        if len(todo) < len(share):
            print(f"going on: {len(share) - len(todo)} of {len(share)} tiles are predicted already")
        ensemble = Ensemble(runs, blend, pick_device(args.device), calibration, not args.one_model_at_a_time)
        if ranks.is_first:
            print(ensemble.describe_memory())
        seconds = []
        with write_behind(ensemble.device.type != "cpu") as write:
            for tile in progress(ensemble.predict_tiles(todo), "predict", total=len(todo), unit="tile"):
                write(write_tile, parts, tile)
                seconds.append(tile.seconds)
        ranks.wait()
        if not ranks.is_first:
            return 0
        pack_folder(parts, table.id.tolist(), out)
    faults = validate(out, args.data)
    if faults:
        print("\n".join(faults))
        return 1
    write_bytes(recipe_path, encode_recipe(recipe))
    pace = f", {median(seconds):.2f} s per image" if seconds else ""
    print(
        f"{out}: {len(table)} tiles, {out.stat().st_size / 1e6:.1f} MB, valid; "
        f"{len(ensemble.members)} models x {len(ensemble.views) * len(ensemble.sizes)} views{pace}"
    )
    return 0
