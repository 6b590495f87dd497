"""AGL labels as lidar gives them: faults, changed objects, no cars."""

import cv2
import numpy as np
import pytest
from scenes import ANGLES_RAD, agreement, oblique_pose

from geopose.synthetic.cities import CITIES
from geopose.synthetic.ground import build_scene
from geopose.synthetic.labels import add_faults
from geopose.synthetic.layout import plan_place
from geopose.synthetic.view import whole_scene_view
from geopose.synthetic.visibility import label_agl, visible_agl


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
def test_labels_made_from_the_image_agl_equal_labels_rendered_from_scratch(angle_rad):
    scene = build_scene(plan_place(CITIES["JAX"], "suburb", 500, 0.4, 0.1, np.random.default_rng(1)))
    assert (scene.label_height_m > scene.height_m).any() and (scene.label_height_m < scene.height_m).any()
    view = whole_scene_view(scene, oblique_pose(angle_rad, 30.0), 300, 280)
    image_agl = visible_agl(scene.height_m, scene.gsd_m, view)
    expected = visible_agl(scene.label_height_m, scene.gsd_m, view)
    changed = 1 - agreement(image_agl, expected, 0.1)
    assert changed > 0.01
    assert 1 - agreement(label_agl(scene, image_agl, view), expected, 0.1) < 0.1 * changed


def test_cars_are_in_the_image_and_not_in_the_label():
    scene = build_scene(plan_place(CITIES["JAX"], "commercial", 1100, 0.18, 0.0, np.random.default_rng(1)))
    cars = scene.material == 7
    assert cars.sum() > 200
    assert np.median(scene.height_m[cars]) == pytest.approx(1.5)
    assert np.median(scene.label_height_m[cars]) == 0.0
    assert (scene.height_m == scene.label_height_m)[~cars].mean() > 0.999
