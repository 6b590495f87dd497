"""Heights moved to the ground as a surface, on rendered scenes: no tears, whole occlusions, straight roofs."""

import cv2
import numpy as np
import pytest
from scenes import ANGLES_RAD, bare_scene, oblique_pose, tower_scene

from geopose.geometry import flow_direction
from geopose.inference.rectify import Rectified, fill_hidden, rectify
from geopose.inference.surface import settle
from geopose.synthetic.view import whole_scene_view
from geopose.synthetic.visibility import visible_agl

SIZE = 200
NOISE = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def seen_heights(scene, pose):
    return visible_agl(scene.height_m, scene.gsd_m, whole_scene_view(scene, pose, SIZE, SIZE))


def hidden_regions(hidden):
    """Areas of connected hidden regions away from the edge of the image, where the scene goes on unseen."""
    inside = np.zeros_like(hidden)
    inside[30:-30, 30:-30] = hidden[30:-30, 30:-30]
    _, _, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=8)
    return sorted(stats[1:, cv2.CC_STAT_AREA], reverse=True)


@pytest.mark.parametrize("angle_rad", ANGLES_RAD)
def test_a_sloping_roof_does_not_tear(angle_rad):
    rows, columns = np.indices((SIZE, SIZE)) * 0.4 - 40.0
    away_m = np.hypot(rows, columns)
    scene = bare_scene(np.maximum(0, 12 - 0.7 * away_m))  # a cone: its slopes face every way
    pose = oblique_pose(angle_rad)
    agl_m = seen_heights(scene, pose)
    ground = rectify(NOISE, agl_m, pose.scale_px_per_m, pose.angle_rad)
    assert agl_m.max() > 10 and not ground.hidden[40:-40, 40:-40].any()
    assert np.abs(ground.agl_m - scene.height_m)[40:-40, 40:-40].max() < 0.6


@pytest.mark.parametrize("angle_rad", ANGLES_RAD)
def test_a_tree_has_no_single_hidden_pixels(angle_rad):
    rows, columns = np.indices((SIZE, SIZE)) * 0.4 - 40.0
    crown_m = 9 * np.exp(-(rows**2 + columns**2) / 18)
    agl_m = np.where(crown_m > 0.5, crown_m, 0).astype(np.float32)
    pose = oblique_pose(angle_rad, off_nadir_deg=32)
    areas = hidden_regions(rectify(NOISE, agl_m, pose.scale_px_per_m, pose.angle_rad).hidden)
    assert areas[0] >= 50 and sum(areas[1:]) <= 4


@pytest.mark.parametrize("blur_px", [0, 2])
@pytest.mark.parametrize("angle_rad", ANGLES_RAD)
def test_ground_behind_a_box_is_one_region_of_the_right_size(angle_rad, blur_px):
    scene, footprint = tower_scene()
    pose = oblique_pose(angle_rad)
    agl_m = seen_heights(scene, pose)
    if blur_px:  # edges as soft as those that a network predicts
        agl_m = cv2.GaussianBlur(agl_m, (0, 0), blur_px)
    hidden = rectify(NOISE, agl_m, pose.scale_px_per_m, pose.angle_rad).hidden
    expected = (swept(footprint, -flow_direction(angle_rad) * 20 * pose.scale_px_per_m) & ~footprint).sum()
    areas = hidden_regions(hidden)
    assert expected > 800
    assert areas[0] == pytest.approx(expected, rel=0.1 if blur_px else 0.03)
    assert sum(areas[1:]) <= 0.02 * expected, "nearly all of it is one region"
    opened = cv2.morphologyEx(hidden.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
    inner = np.s_[30:-30, 30:-30]
    assert opened[inner].sum() > 0.9 * hidden[inner].sum(), "without stripes and holes"


def swept(mask, shift_px):
    """What a mask covers on its way along a shift (x, y)."""
    covered = np.zeros_like(mask)
    for x, y in np.linspace((0, 0), shift_px, 200):
        matrix = np.array([[1, 0, x], [0, 1, y]])
        moved = cv2.warpAffine(mask.astype(np.uint8), matrix, mask.shape[::-1], flags=cv2.INTER_NEAREST)
        covered |= moved > 0
    return covered


@pytest.mark.parametrize("angle_rad", ANGLES_RAD)
def test_soft_roofs_land_whole_on_their_footprints(angle_rad):
    scene, footprint = tower_scene()
    pose = oblique_pose(angle_rad)
    agl_m = cv2.GaussianBlur(seen_heights(scene, pose), (0, 0), 2)
    ground = rectify(NOISE, agl_m, pose.scale_px_per_m, pose.angle_rad)
    roof = np.nan_to_num(ground.agl_m) > 10
    assert (roof & footprint).sum() / (roof | footprint).sum() > 0.92
    assert roof[90:110, 85:115].all(), "the roof has no gaps"


@pytest.mark.parametrize("angle_rad", ANGLES_RAD)
def test_roofs_keep_straight_edges(angle_rad):
    scene, _ = tower_scene()
    pose = oblique_pose(angle_rad)
    agl_m = seen_heights(scene, pose)
    agl_m += np.random.default_rng(5).uniform(0, 0.5, agl_m.shape).astype(np.float32) * (agl_m > 19.5)  # rough roof
    roof = np.nan_to_num(rectify(NOISE, agl_m, pose.scale_px_per_m, pose.angle_rad).agl_m) > 10
    core = roof[90:110, 70:130].astype(int)  # rows across the middle of the tower, without its corners
    for first in (core.argmax(axis=1), core[:, ::-1].argmax(axis=1)):
        assert np.ptp(first) <= 2, "a side of the roof is a straight line"
    assert roof[92:108, 85:115].all(), "the roof has no gaps"


def test_a_rough_roof_with_soft_edges_has_few_gaps():
    """Roughness of 2 m. Of the roof's inner pixels 2 % are gaps, and 4 % without the median of settled heights."""
    gaps = []
    for angle_rad in ANGLES_RAD:
        scene, _ = tower_scene()
        pose = oblique_pose(angle_rad)
        agl_m = cv2.GaussianBlur(seen_heights(scene, pose), (0, 0), 2)
        agl_m += np.random.default_rng(5).uniform(0, 2, agl_m.shape).astype(np.float32)
        ground = rectify(NOISE, agl_m, pose.scale_px_per_m, pose.angle_rad)
        gaps.append(~(np.nan_to_num(ground.agl_m) > 10)[92:108, 85:115])
    assert np.mean(gaps) < 0.03


def test_a_crack_gets_the_colours_of_its_two_sides():
    rgb = np.zeros((30, 60, 3), np.uint8)
    rgb[:, :30], rgb[:, 30:] = 100, 140
    agl_m = np.zeros((30, 60), np.float32)
    agl_m[:, 30:] = 1.0  # the step moves the right part by one pixel, so that one column is left between the two
    ground = rectify(rgb, agl_m, 1.0, np.pi / 2)
    assert not ground.hidden.any()
    np.testing.assert_array_equal(ground.rgb[:, 30], 120)
    agl_m[:, 30:] = 3.0
    assert rectify(rgb, agl_m, 1.0, np.pi / 2).hidden[:, 30:33].all(), "three columns are an occlusion"


@pytest.mark.parametrize("angle_rad", [0.0, 0.7, 2.2, 3.6, 5.5])
def test_colours_are_interpolated_between_pixels(angle_rad):
    """All pixels move by 0.6 px. Colours that rise evenly are right to the rounding."""
    rows, columns = np.indices((30, 30))
    colours = 3 * columns + 4 * rows + 20
    rgb = np.repeat(colours[..., None], 3, axis=2).astype(np.uint8)
    ground = rectify(rgb, np.ones((30, 30), np.float32), 0.6, angle_rad)
    expected = colours - 0.6 * flow_direction(angle_rad) @ (3, 4)
    assert np.abs(ground.rgb[2:-2, 2:-2].astype(float) - expected[2:-2, 2:-2, None]).max() <= 0.501


def test_the_tallest_wins_and_unknown_heights_stay():
    rgb = np.random.default_rng(1).integers(0, 256, (20, 40, 3), dtype=np.uint8)
    agl_m = np.zeros((20, 40), np.float32)
    agl_m[5:15, 10:16], agl_m[8:10, 25:30] = 8.0, np.nan
    ground = rectify(rgb, agl_m, 1.0, np.pi / 2)
    assert (ground.agl_m[5:15, 18:24] == 8).all()
    np.testing.assert_array_equal(ground.rgb[5:15, 18:24], rgb[5:15, 10:16])
    assert np.isnan(ground.agl_m[8:10, 25:30]).all() and not ground.hidden[8:10, 25:30].any()
    np.testing.assert_array_equal(ground.rgb[8:10, 25:30], rgb[8:10, 25:30])


def test_filled_ground_looks_like_the_ground_and_not_like_the_roof():
    scene, _ = tower_scene()
    pose = oblique_pose(0.3)
    agl_m = seen_heights(scene, pose)
    grain = np.random.default_rng(2).integers(-6, 7, (SIZE, SIZE, 3))
    rgb = (np.where(agl_m[..., None] > 0.5, 220, 90) + grain).astype(np.uint8)
    ground = rectify(rgb, agl_m, pose.scale_px_per_m, pose.angle_rad)
    filled = fill_hidden(ground)
    inner = ground.hidden.copy()
    inner[:30], inner[-30:], inner[:, :30], inner[:, -30:] = False, False, False, False
    assert inner.sum() > 300
    assert np.abs(filled.rgb[inner].astype(int) - 90).max() <= 15
    assert (filled.agl_m[inner] < 0.5).all()
    np.testing.assert_array_equal(filled.hidden, ground.hidden)
    np.testing.assert_array_equal(filled.rgb[~ground.hidden], ground.rgb[~ground.hidden])


def test_filled_ground_continues_what_is_around_it():
    rows, columns = np.indices((90, 120))
    plane = (40 + rows + columns).astype(np.uint8)
    hidden = np.zeros(plane.shape, bool)
    hidden[30:60, 40:80] = True
    rgb, agl_m = np.dstack([plane] * 3), (columns / 100).astype(np.float32)
    ground = Rectified(np.where(hidden[..., None], 0, rgb), np.where(hidden, np.float32(np.nan), agl_m), hidden)
    filled = fill_hidden(ground)
    difference = filled.rgb[..., 0].astype(int) - plane
    assert np.abs(difference).max() <= 8, "a hole of 30 px in a slope of 1 grey level per px"
    assert np.abs(difference[hidden]).mean() < 3
    assert np.abs(filled.agl_m - agl_m).max() < 0.08


@pytest.mark.parametrize("angle_rad", [0.0, 0.6, 1.1, 2.0, np.pi / 2, 2.8, 3.9, 5.3])
def test_a_ramp_along_the_flow_becomes_one_step_at_its_middle(angle_rad):
    """A wall of 12 m spread over 6 px, a slope that is not stretched enough to be a wall, and one that falls."""
    rows, columns = np.indices((64, 64)) - 32
    along_px = np.stack([columns, rows], axis=-1) @ flow_direction(angle_rad)
    wall_m = np.clip(2 * along_px + 6, 0, 12).astype(np.float32)
    inner, away = np.s_[5:-5, 5:-5], np.abs(along_px) > 1
    settled_m = settle(wall_m, 1.0, angle_rad)
    np.testing.assert_allclose(
        settled_m[inner][away[inner]], np.where(along_px > 0, 12, 0)[inner][away[inner]], atol=0.4
    )
    assert (settled_m[inner] != wall_m[inner]).any()
    for same_m in (np.clip(0.5 * along_px + 6, 0, 12).astype(np.float32), 12 - wall_m):
        np.testing.assert_array_equal(settle(same_m, 1.0, angle_rad), same_m)


def test_a_ramp_ends_where_the_heights_are_unknown():
    agl_m = np.zeros((20, 40), np.float32)
    agl_m[:] = np.clip(2 * np.arange(40) - 30, 0, 20)
    agl_m[:, 21] = np.nan  # the ramp of columns 15 to 25 is seen in two parts
    settled_m = settle(agl_m, 1.0, np.pi / 2)
    np.testing.assert_array_equal(settled_m[5:-5, 14:21], np.broadcast_to([0, 0, 0, 0, 10, 10, 10], (10, 7)))
    assert np.isnan(settled_m[:, 21]).all()
