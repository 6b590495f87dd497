"""Walls and edges look as in real images: edges are straight at any angle, and windows form regular rows."""

import dataclasses

import cv2
import numpy as np
import pytest
from scenes import SEASON, bare_scene, oblique_pose, walled_tower

from geopose import geometry
from geopose.synthetic.appearance import TEXTURE_TABLE, Texture, noise_fields
from geopose.synthetic.dataset import SCENE_GSD_M
from geopose.synthetic.facades import random_walls
from geopose.synthetic.light import Light
from geopose.synthetic.objects import BOX, WALLS, Footprint, Roof, Sketch, Walls, roofing
from geopose.synthetic.paint import empty_rasters, paint_boxes
from geopose.synthetic.render import render
from geopose.synthetic.sensor import expose, random_sensor
from geopose.synthetic.view import View, whole_scene_view
from geopose.synthetic.walls import covered, face_of

SIZE = 400  # cells of a scene's side


def box_scene(footprint: Footprint, walls: Walls, top_m: float = 14.0, roof: Roof = Roof.FLAT):
    """A scene of SCENE_GSD_M with one box in its middle on grey ground."""
    sketch = Sketch(np.eye(2), 100.0)
    sketch.site(0, 0)
    number = sketch.building(walls)
    sketch.solid(footprint, top_m, roofing((220, 220, 220), Texture.PLAIN), roof, 0.0, number)
    boxes = np.array(sketch.solids, BOX)
    boxes["x"] += SIZE / 2
    boxes["y"] += SIZE / 2
    rasters = empty_rasters((SIZE, SIZE))
    rasters.albedo[:] = 60
    plain = np.zeros_like(TEXTURE_TABLE)
    paint_boxes(boxes, plain, noise_fields(), SCENE_GSD_M, rasters)
    bare = bare_scene(rasters.height_m, SCENE_GSD_M)
    return dataclasses.replace(bare, **rasters._asdict(), solids=boxes, buildings=np.array(sketch.buildings, WALLS))


def edge_rms_px(image: np.ndarray, normal: np.ndarray, middle: np.ndarray) -> float:
    """RMS distance in px of an edge's half-height points from the straight line fitted to them.

    image float [H, W]; the edge runs through `middle` (x, y) across `normal`, and profiles are taken along it.
    """
    tangent = np.array([-normal[1], normal[0]])
    along, across = np.arange(-22, 22.1, 0.5), np.arange(-4, 4.01, 0.05)
    points = middle + along[:, None, None] * tangent + across[None, :, None] * normal
    maps = points.astype(np.float32)
    profiles = cv2.remap(image.astype(np.float32), maps[..., 0], maps[..., 1], cv2.INTER_CUBIC)
    low, high = np.median(profiles[:, :10]), np.median(profiles[:, -10:])
    above = (profiles - low) / (high - low) > 0.5
    first = above.argmax(axis=1)
    rows = np.arange(len(first))
    before, after = profiles[rows, first - 1], profiles[rows, first]
    crossing = across[first] - 0.05 * (after - 0.5 * (low + high)) / (after - before)
    return float(np.sqrt(np.mean((crossing - np.polyval(np.polyfit(along, crossing, 1), along)) ** 2)))


@pytest.mark.parametrize("turn_deg", [3.0, 11.0, 27.0, 40.0])
@pytest.mark.parametrize("gsd_m", [0.32, 0.5])
def test_roof_edges_are_straight_at_any_angle(turn_deg, gsd_m):
    axis = geometry.rotation_matrix(np.radians(turn_deg))[0]
    scene = box_scene(Footprint(0, 0, 18.0, 18.0, tuple(axis)), Walls((60, 60, 60)))
    pose = oblique_pose(0.8, 20.0, gsd_m)
    view = View(pose, 160, 160, SIZE / 2, SIZE / 2)
    light = Light((0.0, 1.0), 5.0)  # a high sun: almost no shadow beside the roof
    image, _ = render(scene, view, light, SEASON)
    image = cv2.GaussianBlur(image, (0, 0), 0.34 / gsd_m)  # the optics
    lean = -14.0 * pose.scale_px_per_m * geometry.flow_direction(pose.angle_rad)
    normals = (-axis, np.array([axis[1], -axis[0]]), axis)
    deviations_px = [
        edge_rms_px(image.mean(axis=-1), normal, 79.5 + lean - normal * 18.0 / gsd_m) for normal in normals
    ]
    assert np.mean(deviations_px) < (0.11 if turn_deg == 3.0 else 0.08) and max(deviations_px) < 0.125


def test_the_edge_measure_sees_a_saw_tooth():
    x = np.arange(160)[None, :].repeat(160, 0).astype(float)
    y = np.arange(160)[:, None].repeat(160, 1).astype(float)
    toothed = np.where(x > 80 + 0.3 * np.floor(y / 3) * 3 - 24, 200.0, 50.0)
    toothed = cv2.GaussianBlur(toothed.astype(np.float32), (0, 0), 0.8)
    normal = np.array([1.0, -0.3]) / np.hypot(1.0, 0.3)
    assert edge_rms_px(toothed, normal, np.array([80.0, 80.0])) > 0.2


@pytest.mark.parametrize("turn_deg", [0.0, 13.0, 31.0])
def test_windows_form_rows_that_are_regular_and_reach_both_corners_alike(turn_deg):
    axis = geometry.rotation_matrix(np.radians(turn_deg))[0]
    across = np.array([-axis[1], axis[0]])
    walls = Walls((230, 230, 230), 4.0, 4.0, 0.5, 0.5, glass=0.0, contrast=1.0, mixed=0.0)
    scene = box_scene(Footprint(0, 0, 14.0, 8.0, tuple(axis)), walls, top_m=12.3)
    angle_rad = float(np.arctan2(across[0], across[1])) % geometry.TWO_PI  # the wall towards +v faces the camera
    pose = oblique_pose(angle_rad, 35.0, 0.2)
    image, _ = render(scene, View(pose, 360, 360, SIZE / 2, SIZE / 2), Light(tuple(across), 1.0), SEASON)
    row_m = 6.0  # the middle of the windows of the second storey
    along_m = np.arange(-13.75, 13.8, 0.25)
    ground = np.array([along_m[:, None] * axis + 8.0 * across])[0]
    spots = 179.5 + ground / 0.2 - row_m * pose.scale_px_per_m * geometry.flow_direction(angle_rad)
    seen = cv2.remap(image, spots[:, None, 0].astype(np.float32), spots[:, None, 1].astype(np.float32), 1)[:, 0, 1]
    is_glass = seen < 0.5 * seen.max()
    edges = along_m[1:][np.diff(is_glass.astype(int)) != 0]
    assert len(edges) == 14  # seven windows
    middles = edges.reshape(7, 2).mean(axis=1)
    np.testing.assert_allclose(middles, np.arange(-12.0, 12.1, 4.0), atol=0.3)
    np.testing.assert_allclose(np.diff(edges.reshape(7, 2), axis=1), 2.0, atol=0.5)


def test_bars_are_averaged_over_a_sample():
    at = np.linspace(-3.0, 9.0, 400)
    fine = np.linspace(-0.5, 0.5, 2001)
    for share, width in ((0.4, 0.3), (0.7, 2.5), (1.0, 0.2)):
        points = (at[:, None] + width * fine) / 1.7
        expected = (np.abs(points - np.floor(points) - 0.5) <= share / 2).mean(axis=1)
        found = [covered(float(x), 1.7, share, width) for x in at]
        np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize(("taper", "cut_m"), [(0.0, 0.0), (0.5, 0.0), (0.0, 3.0), (0.4, 2.0)])
def test_a_box_has_a_closed_ring_of_sides_that_face_the_ray(taper, cut_m):
    """A ray towards each point of the outline finds a side there: at distance 0, within its length, facing the ray."""
    box = np.zeros(1, BOX)
    box["half_u"], box["half_v"], box["taper"], box["cut_m"] = 12.0, 7.0, taper, cut_m
    sides, lengths = set(), {}
    for turn in np.linspace(0.0, geometry.TWO_PI, 120, endpoint=False):
        du, dv = geometry.flow_direction(turn)
        # Walk out along the ray from the middle until the outline.
        for far in np.arange(0.0, 25.0, 0.01):
            u, v = far * du, far * dv
            half = 7.0 * (1.0 - 0.5 * taper * (1.0 + u / 12.0))
            to_u, to_v = 12.0 - abs(u), half - abs(v)
            if min(to_u, to_v, (to_u + to_v - cut_m) * 0.7071) < 0.0:
                break
        nu, nv, distance, along, length, side = face_of(box[0], u, v, du, dv)
        assert abs(distance) < 0.02
        assert nu * du + nv * dv > 0 and np.hypot(nu, nv) == pytest.approx(1.0, abs=1e-3)
        assert -0.1 < along < length + 0.1
        sides.add(side)
        lengths[side] = length
    assert sides == ({0, 1, 2, 3, 4} if cut_m else {0, 1, 2, 3})
    assert lengths[2] == pytest.approx(2 * (7.0 - cut_m)) and lengths[0] == pytest.approx(
        2 * (7.0 * (1 - taper) - cut_m)
    )


def test_walls_are_of_all_kinds():
    rng = np.random.default_rng(0)
    recipes = [random_walls(rng) for _ in range(600)]
    brightness = np.array([np.mean(r.colour) for r in recipes])
    assert (brightness > 255).mean() > 0.05 and (brightness < 90).mean() > 0.1
    plain = np.mean([r.contrast == 0.0 for r in recipes])
    assert 0.27 < plain < 0.4
    assert 0.05 < np.mean([r.window_h == 1.0 for r in recipes]) < 0.3  # piers
    assert 0.1 < np.mean([r.window_u == 1.0 for r in recipes]) < 0.4  # bands
    assert 0.05 < np.mean([r.slab > 0.0 for r in recipes]) < 0.25  # balconies
    assert 0.2 < np.mean([r.blank > 0 for r in recipes]) < 0.6


def test_a_sunlit_white_wall_saturates_and_a_plain_one_is_smooth():
    scene, _ = walled_tower(Walls((300, 300, 300)))
    pose = oblique_pose(0.0, 30.0)
    image, agl_m = render(scene, whole_scene_view(scene, pose, 200, 200), Light((0.0, 1.0), 0.9), SEASON)
    wall = image[(agl_m > 5) & (agl_m < 15)]
    assert np.median(wall) > 255
    assert wall[:, 1].std() < 0.05 * wall[:, 1].mean()


def test_exposures_reach_from_dark_to_saturated():
    rng = np.random.default_rng(3)
    radiance = np.tile(np.linspace(20, 255, 64, dtype=np.float32)[None, :, None], (64, 1, 3))
    images = [expose(radiance, random_sensor(rng, 0.4), rng) for _ in range(200)]
    means = np.array([image.mean() for image in images])
    saturated = np.array([(image.min(axis=-1) == 255).mean() for image in images])
    assert np.quantile(means, 0.05) < 65 and np.quantile(means, 0.9) > 150
    assert 0.1 < (saturated > 0.05).mean() < 0.6


def test_some_products_show_all_but_white_roofs_dark():
    """As levels proportional to the light do: asphalt is near black although roofs are white."""
    rng = np.random.default_rng(4)
    radiance = np.full((64, 64, 3), 108, np.float32)
    radiance[:, 32:] = 255
    images = [expose(radiance, random_sensor(rng, 0.4), rng) for _ in range(200)]
    linear = [np.median(image[:, :24]) < 65 and np.median(image[:, 40:]) > 200 for image in images]
    assert 0.04 < np.mean(linear) < 0.25


def test_bands_are_apart_by_some_tenths_of_a_pixel():
    rng = np.random.default_rng(1)
    shifts = np.array([random_sensor(rng, 0.4).band_shift_px for _ in range(300)])
    apart = np.linalg.norm(shifts[:, 0] - shifts[:, 2], axis=-1)
    assert 0.2 < np.median(apart) < 0.7
