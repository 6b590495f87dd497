"""True ground size of a pixel, compared with lengths on the ellipsoid that follow from its two radii of curvature."""

import numpy as np
import pytest
import rasterio
from helpers import write_tif
from rasterio.control import GroundControlPoint
from rasterio.rpc import RPC
from rasterio.transform import Affine, from_origin

from geopose.cli import UserError
from geopose.inference.ground_size import ground_pixel
from geopose.io.rasters import raster_like

LOCAL = 'LOCAL_CS["site",UNIT["{}",{}]]'
RADIANS = (
    'GEOGCS["r",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],PRIMEM["Greenwich",0],UNIT["radian",1]]'
)


def pixel(path, crs=None, transform=None, gcps=None, rpcs=None):
    """Size of the centre pixel of an empty image of 40 x 60 px."""
    place = {"crs": crs, "transform": transform} if crs else {}
    write_tif(path, np.zeros((1, 40, 60), np.uint8), **place)
    with rasterio.open(path, "r+") as raster:
        if gcps:
            raster.gcps = gcps
        if rpcs:
            raster.rpcs = rpcs
    with rasterio.open(path) as raster:
        return ground_pixel(raster, path)


def degree_m(latitude):
    """Metres of a degree of longitude and of latitude on the ellipsoid WGS 84."""
    a, e2, phi = 6378137.0, 0.00669437999014, np.radians(latitude)
    w = np.sqrt(1 - e2 * np.sin(phi) ** 2)
    return np.radians(1) * a / w * np.cos(phi), np.radians(1) * a * (1 - e2) / w**3


def mercator_y(latitude):
    return 6378137 * np.log(np.tan(np.pi / 4 + np.radians(latitude) / 2))


@pytest.mark.parametrize("latitude", [0.0, 35.0, -60.0, 75.0])
def test_metres_of_web_mercator_shrink_with_latitude(tmp_path, latitude):
    transform = from_origin(2777000, mercator_y(latitude) + 0.8 * 20, 0.8, 0.8)
    expected = 0.8 * np.array(degree_m(latitude)) / [111319.4908, 111319.4908]
    expected[1] = 0.8 * degree_m(latitude)[1] * np.cos(np.radians(latitude)) / 111319.4908
    np.testing.assert_allclose(pixel(tmp_path / "x.tif", "EPSG:3857", transform), expected, rtol=1e-4)


@pytest.mark.parametrize(("latitude", "longitude"), [(0.0, 10.0), (60.0, 24.0), (-45.0, 180.0), (80.0, 0.0)])
@pytest.mark.parametrize(("crs", "unit"), [("EPSG:4326", 1.0), (RADIANS, np.pi / 180), ("EPSG:4979", 1.0)])
def test_degrees_and_other_angles(tmp_path, latitude, longitude, crs, unit):
    step = 4e-6 * unit
    transform = from_origin(longitude * unit - 30 * step, latitude * unit + 20 * step, step, step)
    expected = 4e-6 * np.array(degree_m(latitude))
    np.testing.assert_allclose(pixel(tmp_path / "x.tif", crs, transform), expected, rtol=2e-4)


def test_grads_from_paris(tmp_path):
    transform = from_origin(2.0, 54.0, 4e-6, 4e-6)  # NTF (Paris): 54 grads are 48.6 degrees, on another ellipsoid
    expected = 0.9 * 4e-6 * np.array(degree_m(48.6))
    np.testing.assert_allclose(pixel(tmp_path / "x.tif", "EPSG:4807", transform), expected, rtol=1e-3)


@pytest.mark.parametrize(
    ("crs", "size", "expected"),
    [
        ("EPSG:32617", 0.4, 0.4),
        ("EPSG:2236", 1.5, 1.5 * 0.3048006),
        ("EPSG:32617+5703", 0.4, 0.4),
        (LOCAL.format("metre", 1), 0.4, 0.4),
        (LOCAL.format("foot", 0.3048), 2.0, 0.6096),
    ],
)
def test_metres_and_feet_of_maps_and_sites(tmp_path, crs, size, expected):
    width, height = pixel(tmp_path / "x.tif", crs, from_origin(500000, 900000, size, size))
    assert width == pytest.approx(expected, rel=1e-3) and height == pytest.approx(expected, rel=1e-3)


def test_turned_and_mirrored_images(tmp_path):
    for turned in (Affine.rotation(33), Affine.scale(-1, 1), Affine.rotation(90)):
        transform = Affine.translation(500000, 900000) @ turned @ Affine.scale(0.4, -0.6)
        size = pixel(tmp_path / "x.tif", "EPSG:32617", transform)
        assert size == pytest.approx((0.4, 0.6), rel=1e-3) and not size.is_square


def test_images_that_gcps_or_rpcs_place(tmp_path):
    corners = [(row, column) for row in (0, 40) for column in (0, 60)]
    gcps = [GroundControlPoint(r, c, 435000 + 0.5 * c, 3355000 - 0.5 * r) for r, c in corners]
    assert pixel(tmp_path / "x.tif", gcps=(gcps, "EPSG:32617")) == pytest.approx((0.5, 0.5), rel=1e-3)

    zeros, one = [0.0] * 20, [1.0] + [0.0] * 19
    line, sample = [0.0, 0.0, -1.0, *zeros[3:]], [0.0, 1.0, *zeros[2:]]
    offsets = {"lat_off": 30.3, "long_off": -81.6, "height_off": 30, "line_off": 20, "samp_off": 30}
    scales = {"lat_scale": 1e-4, "long_scale": 1e-4, "height_scale": 500, "line_scale": 20, "samp_scale": 20}
    rpcs = RPC(**offsets, **scales, line_num_coeff=line, line_den_coeff=one, samp_num_coeff=sample, samp_den_coeff=one)
    expected = 1e-4 / 20 * np.array(degree_m(30.3))
    np.testing.assert_allclose(pixel(tmp_path / "rpc.tif", rpcs=rpcs), expected, rtol=1e-3)

    for name in ("x.tif", "rpc.tif"):  # what is made from such an image is placed as it is
        with raster_like(tmp_path / f"like_{name}", tmp_path / name, 1, np.uint8):
            pass
        with rasterio.open(tmp_path / name) as one, rasterio.open(tmp_path / f"like_{name}") as other:
            assert len(one.gcps[0]) == len(other.gcps[0]) and one.gcps[1] == other.gcps[1]
            assert (one.rpcs and one.rpcs.to_dict()) == (other.rpcs and other.rpcs.to_dict())


@pytest.mark.parametrize(
    ("crs", "transform", "words"),
    [
        (None, None, "has no georeference"),
        ("EPSG:4978", from_origin(435000, 3355000, 0.4, 0.4), "neither a map nor degrees"),
        ("EPSG:4326", from_origin(435000, 3355000, 0.4, 0.4), "no place on the earth"),
        ("EPSG:32617", from_origin(1e12, 1e12, 0.4, 0.4), "no place on the earth"),
        ("+proj=eqc +a=1737400 +b=1737400 +units=m", from_origin(0, 0, 0.4, 0.4), "no place on the earth"),
        ("EPSG:32617", from_origin(435000, 3355000, 0.4, 40), "0.4 m x 40 m"),
        ("EPSG:32617", Affine(0.4, 0.3, 435000, 0.0, -0.4, 3355000), "slanted"),
    ],
)
def test_images_without_a_place_on_the_ground_are_refused(tmp_path, crs, transform, words):
    with pytest.raises(UserError, match="give --gsd") as caught:
        pixel(tmp_path / "x.tif", crs, transform)
    assert words in str(caught.value) and "x.tif" in str(caught.value) and "\n" not in str(caught.value)
