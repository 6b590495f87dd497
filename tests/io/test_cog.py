"""Written rasters are Cloud-Optimized GeoTIFFs, whatever their grid, and lose nothing on the way."""

import numpy as np
import pytest
import rasterio
from helpers import write_tif
from rasterio.control import GroundControlPoint
from rasterio.rpc import RPC
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_validate

from geopose.io.cog import has_all_blocks, translate
from geopose.io.rasters import raster_like
from geopose.version import VERSION

GRID = {"crs": "EPSG:32617", "transform": rasterio.transform.from_origin(440000, 3350000, 0.4, 0.4)}
SIZE = (700, 1200)
GCPS = [GroundControlPoint(r, c, -80 + c * 1e-5, 30 - r * 1e-5) for r, c in ((0, 0), (0, 1200), (700, 0))]
RPCS = RPC(
    height_off=0.0,
    height_scale=500.0,
    lat_off=30.0,
    lat_scale=0.1,
    line_off=350.0,
    line_scale=350.0,
    long_off=-80.0,
    long_scale=0.1,
    samp_off=600.0,
    samp_scale=600.0,
    line_num_coeff=[0.0, 0.0, -1.0, *[0.0] * 17],
    line_den_coeff=[1.0, *[0.0] * 19],
    samp_num_coeff=[0.0, 1.0, *[0.0] * 18],
    samp_den_coeff=[1.0, *[0.0] * 19],
)


def write_like(path, like, values):
    """Write values [bands,H,W] in strips, as scenes are written."""
    with raster_like(path, like, len(values), values.dtype.type) as raster:
        for row in range(0, SIZE[0], 200):
            part = values[:, row : row + 200]
            raster.write(part, window=Window(0, row, SIZE[1], part.shape[1]))


@pytest.fixture
def like(tmp_path):
    """An image whose grid others get: profile of its georeference -> path."""

    def write(gcps=None, rpcs=None, **profile):
        write_tif(tmp_path / "like.tif", np.zeros(SIZE, np.uint8), **profile)
        with rasterio.open(tmp_path / "like.tif", "r+") as raster:
            if gcps:
                raster.gcps = gcps, rasterio.CRS.from_epsg(4326)
            if rpcs:
                raster.rpcs = rpcs
        return tmp_path / "like.tif"

    return write


def heights(seed=0):
    values = np.random.default_rng(seed).uniform(0, 40, (2, *SIZE)).astype(np.float32)
    values[:, 100:300, 200:500] = np.nan
    return values


@pytest.mark.parametrize("place", [GRID, {}, {"gcps": GCPS}, {"rpcs": RPCS}], ids=["map", "none", "gcps", "rpcs"])
def test_heights_are_a_valid_cog_on_the_images_grid(like, tmp_path, place):
    write_like(tmp_path / "x.tif", like(**place), heights())
    assert cog_validate(tmp_path / "x.tif", strict=True, quiet=True) == (True, [], [])
    with rasterio.open(tmp_path / "x.tif") as raster, rasterio.open(tmp_path / "like.tif") as image:
        structure = raster.tags(ns="IMAGE_STRUCTURE")
        assert structure["LAYOUT"] == "COG" and structure["COMPRESSION"] == "DEFLATE" and structure["PREDICTOR"] == "3"
        assert raster.overviews(1) == [2, 4] and np.isnan(raster.nodata)
        assert raster.tags()["TIFFTAG_SOFTWARE"] == f"geopose {VERSION}"
        assert (raster.crs, raster.transform, raster.gcps[1]) == (image.crs, image.transform, image.gcps[1])
        assert [(p.row, p.col, p.x, p.y) for p in raster.gcps[0]] == [(p.row, p.col, p.x, p.y) for p in image.gcps[0]]
        assert raster.rpcs == image.rpcs
        np.testing.assert_array_equal(raster.read(), heights())
    assert [file.name for file in tmp_path.glob("*") if file.name != "like.tif"] == ["x.tif"]


def test_overviews_are_means_of_known_heights(like, tmp_path):
    write_like(tmp_path / "x.tif", like(**GRID), heights())
    with rasterio.open(tmp_path / "x.tif", overview_level=0) as raster:
        halved = raster.read(1)
    expected = heights()[0].reshape(SIZE[0] // 2, 2, SIZE[1] // 2, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(halved, expected, rtol=1e-5)


def test_an_image_keeps_its_mask_at_every_size(like, tmp_path):
    image = np.random.default_rng(1).integers(1, 255, (3, *SIZE), dtype=np.uint8)
    shown = np.full(SIZE, 255, np.uint8)
    shown[:, 400:800] = 0
    with raster_like(tmp_path / "x.tif", like(**GRID), 3, np.uint8) as raster:
        raster.write(image)
        raster.write_mask(shown)
    assert cog_validate(tmp_path / "x.tif", strict=True, quiet=True) == (True, [], [])
    with rasterio.open(tmp_path / "x.tif") as raster:
        np.testing.assert_array_equal(raster.read(), image)
        np.testing.assert_array_equal(raster.dataset_mask(), shown)
        assert raster.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "2"
    with rasterio.open(tmp_path / "x.tif", overview_level=0) as raster:
        np.testing.assert_array_equal(raster.dataset_mask(), shown[::2, ::2])


def test_a_draft_with_damage_is_not_translated(tmp_path):
    draft = tmp_path / "draft.tif"
    write_tif(draft, heights(), tiled=True)
    assert translate(draft, tmp_path / "x.tif", False)
    content = draft.read_bytes()
    draft.write_bytes(content[: len(content) // 2])
    assert not translate(draft, tmp_path / "y.tif", False)
    profile = {"driver": "GTiff", "count": 1, "height": 700, "width": 1200, "dtype": "uint8"}
    with rasterio.open(draft, "w", **profile, tiled=True, sparse_ok=True) as raster:
        raster.write(np.ones((1, 100, 100), np.uint8), window=Window(0, 0, 100, 100))
    assert not translate(draft, tmp_path / "z.tif", False)


def test_a_file_that_ends_early_has_not_all_blocks(like, tmp_path):
    path, rng = tmp_path / "x.tif", np.random.default_rng(1)
    with raster_like(path, like(**GRID), 3, np.uint8) as raster:
        raster.write(rng.integers(1, 255, (3, *SIZE), dtype=np.uint8))
        raster.write_mask(rng.integers(0, 2, SIZE, dtype=np.uint8) * 255)
    whole = path.read_bytes()
    assert has_all_blocks(path, True)
    for missing in (5, 1000, 100_000, len(whole) // 2, len(whole) - 1000):  # the last 4 bytes repeat those before them
        path.write_bytes(whole[:-missing])
        assert not has_all_blocks(path, True), missing


@pytest.mark.parametrize("sparse", [False, True])
def test_an_overview_without_its_blocks_is_seen(tmp_path, sparse):
    path = tmp_path / "x.tif"
    write_tif(path, np.zeros(SIZE, np.uint8), tiled=True)
    with rasterio.Env(SPARSE_OK_OVERVIEW=sparse), rasterio.open(path, "r+") as raster:
        raster.build_overviews([2], rasterio.enums.Resampling.average)
    assert has_all_blocks(path, False) != sparse
    assert not has_all_blocks(path, True)
