"""The pose that metadata give, compared with lines of sight in space and with rendered scenes.

A satellite at an azimuth and incidence sees a point of height h where its line of sight meets the ground. The grid of
an image tells which pixel that is. The renderer then shows the roof of a tower there.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from helpers import write_tif
from rasterio.control import GroundControlPoint
from rasterio.rpc import RPC
from rasterio.transform import Affine
from scenes import tower_scene

from geopose.cli import UserError
from geopose.geometry import Pose, angle_error_rad
from geopose.inference.ground_size import ground_pixel
from geopose.inference.known_pose import find_pose, warn_of_surprise
from geopose.inference.pose_flags import PoseOptions
from geopose.synthetic.view import whole_scene_view
from geopose.synthetic.visibility import visible_agl

SIZE = 200
GSD_M = 0.4
AZIMUTH, INCIDENCE = 130.0, 24.0  # of the satellite, degrees
PLACE = (-81.0, 30.3)  # on the middle meridian of EPSG:32617, where its north is true north
GRIDS = {
    "north-up": Affine.scale(GSD_M, -GSD_M),
    "turned": Affine.rotation(33) @ Affine.scale(GSD_M, -GSD_M),
    "east-up": Affine.rotation(90) @ Affine.scale(GSD_M, -GSD_M),
    "south-up": Affine.scale(GSD_M, GSD_M),
    "upside down": Affine.scale(-GSD_M, GSD_M),
    "wide pixels": Affine.rotation(-20) @ Affine.scale(2 * GSD_M, -GSD_M),
    "slanted": Affine.rotation(20) @ Affine.shear(8) @ Affine.scale(GSD_M, -GSD_M),  # as raw views along a diagonal
}


def line_of_sight_flow(grid: Affine, azimuth=AZIMUTH, incidence=INCIDENCE) -> np.ndarray:
    """From where a point 1 m above the ground is seen to the ground below it: pixels (dx, dy) of a grid in metres."""
    azimuth, incidence = np.radians([azimuth, incidence])
    up = np.array([np.sin(incidence) * np.sin(azimuth), np.sin(incidence) * np.cos(azimuth), np.cos(incidence)])
    seen_m = np.array([0.0, 0.0, 1.0]) - up / up[2]  # the point moved along the line of sight down to the ground
    linear = np.array([[grid.a, grid.b], [grid.d, grid.e]])
    return np.linalg.solve(linear, -seen_m[:2])


def degree_m(latitude):
    """Metres of a degree of longitude and of latitude on the ellipsoid WGS 84."""
    a, e2, phi = 6378137.0, 0.00669437999014, np.radians(latitude)
    w = np.sqrt(1 - e2 * np.sin(phi) ** 2)
    return np.radians(1) * a / w * np.cos(phi), np.radians(1) * a * (1 - e2) / w**3


def affine_camera(grid: Affine, flow: np.ndarray, size=SIZE) -> RPC:
    """RPCs of a camera that shows the ground on a grid of metres to the east and north of PLACE, in the middle."""
    longitude_m, latitude_m = degree_m(PLACE[1])
    to_px = np.linalg.inv([[grid.a, grid.b], [grid.d, grid.e]])
    scales = {"lat_scale": 0.01, "long_scale": 0.01, "height_scale": 500.0, "line_scale": 1000.0, "samp_scale": 1000.0}
    offsets = {"lat_off": PLACE[1], "long_off": PLACE[0], "height_off": 20.0}
    # pixel = middle + to_px @ (east, north) - flow * height, in RPC's order 1, longitude, latitude, height
    columns = to_px @ np.diag([0.01 * longitude_m, 0.01 * latitude_m]) / 1000
    heights = -flow * 500 / 1000
    rest, one = [0.0] * 16, [1.0] + [0.0] * 19
    sample, line = ([0.0, *columns[k], heights[k], *rest] for k in (0, 1))
    middle = {"samp_off": size / 2 - 0.5, "line_off": size / 2 - 0.5}  # RPCs count from the centre of the first pixel
    return RPC(
        **offsets, **scales, **middle,
        samp_num_coeff=sample, samp_den_coeff=one, line_num_coeff=line, line_den_coeff=one,
    )  # fmt: skip


def on_map(grid: Affine, size=SIZE) -> Affine:
    """The grid with PLACE in the image's middle, as a transform of EPSG:32617."""
    (east,), (north,) = rasterio.warp.transform("EPSG:4326", "EPSG:32617", [PLACE[0]], [PLACE[1]])
    return Affine.translation(east, north) @ grid @ Affine.translation(-size / 2, -size / 2)


def write_image(path: Path, grid: Affine | None = None, rpcs: RPC | None = None, gcps=None, size=SIZE) -> Path:
    """A grey image, on a map or not, with RPCs or GCPs."""
    place = {"crs": "EPSG:32617", "transform": on_map(grid, size)} if grid else {}
    write_tif(path, np.full((3, size, size), 128, np.uint8), **place)
    with rasterio.open(path, "r+") as raster:
        if rpcs:
            raster.rpcs = rpcs
        if gcps:
            raster.gcps = gcps
    return path


def write_stac(path: Path, **view) -> None:
    """The STAC item of an image, with fields of the extension "view"."""
    properties = {"datetime": "2020-01-01T00:00:00Z"} | {f"view:{key}": value for key, value in view.items()}
    item = {"type": "Feature", "stac_version": "1.0.0", "id": "x", "properties": properties}
    path.with_suffix(".json").write_text(json.dumps(item))


def write_imd(path: Path, **values) -> None:
    """Maxar's metadata of an image."""
    lines = "".join(f"\t{key} = {value};\n" for key, value in values.items())
    content = f'version = "28.4";\nBEGIN_GROUP = IMAGE_1\n\tsatId = "WV03";\n{lines}END_GROUP = IMAGE_1\nEND;\n'
    path.with_suffix(".IMD").write_text(content)


def found(path: Path, options=None):
    """What find_pose says of an image."""
    with rasterio.open(path) as image:
        return find_pose(image, path, ground_pixel(image, path), options or PoseOptions())


def assert_flow(known, source: str, flow: np.ndarray, tolerance=1e-3) -> None:
    """The pose comes from this source, and its flow is right to a thousandth of its length."""
    assert known.source == source
    np.testing.assert_allclose(known.flow_px, flow, atol=tolerance * np.linalg.norm(flow))


# --- each source on each grid -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("source", ["flags", "rpc", "stac", "imd"])
def test_every_source_on_every_grid(tmp_path, source, name):
    grid, options = GRIDS[name], PoseOptions()
    path = write_image(tmp_path / "town.tif", grid)
    if source == "flags":
        options = PoseOptions(satellite_azimuth_deg=AZIMUTH, incidence_deg=INCIDENCE)
    elif source == "rpc":
        write_image(path, grid, affine_camera(grid, line_of_sight_flow(grid)))
    elif source == "stac":
        write_stac(path, azimuth=AZIMUTH, incidence_angle=INCIDENCE, off_nadir=1.0)
    else:
        write_imd(path, meanSatAz=AZIMUTH, meanSatEl=90 - INCIDENCE, meanOffNadirViewAngle=1.0)
    assert_flow(found(path, options), source, line_of_sight_flow(grid))


@pytest.mark.parametrize("name", [name for name in GRIDS if name not in ("wide pixels", "slanted")])
def test_the_renderer_shows_a_roof_where_the_line_of_sight_says(tmp_path, name):
    grid, height_m = GRIDS[name], 20.0
    path = write_image(tmp_path / "town.tif", None, affine_camera(grid, line_of_sight_flow(grid)))
    known = found(path)
    with rasterio.open(path) as image:
        pose = known.to_pose(ground_pixel(image, path).mean_m)
    assert pose.gsd_m == pytest.approx(GSD_M, rel=1e-3)
    scene, footprint = tower_scene(height_m, SIZE)
    agl_m = visible_agl(scene.height_m, GSD_M, whole_scene_view(scene, pose, SIZE, SIZE))
    roof = np.argwhere(agl_m > 0.99 * height_m)[:, ::-1].mean(axis=0)
    below = np.argwhere(footprint)[:, ::-1].mean(axis=0)
    np.testing.assert_allclose(roof + height_m * line_of_sight_flow(grid), below, atol=0.6)


def test_on_a_north_up_image_the_angle_is_half_a_turn_minus_the_azimuth(tmp_path):
    path = write_image(tmp_path / "town.tif", GRIDS["north-up"])
    for azimuth in (0.0, 75.0, 180.0, 300.0, -30.0):
        pose = found(path, PoseOptions(satellite_azimuth_deg=azimuth, scale_px_per_m=0.9)).to_pose(GSD_M)
        assert angle_error_rad(pose.angle_rad, np.radians(180 - azimuth)) < 1e-4
        assert pose.scale_px_per_m == pytest.approx(0.9)


def test_the_north_of_a_map_is_not_true_north(tmp_path):
    longitude, latitude = -78.2, 60.0  # 2.8 degrees east of the middle meridian of EPSG:32617
    (east,), (north,) = rasterio.warp.transform("EPSG:4326", "EPSG:32617", [longitude], [latitude])
    transform = Affine.translation(east - 10, north + 10) @ Affine.scale(GSD_M, -GSD_M)
    path = tmp_path / "town.tif"
    write_tif(path, np.full((3, 50, 50), 128, np.uint8), crs="EPSG:32617", transform=transform)
    turned = np.degrees(np.arctan(np.tan(np.radians(longitude + 81)) * np.sin(np.radians(latitude))))
    pose = found(path, PoseOptions(satellite_azimuth_deg=70, incidence_deg=20)).to_pose(GSD_M)
    assert turned > 2.4
    assert np.degrees(pose.angle_rad) == pytest.approx(180 - (70 - turned), abs=0.01)


def test_degrees_and_control_points(tmp_path):
    longitude_m, latitude_m = degree_m(60.0)
    step = GSD_M / latitude_m
    degrees = Affine.translation(24, 60) @ Affine.scale(step, -step)
    path = tmp_path / "town.tif"
    write_tif(path, np.full((3, 40, 40), 128, np.uint8), crs="EPSG:4326", transform=degrees)
    write_stac(path, azimuth=AZIMUTH, incidence_angle=INCIDENCE)
    metres = Affine.scale(step * longitude_m, -step * latitude_m)
    assert_flow(found(path), "stac", line_of_sight_flow(metres))

    for name in ("turned", "south-up"):
        corners = [(row, column) for row in (0, SIZE) for column in (0, SIZE)]
        placed = on_map(GRIDS[name])
        gcps = [GroundControlPoint(row, column, *(placed * (column, row))) for row, column in corners]
        path = write_image(tmp_path / f"{name}.tif", gcps=(gcps, "EPSG:32617"))
        write_imd(path, meanSatAz=AZIMUTH, meanSatEl=90 - INCIDENCE)
        assert_flow(found(path), "imd", line_of_sight_flow(GRIDS[name]))


def test_the_angle_at_the_satellite_is_smaller_than_the_one_at_the_ground(tmp_path):
    path = write_image(tmp_path / "town.tif", GRIDS["north-up"])
    expected = line_of_sight_flow(GRIDS["north-up"], incidence=33.26)  # of 30 degrees from 617 km
    write_stac(path, azimuth=AZIMUTH, off_nadir=30)
    assert_flow(found(path), "stac", expected)
    path.with_suffix(".json").unlink()
    write_imd(path, meanSatAz=AZIMUTH, meanOffNadirViewAngle=30.0)
    assert_flow(found(path), "imd", expected)
    assert_flow(found(path, PoseOptions(satellite_azimuth_deg=AZIMUTH, off_nadir_deg=30)), "flags", expected)


@pytest.mark.parametrize("name", GRIDS)
def test_an_angle_and_an_incidence_agree_with_the_azimuth(tmp_path, name):
    path = write_image(tmp_path / "town.tif", GRIDS[name])
    flow = line_of_sight_flow(GRIDS[name])
    angle_deg = np.degrees(np.arctan2(flow[0], flow[1]))
    assert_flow(found(path, PoseOptions(angle_deg=angle_deg, incidence_deg=INCIDENCE)), "flags", flow)


def test_an_angle_and_an_incidence_on_pixels_that_are_not_square(tmp_path):
    path = write_image(tmp_path / "town.tif", Affine.scale(2 * GSD_M, -GSD_M))
    for angle_deg, gsd_m in ((0, GSD_M), (90, 2 * GSD_M)):
        pose = found(path, PoseOptions(angle_deg=angle_deg, incidence_deg=45)).to_pose(GSD_M)
        assert pose.scale_px_per_m == pytest.approx(1 / gsd_m, rel=1e-3)
        assert pose.angle_rad == pytest.approx(np.radians(angle_deg), abs=1e-6)
    assert_flow(found(path, PoseOptions(angle_deg=30, scale_px_per_m=0.8)), "flags", [0.4, 0.8 * np.sqrt(0.75)])


# --- which source counts ----------------------------------------------------------------------------------------


def test_the_first_source_counts_unless_another_is_named(tmp_path):
    grid = GRIDS["turned"]
    path = write_image(tmp_path / "town.tif", grid, affine_camera(grid, line_of_sight_flow(grid)))
    write_stac(path, azimuth=40, incidence_angle=10)
    write_imd(path, meanSatAz=70, meanSatEl=75)
    sources = {"rpc": (AZIMUTH, INCIDENCE), "stac": (40, 10), "imd": (70, 15)}
    for source, view in sources.items():
        assert_flow(found(path, PoseOptions(source)), source, line_of_sight_flow(grid, *view))
    assert found(path).source == "rpc" and found(path, PoseOptions("network")) is None
    write_image(path, grid)  # GDAL removes the .IMD with the image it replaces
    write_imd(path, meanSatAz=70, meanSatEl=75)
    assert found(path).source == "stac"
    with pytest.raises(UserError, match="--pose-from rpc"):
        found(path, PoseOptions("rpc"))
    path.with_suffix(".json").unlink()
    assert found(path).source == "imd"
    path.with_suffix(".IMD").unlink()
    assert found(path) is None


@pytest.mark.parametrize("suffix", [".RPB", "_RPC.TXT"])
def test_rpcs_in_a_file_beside_the_image(tmp_path, suffix):
    flow = line_of_sight_flow(GRIDS["turned"])
    rpcs = affine_camera(GRIDS["turned"], flow).to_gdal()
    path = write_image(tmp_path / "town.tif")
    if suffix == "_RPC.TXT":
        names = {key: values for key, values in rpcs.items() if key.endswith("_COEFF")}
        lines = [f"{key}: {value}" for key, value in rpcs.items() if key not in names and not key.startswith("ERR")]
        lines += [f"{key}_{n + 1}: {v}" for key, values in names.items() for n, v in enumerate(values.split())]
    else:
        keys = {"LINE_OFF": "lineOffset", "SAMP_OFF": "sampOffset", "LAT_OFF": "latOffset", "LONG_OFF": "longOffset"}
        keys |= {"HEIGHT_OFF": "heightOffset", "LINE_SCALE": "lineScale", "SAMP_SCALE": "sampScale"}
        keys |= {"LAT_SCALE": "latScale", "LONG_SCALE": "longScale", "HEIGHT_SCALE": "heightScale"}
        lines = ['satId = "WV03";', 'bandId = "P";', 'SpecId = "RPC00B";', "BEGIN_GROUP = IMAGE"]
        lines += ["\terrBias = 0.1;", "\terrRand = 0.1;", *(f"\t{new} = {rpcs[old]};" for old, new in keys.items())]
        for old in ("LINE_NUM", "LINE_DEN", "SAMP_NUM", "SAMP_DEN"):
            name = f"{old[:4].lower()}{old[5:].title()}Coef"
            lines.append(f"\t{name} = ({', '.join(rpcs[f'{old}_COEFF'].split())});")
        lines += ["END_GROUP = IMAGE", "END;"]
    (tmp_path / f"town{suffix}").write_text("\n".join(lines) + "\n")
    assert_flow(found(path), "rpc", flow)


@pytest.mark.parametrize("content", ["[1, 2]", '{"type": "Feature", "geometry": null}', '{"scale": 9.9, "angle": 1.0}'])
def test_another_json_of_this_name_is_no_stac_item(tmp_path, content):
    path = write_image(tmp_path / "town_VFLOW.tif", GRIDS["north-up"])
    path.with_suffix(".json").write_text(content)
    assert found(path) is None
    write_stac(path, sun_azimuth=100)
    assert found(path) is None
    with pytest.raises(UserError, match="--pose-from stac"):
        found(path, PoseOptions("stac"))


def test_a_guess_far_from_the_known_angle_is_warned_of(tmp_path, capsys):
    path = write_image(tmp_path / "town.tif", GRIDS["north-up"])
    known = found(path, PoseOptions(angle_deg=350, scale_px_per_m=1))
    for guess_deg, warned in ((10, False), (321, False), (25, True), (170, True)):
        warn_of_surprise(path, known, Pose(np.radians(guess_deg), 1.0, GSD_M))
        errors = capsys.readouterr().err
        assert bool(errors) == warned and errors.count("\n") == warned
    assert "town.tif" in errors and "180 degrees" in errors and "flags" in errors
    straight_down = found(path, PoseOptions(angle_deg=350, scale_px_per_m=0))
    warn_of_surprise(path, straight_down, Pose(2.0, 1.0, GSD_M))
    assert capsys.readouterr().err == "" and straight_down.to_pose(GSD_M).scale_px_per_m == 0


# --- what cannot be used ----------------------------------------------------------------------------------------


def refusal(path: Path, options=None) -> str:
    """The one line with which an image's pose is refused."""
    with pytest.raises(UserError) as caught:
        found(path, options)
    message = str(caught.value)
    assert "\n" not in message and path.stem in message
    return message


@pytest.mark.parametrize(
    ("view", "words"),
    [
        ({"azimuth": 100}, ("view:off_nadir", "view:incidence_angle")),
        ({"off_nadir": 20}, ("view:azimuth",)),
        ({"azimuth": 100, "off_nadir": 90}, ("view:off_nadir is 90",)),
        ({"azimuth": 100, "incidence_angle": -1}, ("view:incidence_angle is -1",)),
        ({"azimuth": 1000, "incidence_angle": 20}, ("view:azimuth is 1000",)),
        ({"azimuth": "north", "incidence_angle": 20}, ("view:azimuth is north",)),
        ({"azimuth": None, "incidence_angle": 20}, ("view:azimuth is None",)),
        ({"azimuth": True, "incidence_angle": 20}, ("view:azimuth is True",)),
        ({"azimuth": float("nan"), "incidence_angle": 20}, ("view:azimuth is nan",)),
        ({"azimuth": 100, "off_nadir": 70}, ("70 degrees", "does not see the ground")),
    ],
)
def test_a_stac_item_that_cannot_be_used(tmp_path, view, words):
    path = write_image(tmp_path / "town.tif", GRIDS["north-up"])
    write_stac(path, **view)
    message = refusal(path)
    assert "town." in message and "--pose-from network" in message
    assert all(word in message for word in words), message
    assert found(path, PoseOptions("network")) is None


def test_a_json_that_is_cut_off(tmp_path):
    path = write_image(tmp_path / "town.tif", GRIDS["north-up"])
    path.with_suffix(".json").write_text('{"type": "Feature", "stac_ver')
    assert "town.json: not JSON" in refusal(path)
    path.with_suffix(".json").write_bytes(b"\xff\xfe\x00")
    assert "town.json: not JSON" in refusal(path)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"meanSatAz": 100.0}, ("meanSatEl", "meanOffNadirViewAngle")),
        ({"meanSatEl": 70.0}, ("meanSatAz",)),
        ({"meanSatAz": '"east"', "meanSatEl": 70.0}, ("meanSatAz is", "east")),
        ({"meanSatAz": 100.0, "meanSatEl": -5.0}, ("meanSatEl is -5",)),
        ({"meanSatAz": 100.0, "meanOffNadirViewAngle": 95.0}, ("meanOffNadirViewAngle is 95",)),
        ({}, ("meanSatAz",)),
    ],
)
def test_maxar_metadata_that_cannot_be_used(tmp_path, values, words):
    path = write_image(tmp_path / "town.tif", GRIDS["north-up"])
    write_imd(path, **values)
    message = refusal(path)
    assert "town.IMD" in message and all(word in message for word in words), message


def test_a_file_of_maxars_name_that_is_none(tmp_path):
    path = write_image(tmp_path / "town.tif", GRIDS["north-up"])
    path.with_suffix(".IMD").write_bytes(b"\x00\x01\x02 not metadata")
    assert "town.IMD" in refusal(path)


def test_an_azimuth_needs_a_north(tmp_path):
    site = 'LOCAL_CS["site",UNIT["metre",1]]'
    path = tmp_path / "town.tif"
    write_tif(path, np.full((3, 40, 40), 128, np.uint8), crs=site, transform=GRIDS["north-up"])
    assert "no direction is north" in refusal(path, PoseOptions(satellite_azimuth_deg=10, scale_px_per_m=1))
    write_stac(path, azimuth=100, incidence_angle=20)
    assert "no direction is north" in refusal(path)


def test_rpcs_that_cannot_be_used(tmp_path):
    grid = GRIDS["turned"]
    camera = affine_camera(grid, line_of_sight_flow(grid))
    nowhere = affine_camera(grid, line_of_sight_flow(grid))
    nowhere.samp_num_coeff = nowhere.line_num_coeff = [0.0] * 20
    path = write_image(tmp_path / "town.tif", grid, nowhere)
    assert "RPCs" in refusal(path) and "--pose-from network" in refusal(path)
    nowhere.samp_num_coeff = [*camera.samp_num_coeff[:1], float("nan"), *camera.samp_num_coeff[2:]]
    assert "RPCs" in refusal(write_image(path, grid, nowhere))
    # The RPCs of the original, in an image that was warped to north.
    assert "another grid" in refusal(write_image(path, GRIDS["north-up"], camera))
    assert found(path, PoseOptions("network")) is None
    far = affine_camera(grid, line_of_sight_flow(grid))
    far.lat_off += 0.5
    assert "another grid" in refusal(write_image(path, grid, far))
