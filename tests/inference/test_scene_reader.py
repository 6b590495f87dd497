"""The colours of an image, however its file stores them, and the pixels without data."""

import cv2
import numpy as np
import pytest
import rasterio
from helpers import write_tif
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from geopose.cli import UserError
from geopose.inference.scene_reader import SceneReader

PALETTE = np.random.default_rng(0).integers(0, 255, (3, 8), dtype=np.uint8)
WHOLE = Window(0, 0, 24, 16)
RED, GREEN, BLUE, ALPHA = ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha
VRT_BAND = """<VRTRasterBand dataType="{dtype}" band="{band}">{tags}<SimpleSource>
<SourceFilename relativeToVRT="1">{file}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"""


def read(path, bands=()):
    with rasterio.open(path) as raster:
        return SceneReader(raster, path, bands).read(WHOLE)


def colours():
    """uint8 [3,16,24]: an image of eight colours."""
    return PALETTE[:, indices()]


def indices():
    return np.random.default_rng(1).integers(0, 8, (16, 24), dtype=np.uint8)


def tag(path, colorinterp=None, descriptions=None):
    with rasterio.open(path, "r+") as raster:
        if colorinterp:
            raster.colorinterp = colorinterp
        if descriptions:
            raster.descriptions = descriptions


def write_vrt(path, *bands):
    """bands: (file, dtype, further XML of the band)."""
    text = "".join(
        VRT_BAND.format(band=number, file=file, dtype=dtype, tags=tags)
        for number, (file, dtype, tags) in enumerate(bands, 1)
    )
    path.write_text(f'<VRTDataset rasterXSize="24" rasterYSize="16">{text}</VRTDataset>')


# --- palettes and few bits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_palette_gives_the_colours(tmp_path, dtype):
    table = {k: (*map(int, PALETTE[:, k]), 255) for k in range(8)}
    write_tif(tmp_path / "x.tif", indices().astype(dtype), photometric="PALETTE")
    with rasterio.open(tmp_path / "x.tif", "r+") as raster:
        raster.write_colormap(1, table)
    rgb, data = read(tmp_path / "x.tif")
    np.testing.assert_array_equal(rgb, colours())
    assert data.all() and rgb.dtype == np.uint8
    if dtype == np.uint8:  # --bands asks for the values themselves
        np.testing.assert_array_equal(read(tmp_path / "x.tif", (1,))[0], [indices()] * 3)


def test_transparent_entries_of_a_palette_are_no_data(tmp_path):
    table = {k: (9 * k, 8 * k, 7 * k, 0 if k == 5 else 255) for k in range(8)}
    write_tif(tmp_path / "x.tif", indices())
    entries = "".join(f'<Entry c1="{r}" c2="{g}" c3="{b}" c4="{a}"/>' for r, g, b, a in table.values())
    write_vrt(tmp_path / "x.vrt", ("x.tif", "Byte", f"<ColorTable>{entries}</ColorTable>"))
    rgb, data = read(tmp_path / "x.vrt")
    np.testing.assert_array_equal(data, indices() != 5)
    np.testing.assert_array_equal(rgb[0], 9 * indices())


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("bands", [(), (1,)])
def test_few_bits_span_black_to_white(tmp_path, bits, bands):
    values = indices() % 2**bits
    write_tif(tmp_path / "x.tif", values, nbits=bits)
    expected = np.rint(values / (2**bits - 1) * 255)
    rgb, data = read(tmp_path / "x.tif", bands)
    np.testing.assert_array_equal(rgb, [expected] * 3)
    assert data.all()


def test_a_png_of_one_bit_is_black_and_white(tmp_path):
    values = (indices() % 2) * 255
    assert cv2.imwrite(str(tmp_path / "x.png"), values, [cv2.IMWRITE_PNG_BILEVEL, 1])
    with rasterio.open(tmp_path / "x.png") as raster:
        assert raster.read().max() == 1
    np.testing.assert_array_equal(read(tmp_path / "x.png")[0], [values] * 3)


@pytest.mark.parametrize("options", [{}, {"nbits": 1}])
def test_an_image_in_which_0_is_white_is_inverted(tmp_path, options):
    values = indices() % 2 if options else indices()
    write_tif(tmp_path / "x.tif", values, photometric="MINISWHITE", **options)
    expected = 255 - values * (255 if options else 1)
    np.testing.assert_array_equal(read(tmp_path / "x.tif")[0], [expected] * 3)


# --- order of bands ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "colorinterp"),
    [
        ((2, 1, 0), (BLUE, GREEN, RED)),
        ((0, 1, 2), (RED, GREEN, BLUE)),
        ((1, 2, 0), (GREEN, BLUE, RED)),
        ((None, 0, 1, 2), (ALPHA, RED, GREEN, BLUE)),
        ((2, 1, 0, None), (BLUE, GREEN, RED, ColorInterp.nir)),
        ((None, 2, 1, None, 0), (ColorInterp.coastal, BLUE, GREEN, ColorInterp.yellow, RED)),
        ((0, 1, 2), (ColorInterp.gray, ColorInterp.undefined, ColorInterp.undefined)),
    ],
)
def test_tags_of_bands_decide_their_order(tmp_path, order, colorinterp):
    planes = np.stack([np.full((16, 24), 200, np.uint8) if k is None else colours()[k] for k in order])
    names = [colour.name.capitalize() for colour in colorinterp]
    files = [(f"{number}.tif", "Byte", f"<ColorInterp>{name}</ColorInterp>") for number, name in enumerate(names)]
    for (file, *_), plane in zip(files, planes, strict=True):
        write_tif(tmp_path / file, plane)
    write_vrt(tmp_path / "x.vrt", *files)
    np.testing.assert_array_equal(read(tmp_path / "x.vrt")[0], colours())
    np.testing.assert_array_equal(read(tmp_path / "x.vrt", (1, 2, 3))[0], planes[:3])  # --bands decides


def test_descriptions_decide_where_colours_are_not_named(tmp_path):
    write_tif(tmp_path / "x.tif", colours()[::-1].astype(np.uint16) * 200 + 9)
    plain = read(tmp_path / "x.tif")[0]
    tag(tmp_path / "x.tif", descriptions=("Blue", "Green", "Red"))
    np.testing.assert_array_equal(read(tmp_path / "x.tif")[0], plain[::-1])


@pytest.mark.parametrize("alpha", [False, True])
def test_grey_is_used_three_times(tmp_path, alpha):
    planes = np.stack([colours()[0], np.where(indices() == 3, 0, 255)]).astype(np.uint8)
    write_tif(tmp_path / "x.tif", planes if alpha else planes[:1])
    if alpha:
        tag(tmp_path / "x.tif", (ColorInterp.gray, ALPHA))
    rgb, data = read(tmp_path / "x.tif")
    np.testing.assert_array_equal(rgb, [colours()[0]] * 3)
    np.testing.assert_array_equal(data, (indices() != 3) | (not alpha))


def test_colours_of_another_kind_are_refused(tmp_path):
    files = [
        (f"{name}.tif", "Byte", f"<ColorInterp>{name}</ColorInterp>") for name in ("Hue", "Saturation", "Lightness")
    ]
    for (file, *_), plane in zip(files, colours(), strict=True):
        write_tif(tmp_path / file, plane)
    write_vrt(tmp_path / "x.vrt", *files)
    with pytest.raises(UserError, match=r"x.vrt: band hue instead of red"):
        read(tmp_path / "x.vrt")
    write_tif(tmp_path / "c.tif", colours().astype(np.complex64))
    with pytest.raises(UserError, match=r"c.tif: holds complex numbers"):
        read(tmp_path / "c.tif")


# --- depth ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtypes", [("uint8", "uint16", "uint16"), ("uint16", "float32", "uint8")])
def test_bands_of_several_dtypes(tmp_path, dtypes):
    names = {"uint8": "Byte", "uint16": "UInt16", "float32": "Float32"}
    factors = {"uint8": 1, "uint16": 257, "float32": 1 / 255}
    files = []
    for number, (dtype, plane) in enumerate(zip(dtypes, colours(), strict=True)):
        write_tif(tmp_path / f"{number}.tif", (plane.astype(float) * factors[dtype]).astype(dtype))
        files.append((f"{number}.tif", names[dtype], ""))
    write_vrt(tmp_path / "x.vrt", *files)
    rgb, data = read(tmp_path / "x.vrt")
    limits = np.percentile(colours(), (2, 98), axis=(1, 2))[:, :, None, None]
    expected = ((colours() - limits[0]) / (limits[1] - limits[0])).clip(0, 1) * 255
    assert data.all() and np.abs(rgb - expected).max() < 2


# --- no data ----------------------------------------------------------------------------------------------------


def test_a_dark_and_a_white_roof_have_data(tmp_path):
    planes = np.full((3, 16, 24), 90, np.uint8)
    planes[0, 2:5, 2:5] = planes[:, 8:, :] = 0  # no red is a colour, no light at all is not
    write_tif(tmp_path / "x.tif", planes, nodata=0)
    _, data = read(tmp_path / "x.tif")
    assert data[:8].all() and not data[8:].any()


@pytest.mark.parametrize("unknown", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("band", [0, 2])
def test_a_band_of_floats_without_a_value_leaves_no_colour(tmp_path, unknown, band):
    planes = colours().astype(np.float32)
    planes[band, 8:] = unknown
    write_tif(tmp_path / "x.tif", planes)
    rgb, data = read(tmp_path / "x.tif")
    assert data[:8].all() and not data[8:].any()
    assert rgb[:, :8].min() == 0 and rgb[:, :8].max() == 255


def test_infrared_with_data_does_not_give_the_other_bands_data(tmp_path):
    planes = np.full((4, 16, 24), 500, np.uint16)
    planes[:3, :, :12], planes[:3, 0, 12:] = 0, 900
    write_tif(tmp_path / "x.tif", planes, nodata=0)
    _, data = read(tmp_path / "x.tif")
    assert data[:, 12:].all() and not data[:, :12].any()
