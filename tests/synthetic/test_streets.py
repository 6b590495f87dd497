"""Streets: the pieces they consist of, and bridges where they cross water."""

import numpy as np
import pytest

from geopose.synthetic.appearance import Material
from geopose.synthetic.cities import CITIES
from geopose.synthetic.ground import build_scene
from geopose.synthetic.layout import plan_place
from geopose.synthetic.streets import DECK_M


@pytest.fixture(scope="module")
def river_scenes():
    """Three downtowns with water, each as (layout, scene); cells of 0.2 m."""
    scenes = []
    for seed in range(40):
        layout = plan_place(CITIES["JAX"], "downtown", 900, 0.2, 0.0, np.random.default_rng(seed))
        if layout.water is not None and 0.1 < (layout.water.mask == 2).mean() < 0.5:
            scenes.append((layout, build_scene(layout)))
        if len(scenes) == 3:
            return scenes
    raise AssertionError("40 downtowns have less than three with water")


def test_bridges_cross_the_water(river_scenes):
    bridges = 0
    for layout, scene in river_scenes:
        wet = layout.water.mask == 2
        decks = wet & (scene.height_m >= DECK_M[0]) & (scene.material == Material.HARD)
        bridges += decks.sum() * 0.04 > 400.0
        assert scene.height_m[decks].max(initial=0.0) <= DECK_M[1] + 0.1
        assert (scene.material[wet & (scene.height_m < 0.1)] == Material.WATER).mean() > 0.99
    assert bridges >= 2


def test_nothing_but_bridges_stands_in_the_water(river_scenes):
    for layout, scene in river_scenes:
        middle = layout.solids[layout.solids["material"] == Material.ROOF]
        row, col = np.rint(middle["y"]).astype(int), np.rint(middle["x"]).astype(int)
        shown = (row >= 0) & (col >= 0) & (row < 900) & (col < 900)
        assert (layout.water.mask[row[shown], col[shown]] == 0).all()
        assert (scene.label_height_m >= 0).all()
