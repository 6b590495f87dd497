"""Writing files so that a half-written file never has its final name."""

import glob
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from geopose.cli import UNWRITABLE, UserError

UNFINISHED = ".part-"  # prefix of files that are being written
PROBE_BYTES = 2**20  # a disk without room for these is full


def file_status(path: str | os.PathLike) -> os.stat_result:
    """Size and times of a file that must exist. Raises UserError when it does not."""
    path = Path(path)
    if path.exists():
        return path.stat()
    if path.parent.is_dir():
        raise UserError(f"{path} missing; restore the file or remove its id from the CSV")
    raise UserError(f"{path} missing, with its whole folder; check its path, or unpack the files into this folder")


def make_folder(folder: str | os.PathLike) -> None:
    """Create a folder and those above it. Raises UserError when a file has the name of one of them."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        in_the_way = next(part for part in (Path(folder), *Path(folder).parents) if os.path.lexists(part))
        raise UserError(f"{in_the_way}: is a file, but output needs a folder there; give another --out") from None


def make_room(path: str | os.PathLike) -> None:
    """Create the folder of a file that will be written. Raises UserError when the file's name is that of a folder."""
    if Path(path).is_dir():
        raise UserError(f"{path}: is a folder, but output needs a file there; give a file name")
    make_folder(Path(path).parent)


@contextmanager
def writing(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path in the folder of `path`. It is renamed to `path` on success and removed on failure.

    Raises UserError when the path cannot be a file's. An OSError about a full or protected disk names `path`.
    """
    path = Path(path)
    make_room(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f"{UNFINISHED}{path.stem}-", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        error.filename = os.fspath(path)
        raise
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in UNWRITABLE and error.filename in (None, name):
            error.filename = os.fspath(path)
        raise


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Write a file completely or not at all."""
    with writing(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def beside(temporary: Path, purpose: str) -> Iterator[Path]:
    """A path for a second file that is needed while writing() is at work. Both names begin equally.

    At the end, it and all others whose names begin like that of `temporary` are removed: libraries leave such files.
    """
    try:
        yield temporary.with_name(f"{temporary.name}.{purpose}")
    finally:
        for left in temporary.parent.glob(f"{glob.escape(temporary.name)}.*"):
            left.unlink(missing_ok=True)


def refuse_full_disk(path: Path, size: int = PROBE_BYTES) -> None:
    """Raise OSError when an unfinished file cannot grow by size bytes: its disk is full, or a limit is reached.

    For files that a library writes without reporting such faults. Otherwise zeros are added to the file.
    """
    with path.open("ab") as stream:
        for _ in range(math.ceil(size / PROBE_BYTES)):
            stream.write(bytes(PROBE_BYTES))


def remove_unfinished(folder: str | os.PathLike) -> None:
    """Remove the half-written files that killed processes left in a folder and its subfolders.

    Call it only while no other process writes there.
    """
    for left in Path(folder).rglob(f"{UNFINISHED}*"):
        left.unlink(missing_ok=True)


def remove_unfinished_copies(path: Path) -> None:
    """Remove the half-written files that killed processes left of one file. No other process may be writing it."""
    random = "?" * 8  # as tempfile names files
    for left in path.parent.glob(f"{UNFINISHED}{glob.escape(path.stem)}-{random}{glob.escape(path.suffix)}*"):
        left.unlink(missing_ok=True)
