"""Writing files so that a half-written file never has its final name."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNFINISHED = ".part-"  # prefix of files that are being written


@contextmanager
def writing(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path in the folder of `path`. It is renamed to `path` on success and removed on failure."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f"{UNFINISHED}{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Write a file completely or not at all."""
    with writing(path) as temporary:
        temporary.write_bytes(content)


def remove_unfinished(folder: str | os.PathLike) -> None:
    """Remove the half-written files that killed processes left in a folder and its subfolders.

    Call it only while no other process writes there.
    """
    for left in Path(folder).rglob(f"{UNFINISHED}*"):
        left.unlink(missing_ok=True)
