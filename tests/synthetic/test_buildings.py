"""Shapes of buildings: wedges, cut corners, parapets, and everything on a roof within its outline."""

import cv2
import numpy as np
import pytest

from geopose.synthetic.appearance import TEXTURE_TABLE, Material, noise_fields
from geopose.synthetic.buildings import flat_building
from geopose.synthetic.cities import CITIES
from geopose.synthetic.complexes import platform
from geopose.synthetic.objects import BOX, TREE, Footprint, Roof, Seen, Sketch, Surface, roofing
from geopose.synthetic.paint import Rasters, empty_rasters, paint_boxes


def paint_solids(sketch: Sketch) -> np.ndarray:
    """Heights float32 [400, 400], cells of 0.2 m, of a sketch's boxes around cell (200, 200) of an empty scene."""
    return painted(sketch).height_m


def painted(sketch: Sketch) -> Rasters:
    """Rasters [400, 400], cells of 0.2 m, of a sketch's boxes around cell (200, 200) of an empty scene."""
    boxes = np.array(sketch.solids, BOX)
    boxes["x"], boxes["y"] = 200 + boxes["x"] / 0.2, 200 + boxes["y"] / 0.2
    rasters = empty_rasters((400, 400))
    paint_boxes(boxes, TEXTURE_TABLE, noise_fields(), 0.2, rasters)
    return rasters


@pytest.mark.parametrize(("taper", "cut_m", "area_m2"), [(0, 0, 1200), (0.5, 0, 900), (0, 8, 1072), (0.4, 6, None)])
@pytest.mark.parametrize("axis", [(1.0, 0.0), (0.6, 0.8)])
def test_wedges_and_cut_corners_have_their_area_and_a_closed_parapet(taper, cut_m, area_m2, axis):
    sketch = Sketch(np.eye(2), 100.0)
    sketch.site(0, 0)
    footprint = Footprint(0, 0, 20.0, 15.0, axis, taper, cut_m)
    sketch.solid(footprint, 12.0, roofing((150, 150, 150)), Roof.PARAPET, 1.0)
    height_m = paint_solids(sketch)
    if area_m2:
        assert (height_m > 6.0).sum() * 0.04 == pytest.approx(area_m2, rel=0.02)
    roof = height_m == 12.0
    around = cv2.dilate(roof.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert roof.sum() > 1000
    assert (height_m[around & ~roof] > 12.0).all()
    assert height_m.max() == 13.0


def test_a_cell_shows_its_highest_box_and_the_last_paint_on_it():
    sketch = Sketch(np.eye(2), 100.0)
    sketch.site(0, 0)
    sketch.mark(Footprint(0, 0, 35.0, 35.0), Surface((90, 90, 90), material=Material.LAWN))
    sketch.mark(Footprint(0, 0, 25.0, 25.0), Surface((90, 90, 90), material=Material.HARD))
    sketch.solid(Footprint(0, 0, 15.0, 15.0), 10.0, roofing((90, 90, 90)))
    sketch.solid(Footprint(0, 0, 20.0, 10.0), 5.0, Surface((90, 90, 90), material=Material.CAR))  # 5 m stand out
    sketch.mark(Footprint(0, 0, 4.0, 4.0), Surface((90, 90, 90), material=Material.SOIL))
    rasters = painted(sketch)
    along = rasters.material[200, 200 + 5 * np.array([0, 8, 18, 23, 30])]  # cells of 0.2 m, from the middle outwards
    assert along.tolist() == [Material.SOIL, Material.ROOF, Material.CAR, Material.HARD, Material.LAWN]
    assert rasters.height_m[200, [200, 240, 290, 315]].tolist() == [10.0, 10.0, 5.0, 0.0]


def test_everything_on_a_roof_stays_within_its_outline():
    shapes = 0
    for seed in range(40):
        sketch = Sketch(np.eye(2), 100.0)
        sketch.site(0, 0)
        footprint = Footprint(0.0, 0.0, 22.0, 18.0)
        flat_building(sketch, np.random.default_rng(seed), CITIES["ATL"], footprint, 15.0, Seen.BOTH)
        base = np.array(sketch.solids[:1], BOX)
        shapes += bool(base["taper"][0] or base["cut_m"][0])
        everything = paint_solids(sketch)
        sketch.solids = sketch.solids[:1]
        outside = cv2.dilate((paint_solids(sketch) > 0).astype(np.uint8), np.ones((3, 3), np.uint8)) == 0
        assert (everything[outside] > 0).mean() == 0, seed
    assert shapes > 8


def test_the_image_shows_no_roof_marks_of_what_only_the_label_has():
    for seen, marks in ((Seen.BOTH, 1), (Seen.IMAGE_ONLY, 1), (Seen.LABEL_ONLY, 0)):
        sketch = Sketch(np.eye(2), 100.0)
        sketch.site(0, 0)
        sketch.mark(Footprint(0, 0, 5.0, 5.0), Surface((90, 90, 90)), seen)
        assert len(sketch.solids) == marks


def test_a_platform_is_one_low_roof_with_squares_trees_and_halls_on_it():
    heights_m, roofs, trees = [], 0, 0
    for seed in range(30):
        sketch = Sketch(np.eye(2), 100.0)
        sketch.site(0, 0)
        platform(sketch, np.random.default_rng(seed), CITIES["JAX"], Footprint(0, 0, 35.0, 30.0))
        rasters = painted(sketch)
        top_m = np.array(sketch.solids, BOX)["top_m"][0]
        heights_m.append(top_m)
        roof = rasters.height_m >= top_m
        assert roof.sum() * 0.04 > 0.6 * 70 * 60  # wedges, cut corners and round ends make it smaller
        row, col = np.nonzero(rasters.height_m)
        assert abs(row - 200).max() * 0.2 < 30.3 and abs(col - 200).max() * 0.2 < 35.3
        assert (rasters.height_m[roof] > top_m + 2.0).mean() > 0.005  # halls
        roofs += len(np.unique(rasters.albedo[rasters.height_m == top_m] // 16, axis=0)) > 3
        trees += len(sketch.trees)
        assert all(top_m < height_m < top_m + 6.0 for height_m in np.array(sketch.trees, TREE)["height_m"])
    assert min(heights_m) < 6.0 and max(heights_m) > 12.0
    assert roofs > 15 and trees > 30
