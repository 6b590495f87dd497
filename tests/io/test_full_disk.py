"""A disk without room: nothing unreadable gets a name, and one line names the file and the disk, not the input.

A limit on the size of files stands for the disk. The operating system refuses to write in the same way.
"""

import errno
import resource
import shlex
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import rasterio
from helpers import REPO, write_label, write_tif
from rasterio.windows import Window

from geopose.cli import disk_of, run_command
from geopose.io.files import make_room, write_bytes
from geopose.io.rasters import raster_like


@contextmanager
def room_for(size: int):
    """Files cannot grow beyond this many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_noise(path: Path, like: Path, count: int, dtype: type, masked: bool) -> None:
    rng = np.random.default_rng(0)
    with raster_like(path, like, count, dtype) as raster:
        for row in range(0, 300, 100):
            window = Window(0, row, 400, 100)
            raster.write((rng.standard_normal((count, 100, 400)) * 50).astype(dtype), window=window)
            if masked:
                raster.write_mask(rng.integers(0, 2, (100, 400), dtype=np.uint8) * 255, window=window)


@pytest.mark.parametrize(
    ("count", "dtype", "masked"),
    [(2, np.float32, False), (3, np.uint8, True), (1, np.uint8, False)],
    ids=["heights", "image", "hidden"],
)
def test_a_raster_without_room_leaves_no_file(tmp_path, count, dtype, masked):
    like, path = tmp_path / "like.tif", tmp_path / "out" / "x.tif"
    write_tif(like, np.zeros((300, 400), np.uint8))
    write_noise(path, like, count, dtype, masked)
    size = path.stat().st_size
    path.unlink()
    near_the_end = (size - 5000, size - 2000, size - 200, size - 1)
    for room in (64, size // 3, size // 2, 3 * size // 4, 9 * size // 10, *near_the_end):
        with room_for(room), pytest.raises(OSError, match="File too large") as fault:
            write_noise(path, like, count, dtype, masked)
        assert fault.value.filename == str(path)
        assert list(path.parent.iterdir()) == []
    with room_for(2 * size):  # the draft of the file is a little larger
        write_noise(path, like, count, dtype, masked)
    with rasterio.open(path) as raster:
        assert raster.read().any()


def test_any_file_without_room_is_named(tmp_path, capsys):
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    with room_for(100), pytest.raises(SystemExit) as status:
        run_command(lambda: write_bytes(path, bytes(1000)))
    assert status.value.code == 2
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 1
    assert shown.startswith(f"error: {path}: File too large (disk {disk_of(tmp_path)}); free some space")
    assert path.read_bytes() == b"old"


def test_a_read_only_folder_is_reported_with_the_name_of_the_file(tmp_path, monkeypatch, capsys):
    def refuse(prefix, suffix, dir):
        raise OSError(errno.EROFS, "Read-only file system", f"{dir}/{prefix}a1b2c3d4{suffix}")

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    with pytest.raises(SystemExit) as caught:
        run_command(lambda: write_bytes(tmp_path / "folds.csv", b""))
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'folds.csv'}: Read-only file system (disk ")


def test_a_command_without_room_says_so_and_fails(tmp_path):
    rng = np.random.default_rng(0)
    write_tif(tmp_path / "x_RGB.tif", rng.integers(0, 256, (3, 400, 500), dtype=np.uint8))
    write_label(tmp_path, "x", rng.uniform(0, 9, (400, 500)), 0.8, 1.0)
    files = [str(tmp_path / name) for name in ("x_RGB.tif", "x_AGL.tif", "x_VFLOW.json")]
    command = [sys.executable, "-m", "geopose", "rectify", *files, "--out", str(tmp_path / "out")]
    words = f"ulimit -f 550 && {shlex.join(command)}"  # kB: the image has 600
    result = subprocess.run(["bash", "-c", words], cwd=REPO, capture_output=True, text=True, check=False)
    assert result.returncode == 2 and "Traceback" not in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"error: {tmp_path / 'out'}") and "File too large" in last
    for file in (tmp_path / "out").glob("*.tif"):
        with rasterio.open(file) as raster:
            raster.read()


def test_the_disk_of_a_path_is_a_mount_point(tmp_path):
    assert disk_of(tmp_path / "not" / "there").is_mount()
    assert disk_of("/") == Path("/")


def test_room_is_made_for_a_file(tmp_path):
    make_room(tmp_path / "a" / "b" / "x.tif")
    assert (tmp_path / "a" / "b").is_dir()
