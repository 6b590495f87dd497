"""The synthetic cities obey the geometry laws, match a brute-force renderer and make whole competition folders."""

import dataclasses
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from helpers import half_written

from geopose import geometry
from geopose.cli import UserError, run_command
from geopose.geometry import Pose
from geopose.inference.rectify import rectify
from geopose.io.files import write_bytes
from geopose.io.names import agl_name, vflow_name
from geopose.io.poses import read_vflow
from geopose.io.rasters import read_agl, read_rgb
from geopose.io.tables import check_labels, read_places, read_test_table, read_train_table
from geopose.synthetic import command
from geopose.synthetic.appearance import TEXTURE_TABLE, Season, noise_fields
from geopose.synthetic.cities import CITIES, deal
from geopose.synthetic.dataset import Options, is_finished, make_dataset, plan_places, plan_views, tiles_per_city
from geopose.synthetic.ground import Scene, build_scene, rotate, stretch_heights, transform_d4
from geopose.synthetic.labels import add_faults
from geopose.synthetic.layout import plan_place
from geopose.synthetic.objects import BOX, BUILDING, Roof, Seen, Sketch
from geopose.synthetic.paint import paint_boxes
from geopose.synthetic.render import (
    Light,
    View,
    ground_cells,
    label_agl,
    render,
    shadow_height,
    visible_agl,
    whole_scene_view,
)
from geopose.synthetic.structures import flat_building

SEASON = Season(leaf=0.6, dryness=0.3)
LIGHT = Light((0.6, 0.8), 1.1)
ANGLES_RAD = (0.3, 1.9, 2.8, 4.4, 5.9)
SMALL = Options(train=8, test=4, size=96, seed=5)


def oblique_pose(angle_rad: float, off_nadir_deg: float = 24.0, gsd_m: float = 0.4) -> Pose:
    scale = geometry.scale_for_off_nadir(np.radians(off_nadir_deg), gsd_m)
    return Pose(angle_rad, float(scale), gsd_m)


def bare_scene(height_m: np.ndarray, gsd_m: float = 0.4) -> Scene:
    """Grey scene of the given heights."""
    height_m = np.ascontiguousarray(height_m, dtype=np.float32)
    return Scene(
        gsd_m,
        height_m,
        height_m,
        np.full((*height_m.shape, 3), 128, np.uint8),
        np.zeros(height_m.shape, np.uint8),
        np.zeros(height_m.shape, np.int32),
        np.zeros(0, BUILDING),
        np.ones(height_m.shape, np.float32),
    )


def tower_scene(height_m: float = 20.0, size: int = 200) -> tuple[Scene, np.ndarray]:
    """A lone tower of 40 x 30 cells in the middle, and the mask of its footprint."""
    footprint = np.zeros((size, size), bool)
    footprint[size // 2 - 15 : size // 2 + 15, size // 2 - 20 : size // 2 + 20] = True
    return bare_scene(footprint * height_m), footprint


@pytest.fixture(scope="module")
def city_scene() -> Scene:
    """A place with houses, trees, roads and larger buildings, none so tall that it leans out of a tile's margin."""
    scene = build_scene(plan_place(CITIES["ATL"], "midtown", 360, 0.4, 0.0, np.random.default_rng(9)))
    assert 25 < scene.height_m.max() < 35
    return scene


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("synthetic")
    assert make_dataset(root, SMALL, workers=1) == 12
    return root


# --- the laws of geometry ---------------------------------------------------------------------------------------


def agreement(first: np.ndarray, second: np.ndarray, tolerance: float) -> float:
    """Share of pixels whose values agree within the tolerance."""
    return float((np.abs(first - second) <= tolerance).mean())


@pytest.mark.parametrize("element", geometry.D4_MATRICES)
def test_d4_of_a_rendered_tile_is_the_tile_of_the_transformed_scene(city_scene, element):
    matrix = geometry.D4_MATRICES[element]
    pose = oblique_pose(1.1)
    image, agl_m = render(city_scene, whole_scene_view(city_scene, pose, 200, 260), LIGHT, SEASON)
    moved = transform_d4(city_scene, element)
    light = dataclasses.replace(LIGHT, sun_direction=tuple(geometry.transform_direction(np.array([0.6, 0.8]), matrix)))
    expected_agl = geometry.apply_d4(agl_m, element)
    expected_image = geometry.apply_d4(image.transpose(2, 0, 1), element).transpose(1, 2, 0)
    view = whole_scene_view(moved, geometry.transform_pose(pose, matrix), *expected_agl.shape)
    moved_image, moved_agl = render(moved, view, light, SEASON)
    assert agreement(moved_agl, expected_agl, 0.05) > 0.99  # thin twigs may fall between two steps of a ray
    assert agreement(moved_image, expected_image, 2.0) > 0.985
    if element != "e":  # the test can fail: the old angle describes another picture
        wrong = render(moved, whole_scene_view(moved, pose, *expected_agl.shape), light, SEASON)[1]
        assert agreement(wrong, expected_agl, 0.05) < 0.9


@pytest.mark.parametrize("zoom", [0.5, 1.6])
def test_zoom_multiplies_scale_and_divides_gsd(city_scene, zoom):
    pose = oblique_pose(2.3)
    image, agl_m = render(city_scene, whole_scene_view(city_scene, pose, 240, 240), LIGHT, SEASON)
    size = round(240 * zoom)
    zoomed_pose = geometry.transform_pose(pose, geometry.zoom_matrix(zoom))
    zoomed_image, zoomed_agl = render(city_scene, whole_scene_view(city_scene, zoomed_pose, size, size), LIGHT, SEASON)
    expected = cv2.resize(agl_m, (size, size), interpolation=cv2.INTER_LINEAR)
    assert agreement(zoomed_agl, expected, 0.5) > 0.9
    expected_image = cv2.GaussianBlur(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA), (0, 0), 1.5)
    assert agreement(cv2.GaussianBlur(zoomed_image, (0, 0), 1.5), expected_image, 12.0) > 0.9
    inverted = Pose(zoomed_pose.angle_rad, pose.scale_px_per_m / zoom, zoomed_pose.gsd_m)
    wrong = visible_agl(city_scene.height_m, 0.4, whole_scene_view(city_scene, inverted, size, size))
    assert 1 - agreement(wrong, expected, 0.5) > 2.5 * (1 - agreement(zoomed_agl, expected, 0.5))


@pytest.mark.parametrize("theta_rad", [0.4, -1.2])
def test_rotation_adds_to_the_angle(city_scene, theta_rad):
    matrix = geometry.rotation_matrix(theta_rad)
    pose, size = oblique_pose(0.7), 240
    image, agl_m = render(city_scene, whole_scene_view(city_scene, pose, size, size), LIGHT, SEASON)
    middle = np.full(2, (size - 1) / 2)
    affine = np.hstack([matrix, (middle - matrix @ middle)[:, None]])
    expected, expected_image = (cv2.warpAffine(plane, affine, (size, size)) for plane in (agl_m, image))
    turned = rotate(city_scene, theta_rad)
    light = dataclasses.replace(LIGHT, sun_direction=tuple(geometry.transform_direction(np.array([0.6, 0.8]), matrix)))
    view = whole_scene_view(turned, geometry.transform_pose(pose, matrix), size, size)
    turned_image, turned_agl = render(turned, view, light, SEASON)
    core = slice(60, 180)
    assert agreement(turned_agl[core, core], expected[core, core], 0.6) > 0.88
    blurred = [cv2.GaussianBlur(plane, (0, 0), 2.0)[core, core] for plane in (turned_image, expected_image)]
    assert agreement(*blurred, 15.0) > 0.85
    wrong_pose = geometry.transform_pose(pose, geometry.rotation_matrix(-theta_rad))
    wrong = visible_agl(turned.height_m, 0.4, whole_scene_view(turned, wrong_pose, size, size))
    assert agreement(wrong[core, core], expected[core, core], 0.6) < 0.85


def test_height_stretch_multiplies_magnitude(city_scene):
    pose = oblique_pose(5.0)
    steeper = dataclasses.replace(pose, scale_px_per_m=1.5 * pose.scale_px_per_m)
    stretched = stretch_heights(city_scene, 1.5)
    agl_m = visible_agl(stretched.height_m, 0.4, whole_scene_view(stretched, pose, 200, 200))
    expected = 1.5 * visible_agl(city_scene.height_m, 0.4, whole_scene_view(city_scene, steeper, 200, 200))
    assert agreement(agl_m, expected, 0.05) > 0.99


# --- the renderer -----------------------------------------------------------------------------------------------


def brute_force(height_m: np.ndarray, view: View, gsd_m: float, step_m: float = 0.01) -> np.ndarray:
    """AGL by testing every height on every pixel's ray from the highest down."""
    ratio = view.pose.gsd_m / gsd_m
    px_y, px_x = np.mgrid[: view.height_px, : view.width_px].astype(np.float64)
    agl_m = np.full((view.height_px, view.width_px), np.nan)
    for level_m in np.arange(height_m.max(), -step_m, -step_m):
        level_m = max(level_m, 0.0)
        x, y = geometry.ground_position(px_x, px_y, level_m, view.pose)
        cell_x = ((x - (view.width_px - 1) / 2) * ratio + view.centre_x).astype(np.float32)
        cell_y = ((y - (view.height_px - 1) / 2) * ratio + view.centre_y).astype(np.float32)
        hit = cv2.remap(height_m, cell_x, cell_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT) >= level_m
        agl_m = np.where(np.isnan(agl_m) & hit, level_m, agl_m)
    return np.nan_to_num(agl_m)


@pytest.mark.parametrize("angle_rad", ANGLES_RAD)
def test_fast_renderer_matches_brute_force(city_scene, angle_rad):
    heights = np.minimum(city_scene.height_m, 25.0)
    view = View(oblique_pose(angle_rad, off_nadir_deg=31.0, gsd_m=0.47), 70, 90, 170.3, 181.8)
    agl_m = visible_agl(heights, 0.4, view)
    expected = brute_force(heights, view, 0.4)
    assert expected.max() > 5 and (expected > 0.5).mean() > 0.15
    assert agreement(agl_m, expected, 0.15) > 0.98


@pytest.mark.parametrize("size", [(1, 1), (5, 40)])
def test_tiny_views_and_straight_down(city_scene, size):
    view = whole_scene_view(city_scene, Pose(0.0, 0.0, 0.4), *size)
    agl_m = visible_agl(city_scene.height_m, 0.4, view)
    assert agl_m.shape == size
    cells = [plane.astype(np.float32) for plane in np.broadcast_arrays(*ground_cells(agl_m, 0.4, view))]
    expected = cv2.remap(city_scene.height_m, *cells, cv2.INTER_LINEAR)
    np.testing.assert_allclose(agl_m, expected, atol=0.05)


@pytest.mark.parametrize("angle_rad", ANGLES_RAD)
def test_roof_moved_by_flow_lands_on_its_footprint(angle_rad):
    scene, footprint = tower_scene()
    pose = oblique_pose(angle_rad)
    agl_m = visible_agl(scene.height_m, 0.4, whole_scene_view(scene, pose, 200, 200))

    def overlap(angle):
        y, x = np.nonzero(agl_m > 19.9)
        ground_x, ground_y = geometry.ground_position(x, y, 20.0, dataclasses.replace(pose, angle_rad=angle))
        landed = np.zeros_like(footprint)
        landed[np.rint(ground_y).astype(int), np.rint(ground_x).astype(int)] = True
        return (landed & footprint).sum() / (landed | footprint).sum()

    assert overlap(angle_rad) > 0.93
    assert overlap(-angle_rad) < 0.8 and overlap(angle_rad + np.pi) < 0.5


@pytest.mark.parametrize("angle_rad", ANGLES_RAD)
def test_rectified_roofs_cover_their_true_footprints(city_scene, angle_rad):
    """With true heights and pose: where walls and roofs land, against the buildings seen from straight above."""
    pose, size = oblique_pose(angle_rad), 260
    view = whole_scene_view(city_scene, pose, size, size)
    agl_m = visible_agl(city_scene.height_m, city_scene.gsd_m, view)

    def buildings(heights_m):
        x, y = (
            np.clip(np.rint(c).astype(int), 0, len(city_scene.building) - 1)
            for c in ground_cells(heights_m, city_scene.gsd_m, view)
        )
        return (city_scene.building[y, x] > 0) & (city_scene.height_m[y, x] > 2)

    seen = np.repeat(buildings(agl_m)[..., None], 3, axis=2).astype(np.uint8)
    ground = rectify(seen, agl_m, pose.scale_px_per_m, pose.angle_rad)
    core = np.s_[40:-40, 40:-40]  # roofs beyond the edge lean in and out
    landed, true = ground.rgb[core][..., 0] > 0, buildings(np.zeros_like(agl_m))[core]
    assert 0.05 < true.mean() < 0.8
    assert (landed & true).sum() / (landed | true).sum() >= 0.9


def test_facade_height_runs_from_roof_to_ground():
    scene, _ = tower_scene()
    pose = oblique_pose(0.0, off_nadir_deg=30.0)  # flow points down the image: the facade shows below the roof
    column = visible_agl(scene.height_m, 0.4, whole_scene_view(scene, pose, 200, 200))[:, 100]
    facade = column[(column > 0.3) & (column < 19.7)]
    shift_px = 20.0 * pose.scale_px_per_m
    assert abs(facade.size - shift_px) < 3
    assert (np.diff(facade) < 0).all()
    np.testing.assert_allclose(np.diff(facade)[1:-1], -1 / pose.scale_px_per_m, atol=0.12)
    first = np.nonzero(column > 19.7)[0][0]
    assert abs(first - (85 - shift_px)) < 2  # the roof's far edge leans up the image


@pytest.mark.parametrize("sun", [(1.0, 0.0), (0.0, 1.0), (-0.6, 0.8), (-0.8, -0.6)])
def test_shadows_fall_away_from_the_sun(sun):
    scene, footprint = tower_scene()
    light = Light(sun, sun_tan_elevation=1.0)
    image, _ = render(scene, whole_scene_view(scene, Pose(0.0, 0.0, 0.4), 200, 200), light, SEASON)
    dark = (image.mean(axis=2) < 70) & ~cv2.dilate(footprint.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    y, x = np.nonzero(dark)
    offset = np.array([x.mean() - 99.5, y.mean() - 99.5])
    assert offset @ np.array(sun) < -0.95 * np.linalg.norm(offset)
    ends = (x - 99.5) * -sun[0] + (y - 99.5) * -sun[1]
    reach = 20 * abs(sun[0]) + 15 * abs(sun[1])
    assert abs(ends.max() - (reach + 20.0 / 0.4)) < 4  # as long as the tower is high at 45 degrees
    assert 19.0 < shadow_height(scene.height_m, 0.4, light).max() < 20.0


def test_every_test_tile_has_a_place_of_its_own():
    views = [(place.half, len(place.tile_ids)) for place in plan_places(Options(train=36, test=12))]
    assert [n for half, n in views if half == "test"] == [1] * 12
    assert [n for half, n in views if half == "train"] == [3] * 12


@pytest.mark.parametrize("wall", [0.2, 0.5])
def test_walls_in_shade_differ_from_the_ground_in_their_shadow(wall):
    scene, footprint = tower_scene()
    recipe = np.zeros(1, BUILDING)
    recipe["ux"], recipe["red"], recipe["green"], recipe["blue"] = 1.0, 128, 128, 128
    recipe["floor_m"], recipe["bay_m"] = 1e3, 1.0  # no windows; all of it is the stained foot of one floor
    scene = dataclasses.replace(scene, building=footprint.astype(np.int32), buildings=recipe)
    pose = oblique_pose(0.0, off_nadir_deg=30.0)  # flow points down the image, shadows too
    image, agl_m = render(scene, whole_scene_view(scene, pose, 200, 200), Light((0.0, -1.0), 1.0, 0.25, wall), SEASON)
    column, heights_m = image[:, 100, 1], agl_m[:, 100]
    facade = np.median(column[(heights_m > 2.0) & (heights_m < 18.0)])
    below = np.nonzero(heights_m > 0.5)[0].max()
    shadow = np.median(column[below + 5 : below + 15])
    assert shadow < 0.4 * column[5]  # lit ground
    assert facade / shadow == pytest.approx(0.92 * wall * 0.992 / (0.25 * 0.98), rel=0.02)  # 0.92: stain


@pytest.mark.parametrize("window_h, glass_share", [(0.5, 0.5), (1.0, 1.0)])
def test_windows_as_high_as_their_floor_leave_no_spandrel(window_h, glass_share):
    scene, footprint = tower_scene()
    recipe = np.zeros(1, BUILDING)
    recipe["ux"], recipe["red"], recipe["green"], recipe["blue"] = 1.0, 200, 200, 200
    recipe["floor_m"], recipe["bay_m"], recipe["window_u"], recipe["window_h"] = 4.0, 3.0, 1.0, window_h
    scene = dataclasses.replace(scene, building=footprint.astype(np.int32), buildings=recipe)  # glass is black
    pose = oblique_pose(0.0, off_nadir_deg=30.0, gsd_m=0.1)
    image, agl_m = render(scene, whole_scene_view(scene, pose, 400, 100), Light((0.0, 1.0), 1.0), SEASON)
    facade = image[(agl_m > 2.0) & (agl_m < 18.0)].max(axis=-1)
    assert (facade < 1.0).mean() == pytest.approx(glass_share, abs=0.05)


# --- labels -----------------------------------------------------------------------------------------------------


def test_faults_leave_most_of_a_label_alone():
    agl_m = np.zeros((400, 400), np.float32)
    agl_m[100:200, 100:200] = 12.0
    faulty = add_faults(agl_m, 1.0, np.random.default_rng(0))
    unknown = np.isnan(faulty)
    assert 0.0005 < unknown.mean() < 0.05
    assert (np.abs(faulty - agl_m) > 1.0).sum() > 5  # speckle
    assert np.nanmedian(np.abs(faulty - agl_m)) < 0.1
    steps = cv2.morphologyEx(agl_m, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 2.5
    assert unknown[steps].mean() > 3 * unknown[~steps].mean()


@pytest.mark.parametrize("angle_rad", ANGLES_RAD[:3])
def test_labels_made_from_the_image_agl_equal_labels_rendered_afresh(angle_rad):
    scene = build_scene(plan_place(CITIES["JAX"], "suburb", 500, 0.4, 0.1, np.random.default_rng(1)))
    assert (scene.label_height_m > scene.height_m).any() and (scene.label_height_m < scene.height_m).any()
    view = whole_scene_view(scene, oblique_pose(angle_rad, 30.0), 300, 280)
    image_agl = visible_agl(scene.height_m, 0.4, view)
    expected = visible_agl(scene.label_height_m, 0.4, view)
    changed = 1 - agreement(image_agl, expected, 0.1)
    assert changed > 0.01
    assert 1 - agreement(label_agl(scene, image_agl, view), expected, 0.1) < 0.1 * changed


def test_cars_are_in_the_image_and_not_in_the_label():
    scene = build_scene(plan_place(CITIES["JAX"], "commercial", 500, 0.4, 0.0, np.random.default_rng(1)))
    cars = scene.material == 7
    assert cars.sum() > 200
    assert np.median(scene.height_m[cars]) == pytest.approx(1.5)
    assert np.median(scene.label_height_m[cars]) == 0.0
    assert (scene.height_m == scene.label_height_m)[~cars].mean() > 0.999


def paint_solids(sketch: Sketch) -> np.ndarray:
    """Heights float32 [200, 200], cells of 0.4 m, of a sketch's boxes around cell (100, 100) of an empty scene."""
    boxes = np.array(sketch.solids, BOX)
    boxes["x"], boxes["y"] = 100 + boxes["x"] / 0.4, 100 + boxes["y"] / 0.4
    scene = bare_scene(np.zeros((200, 200), np.float32))
    paint_boxes(
        boxes, TEXTURE_TABLE, noise_fields(), 0.4, scene.height_m, scene.label_height_m, scene.albedo, scene.material,
        scene.building,
    )  # fmt: skip
    return scene.height_m


@pytest.mark.parametrize(("taper", "cut_m", "area_m2"), [(0, 0, 1200), (0.5, 0, 900), (0, 8, 1072), (0.4, 6, None)])
@pytest.mark.parametrize("axis", [(1.0, 0.0), (0.6, 0.8)])
def test_wedges_and_cut_corners_have_their_area_and_a_closed_parapet(taper, cut_m, area_m2, axis):
    sketch = Sketch(np.eye(2), 100.0)
    sketch.site(0, 0)
    sketch.solid(0, 0, 20.0, 15.0, 12.0, (150, 150, 150), Roof.PARAPET, 1.0, axis=axis, taper=taper, cut_m=cut_m)
    height_m = paint_solids(sketch)
    if area_m2:
        assert (height_m > 0).sum() * 0.16 == pytest.approx(area_m2, rel=0.02)
    roof = height_m == 12.0
    around = cv2.dilate(roof.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert roof.sum() > 1000
    assert (height_m[around & ~roof] == 13.0).all()


def test_what_stands_on_a_roof_stays_within_its_outline():
    shapes = 0
    for seed in range(40):
        sketch = Sketch(np.eye(2), 100.0)
        sketch.site(0, 0)
        flat_building(sketch, np.random.default_rng(seed), CITIES["ATL"], 0.0, 0.0, 22.0, 18.0, 15.0, Seen.BOTH)
        base = np.array(sketch.solids[:1], BOX)
        shapes += bool(base["taper"][0] or base["cut_m"][0])
        everything = paint_solids(sketch)
        sketch.solids = sketch.solids[:1]
        outside = cv2.dilate((paint_solids(sketch) > 0).astype(np.uint8), np.ones((3, 3), np.uint8)) == 0
        assert (everything[outside] > 0).mean() == 0, seed
    assert shapes > 8


def test_districts_are_dealt_by_their_weights():
    weights = {"a": 5, "b": 3, "c": 2}
    assert [deal(weights, 10).count(key) for key in "abc"] == [5, 3, 2]
    for count in (1, 4, 7, 23):
        dealt = deal(weights, count)
        assert len(dealt) == count
        assert all(abs(dealt.count(key) - weight / 10 * count) < 1 for key, weight in weights.items())
    assert deal(weights, 23) == deal(weights, 23) != sorted(deal(weights, 23))


# --- the folder -------------------------------------------------------------------------------------------------


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_folder_reads_as_a_competition_folder(dataset):
    train, test = read_train_table(dataset), read_test_table(dataset)
    check_labels(train)
    assert (len(train), len(test)) == (8, 4)
    assert set(train.city) == set(test.city) == set(CITIES)
    gsd_m = pd.concat([train.gsd_m, test.gsd_m])
    assert gsd_m.between(0.31, 0.59).all()
    heights = []
    for row in train.itertuples():
        rgb, agl_m, vflow = read_rgb(row.rgb), read_agl(row.agl), read_vflow(row.vflow, row.agl)
        assert rgb.shape == (96, 96, 3) and agl_m.shape == (96, 96)
        assert 4.0 <= np.degrees(geometry.off_nadir_rad(vflow.scale_px_per_m, row.gsd_m)) <= 36.01
        assert 0.0 <= vflow.angle_rad < geometry.TWO_PI
        heights.append(np.nanmax(agl_m))
    assert max(heights) > 4.0 and max(heights) <= 215.0


def test_places_do_not_cross_the_halves_and_truth_is_there(dataset):
    places = read_places(dataset)
    train, test = read_train_table(dataset), read_test_table(dataset)
    assert set(places.index) == set(train.id) | set(test.id)
    assert not set(places[train.id]) & set(places[test.id])
    for tile_id in test.id:
        assert (dataset / "truth" / agl_name(tile_id)).exists()
        read_vflow(dataset / "truth" / vflow_name(tile_id), dataset / "truth" / agl_name(tile_id))


def test_training_labels_have_faults_and_truth_has_none(dataset):
    def speckles(agl_m):
        filled = np.nan_to_num(agl_m)
        return int((np.abs(filled - cv2.medianBlur(filled, 3)) > 6.0).sum())

    train = [read_agl(path) for path in read_train_table(dataset).agl]
    truth = [read_agl(path) for path in sorted((dataset / "truth").glob("*_AGL.tif"))]
    assert sum(np.isnan(agl_m).sum() for agl_m in train) > 50
    assert sum(map(speckles, train)) / len(train) > sum(map(speckles, truth)) / len(truth)
    dry = [agl_m for agl_m in truth if not np.isnan(agl_m).any()]
    assert len(dry) >= 2  # the others may have water without returns


def test_same_seed_same_bytes_for_any_number_of_workers(dataset, tmp_path):
    make_dataset(tmp_path / "two", SMALL, workers=2)
    assert contents(tmp_path / "two") == contents(dataset)
    other = plan_places(dataclasses.replace(SMALL, seed=6))
    assert {i for p in other for i in p.tile_ids}.isdisjoint(i for p in plan_places(SMALL) for i in p.tile_ids)


def test_interrupted_run_goes_on(dataset, tmp_path):
    root = tmp_path / "again"
    for name, content in contents(dataset).items():
        write_bytes(root / name, content)
    (root / "metadata.csv").unlink()
    assert not is_finished(root, SMALL)
    lost = next((root / "train").glob("*_RGB.tif"))
    lost.unlink()
    half_written(root / "train")
    assert 0 < make_dataset(root, SMALL, workers=1) < 12
    assert contents(root) == contents(dataset)
    assert is_finished(root, SMALL)


def test_other_arguments_and_foreign_folders_are_refused(dataset, tmp_path):
    with pytest.raises(UserError, match=r"other arguments \(train 8\).*--out"):
        is_finished(dataset, dataclasses.replace(SMALL, train=9))
    (tmp_path / "metadata.csv").write_text("id,city,gsd\n")
    with pytest.raises(UserError, match="another dataset"):
        is_finished(tmp_path, SMALL)


def test_jpeg2000_folder(tmp_path):
    options = Options(train=2, test=1, size=64, seed=1, rgb_format="j2k")
    make_dataset(tmp_path, options, workers=1)
    train = read_train_table(tmp_path)
    assert all(path.endswith("_RGB.j2k") for path in train.rgb)
    assert read_rgb(train.rgb[0]).shape == (64, 64, 3)


def test_command_makes_then_skips_and_reports_mistakes(dataset, tmp_path, monkeypatch, capsys):
    def run(*args):
        monkeypatch.setattr(sys, "argv", ["synthesize", *map(str, args)])
        with pytest.raises(SystemExit) as status:
            run_command(command.main)
        return status.value.code, capsys.readouterr()

    arguments = ["--train", 8, "--test", 4, "--size", 96, "--seed", 5]
    status, output = run("--out", dataset, *arguments)
    assert status == 0 and "nothing to do" in output.out
    for bad in (["--train", 0], ["--size", 5], ["--seed", -1], ["--rgb-format", "png"], ["--test", "x"]):
        status, output = run("--out", tmp_path / "new", *bad)
        assert status == 2 and output.err.startswith("error: ") and output.err.count("\n") == 1
    assert not (tmp_path / "new").exists()
    status, output = run("--out", dataset, "--train", 7)
    assert status == 2 and "other arguments" in output.err


def test_cities_have_equal_shares():
    assert tiles_per_city(200) == dict.fromkeys(CITIES, 50)
    for count in range(30):
        counts = tiles_per_city(count)
        assert list(counts) == list(CITIES) and sum(counts.values()) == count
        assert max(counts.values()) - min(counts.values()) <= 1


def test_views_span_the_real_ranges():
    options = Options(train=400, test=40, size=512)
    views = [view for place in plan_places(options) for view in plan_views(place, options)]
    gsd_m = np.array([view.pose.gsd_m for view in views])
    angle_rad = np.array([view.pose.angle_rad for view in views])
    off_nadir_deg = np.degrees(geometry.off_nadir_rad(np.array([v.pose.scale_px_per_m for v in views]), gsd_m))
    assert 0.31 <= gsd_m.min() < 0.33 and 0.5 < gsd_m.max() <= 0.59
    assert 4.0 <= off_nadir_deg.min() < 6 and 34 < off_nadir_deg.max() <= 36.01
    assert angle_rad.min() < 0.1 and angle_rad.max() > 6.1


def test_scale_is_nearly_a_function_of_gsd_and_city():
    """As in the challenge's own data: a curve through each city's tiles leaves little of their scales unexplained."""
    places = plan_places(Options(train=800, test=0))
    for city in ("ARG", "ATL"):
        poses = [view.pose for place in places if place.city == city for view in plan_views(place, Options())]
        gsd_m, scale = (np.array([getattr(pose, key) for pose in poses]) for key in ("gsd_m", "scale_px_per_m"))
        left = scale - np.polyval(np.polyfit(gsd_m, scale, 4), gsd_m)
        assert left.var() < 0.05 * scale.var()


def test_arguments_file_tells_the_arguments(dataset):
    assert json.loads((dataset / "synthetic.json").read_text())["size"] == 96
