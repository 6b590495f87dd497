"""Predict building heights and lean for a competition folder's test tiles, or for your own images.

`python predict.py --data DIR` writes a submission tarball. `python predict.py IMAGE ...` writes two files per image.
`python predict.py --images-from LIST` shares many images among processes. All combine the checkpoints of one or several
runs, and several views of each image (test-time augmentation).
"""

import os
import shutil
import sys
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import pandas as pd

from geopose.cli import Parser, UserError, list_some, print_error, progress
from geopose.config import COMBINATIONS, PRECISIONS, BlendConfig
from geopose.data.store import prefer_prepared
from geopose.inference.calibration import Calibration, read_calibration
from geopose.inference.gsd_range import warn_of_gsd
from geopose.inference.image_list import STANDARD_INPUT, read_image_list
from geopose.inference.many import end_with_table, find_todo, predict_share, without_outputs
from geopose.inference.outputs import output_paths, refuse_overwriting
from geopose.inference.pose_flags import POSE_FLAGS, PoseOptions, add_pose_flags, read_pose_options
from geopose.inference.scene_records import SceneRecords
from geopose.io.files import make_folder, make_room, write_bytes
from geopose.io.tables import check_gsd, read_test_table
from geopose.ranges import TTA_HELP
from geopose.runs.folder import (
    checkpoint_paths,
    describe_other_packages,
    encode_recipe,
    fingerprint_checkpoints,
    fingerprint_images,
    finished_runs,
    newest_run,
    usual_views,
)

# torch and timm take seconds to import. The functions below import them only after the arguments have been checked.
if TYPE_CHECKING:
    from geopose.inference.ensemble import Ensemble

# Arguments on which the outputs for an image do not depend.
NOT_OF_SCENES = ("images", "images_from", "data", "runs", "out", "overwrite", "one_model_at_a_time", "calibration")
EXAMPLE = "python predict.py --data data/synthetic --runs runs/lite0_synthetic/fold0 --tta d4"


def main() -> int:
    """Predict what the command line names. Returns 1 if the tarball is not a valid submission."""
    parser = create_parser()
    args = parser.parse_args()
    if sum(map(bool, (args.images, args.images_from, args.data))) != 1:
        parser.error("give --data DIR, IMAGE or --images-from LIST, one of the three")
    if not args.data:
        parser.refuse_ignored(args, ["calibration"], "--data DIR: its factors belong to cities")
    else:
        parser.refuse_ignored(args, ["gsd", "bands", "tile", "rectify", "fill", "overwrite", *POSE_FLAGS], "IMAGE")
    return predict_folder(args) if args.data else predict_images(args)


def create_parser() -> Parser:
    """The command's arguments."""
    parser = Parser(
        "Predict heights and building lean of a competition folder's test tiles, or of your own images.", EXAMPLE
    )
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="GeoTIFF, .j2k, PNG or JPEG of any size")
    parser.add_argument(
        "--images-from",
        metavar="LIST",
        help="many images: a text file with one path per line, - for such lines on standard input, or a pattern in "
        "quotes such as 'scenes/*.tif'; finished images are skipped, processes of torchrun share the others, and "
        "scenes.csv gets a table of all",
    )
    parser.add_argument("--data", metavar="DIR", help="competition folder; its test tiles are predicted")
    parser.add_argument(
        "--runs",
        nargs="*",
        metavar="RUN",
        help="run folders (default: all runs trained on DIR; for IMAGE the newest run)",
    )
    parser.add_argument(
        "--out", metavar="PATH", help="tarball (default: submission.tar.gz), or folder for IMAGE (default: .)"
    )

    views = parser.add_argument_group("views of an image (test-time augmentation)")
    views.add_argument("--tta", help=f"{TTA_HELP} (default: the runs' own)")
    views.add_argument(
        "--zooms",
        nargs="+",
        type=float,
        metavar="Z",
        help="predict every view at these sizes: 1 is the image's own, 0.5 half of it (default: the runs' own sizes)",
    )
    views.add_argument(
        "--zoom-weights", nargs="+", type=float, metavar="W", help="one weight per size in --zooms (default: equal)"
    )

    blend = parser.add_argument_group("combining predictions")
    blend.add_argument(
        "--combine",
        default="mean",
        help=f"how heights of views and checkpoints are combined: {', '.join(COMBINATIONS)}",
    )
    blend.add_argument("--run-weights", nargs="+", type=float, metavar="W", help="one weight per run (default: equal)")
    blend.add_argument(
        "--checkpoint-weights",
        nargs="+",
        type=float,
        metavar="W",
        help="weights of a run's checkpoints, best first; checkpoints without a weight are left out (default: equal)",
    )
    blend.add_argument(
        "--average-weights",
        action="store_true",
        help="average the weights of a run's checkpoints into one model, instead of averaging their predictions",
    )
    blend.add_argument(
        "--normalise-directions",
        action="store_true",
        help="all predicted directions count equally; without it, a more certain one counts more",
    )
    blend.add_argument("--calibration", metavar="FILE", help="height factors per city, a file that 'make oof' wrote")

    machine = parser.add_argument_group("computation")
    machine.add_argument("--precision", default="fp32", help=f"number format: {', '.join(PRECISIONS)}")
    machine.add_argument("--device", default="auto", help="auto, cpu or cuda")
    machine.add_argument(
        "--one-model-at-a-time", action="store_true", help="load each model again for every tile: less memory, slower"
    )

    images = parser.add_argument_group("only for IMAGE")
    images.add_argument(
        "--gsd", type=float, metavar="M_PER_PX", help="metres per pixel (default: from the georeference)"
    )
    images.add_argument(
        "--bands",
        nargs="+",
        type=int,
        metavar="N",
        help="numbers of the red, green and blue band, from 1 (default: as tagged)",
    )
    images.add_argument(
        "--tile",
        type=int,
        default=1024,
        metavar="PX",
        help="side of the overlapping tiles that images are cut into, rounded down to whole 32 px",
    )
    images.add_argument("--rectify", action="store_true", help="also write the image without building lean")
    images.add_argument(
        "--fill", action="store_true", help="with --rectify: paint hidden ground like what is around it"
    )
    images.add_argument("--overwrite", action="store_true", help="replace output files that exist")
    add_pose_flags(parser)
    return parser


def read_blend(args: Namespace, runs: list[Path]) -> BlendConfig:
    """The settings of views and combination that the command line gives for these runs."""
    if args.zoom_weights and not args.zooms:
        raise UserError("--zoom-weights without --zooms: name the sizes of these weights with --zooms")
    most = max(len(checkpoint_paths(run)) for run in runs)
    if len(args.checkpoint_weights or ()) > most:
        raise UserError(f"--checkpoint-weights: {len(args.checkpoint_weights)} weights, but no run has over {most}")
    views = usual_views(runs)
    if args.tta:
        views["tta"] = args.tta
    if args.zooms:
        views |= {"zooms": tuple(args.zooms), "zoom_weights": tuple(args.zoom_weights or ())}
    return BlendConfig(
        **views,
        combine=args.combine,
        run_weights=tuple(args.run_weights or ()),
        checkpoint_weights=tuple(args.checkpoint_weights or ()),
        average_weights=args.average_weights,
        normalise_directions=args.normalise_directions,
        precision=args.precision,
    )


def warn_of_packages(runs: list[Path]) -> None:
    """Say on standard error in one line when runs were trained with another torch or timm than the one here."""
    warning = describe_other_packages(runs)
    if warning:
        print(f"warning: {warning}", file=sys.stderr)


# --- images -----------------------------------------------------------------------------------------------------


def predict_images(args: Namespace) -> int:
    """Write heights and pose of each image, and with --rectify the image without building lean.

    An image that cannot be predicted is named on standard error, and the others are predicted. Returns 2 then.
    """
    if args.gsd is not None:
        check_gsd(args.gsd, "--gsd")
    if args.fill and not args.rectify:
        raise UserError("--fill fills the hidden ground of --rectify; give --rectify too")
    if not args.images_from and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UserError("several processes share the images of --images-from only; give a list, or start one process")
    if args.tile < 64:
        raise UserError(f"--tile {args.tile}: give 64 px or more; a smaller tile shows too little of the surroundings")
    pose = read_pose_options(args)
    runs = [Path(run) for run in args.runs or ()] or [newest_run("runs")]
    out, blend = Path(args.out or "."), read_blend(args, runs)
    if args.images_from:
        return predict_list(args, runs, out, blend, pose)
    images = [Path(image) for image in args.images]
    outputs = [(image, path) for image in images for path in output_paths(image, out, args.rectify)]
    make_folder(out)
    refuse_overwriting(outputs, images, args.overwrite)
    warn_of_packages(runs)

    from geopose.devices import pick_device
    from geopose.inference.ensemble import Ensemble

    device = pick_device(args.device)
    ensemble = Ensemble(runs, blend, device, Calibration(), not args.one_model_at_a_time, spread=True)
    failed = []
    for image in images:
        try:
            predict_image(image, False, out, ensemble, args, pose)
        except UserError as error:
            print_error(error)
            failed.append(image)
    if failed and len(images) > 1:
        print(f"{len(failed)} of {len(images)} images failed: {list_some(failed, 10)}", file=sys.stderr)
    return 2 if failed else 0


def predict_list(args: Namespace, runs: list[Path], out: Path, blend: BlendConfig, pose: PoseOptions) -> int:
    """Predict this process's share of a list of images. The first process ends with a table of all.

    Returns 2 if an image could not be predicted. After an interruption, the same command resumes.
    """
    if args.images_from == STANDARD_INPUT and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UserError("--images-from -: several processes cannot share standard input; write the list to a file")
    listed = read_image_list(args.images_from)
    settings = vars(args) | asdict(blend) | {"checkpoints": list(fingerprint_checkpoints(runs).values())}
    settings = {name: value for name, value in settings.items() if name not in NOT_OF_SCENES}
    records = SceneRecords(out, settings, args.rectify)
    images = without_outputs(listed, records)
    todo = find_todo(images, records, args.overwrite)

    from geopose.devices import pick_device
    from geopose.inference.ensemble import Ensemble
    from geopose.inference.ranks import join_ranks

    with join_ranks() as ranks:
        if ranks.is_first:
            warn_of_packages(runs)
            print(f"{len(images)} scenes, {len(images) - len(todo)} finished before", flush=True)
        ranks.wait()  # no process may look for finished scenes while another one writes
        share = todo[ranks.rank :: ranks.world_size]
        if share:
            keep_models = not args.one_model_at_a_time
            ensemble = Ensemble(runs, blend, pick_device(args.device), Calibration(), keep_models, spread=True)
            predict_share(share, records, lambda *scene: predict_image(*scene, out, ensemble, args, pose))
        ranks.wait()
        return end_with_table(images, records, todo) if ranks.is_first else 0


def predict_image(
    image: Path, has_heights: bool, out: Path, ensemble: "Ensemble", args: Namespace, given: PoseOptions
) -> None:
    """Write the files of one image into the folder out, and print its pose.

    has_heights: its heights and pose are there already, so only the image without lean is written.
    """
    from geopose.inference.scene import SceneOptions, predict_scene, rectify_scene

    options = SceneOptions(args.gsd, tuple(args.bands or ()), args.tile, given)
    if not has_heights:
        pose = predict_scene(image, out, ensemble, options)
        lean = f"scale {pose.scale_px_per_m:.3f} px/m, angle {pose.angle_rad:.3f} rad, gsd {pose.gsd_m:.3f} m"
        print(f"{out / image.stem}_AGL.tif, _VFLOW.json: {lean}; {pose.describe_source()}")
    if args.rectify:
        hidden = rectify_scene(image, out, options.bands, args.fill)
        print(f"{out / image.stem}_RECT.tif, _AGL and _HIDDEN: {hidden:.1%} of the ground was hidden")


# --- a competition folder ---------------------------------------------------------------------------------------


def predict_folder(args: Namespace) -> int:
    """Predict the test tiles of a competition folder, pack them into a tarball, and validate it.

    Several processes, started by torchrun, share the tiles. After an interruption, the same command resumes.
    """
    runs = [Path(run) for run in args.runs or ()] or finished_runs("runs", args.data)
    if not runs:
        raise UserError(f"no finished run trained on {args.data} in runs/; run 'make train' or name runs with --runs")
    table, calibration = read_test_table(args.data), read_calibration(args.calibration)
    out = Path(args.out or "submission.tar.gz")
    make_room(out)
    if calibration.cities and not set(calibration.cities) & set(table.city):
        known, there = (list_some(sorted(set(cities))) for cities in (calibration.cities, table.city))
        raise UserError(f"{args.calibration}: has factors of {known}, but the tiles are of {there}; leave it out")
    blend = read_blend(args, runs)
    recipe = {  # everything that determines the tarball's bytes, except the code
        "data": str(Path(args.data)),
        "images": fingerprint_images(args.data, "geopose_test.csv", table.rgb),
        "blend": asdict(blend),
        "calibration": asdict(calibration),
        "device": args.device,
        "checkpoints": fingerprint_checkpoints(runs),
    }
    recipe_path = out.with_name(f"{out.name}.json")
    if out.exists() and recipe_path.exists() and recipe_path.read_bytes() == encode_recipe(recipe):
        print(f"{out} is up to date with {len(runs)} runs; delete it to predict again")
        return 0

    from geopose.devices import pick_device
    from geopose.inference.ensemble import Ensemble
    from geopose.inference.predictions import pack_folder
    from geopose.inference.ranks import join_ranks
    from geopose.scoring.submission import validate

    with join_ranks() as ranks:
        parts = out.with_name(f".{out.name}.parts")
        if ranks.is_first:
            recipe_path.unlink(missing_ok=True)
            start_parts(parts, recipe)
            for row in table.sort_values("gsd_m").iloc[[0, -1]].drop_duplicates().itertuples():
                warn_of_gsd(runs, row.rgb, row.gsd_m)
        ranks.wait()
        share = prefer_prepared(table, args.data).iloc[ranks.rank :: ranks.world_size]
        ensemble = Ensemble(runs, blend, pick_device(args.device), calibration, not args.one_model_at_a_time)
        if ranks.is_first:
            warn_of_packages(runs)
            print(ensemble.describe_memory())
        seconds = write_parts(ensemble, share, parts)
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


def start_parts(parts: Path, recipe: dict) -> None:
    """Prepare the folder for predictions of this recipe. Predictions of another recipe are removed, and counted."""
    from geopose.inference.predictions import made_of, start_folder

    if not made_of(parts, recipe):
        tiles = sum(1 for _ in parts.rglob("*_AGL.tif"))
        print(f"removing {tiles} tiles of an unfinished prediction with other images, checkpoints or settings")
        shutil.rmtree(parts)
    start_folder(parts, recipe)


def write_parts(ensemble: "Ensemble", share: pd.DataFrame, parts: Path) -> list[float]:
    """Predict the tiles of share that the folder does not have yet. Returns the seconds that each prediction took."""
    from geopose.inference.predictions import missing_tiles, write_behind, write_tile

    todo = missing_tiles(parts, share)
    if len(todo) < len(share):
        print(f"resuming: {len(share) - len(todo)} of {len(share)} tiles are predicted already")
    seconds = []
    with write_behind(ensemble.device.type != "cpu") as write:
        for tile in progress(ensemble.predict_tiles(todo), "predict", total=len(todo), unit="tile"):
            write(write_tile, parts, tile)
            seconds.append(tile.seconds)
    return seconds
