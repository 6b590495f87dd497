"""Submission tarballs: `python -m geopose validate FILE --data DIR` lists every fault of one.

SubmissionWriter writes a tarball tile by tile. read_predictions and validate read it without unpacking it to disk.
"""

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

from geopose.cli import Parser, UserError, one_line, progress
from geopose.geometry import TWO_PI, wrap_angle
from geopose.io.files import writing
from geopose.io.names import agl_name, label_of, vflow_name
from geopose.io.poses import encode_vflow, parse_vflow
from geopose.io.rasters import UNKNOWN_VALUES, AglFile, decode_agl, encode_agl, image_size
from geopose.io.tables import read_test_table

MAX_SCALE_PX_PER_M = 10.0  # 72 degrees off-nadir at 0.3 m per pixel; satellite images are below about 45
MAX_PLAUSIBLE_AGL_M = 500.0  # far above every building in the competition's cities
MAX_MEMBER_BYTES = 256 * 1024**2  # a 2048 px tile has 8 MiB before compression, so no prediction is larger
ARCHIVE_ERRORS = (tarfile.TarError, EOFError, OSError, zlib.error, UnicodeDecodeError, ValueError)


class SubmissionWriter:
    """A flat tar.gz of predictions, with one tile in memory at a time. The same predictions give the same bytes.

    Use it as a context manager. The file gets its name only when the block ends without an exception.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.ids: set[str] = set()

    def __enter__(self) -> "SubmissionWriter":
        self._stack = ExitStack()
        with ExitStack() as stack:
            temporary = stack.enter_context(writing(self.path))
            raw = stack.enter_context(temporary.open("wb"))
            # The header has no name and no time. The heights are already compressed, so level 1 is as good as level 9.
            packed = stack.enter_context(gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=1, mtime=0))
            self._tar = stack.enter_context(tarfile.open(fileobj=packed, mode="w|", format=tarfile.USTAR_FORMAT))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception) -> None:
        self._stack.__exit__(*exception)

    def add_encoded(self, tile_id: str, files: list[tuple[str, bytes]]) -> None:
        """Add a tile's files, see encode_prediction. Raises UserError when the id was added before."""
        if tile_id in self.ids:
            raise UserError(f"{tile_id}: predicted twice; give each id once")
        for name, content in files:
            self._add_member(name, content)
        self.ids.add(tile_id)

    def _add_member(self, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(name)  # time, owner and group are 0 by default
        member.size, member.mode = len(content), 0o644
        self._tar.addfile(member, bytes_io.BytesIO(content))


def encode_prediction(
    tile_id: str, agl_m: np.ndarray, scale_px_per_m: float, angle_rad: float
) -> list[tuple[str, bytes]]:
    """Names and contents of a tile's two files. agl_m float [H,W] metres.

    Negative heights and a negative scale become 0, and the angle is wrapped to [0, 2 pi). Raises UserError that names
    the id when a value is not finite or a height is too large for the format.
    """
    agl_m, scale_px_per_m, angle_rad = np.asarray(agl_m), float(scale_px_per_m), float(angle_rad)
    if agl_m.ndim != 2:
        raise UserError(f"{tile_id}: heights of shape {agl_m.shape}; a tile has one map [H,W]")
    bad = int(np.count_nonzero(~np.isfinite(agl_m)))
    if bad:
        raise UserError(f"{tile_id}: {bad} of {agl_m.size} heights are NaN or infinite; predict in float32")
    for name, value in (("scale", scale_px_per_m), ("angle", angle_rad)):
        if not math.isfinite(value):
            raise UserError(f"{tile_id}: {name} is {value}; predict in float32")
    try:
        heights = encode_agl(agl_m)
    except ValueError as error:
        raise UserError(f"{tile_id}: {error}; train the model longer or check its unit") from None
    pose = encode_vflow(max(scale_px_per_m, 0.0), wrap_angle(angle_rad))
    return [(agl_name(tile_id), heights), (vflow_name(tile_id), pose)]


# --- reading ----------------------------------------------------------------------------------------------------


def read_predictions(path: str | Path) -> Iterator[tuple[str, bytes]]:
    """(file name, content) of each file in a folder or tarball of predictions, with one in memory at a time.

    Raises UserError when the path does not exist or the archive is damaged.
    """
    path = Path(path)
    if path.is_dir():
        for file in sorted(path.iterdir()):
            if label_of(file.name) and file.is_file():
                yield file.name, file.read_bytes()
        return
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give a folder or tarball of predictions")
    for member, content in _members(path):
        if content is not None:
            yield member.name.removeprefix("./"), content


def _members(path: Path) -> Iterator[tuple[tarfile.TarInfo, bytes | None]]:
    """The members of a tarball in order, with the content of files up to MAX_MEMBER_BYTES, otherwise None.

    Raises UserError when the archive is damaged.
    """
    try:
        with gzip.open(path) as packed, tarfile.open(fileobj=packed, mode="r|") as archive:
            for member in archive:
                readable = member.isreg() and member.size <= MAX_MEMBER_BYTES
                yield member, archive.extractfile(member).read() if readable else None
            while packed.read(1024**2):  # gzip checks the checksum only at the end
                pass
    except ARCHIVE_ERRORS as error:
        raise UserError(f"{path}: damaged or not a tar.gz ({one_line(error)}); pack it again") from None


# --- validation -------------------------------------------------------------------------------------------------


def validate(path: str | Path, data_root: str | Path) -> list[str]:
    """Every fault of a submission tarball for the test tiles of a competition folder, one line each.

    Raises UserError when the tarball or the competition folder is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} missing; make it with 'python -m geopose predict --out {path}'")
    tiles = read_test_table(data_root)
    images = dict(zip(tiles.id, tiles.rgb, strict=True))
    expected = {name for tile_id in images for name in (agl_name(tile_id), vflow_name(tile_id))}
    faults, seen = [], set()
    members = iter(progress(_members(path), "validate", total=len(expected), unit="file"))
    while True:
        try:
            member, content = next(members)
        except StopIteration:
            break
        except UserError as error:  # a damaged archive ends the list of faults; other errors are raised
            faults.append(str(error))
            break
        placement = _member_fault(member, content, seen, expected)
        seen.add(member.name)
        faults += [placement] if placement else _content_faults(member.name, content, images)
    missing = sorted(expected - seen)
    return faults + [f"{name}: missing; every test id needs heights and a pose" for name in missing]


def _member_fault(member: tarfile.TarInfo, content: bytes | None, seen: set[str], expected: set[str]) -> str | None:
    """The fault in a member's path, type or name, or None."""
    name = member.name
    if name.startswith("/") or ".." in Path(name).parts:
        return f"{name}: a path that leaves the archive; use the file name only"
    if not member.isreg():
        kind = "folder" if member.isdir() else "link" if member.issym() or member.islnk() else "special file"
        return f"{name}: a {kind}; the tarball must contain plain files only"
    if "/" in name:
        return f"{name}: in a folder; the tarball must be flat, without './'"
    if name in seen:
        return f"{name}: in the tarball more than once; keep one of them"
    if label_of(name) is None:
        return f"{name}: not the name of a prediction; use {agl_name('<id>')} and {vflow_name('<id>')}"
    if name not in expected:
        return f"{name}: {label_of(name)[0]} is not a test id; remove the file"
    if content is None:
        return f"{name}: {member.size} bytes, too large for a prediction; write it again"
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
        faults.append(f"{name}: float heights; a submission needs uint16 centimetres")
    if heights.compression != "deflate":
        faults.append(f"{name}: compression {heights.compression or 'none'}; a submission needs deflate")
    unknown = int(np.count_nonzero(~np.isfinite(heights.agl_m)))
    if unknown:
        faults.append(f"{name}: {unknown} pixels are unknown ({UNKNOWN_VALUES}); predict a height for every pixel")
    highest_m = np.nanmax(heights.agl_m, initial=0.0)
    if highest_m > MAX_PLAUSIBLE_AGL_M:
        faults.append(f"{name}: a height of {highest_m:g} m, above {MAX_PLAUSIBLE_AGL_M:g} m; check the unit")
    return faults


def _pose_faults(name: str, content: bytes) -> list[str]:
    try:
        pose = parse_vflow(content, name, own_units=False)
    except UserError as error:
        return [str(error)]
    faults = []
    if not 0 <= pose.scale_px_per_m <= MAX_SCALE_PX_PER_M:
        faults.append(
            f"{name}: scale {pose.scale_px_per_m:g} px/m, outside 0 to {MAX_SCALE_PX_PER_M:g}; the file needs px/cm"
        )
    if not 0 <= pose.angle_rad < TWO_PI:
        faults.append(f"{name}: angle {pose.angle_rad:g}, outside 0 to 2 pi; wrap it and use radians")
    return faults


def main() -> int:
    """Validate a tarball. Returns 0, or 1 after printing each fault on one line."""
    parser = Parser(
        "List every fault of a submission tarball for the test tiles of a competition folder.",
        "python -m geopose validate submission.tar.gz --data data/synthetic",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the tarball")
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
