"""Shapes of buildings: wedges, cut corners, parapets, and everything on a roof within its outline."""

import cv2
import numpy as np
import pytest

from geopose.synthetic.appearance import TEXTURE_TABLE, noise_fields
from geopose.synthetic.buildings import flat_building
from geopose.synthetic.cities import CITIES
from geopose.synthetic.objects import BOX, Footprint, Roof, Seen, Sketch, roofing
from geopose.synthetic.paint import empty_rasters, paint_boxes


def paint_solids(sketch: Sketch) -> np.ndarray:
    """Heights float32 [400, 400], cells of 0.2 m, of a sketch's boxes around cell (200, 200) of an empty scene."""
    boxes = np.array(sketch.solids, BOX)
    boxes["x"], boxes["y"] = 200 + boxes["x"] / 0.2, 200 + boxes["y"] / 0.2
    rasters = empty_rasters((400, 400))
    paint_boxes(boxes, TEXTURE_TABLE, noise_fields(), 0.2, rasters)
    return rasters.height_m


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
