"""Height stretch against the renderer of the scene with other heights, and against a plain forward warp."""

import dataclasses

import numpy as np
import pytest
from scenes import made_taller
from test_transforms import SCENE, near_steps, photograph

from geopose import geometry
from geopose.data.stretch import stretch_heights
from geopose.geometry import Pose
from geopose.synthetic.view import View

FACTORS = (0.6, 0.8, 1.25, 1.6)
POSES = {  # angle, off-nadir angle in degrees
    "leaning down-right": (0.4, 20),
    "leaning right": (np.pi / 2, 28),
    "leaning up": (3.2, 33),
    "leaning left": (4.9, 12),
}


def oblique(name: str) -> Pose:
    angle_rad, off_nadir_deg = POSES[name]
    return Pose(angle_rad, float(geometry.scale_for_off_nadir(np.radians(off_nadir_deg), 0.4)), 0.4)


def picture(pose: Pose, factor: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Image and AGL of the scene with its heights times factor, not square."""
    return photograph(made_taller(SCENE, factor), View(pose, 250, 300, 205.0, 200.0))


def forward_warp(agl_m: np.ndarray, pose: Pose, factor: float) -> np.ndarray:
    """Every pixel thrown where its height asks for, the tallest last; NaN where none arrives."""
    rows, cols = agl_m.shape
    order = np.argsort(agl_m, axis=None, kind="stable")
    y, x = np.unravel_index(order, agl_m.shape)
    taller_m = (factor - 1) * agl_m.ravel()[order]
    to_x, to_y = geometry.image_position(x, y, taller_m, pose)
    to_x, to_y = np.rint(to_x).astype(int), np.rint(to_y).astype(int)
    inside = (to_x >= 0) & (to_x < cols) & (to_y >= 0) & (to_y < rows)
    warped_m = np.full(agl_m.shape, np.nan, np.float32)
    for row, col, height_m in zip(to_y[inside], to_x[inside], agl_m.ravel()[order][inside], strict=True):
        warped_m[row, col] = factor * height_m
    return warped_m


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("name", POSES)
def test_stretched_tile_is_the_tile_of_the_stretched_scene(name, factor):
    pose = oblique(name)
    rgb, agl_m = picture(pose)
    right_rgb, right_agl_m = picture(pose, factor)
    new_rgb, new_agl_m = stretch_heights(rgb, agl_m, pose, factor)
    assert new_rgb.shape == rgb.shape and new_rgb.dtype == np.uint8 and new_agl_m.dtype == np.float32
    known = ~np.isnan(new_agl_m)
    flat = known & ~near_steps(right_agl_m)
    tall = flat & (np.fmax(new_agl_m, right_agl_m) > 1)
    error_m = np.abs(new_agl_m - right_agl_m)
    assert known.mean() > 0.9 and tall.mean() > 0.02
    assert np.median(error_m[tall]) < 0.1 and (error_m[flat] > 1).mean() < 0.001
    assert (error_m[known] > 1).mean() < 0.02  # half a pixel along a wall may be a metre of height
    colour_error = np.abs(new_rgb.astype(float) - right_rgb).max(-1)
    calm = flat & ~near_steps(right_agl_m, 3)  # a pixel at an edge is a mixture of both sides
    assert np.median(colour_error[calm]) <= 1 and (colour_error[calm] > 20).mean() < 0.002
    # The unstretched tile is far off, and so is one stretched the wrong way: the comparison can fail.
    wrong_m = stretch_heights(rgb, agl_m, dataclasses.replace(pose, angle_rad=pose.angle_rad + np.pi), factor)[1]
    for other_m in (agl_m, wrong_m):
        assert np.nanmean(np.abs(other_m - right_agl_m)) > 2.5 * error_m[known].mean()


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("name", POSES)
def test_the_tallest_surface_is_seen_as_in_a_plain_forward_warp(name, factor):
    pose = oblique(name)
    rgb, agl_m = picture(pose)
    new_agl_m = stretch_heights(rgb, agl_m, pose, factor)[1]
    warped_m = forward_warp(agl_m, pose, factor)
    both = ~np.isnan(new_agl_m) & ~np.isnan(warped_m)
    away = both & ~near_steps(warped_m)
    assert (np.abs(new_agl_m - warped_m)[away] > 1).mean() < 0.0005
    # Pixels that nothing reaches are unknown, except the cracks of magnified walls.
    assert (np.isnan(new_agl_m) & ~np.isnan(warped_m)).mean() < 0.001
    if factor < 1:
        assert (np.isnan(warped_m) & ~np.isnan(new_agl_m)).mean() < 0.005


@pytest.mark.parametrize("name", POSES)
def test_flow_magnitude_is_multiplied_by_the_factor(name):
    """A roof leans factor times as much and its footprint stays, to whole pixels."""
    pose = oblique(name)
    rgb, agl_m = picture(pose)
    errors_px = []
    for factor in np.linspace(0.6, 1.6, 21):
        new_roof = stretch_heights(rgb, agl_m, pose, factor)[1] > 27.9 * factor
        moved = np.argwhere(agl_m > 27.9).mean(0) - np.argwhere(new_roof).mean(0)
        lean_px = 28.0 * (factor - 1) * pose.scale_px_per_m * geometry.flow_direction(pose.angle_rad)
        errors_px.append(moved[::-1] - lean_px)
    assert np.abs(errors_px).max() < 0.9 and np.abs(np.mean(errors_px, axis=0)).max() < 0.15


def test_factor_one_changes_nothing_and_a_negative_factor_is_refused():
    pose = oblique("leaning up")
    rgb, agl_m = picture(pose)
    same_rgb, same_agl_m = stretch_heights(rgb, agl_m, pose, 1.0)
    np.testing.assert_array_equal(same_rgb, rgb)
    np.testing.assert_array_equal(same_agl_m, agl_m)
    for factor in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="positive"):
            stretch_heights(rgb, agl_m, pose, factor)


@pytest.mark.parametrize("factor", (0.5, 0.8))
def test_uncovered_ground_is_unknown_and_painted_as_the_ground_beside(factor):
    agl_m = np.zeros((60, 90), np.float32)
    agl_m[20:40, 30:60] = 20.0  # seen straight from above the roof: no wall
    rgb = np.full((60, 90, 3), 90, np.uint8)
    rgb[agl_m > 0] = 200
    new_rgb, new_agl_m = stretch_heights(rgb, agl_m, Pose(np.pi / 2, 1.0, 0.4), factor)  # the roof shrinks to the right
    moved = round(20 * (1 - factor))
    expected = np.zeros_like(agl_m)
    expected[20:40, 30 + moved : 60 + moved] = 20.0 * factor
    expected[20:40, 30 : 30 + moved] = np.nan
    np.testing.assert_allclose(new_agl_m, expected)
    np.testing.assert_array_equal(new_rgb[..., 0], np.where(expected > 0, 200, 90))


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("name", POSES)
def test_unknown_heights_move_along_and_stay_unknown(name, factor):
    """A gap in a roof moves with the roof, one on the ground stays, and neither shows ground through the roof."""
    pose = oblique(name)
    rgb, agl_m = picture(pose)
    roof_y, roof_x = np.rint(np.argwhere(agl_m > 27.9).mean(0)).astype(int)
    holed_m = agl_m.copy()
    holed_m[roof_y - 3 : roof_y + 4, roof_x - 4 : roof_x + 5] = np.nan
    holed_m[2:8, 100:180] = np.nan  # bare ground all around
    new_rgb, new_agl_m = stretch_heights(rgb, agl_m, pose, factor)
    holed_rgb, new_holed_m = stretch_heights(rgb, holed_m, pose, factor)
    np.testing.assert_array_equal(holed_rgb, new_rgb)
    unknown = np.isnan(new_holed_m)
    np.testing.assert_array_equal(new_holed_m[~unknown], new_agl_m[~unknown])
    moved_x, moved_y = geometry.image_position(roof_x, roof_y, (factor - 1) * 28.0, pose)
    lost_y, lost_x = np.nonzero(unknown & ~np.isnan(new_agl_m) & (np.arange(len(agl_m)) > 40)[:, None])
    assert len(lost_y) == pytest.approx(63, abs=10)
    assert abs(lost_x.mean() - moved_x) < 1 and abs(lost_y.mean() - moved_y) < 1
    assert unknown[3:7, 102:178].all()


def test_nothing_known_is_invented_from_nothing():
    rgb = np.random.default_rng(0).integers(0, 255, (30, 50, 3), dtype=np.uint8)
    new_rgb, new_agl_m = stretch_heights(rgb, np.full((30, 50), np.nan, np.float32), oblique("leaning up"), 1.4)
    assert np.isnan(new_agl_m).all()
    np.testing.assert_array_equal(new_rgb, rgb)


@pytest.mark.parametrize("factor", FACTORS)
def test_a_lone_wrong_height_spoils_no_more_than_its_surroundings(factor):
    """Lidar speckle: one pixel of 60 m on bare ground."""
    agl_m = np.zeros((90, 120), np.float32)
    agl_m[45, 60] = 60.0
    new_agl_m = stretch_heights(np.zeros((90, 120, 3), np.uint8), agl_m, Pose(1.0, 1.2, 0.4), factor)[1]
    assert (new_agl_m != 0).sum() <= 4


@pytest.mark.parametrize("factor", FACTORS)
def test_heights_are_those_of_the_input_times_the_factor(factor):
    pose = oblique("leaning left")
    rgb, agl_m = picture(pose)
    new_agl_m = stretch_heights(rgb, agl_m, pose, factor)[1]
    assert np.isin(new_agl_m[~np.isnan(new_agl_m)], agl_m * np.float32(factor)).all()


def test_ground_below_zero_stays_in_place():
    agl_m = np.full((20, 30), -0.5, np.float32)
    new_agl_m = stretch_heights(np.zeros((20, 30, 3), np.uint8), agl_m, oblique("leaning up"), 1.5)[1]
    np.testing.assert_allclose(new_agl_m, -0.75)
