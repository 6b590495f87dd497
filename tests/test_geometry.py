"""The laws, against closed forms written out here and against points followed through real image operations."""

import math

import cv2
import numpy as np
import pytest
import torch

from geopose import geometry
from geopose.geometry import Pose, transform_pose

PI = math.pi
# name: (matrix, angle law, zoom)
LAWS = {
    "identity": (geometry.IDENTITY, lambda a: a, 1.0),
    "flip x": (geometry.FLIP_X, lambda a: -a, 1.0),
    "flip y": (geometry.FLIP_Y, lambda a: PI - a, 1.0),
    "transpose": (geometry.TRANSPOSE, lambda a: PI / 2 - a, 1.0),
    "anti-transpose": (geometry.ANTI_TRANSPOSE, lambda a: -PI / 2 - a, 1.0),
    "rot90": (geometry.rot90_matrix(1), lambda a: a + PI / 2, 1.0),
    "rot180": (geometry.rot90_matrix(2), lambda a: a + PI, 1.0),
    "rot270": (geometry.rot90_matrix(3), lambda a: a + 3 * PI / 2, 1.0),
    "rot-90": (geometry.rot90_matrix(-1), lambda a: a - PI / 2, 1.0),
    "rotate 0.3": (geometry.rotation_matrix(0.3), lambda a: a + 0.3, 1.0),
    "rotate -2": (geometry.rotation_matrix(-2.0), lambda a: a - 2.0, 1.0),
    "zoom 1.7": (geometry.zoom_matrix(1.7), lambda a: a, 1.7),
    "zoom 0.6": (geometry.zoom_matrix(0.6), lambda a: a, 0.6),
    "downsample 4": (geometry.zoom_matrix(1 / 4), lambda a: a, 1 / 4),
    "crop 1000 to 768": (geometry.zoom_matrix(768 / 1000), lambda a: a, 768 / 1000),
    "rotate and zoom": (1.3 * geometry.rotation_matrix(0.5), lambda a: a + 0.5, 1.3),
}
ANGLES = [0.0, 0.4, 1.9, PI, 4.0, 6.2]
KINDS = {
    "float": lambda x: x,
    "numpy": lambda x: np.full(3, x),
    "torch64": lambda x: torch.full((3,), x, dtype=torch.float64),
    "torch32": lambda x: torch.full((3,), x),
}


def angle_gap(a, b) -> float:
    """Largest distance of two angles around the circle."""
    gap = (np.asarray(a, dtype=float) - np.asarray(b, dtype=float)) % (2 * PI)
    return float(np.max(np.minimum(gap, 2 * PI - gap)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("law", LAWS)
def test_a_pose_follows_the_law_of_each_operation(law, kind):
    matrix, angle_law, zoom = LAWS[law]
    for angle in ANGLES:
        make = KINDS[kind]
        moved = transform_pose(Pose(make(angle), make(0.8), make(0.35)), matrix)
        assert angle_gap(moved.angle_rad, angle_law(angle)) < 1e-5
        assert np.all((np.asarray(moved.angle_rad) >= 0) & (np.asarray(moved.angle_rad) < 2 * PI))
        assert np.asarray(moved.scale_px_per_m) == pytest.approx(0.8 * zoom, rel=1e-6)
        assert np.asarray(moved.gsd_m) == pytest.approx(0.35 / zoom, rel=1e-6)
        # The product is tan(off-nadir), which no image operation changes.
        assert np.asarray(moved.scale_px_per_m * moved.gsd_m) == pytest.approx(0.8 * 0.35, rel=1e-6)
        agl_m = np.full((2, 2), 7.0)
        assert geometry.magnitude(agl_m, float(0.8 * zoom)) == pytest.approx(
            zoom * geometry.magnitude(agl_m, 0.8), rel=1e-6
        )


def test_scalar_results_are_scalars():
    """Albumentations refuses 0-d arrays as labels."""
    moved = transform_pose(Pose(1.0, 0.8, 0.3), geometry.FLIP_X)
    assert not isinstance(moved.angle_rad, np.ndarray)
    assert isinstance(geometry.wrap_angle(-0.5), float)


# --- points followed through image operations -------------------------------------------------------------------

FLOW = (6.0, -8.0)  # ground minus roof, px
AGL_M = 5.0
POSE = Pose(math.atan2(FLOW[0], FLOW[1]) % (2 * PI), 2.0, 0.3)
ROOF = (20, 30)  # x, y
GROUND = (26, 22)

EXACT = {
    "np.rot90": (lambda im: np.rot90(im, 1), geometry.rot90_matrix(1)),
    "np.rot90 k=2": (lambda im: np.rot90(im, 2), geometry.rot90_matrix(2)),
    "np.rot90 k=3": (lambda im: np.rot90(im, 3), geometry.rot90_matrix(3)),
    "torch.rot90": (lambda im: torch.rot90(torch.tensor(im), 1, (0, 1)).numpy(), geometry.rot90_matrix(1)),
    "torch.rot90 k=-1": (lambda im: torch.rot90(torch.tensor(im), -1, (0, 1)).numpy(), geometry.rot90_matrix(-1)),
    "fliplr": (np.fliplr, geometry.FLIP_X),
    "flipud": (np.flipud, geometry.FLIP_Y),
    "cv2.flip 1": (lambda im: cv2.flip(im, 1), geometry.FLIP_X),
    "cv2.flip 0": (lambda im: cv2.flip(im, 0), geometry.FLIP_Y),
    "transpose": (np.transpose, geometry.TRANSPOSE),
    "anti-transpose": (lambda im: np.rot90(im.T, 2), geometry.ANTI_TRANSPOSE),
    **{name: (lambda im, n=name: geometry.apply_d4(im, n), m) for name, m in geometry.D4_MATRICES.items()},
}


def impulse(x: int, y: int) -> np.ndarray:
    image = np.zeros((48, 64), np.float32)
    image[y, x] = 1
    return image


def blob(x: float, y: float) -> np.ndarray:
    ys, xs = np.mgrid[:96, :128].astype(np.float32)
    return np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * 3.0**2)).astype(np.float32)


def centroid(image: np.ndarray) -> np.ndarray:
    ys, xs = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(image * xs).sum(), (image * ys).sum()]) / image.sum()


def flow_of(pose: Pose) -> np.ndarray:
    """h * s * (sin a, cos a), written out."""
    return AGL_M * pose.scale_px_per_m * np.array([math.sin(pose.angle_rad), math.cos(pose.angle_rad)])


def test_flow_points_from_roof_to_ground():
    flow = geometry.vertical_flow(np.full((2, 2), AGL_M), POSE.scale_px_per_m, POSE.angle_rad)
    assert flow.shape == (2, 2, 2)
    assert np.allclose(flow[:, 0, 0], FLOW)
    assert np.allclose(geometry.ground_position(*ROOF, AGL_M, POSE), GROUND)
    assert np.allclose(geometry.image_position(*GROUND, AGL_M, POSE), ROOF)


@pytest.mark.parametrize("name", EXACT)
def test_exact_operation_moves_points_as_the_pose_says(name):
    operation, matrix = EXACT[name]
    roof, ground = centroid(operation(impulse(*ROOF))), centroid(operation(impulse(*GROUND)))
    assert np.allclose(roof + flow_of(transform_pose(POSE, matrix)), ground)


@pytest.mark.parametrize("degrees", [-170, -33, 10, 90, 145])
def test_a_rotation_by_opencv_moves_points_as_the_pose_says(degrees):
    warp = cv2.getRotationMatrix2D((63.5, 47.5), degrees, 1.0)
    roof, ground = (centroid(cv2.warpAffine(blob(*p), warp, (128, 96))) for p in ((60, 50), (66, 42)))
    moved = transform_pose(POSE, geometry.rotation_matrix(math.radians(degrees)))
    assert np.allclose(roof + flow_of(moved), ground, atol=0.05)
    assert np.allclose(transform_pose(POSE, warp[:, :2]).angle_rad, moved.angle_rad)


@pytest.mark.parametrize("zoom", [0.5, 0.75, 1.5, 2.0])
def test_a_resize_by_opencv_moves_points_as_the_pose_says(zoom):
    size = (round(128 * zoom), round(96 * zoom))
    roof, ground = (centroid(cv2.resize(blob(*p), size)) for p in ((60, 50), (66, 42)))
    assert np.allclose(roof + flow_of(transform_pose(POSE, geometry.zoom_matrix(zoom))), ground, atol=0.05)


WRONG = {
    "zoom inverted": (lambda im: cv2.resize(im, (128, 96)), geometry.zoom_matrix(0.5)),
    "zoom forgotten": (lambda im: cv2.resize(im, (128, 96)), geometry.IDENTITY),
    "rot90 clockwise": (lambda im: np.rot90(im, 1), geometry.rot90_matrix(-1)),
    "flip y as flip x": (np.flipud, geometry.FLIP_X),
    "flip y turned by pi": (np.flipud, geometry.FLIP_Y @ geometry.rot90_matrix(2)),
    "transpose as rot90": (np.transpose, geometry.rot90_matrix(1)),
    "plain flip": (np.fliplr, geometry.IDENTITY),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_laws_are_caught(name):
    operation, matrix = WRONG[name]
    roof, ground = centroid(operation(impulse(*ROOF))), centroid(operation(impulse(*GROUND)))
    assert not np.allclose(roof + flow_of(transform_pose(POSE, matrix)), ground, atol=1.0)


# --- directions, angles -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("angle", ANGLES)
def test_an_angle_becomes_a_direction_and_back(angle):
    for value in (angle, np.array([angle]), torch.tensor([angle], dtype=torch.float64)):
        direction = geometry.flow_direction(value)
        assert np.allclose(direction, [math.sin(angle), math.cos(angle)])
        assert angle_gap(geometry.direction_angle(5.0 * direction), angle) < 1e-12


@pytest.mark.parametrize(
    ("angle", "wrapped"), [(0.0, 0.0), (2 * PI, 0.0), (-PI / 2, 3 * PI / 2), (7 * PI, PI), (-1e-20, 0.0)]
)
@pytest.mark.parametrize("kind", KINDS)
def test_wrapped_angles_lie_from_0_to_below_2_pi(angle, wrapped, kind):
    result = np.asarray(geometry.wrap_angle(KINDS[kind](angle)))
    assert np.all((result >= 0) & (result < 2 * PI))
    assert angle_gap(result, wrapped) < 1e-5


def test_angle_error_across_zero():
    assert geometry.angle_error_rad(0.1, 2 * PI - 0.1) == pytest.approx(0.2)
    assert geometry.angle_error_rad(1.0, 1.0 + PI) == pytest.approx(PI)
    error = geometry.angle_error_rad(torch.tensor([0.1, 3.0]), torch.tensor([6.2, 2.0]))
    assert torch.allclose(error, torch.tensor([0.1 + 2 * PI - 6.2, 1.0]), atol=1e-6)


def test_scale_times_gsd_is_the_tangent_of_the_off_nadir_angle():
    assert geometry.off_nadir_rad(1.0, 0.5) == pytest.approx(math.atan(0.5))
    assert geometry.scale_for_off_nadir(geometry.off_nadir_rad(1.3, 0.4), 0.4) == pytest.approx(1.3)


@pytest.mark.parametrize("matrix", [[[1, 0], [0, 2]], [[1, 0.5], [0, 1]], [[0, 0], [0, 0]], [[1, 1], [1, 1]]])
def test_shears_and_uneven_zooms_are_refused(matrix):
    with pytest.raises(ValueError, match="no similarity"):
        transform_pose(POSE, np.array(matrix, dtype=float))


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_an_element_of_d4_and_its_inverse_cancel(library):
    image = np.arange(2 * 3 * 5).reshape(2, 3, 5)
    image = torch.tensor(image) if library == "torch" else image
    for element in geometry.D4_MATRICES:
        back = geometry.apply_d4(geometry.apply_d4(image, element), geometry.d4_inverse(element))
        assert (back == image).all()
        product = geometry.D4_MATRICES[geometry.d4_inverse(element)] @ geometry.D4_MATRICES[element]
        assert np.allclose(product, geometry.IDENTITY)
    with pytest.raises(ValueError, match="r90, r180"):
        geometry.apply_d4(image, "r45")


# --- scale ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_scale_is_fitted_without_overflow_in_any_precision(library, dtype):
    agl_m = np.random.default_rng(1).uniform(0, 100, (2, 200, 200)).astype(dtype)
    mag_px = (agl_m.astype(np.float64) * np.array([0.5, 1.5])[:, None, None]).astype(dtype)
    agl_m[0, 0, :3], mag_px[1, 1, :4] = np.nan, np.nan
    if library == "torch":
        agl_m, mag_px = torch.tensor(agl_m), torch.tensor(mag_px)
    scale = geometry.fit_scale(mag_px, agl_m)
    # Half precision would overflow at 65504: the sum of squares here is near 1e8.
    assert str(scale.dtype).removeprefix("torch.") == ("float64" if dtype == "float64" else "float32")
    tolerance = {"float16": 1e-4, "float32": 1e-5, "float64": 1e-12}[dtype]
    assert np.allclose(scale, [0.5, 1.5], rtol=tolerance)


def test_fit_scale_is_least_squares():
    rng = np.random.default_rng(2)
    agl_m, mag_px = rng.uniform(0, 30, (8, 8)), rng.uniform(0, 30, (8, 8))
    expected = np.linalg.lstsq(agl_m.reshape(-1, 1), mag_px.ravel(), rcond=None)[0][0]
    assert geometry.fit_scale(mag_px, agl_m) == pytest.approx(expected)
    assert geometry.fit_scale(mag_px, np.zeros((8, 8))) == 0
    assert torch.equal(geometry.fit_scale(torch.ones(2, 4, 4), torch.full((2, 4, 4), torch.nan)), torch.zeros(2))


@pytest.mark.parametrize("scale", [0.5, np.float64(0.5), np.array([0.5, 0.5]), torch.tensor([0.5, 0.5])])
def test_magnitude_takes_any_scale(scale):
    agl_m = np.full((2, 3, 3), 3)  # whole numbers must not truncate the scale
    if isinstance(scale, torch.Tensor):
        agl_m = torch.tensor(agl_m, dtype=torch.float32)
    assert np.allclose(geometry.magnitude(agl_m, scale), 1.5)
    assert np.allclose(geometry.magnitude(torch.full((3, 3), 3.0), 0.5), 1.5)
    assert geometry.magnitude(np.full((3, 3), 3, np.float32), 0.5).dtype == np.float32
