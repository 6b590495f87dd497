"""Each pixel shows the first surface that its ray meets: against brute force, flow, footprints and facades."""

import dataclasses

import cv2
import numpy as np
import pytest
from scenes import ANGLES_RAD, agreement, oblique_pose, tower_scene

from geopose import geometry
from geopose.geometry import Pose
from geopose.inference.rectify import rectify
from geopose.synthetic.view import View, ground_cells, whole_scene_view
from geopose.synthetic.visibility import visible_agl


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
    view = View(oblique_pose(angle_rad, off_nadir_deg=31.0, gsd_m=0.47), 70, 90, 340.6, 363.6)
    agl_m = visible_agl(heights, city_scene.gsd_m, view)
    expected = brute_force(heights, view, city_scene.gsd_m)
    assert expected.max() > 5 and (expected > 0.5).mean() > 0.15
    assert agreement(agl_m, expected, 0.15) > 0.98


@pytest.mark.parametrize("size", [(1, 1), (5, 40)])
def test_tiny_views_and_straight_down(city_scene, size):
    view = whole_scene_view(city_scene, Pose(0.0, 0.0, 0.4), *size)
    agl_m = visible_agl(city_scene.height_m, city_scene.gsd_m, view)
    assert agl_m.shape == size
    cells = [plane.astype(np.float32) for plane in np.broadcast_arrays(*ground_cells(agl_m, city_scene.gsd_m, view))]
    expected = cv2.remap(city_scene.height_m, *cells, cv2.INTER_LINEAR)
    np.testing.assert_allclose(agl_m, expected, atol=0.05)


@pytest.mark.parametrize("angle_rad", ANGLES_RAD)
def test_roof_moved_by_flow_lands_on_its_footprint(angle_rad):
    scene, footprint = tower_scene()
    pose = oblique_pose(angle_rad)
    agl_m = visible_agl(scene.height_m, scene.gsd_m, whole_scene_view(scene, pose, 200, 200))

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
    """With true heights and pose: where walls and roofs land, against the buildings seen from straight above.

    What a taller object hides cannot land.
    """
    pose, size = oblique_pose(angle_rad), 260
    view = whole_scene_view(city_scene, pose, size, size)
    agl_m = visible_agl(city_scene.height_m, city_scene.gsd_m, view)

    def buildings(heights_m):
        x, y = (
            np.clip(np.rint(c).astype(int), 0, len(city_scene.solid) - 1)
            for c in ground_cells(heights_m, city_scene.gsd_m, view)
        )
        return (city_scene.solid[y, x] > 0) & (city_scene.height_m[y, x] > 2)

    seen = np.repeat(buildings(agl_m)[..., None], 3, axis=2).astype(np.uint8)
    ground = rectify(seen, agl_m, pose.scale_px_per_m, pose.angle_rad)
    core = np.s_[40:-40, 40:-40]  # roofs beyond the edge lean in and out
    shown = ~ground.hidden[core]
    landed, true = ground.rgb[core][shown][..., 0] > 0, buildings(np.zeros_like(agl_m))[core][shown]
    assert shown.mean() > 0.85 and 0.05 < true.mean() < 0.8
    assert (landed & true).sum() / (landed | true).sum() >= 0.9


def test_facade_height_runs_from_roof_to_ground():
    scene, _ = tower_scene()
    pose = oblique_pose(0.0, off_nadir_deg=30.0)  # flow points down the image: the facade shows below the roof
    column = visible_agl(scene.height_m, scene.gsd_m, whole_scene_view(scene, pose, 200, 200))[:, 100]
    facade = column[(column > 0.3) & (column < 19.7)]
    shift_px = 20.0 * pose.scale_px_per_m
    assert abs(facade.size - shift_px) < 3
    assert (np.diff(facade) < 0).all()
    np.testing.assert_allclose(np.diff(facade)[1:-1], -1 / pose.scale_px_per_m, atol=0.12)
    first = np.nonzero(column > 19.7)[0][0]
    assert abs(first - (85 - shift_px)) < 2  # the roof's far edge leans up the image
