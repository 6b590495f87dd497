"""python -m geopose synthesize: render a synthetic competition folder. dataset.py does the work."""

import os
import time
from pathlib import Path

from geopose.cli import Parser, UserError
from geopose.synthetic.dataset import Options, is_finished, make_dataset

MIN_SIZE, MAX_SIZE = 32, 4096  # width and height of a tile, px


def main() -> None:
    root, options, workers = parse()
    if is_finished(root, options):
        print(f"{root}: already complete, made with the same arguments; nothing to do")
        return
    start = time.perf_counter()
    made = make_dataset(root, options, workers)
    seconds = time.perf_counter() - start
    rate = made * options.size**2 / 1e6 / seconds
    print(
        f"{root}: {options.train} train and {options.test} test tiles of {options.size} px; "
        f"{made} made by this run in {seconds:.0f} s ({rate:.1f} MP/s)"
    )


def parse() -> tuple[Path, Options, int]:
    """Folder, options and number of processes from the command line. Raises UserError for values out of range."""
    defaults = Options()
    about = "Render a synthetic competition folder. Finished places are skipped, so an interrupted run resumes."
    sizes = f"width and height of a tile in pixels, {MIN_SIZE} to {MAX_SIZE}"
    seeds = "seed of all random choices; the same arguments give the same files"
    centres = "share of the places that are downtown, 0 to 1; by default each city has its own"
    formats = "format of the images: TIFF or JPEG2000"
    parser = Parser(about, "python -m geopose synthesize --out data/synthetic")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder to fill")
    parser.add_argument("--train", type=int, default=defaults.train, metavar="N", help="number of training tiles")
    parser.add_argument("--test", type=int, default=defaults.test, metavar="N", help="number of test tiles")
    parser.add_argument("--size", type=int, default=defaults.size, metavar="PX", help=sizes)
    parser.add_argument("--seed", type=int, default=defaults.seed, metavar="S", help=seeds)
    parser.add_argument("--downtown-share", type=float, default=None, metavar="SHARE", help=centres)
    parser.add_argument("--rgb-format", choices=("tif", "j2k"), default=defaults.rgb_format, help=formats)
    parser.add_argument("--workers", type=int, default=os.cpu_count(), metavar="N", help="number of processes")
    args = parser.parse_args()
    if args.workers < 1:
        raise UserError(f"--workers {args.workers}: must be 1 or more")
    for name, value in (("--train", args.train), ("--test", args.test)):
        if value < 1:
            raise UserError(f"{name} {value}: too few tiles; give 1 or more")
    if not MIN_SIZE <= args.size <= MAX_SIZE:
        raise UserError(f"--size {args.size}: the size must be from {MIN_SIZE} to {MAX_SIZE} px")
    if args.seed < 0:
        raise UserError(f"--seed {args.seed}: the seed must be 0 or larger")
    if args.downtown_share is not None and not 0 <= args.downtown_share <= 1:
        raise UserError(f"--downtown-share {args.downtown_share}: the share must be from 0 to 1")
    if args.out.exists() and not args.out.is_dir():
        raise UserError(f"{args.out} is a file; give a folder as --out")
    options = Options(args.train, args.test, args.size, args.seed, args.rgb_format, args.downtown_share)
    return args.out, options, args.workers
