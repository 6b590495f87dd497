"""Sun, shadows, shaded walls and windows."""

import cv2
import numpy as np
import pytest
from scenes import SEASON, oblique_pose, tower_scene, walled_tower

from geopose.geometry import Pose
from geopose.synthetic.appearance import Material, Season, noise_fields
from geopose.synthetic.ground import Scene
from geopose.synthetic.light import Light, shadow_height
from geopose.synthetic.objects import BOX, TREE, WALLS, Walls
from geopose.synthetic.paint import empty_rasters, paint_trees
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


@pytest.mark.parametrize("sun", [(-0.5, 0.866), (0.87, -0.493), (0.1, 0.995), (0.7071, 0.7071)])
def test_the_shadow_of_a_tower_has_the_tower_as_its_end(sun):
    """60 m high and 20 m wide, in cells of 0.18 m. The shadow on the ground is compared with its exact outline."""
    gsd_m, height_m, side = 0.18, 60.0, 111
    rows, columns = np.indices((900, 900), dtype=np.float32) - 450
    heights = np.where(np.maximum(abs(rows), abs(columns)) <= side / 2, np.float32(height_m), np.float32(0))
    light = Light(sun, sun_tan_elevation=1.2)
    shadow = shadow_height(heights.copy(), gsd_m, light) > 0
    exact = np.zeros(shadow.shape, bool)
    for distance in np.arange(0, height_m / 1.2 / gsd_m, 0.25):
        along, across = columns + distance * sun[0], rows + distance * sun[1]
        exact |= np.maximum(abs(along), abs(across)) <= side / 2
    ground = heights == 0
    assert (shadow != exact)[ground].sum() < 0.015 * exact[ground].sum()


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


def grey_tree_on_red_ground(material: Material) -> Scene:
    """A tree of 12 m with a crown of 10 m in the middle of 30 x 30 m of red ground."""
    rasters = empty_rasters((150, 150))
    rasters.albedo[:] = ground = (200, 60, 60)
    tree = np.zeros(1, TREE)
    tree["x"], tree["y"], tree["radius_m"], tree["height_m"] = 74.5, 74.5, 5.0, 12.0
    tree["red"], tree["green"], tree["blue"], tree["lumps"], tree["material"] = 90, 90, 90, 0.3, material
    paint_trees(tree, noise_fields(), 0.2, rasters)
    return Scene(
        gsd_m=0.2,
        solids=np.zeros(0, BOX),
        buildings=np.zeros(0, WALLS),
        open_sky=np.ones((150, 150), np.float32),
        below_trees=np.full((150, 150, 3), ground, np.uint8),
        **rasters._asdict(),
    )


@pytest.mark.parametrize("off_nadir_deg", [0.0, 25.0])
def test_bare_trees_show_the_ground_and_cast_thin_shadows(off_nadir_deg):
    def look(material, leaf):
        scene = grey_tree_on_red_ground(material)
        pose = oblique_pose(0.0, off_nadir_deg, gsd_m=0.2)  # the crown leans down the image, the shadow falls upwards
        view, light = whole_scene_view(scene, pose, 150, 150), Light((0.0, 1.0), 1.5)
        image, agl_m = render(scene, view, light, Season(leaf, dryness=0.0))
        crown, ground = image[agl_m > 5.0], image[10:40, 60:90]
        shade = 1.0 - ground[..., 0].mean() / image[:8, :8, 0].mean()
        return float((crown[:, 0] - crown[:, 2]).mean() / crown[:, 0].mean()), shade

    (bare_red, bare_shade), (leafy_red, leafy_shade) = look(Material.DECIDUOUS, 0.0), look(Material.DECIDUOUS, 1.0)
    evergreen_red, evergreen_shade = look(Material.EVERGREEN, 0.0)
    assert bare_red > 0.3 and leafy_red < 0.6 * bare_red and evergreen_red < 0.6 * bare_red
    assert 0.0 < bare_shade < 0.6 * leafy_shade and bare_shade < 0.6 * evergreen_shade


@pytest.mark.parametrize("off_axis_deg", [6.0, 18.0, 25.0, 40.0])
def test_a_roof_slope_is_evenly_lit(off_axis_deg):
    """On both sides of a gable roof the shadow is equally far below the surface in all rows."""
    gsd_m = 0.18
    columns = np.indices((300, 300), dtype=np.float32)[1]
    heights = 30.0 - 0.35 * gsd_m * abs(columns - 150)
    direction = np.sin(np.radians(off_axis_deg)), -np.cos(np.radians(off_axis_deg))
    depth_m = heights - shadow_height(heights.copy(), gsd_m, Light(direction, sun_tan_elevation=1.0))
    for side in (np.s_[50:250, 100], np.s_[50:250, 200]):
        assert np.ptp(depth_m[side]) < 0.02 * gsd_m
