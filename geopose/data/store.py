"""Prepared tiles: copies of images and heights from which a crop is read in milliseconds.

`python -m geopose prepare --data DIR` writes the copies to DIR/prepared/train and DIR/prepared/test. A copy has the
modification time of its source, and ends with the size of its source, which readers of TIFF ignore. If the source has
another time or size, its copy is not used, and the next prepare replaces it. prefer_prepared puts the paths of the
copies into a table, and geopose.io.rasters reads both kinds of files. No other code needs to know about the copies.
"""

import os
import sys
from pathlib import Path

import pandas as pd

from geopose.cli import Parser, UserError, progress
from geopose.data.processes import in_processes
from geopose.io.files import file_status, remove_unfinished, writing
from geopose.io.rasters import encode_prepared
from geopose.io.tables import read_halves

FOLDER = "prepared"
COPIED = ["rgb", "agl"]  # columns of tables
SIZE_BYTES = 8  # at the end of a copy


def prepared_path(root: str | Path, source: str | Path) -> Path:
    """Path of the prepared copy of a file in a competition folder."""
    return (Path(root) / FOLDER / Path(source).relative_to(root)).with_suffix(".tif")


def is_prepared(source: str | Path, target: Path) -> bool:
    """Whether the copy exists, and the source has the time and size that it had when it was copied."""
    try:
        status, copied = Path(source).stat(), target.stat()
        if copied.st_mtime_ns != status.st_mtime_ns:
            return False
        with target.open("rb") as stream:
            stream.seek(max(0, copied.st_size - SIZE_BYTES))
            return stream.read() == encode_size(status)
    except FileNotFoundError:
        return False


def encode_size(status: os.stat_result) -> bytes:
    """The size of a source as the last bytes of its copy."""
    return status.st_size.to_bytes(SIZE_BYTES, "little")


def prepare_file(source: str, target: Path) -> str | None:
    """Make a verified copy of one raster, see encode_prepared. Returns the fault of the source in one line, or None."""
    try:
        status = file_status(source)
        with writing(target) as temporary:
            temporary.write_bytes(encode_prepared(source) + encode_size(status))
            os.utime(temporary, ns=(status.st_atime_ns, status.st_mtime_ns))
    except UserError as error:
        return str(error)
    return None


def list_files(root: str | Path) -> list[str]:
    """Paths of all images and heights of a competition folder, train and test. A half without a table is left out."""
    tables = read_halves(root)
    return [path for table in tables for column in table.columns.intersection(COPIED) for path in table[column]]


def prepare(root: str | Path, workers: int) -> tuple[int, list[str]]:
    """Make the missing copies. Returns the number of new copies, and one line for each file that failed."""
    jobs = [(source, prepared_path(root, source)) for source in list_files(root)]
    jobs = [job for job in jobs if not is_prepared(*job)]
    if jobs:
        refuse_read_only(Path(root))
        remove_unfinished(Path(root) / FOLDER)
    with progress(in_processes(prepare_file, jobs, workers), "prepare", len(jobs), "file") as bar:
        faults = sorted(fault for fault in bar if fault)
    return len(jobs) - len(faults), faults


def refuse_read_only(root: Path) -> None:
    """Raise UserError when copies cannot be written into a competition folder, such as a mounted one."""
    place = root / FOLDER if (root / FOLDER).exists() else root
    if not os.access(place, os.W_OK):
        links = f"data/{root.resolve().name}"
        if Path(links).resolve() == root.resolve():
            links += "-links"
        raise UserError(
            f"{place}: read-only; make a folder of links ('mkdir -p {links}', 'ln -s {root.resolve()}/* {links}/') and "
            f"give it as DATA={links}: copies are then written into it"
        )


def prefer_prepared(table: pd.DataFrame, root: str | Path) -> pd.DataFrame:
    """A table of read_train_table or read_test_table, with the paths of prepared copies where they exist."""
    table = table.copy()
    for column in table.columns.intersection(COPIED):
        targets = [prepared_path(root, source) for source in table[column]]
        table[column] = [
            str(target) if is_prepared(source, target) else source
            for source, target in zip(table[column], targets, strict=True)
        ]
    return table


def advise_preparing(table: pd.DataFrame) -> None:
    """Print one line on standard error if training will cut its crops from .j2k files of a competition folder.

    Images of other folders cannot be prepared.
    """
    images = [image for image in map(Path, table.rgb) if image.suffix == ".j2k"]
    roots = [image.parent.parent for image in images if half_table(image).exists()]
    if roots:
        print(
            f"{len(roots)} of {len(table)} training images are .j2k, where a crop of a 2048 px tile takes over a "
            f"second; 'make prepare DATA={roots[0]}' makes copies from which a crop is read in milliseconds",
            file=sys.stderr,
        )


def half_table(image: Path) -> Path:
    """Where the table that lists an image is, if the image is in a half of a competition folder."""
    return image.parent.parent / f"geopose_{image.parent.name}.csv"


def main() -> int:
    """Prepare a folder. Returns 0, or 1 with one line for each file that failed."""
    parser = Parser(
        "Copy tiles into DIR/prepared, from which crops are read in milliseconds; existing copies are skipped.",
        "python -m geopose prepare --data data/competition",
    )
    parser.add_argument("--data", required=True, metavar="DIR", help="competition folder")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), metavar="N", help="number of processes")
    args = parser.parse_args()
    if args.workers < 1:
        raise UserError(f"--workers {args.workers}: must be 1 or more")
    made, faults = prepare(args.data, args.workers)
    for fault in faults:
        print(fault, file=sys.stderr)
    folder = Path(args.data) / FOLDER
    megabytes = sum(file.stat().st_size for file in folder.rglob("*.tif")) / 1e6
    print(f"{folder}: {made} files made, {megabytes:.0f} MB in all" + (f", {len(faults)} failed" if faults else ""))
    return 1 if faults else 0
