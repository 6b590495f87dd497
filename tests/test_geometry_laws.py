"""Every row of the table of transformation laws, for any pose: the angle by its formula, and a point followed.

A point of height h above the ground pixel g appears at p = g - h * scale * d. After an operation that moves pixels,
the moved p must be where the transformed pose puts the point above the moved g.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geopose import geometry
from geopose.geometry import Pose, transform_pose

PI = math.pi
ANGLES = st.floats(-10, 10)
POSES = st.builds(Pose, st.floats(0, 2 * PI, exclude_max=True), st.floats(0.1, 3), st.floats(0.2, 2))
POINTS = st.tuples(st.floats(0, 500), st.floats(0, 500), st.floats(0, 90))  # x, y of the ground in px, height in metres
ZOOMS = st.floats(0.1, 8)

# Rows of the table: operation with parameters -> matrix, angle after it, zoom.
ROWS = {
    "flip x": st.just((geometry.FLIP_X, lambda a: -a, 1)),
    "flip y": st.just((geometry.FLIP_Y, lambda a: PI - a, 1)),
    "transpose": st.just((geometry.TRANSPOSE, lambda a: PI / 2 - a, 1)),
    "anti-transpose": st.just((geometry.ANTI_TRANSPOSE, lambda a: -PI / 2 - a, 1)),
    "rot90": st.integers(-9, 9).map(lambda k: (geometry.rot90_matrix(k), lambda a: a + k * PI / 2, 1)),
    "rotate": ANGLES.map(lambda theta: (geometry.rotation_matrix(theta), lambda a: a + theta, 1)),
    "zoom": ZOOMS.map(lambda z: (geometry.zoom_matrix(z), lambda a: a, z)),
    "downsample": st.integers(1, 16).map(lambda n: (geometry.zoom_matrix(1 / n), lambda a: a, 1 / n)),
    "crop resized": st.tuples(st.integers(64, 2048), st.integers(64, 2048)).map(
        lambda sides: (geometry.zoom_matrix(sides[1] / sides[0]), lambda a: a, sides[1] / sides[0])
    ),
}
OPERATIONS = st.one_of(*ROWS.values())


def gap(a, b) -> float:
    """Distance of two angles on the circle, without the code under test."""
    return abs(math.remainder(a - b, 2 * PI))


def moved(matrix, x_px, y_px) -> np.ndarray:
    """A position about the image's centre after an operation."""
    return matrix @ np.array([x_px, y_px])


@pytest.mark.parametrize("row", ROWS)
@given(st.data())
def test_a_row_of_the_table(row, data):
    pose, (matrix, angle_law, zoom) = data.draw(POSES), data.draw(ROWS[row])
    after = transform_pose(pose, matrix)
    assert gap(after.angle_rad, angle_law(pose.angle_rad)) < 1e-9 and 0 <= after.angle_rad < 2 * PI
    assert after.scale_px_per_m == pytest.approx(zoom * pose.scale_px_per_m)
    assert after.gsd_m == pytest.approx(pose.gsd_m / zoom)
    x_px, y_px, agl_m = data.draw(POINTS)
    image = geometry.image_position(x_px, y_px, agl_m, pose)
    expected = geometry.image_position(*moved(matrix, x_px, y_px), agl_m, after)
    np.testing.assert_allclose(moved(matrix, *image), expected, atol=1e-6)
    mag_px = geometry.magnitude(np.full((1, 1), agl_m), after.scale_px_per_m)
    assert mag_px[0, 0] == pytest.approx(zoom * agl_m * pose.scale_px_per_m)


@given(POSES, POINTS, st.floats(0.2, 5))
def test_the_row_of_the_height_stretch(pose, point, factor):
    """Every point moves along its own flow, by (factor - 1) times its length."""
    x_px, y_px, agl_m = point
    before, after = (geometry.image_position(x_px, y_px, k * agl_m, pose) for k in (1, factor))
    flow = geometry.vertical_flow(np.full((1, 1), agl_m), pose.scale_px_per_m, pose.angle_rad)[:, 0, 0]
    np.testing.assert_allclose(after, np.array(before) - (factor - 1) * flow, atol=1e-6)
    np.testing.assert_allclose(geometry.ground_position(*after, factor * agl_m, pose), (x_px, y_px), atol=1e-6)


@given(POSES, OPERATIONS, OPERATIONS)
def test_two_operations_are_one(pose, first, second):
    twice = transform_pose(transform_pose(pose, first[0]), second[0])
    once = transform_pose(pose, second[0] @ first[0])
    assert gap(twice.angle_rad, once.angle_rad) < 1e-9
    assert (twice.scale_px_per_m, twice.gsd_m) == pytest.approx((once.scale_px_per_m, once.gsd_m))
    back = transform_pose(transform_pose(pose, first[0]), np.linalg.inv(first[0]))
    assert gap(back.angle_rad, pose.angle_rad) < 1e-9 and back.gsd_m == pytest.approx(pose.gsd_m)


@given(POSES, OPERATIONS)
def test_no_operation_changes_the_off_nadir_angle(pose, operation):
    after = transform_pose(pose, operation[0])
    before_rad, after_rad = (geometry.off_nadir_rad(p.scale_px_per_m, p.gsd_m) for p in (pose, after))
    assert after_rad == pytest.approx(before_rad) and 0 < before_rad < PI / 2
    assert geometry.scale_for_off_nadir(before_rad, pose.gsd_m) == pytest.approx(pose.scale_px_per_m)


@given(POSES, POINTS, st.floats(0.2, 5), st.floats(0.2, 5))
def test_a_stretched_grid_moves_points_with_its_pixels(pose, point, x_factor, y_factor):
    x_px, y_px, agl_m = point
    after, factors = geometry.stretch_pose(pose, x_factor, y_factor), np.array([x_factor, y_factor])
    expected = factors * geometry.image_position(x_px, y_px, agl_m, pose)
    np.testing.assert_allclose(geometry.image_position(*(factors * (x_px, y_px)), agl_m, after), expected, atol=1e-6)
    assert after.scale_px_per_m * after.gsd_m == pytest.approx(pose.scale_px_per_m * pose.gsd_m)


@given(ANGLES, ANGLES, st.floats(1e-3, 1e3))
def test_angles_wrap_and_differ_as_on_a_circle(a, b, length):
    assert gap(geometry.wrap_angle(a), a) < 1e-9 and 0 <= geometry.wrap_angle(a) < 2 * PI
    assert gap(geometry.direction_angle(length * geometry.flow_direction(a)), a) < 1e-9
    assert geometry.angle_error_rad(a, b) == pytest.approx(gap(a, b), abs=1e-9)


@given(st.floats(0.05, 5), st.integers(0, 2**32 - 1), st.floats(0.01, 0.9), st.sampled_from([1.0, 1e-3]))
def test_scale_is_least_squares_of_the_known_pixels(scale, seed, unknown, unit_m):
    """Also of heights that are nearly 0."""
    rng = np.random.default_rng(seed)
    agl_m, lost = unit_m * rng.uniform(0.1, 60, (5, 6)), rng.random((5, 6)) < unknown
    mag_px = scale * agl_m + rng.normal(0, 3, (5, 6))
    lost[0, 0] = False
    expected = np.linalg.lstsq(agl_m[~lost][:, None], mag_px[~lost], rcond=None)[0][0]
    for plane in (mag_px, agl_m):
        kept = plane.copy()
        plane[lost] = np.nan
        assert geometry.fit_scale(mag_px, agl_m) == pytest.approx(expected, rel=1e-9, abs=1e-9)
        plane[:] = kept


@given(st.sampled_from(list(geometry.D4_MATRICES)), st.sampled_from(list(geometry.D4_MATRICES)), POSES)
def test_turned_images_and_turned_poses_agree(first, second, pose):
    """A pixel of flow at the roof points to the ground pixel, also after two elements of D4 in a row."""
    image = np.zeros((9, 13), int)
    image[3, 5], image[6, 11] = 1, 2  # roof and ground
    places = {value: np.argwhere(image == value)[0][::-1] for value in (1, 2)}
    flow_px = places[2] - places[1]
    length = math.hypot(*flow_px)
    pose = Pose(math.atan2(flow_px[0], flow_px[1]) % (2 * PI), length, pose.gsd_m)
    for element in (first, second):
        bands = geometry.apply_d4(np.stack([image, -image]), element)
        np.testing.assert_array_equal(bands, np.stack([geometry.apply_d4(plane, element) for plane in (image, -image)]))
        image, pose = geometry.apply_d4(image, element), transform_pose(pose, geometry.D4_MATRICES[element])
    roof, ground = (np.argwhere(image == value)[0][::-1] for value in (1, 2))
    np.testing.assert_allclose(geometry.ground_position(*roof, 1.0, pose), ground, atol=1e-9)
