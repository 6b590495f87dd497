"""Fixtures of the tests of the synthetic cities."""

import numpy as np
import pytest

from geopose.synthetic.cities import CITIES
from geopose.synthetic.ground import Scene, build_scene
from geopose.synthetic.layout import plan_place


@pytest.fixture(scope="session")
def city_scene() -> Scene:
    """A place with houses, trees, roads and larger buildings, all too low to lean out of the margin around a view."""
    scene = build_scene(plan_place(CITIES["ATL"], "midtown", 720, 0.2, 0.0, np.random.default_rng(47)))
    scene.buildings["mixed"], scene.buildings["blank"] = 0.0, 0  # a mirrored wall then looks the same
    assert 25 < scene.height_m.max() < 35
    return scene
