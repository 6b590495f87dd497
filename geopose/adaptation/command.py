"""Make labelled tiles look like unlabelled images: `python -m geopose translate`.

The result is a competition folder with the labels of the labelled tiles, so all other commands take it as it is.
"""

import os
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from geopose.adaptation.config import METHODS, TranslateConfig, load_translate_config
from geopose.adaptation.folder import refuse_unwritable, start_folder, take_labels, write_tiles
from geopose.adaptation.images import (
    PairDataset,
    TargetImage,
    find_targets,
    fingerprint,
    prefer_copies,
    read_tables,
    refuse_small,
)
from geopose.adaptation.registration import moved_px
from geopose.cli import Parser, UserError, progress
from geopose.data.store import prefer_prepared
from geopose.io.names import tile_id_of
from geopose.io.rasters import read_rgb
from geopose.io.tables import check_gsd, check_labels, read_train_table
from geopose.runs.folder import fingerprint_data, is_finished, write_manifest

NETWORK = "network"  # the folder in --out that holds the training of a network
Translation = Callable[[np.ndarray, str], np.ndarray]  # image uint8 [H,W,3] and tile id to an image of the same size


def main() -> int:
    """Translate all tiles of a folder. After an interruption, the same command resumes."""
    parser = create_parser()
    args = parser.parse_args()
    if args.method == "gan":
        parser.refuse_ignored(args, ["workers"], "--method fda or histogram")
    words = list(args.settings)
    config = load_translate_config(words.pop(0) if words and "=" not in words[0] else None, words)
    check_arguments(args)
    labelled, tiles = read_train_table(args.source), read_tables(args.source)
    check_labels(labelled)
    refuse_unwritable(tiles)
    training, held_out = hold_out(prefer_prepared(labelled, args.source), config)
    if args.method == "gan":
        refuse_small(training, config.data.crop_px)
    targets = find_targets(args.target, tiles, config.data.crop_px, args.gsd, args.bands)
    recipe = describe(args, config, targets)
    first = int(os.environ.get("RANK", 0)) == 0  # torchrun's processes share the training; one writes the tiles
    start_folder(args.out, recipe)  # by all of them, so that the recipe is the first file whoever starts first
    if first:
        print(f"{len(tiles)} tiles, {recipe['target']['images']} target images", flush=True)
    if is_finished(args.out):
        print(f"{args.out} is finished; remove the folder to translate again")
        return 0

    start = time.monotonic()
    translate = create_translation(args, config, prefer_copies(targets, args.target), training, held_out)
    if not first:
        return 0
    distance_px = check_motion(translate, held_out, config.check.limit_px, args.method)
    made = write_tiles(args.source, args.out, translate, 1 if args.method == "gan" else args.workers)
    take_labels(args.source, args.out)

    from geopose.training.manifest import describe_environment

    seconds = round(time.monotonic() - start, 1)
    facts = {"finished": time.strftime("%F %T"), "seconds": seconds, "moved_px": round(distance_px, 4)}
    write_manifest(args.out, facts | recipe | describe_environment())
    print(f"{args.out}: {made} tiles in {seconds:.0f} s; images moved by {distance_px:.2f} px in the median")
    return 0


def create_parser() -> Parser:
    """The command's arguments."""
    parser = Parser(
        "Make the images of labelled tiles look like unlabelled ones, and keep the labels.",
        "python -m geopose translate --from data/synthetic --to data/scenes --out data/translated --method gan",
    )
    paths = {"type": Path, "required": True}
    parser.add_argument("--from", dest="source", **paths, metavar="LABELLED", help="competition folder")
    parser.add_argument(
        "--to",
        dest="target",
        **paths,
        metavar="IMAGES",
        help="competition folder or folder of images; without labels",
    )
    parser.add_argument("--out", **paths, metavar="DIR", help="competition folder to write")
    parser.add_argument("--method", choices=METHODS, default="gan", help="a network, or colours only")
    parser.add_argument(
        "--gsd", type=float, metavar="M_PER_PX", help="metres per pixel of IMAGES (default: their own, where known)"
    )
    parser.add_argument(
        "--bands", nargs="+", type=int, default=[], metavar="N", help="red, green and blue of IMAGES (default: tagged)"
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes; fda and histogram only")
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="CONFIG key=value",
        help="settings (default: those of configs/translate/small.yaml)",
    )
    return parser


def check_arguments(args: Namespace) -> None:
    """Refuse what no translation can have. args.bands becomes a tuple."""
    args.bands = tuple(args.bands)
    if args.gsd is not None:
        check_gsd(args.gsd, "--gsd")
    if args.workers < 1:
        raise UserError(f"--workers {args.workers}: must be 1 or more")
    source, target, out = (path.resolve() for path in (args.source, args.target, args.out))
    if source == target:
        raise UserError(f"--to {args.target}: is the folder of --from; give one with images of the target")
    if out in (source, target):
        raise UserError(f"--out {args.out}: is one of the inputs; give another folder")


def describe(args: Namespace, config: TranslateConfig, targets: list[TargetImage]) -> dict:
    """Everything that determines the folder, except the code."""
    zoomed = sum(target.zoom != 1 for target in targets)
    found = {"root": str(args.target), "images": len(targets), "resampled": zoomed, "fingerprint": fingerprint(targets)}
    return {
        "method": args.method,
        "source": {"root": str(args.source), "fingerprint": fingerprint_data(args.source)},
        "target": found | {"gsd_m": args.gsd, "bands": list(args.bands)},
        "settings": asdict(config),
    }


def hold_out(table: pd.DataFrame, config: TranslateConfig) -> tuple[list[str], list[str]]:
    """Paths of the training half's images for the training of a network, and of those that it never sees."""
    if len(table) < 2:
        raise UserError("the labelled folder has one training tile; give two or more")
    rgb = table.rgb.to_numpy()[np.random.default_rng(config.seed).permutation(len(table))]
    count = min(config.check.tiles, max(1, len(rgb) // 4))
    return rgb[count:].tolist(), rgb[:count].tolist()


def create_translation(
    args: Namespace, config: TranslateConfig, targets: list[TargetImage], training: list[str], held_out: list[str]
) -> Translation:
    """The function that translates a tile, after the training that it needs."""
    if args.method != "gan":
        from geopose.adaptation.colours import ColourTransfer

        return ColourTransfer(args.method, config.colour, targets, args.bands, config.seed)

    from geopose.adaptation.networks import translate_rgb
    from geopose.adaptation.runner import train_generator

    pairs = PairDataset(training, targets, args.bands, config.data.crop_px, config.seed)
    generator = train_generator(config, args.out / NETWORK, pairs, held_out)
    return lambda rgb, tile_id: translate_rgb(generator, rgb)


def check_motion(translate: Translation, held_out: list[str], limit_px: float, method: str) -> float:
    """Median distance in px by which a translation moves tiles. Raises UserError when labels would not fit any more."""
    distances_px = []
    for path in progress(held_out, "check", unit="tile"):
        rgb = read_rgb(path)
        distances_px.append(moved_px(rgb, translate(rgb, tile_id_of(path))))
    median_px = float(np.median(np.concatenate(distances_px)))
    if not median_px <= limit_px:
        remedy = "raise loss.edge_weight or loss.nce_weight" if method == "gan" else "use another --method"
        raise UserError(
            f"the translation moves images by {median_px:.2f} px in the median of {len(held_out)} tiles, and "
            f"check.limit_px={limit_px:g}; {remedy} and give another --out"
        )
    return median_px
