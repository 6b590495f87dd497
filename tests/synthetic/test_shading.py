"""Sun, shadows, shaded walls and windows."""

import cv2
import numpy as np
import pytest
from scenes import SEASON, oblique_pose, tower_scene, walled_tower

from geopose.geometry import Pose
from geopose.synthetic.light import Light, shadow_height
from geopose.synthetic.objects import Walls
from geopose.synthetic.render import render
from geopose.synthetic.view import whole_scene_view


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


@pytest.mark.parametrize("wall", [0.2, 0.5])
def test_walls_in_shade_differ_from_the_ground_in_their_shadow(wall):
    scene, _ = walled_tower(Walls((128, 128, 128)))
    pose = oblique_pose(0.0, off_nadir_deg=30.0)  # flow points down the image, shadows too
    image, agl_m = render(scene, whole_scene_view(scene, pose, 200, 200), Light((0.0, -1.0), 1.0, 0.25, wall), SEASON)
    column, heights_m = image[:, 100, 1], agl_m[:, 100]
    facade = np.median(column[(heights_m > 9.0) & (heights_m < 18.0)])
    below = np.nonzero(heights_m > 0.5)[0].max()
    shadow = np.median(column[below + 5 : below + 15])
    assert shadow < 0.4 * column[5]  # lit ground
    assert facade / shadow == pytest.approx(wall * 0.992 / (0.25 * 0.98), rel=0.02)


def test_a_wall_is_darker_at_its_foot():
    scene, _ = walled_tower(Walls((128, 128, 128)))
    view = whole_scene_view(scene, oblique_pose(0.0, off_nadir_deg=30.0), 200, 200)
    image, agl_m = render(scene, view, Light((0.0, -1.0), 1.0), SEASON)
    column, heights_m = image[:, 100, 1], agl_m[:, 100]
    foot, top = (np.median(column[(heights_m > low) & (heights_m < low + 2.0)]) for low in (0.5, 16.0))
    assert foot < 0.85 * top


@pytest.mark.parametrize("window_h, glass_share", [(0.5, 0.5), (1.0, 1.0)])
def test_windows_as_high_as_their_floor_leave_no_spandrel(window_h, glass_share):
    scene, _ = walled_tower(Walls((200, 200, 200), 4.0, 3.0, 1.0, window_h, glass=0.0, contrast=1.0))
    pose = oblique_pose(0.0, off_nadir_deg=30.0, gsd_m=0.1)
    image, agl_m = render(scene, whole_scene_view(scene, pose, 400, 100), Light((0.0, 1.0), 1.0), SEASON)
    facade = image[(agl_m > 2.0) & (agl_m < 18.0)].max(axis=-1)
    assert (facade < 0.1 * facade.max() + 1.0).mean() == pytest.approx(glass_share, abs=0.06)
