"""Streets and water: bridges where streets cross it, and nothing else in it."""

import numpy as np
import pytest

from geopose.synthetic.appearance import Material
from geopose.synthetic.cities import CITIES
from geopose.synthetic.ground import Scene, build_scene
from geopose.synthetic.layout import Layout, plan_place
from geopose.synthetic.streets import DECK_M

CELLS, GSD_M = 900, 0.4


@pytest.fixture(scope="module")
def river_places() -> list[tuple[Layout, Scene]]:
    """Four downtowns with water."""
    places = []
    for seed in range(60):
        layout = plan_place(CITIES["JAX"], "downtown", CELLS, GSD_M, 0.0, np.random.default_rng(seed))
        if layout.water is not None and 0.1 < (layout.water.mask > 0).mean() < 0.5:
            places.append((layout, build_scene(layout)))
        if len(places) == 4:
            return places
    raise AssertionError("60 downtowns have less than four with water")


def test_bridges_of_wide_streets_cross_the_water(river_places):
    bridges = 0
    for layout, scene in river_places:
        wet = layout.water.mask == 2
        decks = wet & (scene.height_m >= DECK_M[0]) & (scene.material == Material.HARD)
        bridges += decks.sum() * GSD_M**2 > 400.0
        assert scene.height_m[decks].max(initial=0.0) < DECK_M[1] + 0.2
        assert (scene.material[wet & (scene.height_m < 0.1)] == Material.WATER).mean() > 0.99
    assert bridges >= 2


def test_nothing_but_bridges_stands_in_water(river_places):
    for layout, _ in river_places:
        bridges = (layout.solids["material"] == Material.HARD) & (layout.solids["top_m"] >= DECK_M[0])
        for table in (layout.solids[~bridges], layout.trees):
            row, col = np.rint(table["y"]).astype(int), np.rint(table["x"]).astype(int)
            shown = (np.minimum(row, col) >= 0) & (np.maximum(row, col) < CELLS)
            assert shown.sum() > 30 and (layout.water.mask[row[shown], col[shown]] == 0).all()


def test_what_stands_on_a_building_is_removed_with_it(river_places):
    """Trees on a platform reach its height. Without the platform they would be needles on the ground."""
    slender = [np.mean(layout.trees["height_m"] > 8 * layout.trees["radius_m"]) for layout, _ in river_places]
    assert max(slender) < 0.05
    for layout, scene in river_places:
        row, col = np.rint(layout.trees["y"]).astype(int), np.rint(layout.trees["x"]).astype(int)
        shown = (np.minimum(row, col) >= 0) & (np.maximum(row, col) < CELLS)
        needles = shown & (layout.trees["height_m"] > 8 * layout.trees["radius_m"])
        roofs = scene.height_m > 3.0
        assert all(
            roofs[max(r - 12, 0) : r + 13, max(c - 12, 0) : c + 13].mean() > 0.4
            for r, c in zip(row[needles], col[needles], strict=True)
        )
