"""PNG files that were cut off or damaged are refused, wherever the fault is."""

import cv2
import numpy as np
import pytest
import rasterio

from geopose.cli import UserError
from geopose.io.png import is_damaged_png
from geopose.io.rasters import open_raster, read_rgb

KINDS = {
    "rgb": (np.uint8, 3),
    "grey": (np.uint8, 1),
    "rgba": (np.uint8, 4),
    "deep": (np.uint16, 3),
}


def write_png(path, dtype, bands, side=300):
    values = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (side, side, bands), dtype=dtype)
    assert cv2.imwrite(str(path), values)
    return path.read_bytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [20, 300, 600])
def test_a_file_that_was_cut_off_or_damaged_is_refused(tmp_path, kind, side):
    path = tmp_path / "x.png"
    whole = write_png(path, *KINDS[kind], side)
    assert not is_damaged_png(path)
    with open_raster(path) as raster:
        assert raster.read().shape == (KINDS[kind][1], side, side)
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for content in (whole[:middle], whole[:-1], whole[:-12], whole[: len(whole) * 97 // 100], flipped):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"x.png: truncated or damaged; copy or create"), open_raster(path):
            pass
    path.write_bytes(whole + b"a comment of some editor")
    assert not is_damaged_png(path)


def test_files_of_other_formats_are_no_damaged_pngs(tmp_path):
    for content in (b"", b"text", b"II*\0"):
        (tmp_path / "x").write_bytes(content)
        assert not is_damaged_png(tmp_path / "x")


def test_a_tile_or_a_vrt_of_a_file_that_was_cut_off_is_refused(tmp_path):
    whole = write_png(tmp_path / "x.png", np.uint8, 3)
    band = '<VRTRasterBand dataType="Byte" band="{0}"><SimpleSource><SourceFilename relativeToVRT="1">x.png'
    band += "</SourceFilename><SourceBand>{0}</SourceBand></SimpleSource></VRTRasterBand>"
    bands = "".join(band.format(number) for number in (1, 2, 3))
    (tmp_path / "x.vrt").write_text(f'<VRTDataset rasterXSize="300" rasterYSize="300">{bands}</VRTDataset>')
    with rasterio.open(tmp_path / "x.png") as raster:
        expected = raster.read().transpose(1, 2, 0)
    for name in ("x.png", "x.vrt"):
        np.testing.assert_array_equal(read_rgb(tmp_path / name), expected)
    (tmp_path / "x.png").write_bytes(whole[: len(whole) // 2])
    for name in ("x.png", "x.vrt"):
        with pytest.raises(UserError, match=r"x.png: truncated"):
            read_rgb(tmp_path / name)
