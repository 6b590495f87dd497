"""Submission tarballs: written tile by tile, read and validated without unpacking to disk."""

import gzip
import io as bytes_io
import math
import sys
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd

from geopose.cli import Parser, UserError, one_line, progress
from geopose.geometry import TWO_PI, wrap_angle
from geopose.io.files import writing
from geopose.io.names import agl_name, label_of, vflow_name
from geopose.io.poses import encode_vflow, parse_vflow
from geopose.io.rasters import UNKNOWN_CM, AglFile, decode_agl, encode_agl, image_size
from geopose.io.tables import read_test_table

MAX_SCALE_PX_PER_M = 10.0  # at 0.3 m per pixel this is 72 degrees off nadir; satellites stay under about 45
MAX_PLAUSIBLE_AGL_M = 500.0  # no building of the competition's cities comes near
MAX_MEMBER_BYTES = 256 * 1024**2  # a 2048 px tile is 8 MiB before compression; more is no prediction
ARCHIVE_ERRORS = (tarfile.TarError, EOFError, OSError, zlib.error, UnicodeDecodeError, ValueError)


class SubmissionWriter:
    """A flat tar.gz of predictions, one tile in memory at a time; the same predictions give the same bytes.

    Use as a context manager: the file gets its name only when the block ends without an exception.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.ids: set[str] = set()

    def __enter__(self) -> "SubmissionWriter":
        self._stack = ExitStack()
        with ExitStack() as stack:
            temporary = stack.enter_context(writing(self.path))
            raw = stack.enter_context(temporary.open("wb"))
            # No name and no time in the header. The members are deflated already, so level 1 packs as well as 9.
            packed = stack.enter_context(gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=1, mtime=0))
            self._tar = stack.enter_context(tarfile.open(fileobj=packed, mode="w|", format=tarfile.USTAR_FORMAT))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception) -> None:
        self._stack.__exit__(*exception)

    def add(self, tile_id: str, agl_m: np.ndarray, scale_px_per_m: float, angle_rad: float) -> None:
        """Add a tile; see encode_prediction. Raises UserError when the id was added before."""
        self.add_encoded(tile_id, encode_prediction(tile_id, agl_m, scale_px_per_m, angle_rad))

    def add_encoded(self, tile_id: str, files: list[tuple[str, bytes]]) -> None:
        """Add a tile's files, as encode_prediction gave them."""
        if tile_id in self.ids:
            raise UserError(f"{tile_id}: predicted twice; give each id once")
        for name, content in files:
            self._add_member(name, content)
        self.ids.add(tile_id)

    def _add_member(self, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(name)  # its time, owner and group are 0 unless set
        member.size, member.mode = len(content), 0o644
        self._tar.addfile(member, bytes_io.BytesIO(content))


def encode_prediction(
    tile_id: str, agl_m: np.ndarray, scale_px_per_m: float, angle_rad: float
) -> list[tuple[str, bytes]]:
    """Names and contents of a tile's two files. agl_m float [H,W] metres; angle in radians, wrapped to [0, 2 pi).

    Negative heights and a negative scale become 0. Raises UserError naming the id when a value is not finite or a
    height exceeds what the format holds.
    """
    agl_m, scale_px_per_m, angle_rad = np.asarray(agl_m), float(scale_px_per_m), float(angle_rad)
    if agl_m.ndim != 2:
        raise UserError(f"{tile_id}: heights of shape {agl_m.shape}; a tile has one [H, W] map")
    bad = int(np.count_nonzero(~np.isfinite(agl_m)))
    if bad:
        raise UserError(f"{tile_id}: {bad} of {agl_m.size} heights are NaN or infinite; predict in float32")
    for name, value in (("scale", scale_px_per_m), ("angle", angle_rad)):
        if not math.isfinite(value):
            raise UserError(f"{tile_id}: {name} is {value}; predict in float32")
    try:
        heights = encode_agl(agl_m)
    except ValueError as error:
        raise UserError(f"{tile_id}: {error}; train the model longer or check its units") from None
    pose = encode_vflow(max(scale_px_per_m, 0.0), wrap_angle(angle_rad))
    return [(agl_name(tile_id), heights), (vflow_name(tile_id), pose)]


# --- reading ----------------------------------------------------------------------------------------------------


def read_predictions(path: str | Path) -> Iterator[tuple[str, bytes]]:
    """(file name, content) of each file in a folder or tarball of predictions, one in memory at a time.

    Raises UserError when there is no such path or the archive is damaged.
    """
    path = Path(path)
    if path.is_dir():
        for file in sorted(path.iterdir()):
            if label_of(file.name) and file.is_file():
                yield file.name, file.read_bytes()
        return
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give the predictions' folder or tarball")
    for member, content in _members(path):
        if content is not None:
            yield member.name.removeprefix("./"), content


def _members(path: Path) -> Iterator[tuple[tarfile.TarInfo, bytes | None]]:
    """Each member of a tarball in order, with its content when it is a file of sane size. UserError when damaged."""
    try:
        with gzip.open(path) as packed, tarfile.open(fileobj=packed, mode="r|") as archive:
            for member in archive:
                readable = member.isreg() and member.size <= MAX_MEMBER_BYTES
                yield member, archive.extractfile(member).read() if readable else None
            while packed.read(1024**2):  # gzip tests its checksum only at the very end
                pass
    except ARCHIVE_ERRORS as error:
        raise UserError(f"{path}: damaged or no tar.gz ({one_line(error)}); pack it again") from None


# --- validation -------------------------------------------------------------------------------------------------


def validate(path: str | Path, data_root: str | Path) -> list[str]:
    """Every fault of a submission tarball against the test tiles of a competition folder; empty when it has none.

    Nothing is unpacked to disk. Raises UserError when the tarball or the competition folder is missing.
    """
    if not Path(path).is_file():
        raise UserError(f"{path} missing; make it with 'python predict.py --out {path}'")
    return _validate(Path(path), read_test_table(data_root))


def _validate(path: Path, tiles: pd.DataFrame) -> list[str]:
    images = dict(zip(tiles.id, tiles.rgb, strict=True))
    expected = {name for tile_id in images for name in (agl_name(tile_id), vflow_name(tile_id))}
    faults, seen = [], set()
    members = iter(progress(_members(path), "validate", total=len(expected), unit="file"))
    while True:
        try:
            member, content = next(members)
        except StopIteration:
            break
        except UserError as error:
            faults.append(str(error))
            break
        placement = _member_fault(member, content, seen, expected)
        seen.add(member.name)
        faults += [placement] if placement else _content_faults(member.name, content, images)
    missing = sorted(expected - seen)
    return faults + [f"{name}: missing; every test id needs its heights and its pose" for name in missing]


def _member_fault(member: tarfile.TarInfo, content: bytes | None, seen: set[str], expected: set[str]) -> str | None:
    """What is wrong with a member's place, kind or name."""
    name = member.name
    if name.startswith("/") or ".." in Path(name).parts:
        return f"{name}: a path that leaves the archive; use the bare file name"
    if not member.isreg():
        kind = "folder" if member.isdir() else "link" if member.issym() or member.islnk() else "special file"
        return f"{name}: a {kind}; the tarball holds plain files only"
    if "/" in name:
        return f"{name}: in a folder; the tarball must be flat, without './'"
    if name in seen:
        return f"{name}: in the tarball more than once; keep one"
    if label_of(name) is None:
        return f"{name}: not a prediction's name; use {agl_name('<id>')} and {vflow_name('<id>')}"
    if name not in expected:
        return f"{name}: {label_of(name)[0]} is no test id; leave it out"
    if content is None:
        return f"{name}: {member.size} bytes; no tile's prediction is that large"
    return None


def _content_faults(name: str, content: bytes, images: dict[str, str]) -> list[str]:
    tile_id, kind = label_of(name)
    if kind == "vflow":
        return _pose_faults(name, content)
    size = image_size(images[tile_id])
    try:
        heights = decode_agl(content, name, size)
    except UserError as error:
        return [str(error)]
    return _height_faults(name, heights)


def _height_faults(name: str, heights: AglFile) -> list[str]:
    faults = []
    if not heights.centimetres:
        faults.append(f"{name}: float heights; a submission holds uint16 centimetres")
    if heights.compression != "deflate":
        faults.append(f"{name}: compression {heights.compression or 'none'}; a submission holds deflate")
    unknown = int(np.count_nonzero(~np.isfinite(heights.agl_m)))
    if unknown:
        faults.append(f"{name}: {unknown} pixels are unknown ({UNKNOWN_CM} or NaN); predict a height for each")
    highest_m = np.nanmax(heights.agl_m, initial=0.0)
    if highest_m > MAX_PLAUSIBLE_AGL_M:
        faults.append(f"{name}: a height of {highest_m:g} m, above {MAX_PLAUSIBLE_AGL_M:g} m; check the unit")
    return faults


def _pose_faults(name: str, content: bytes) -> list[str]:
    try:
        pose = parse_vflow(content, name)
    except UserError as error:
        return [str(error)]
    faults = []
    if not 0 <= pose.scale_px_per_m <= MAX_SCALE_PX_PER_M:
        faults.append(
            f"{name}: scale {pose.scale_px_per_m:g} px/m, outside 0 to {MAX_SCALE_PX_PER_M:g}; the file holds px/cm"
        )
    if not 0 <= pose.angle_rad < TWO_PI:
        faults.append(f"{name}: angle {pose.angle_rad:g}, outside 0 to 2 pi; wrap it, in radians")
    return faults


def main() -> int:
    """Validate a tarball; 0 when it is sound, 1 with every fault on a line of its own."""
    parser = Parser(
        "Validate a submission tarball against a competition folder's test tiles.",
        "python -m geopose validate submission.tar.gz --data data/synthetic",
    )
    parser.add_argument("file", type=Path, help="the tarball")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="competition folder")
    args = parser.parse_args()
    faults = validate(args.file, args.data)
    for fault in faults:
        print(one_line(fault))
    if faults:
        print(f"{args.file}: {len(faults)} faults", file=sys.stderr)
        return 1
    tiles = len(read_test_table(args.data))
    print(f"ok: {args.file}, {tiles} tiles, {args.file.stat().st_size / 1e6:.1f} MB")
    return 0
