"""The plan of a dataset: its places, their districts, and the poses of their views."""

import numpy as np
import pytest

from geopose import geometry
from geopose.synthetic.cities import CITIES, deal
from geopose.synthetic.dataset import (
    RESAMPLED_SHARE,
    Options,
    gsd_off_nadir,
    plan_places,
    plan_views,
    tiles_per_city,
)


def test_every_test_tile_has_a_place_of_its_own():
    views = [(place.half, len(place.tile_ids)) for place in plan_places(Options(train=36, test=12))]
    assert [n for half, n in views if half == "test"] == [1] * 12
    assert [n for half, n in views if half == "train"] == [3] * 12


def test_cities_have_equal_shares():
    assert tiles_per_city(200) == dict.fromkeys(CITIES, 50)
    for count in range(30):
        counts = tiles_per_city(count)
        assert list(counts) == list(CITIES) and sum(counts.values()) == count
        assert max(counts.values()) - min(counts.values()) <= 1


def test_districts_are_dealt_by_their_weights():
    weights = {"a": 5, "b": 3, "c": 2}
    assert [deal(weights, 10).count(key) for key in "abc"] == [5, 3, 2]
    for count in (1, 4, 7, 23):
        dealt = deal(weights, count)
        assert len(dealt) == count
        assert all(abs(dealt.count(key) - weight / 10 * count) < 1 for key, weight in weights.items())
    assert deal(weights, 23) == deal(weights, 23) != sorted(deal(weights, 23))


def test_a_share_of_downtown_replaces_each_citys_own():
    def share_of_downtown(options: Options) -> float:
        return float(np.mean([place.district == "downtown" for place in plan_places(options)]))

    assert share_of_downtown(Options(train=480, test=40, downtown_share=0.5)) == pytest.approx(0.5, abs=0.01)
    assert share_of_downtown(Options(train=480, test=40)) < 0.25
    others = {place.district for place in plan_places(Options(train=480, test=40, downtown_share=0.5))}
    assert others == {place.district for place in plan_places(Options(train=480, test=40))}


def test_views_span_the_real_ranges():
    options = Options(train=400, test=40, size=512)
    views = [view for place in plan_places(options) for view in plan_views(place, options)]
    gsd_m = np.array([view.pose.gsd_m for view in views])
    angle_rad = np.array([view.pose.angle_rad for view in views])
    off_nadir_deg = np.degrees(geometry.off_nadir_rad(np.array([v.pose.scale_px_per_m for v in views]), gsd_m))
    assert 0.31 <= gsd_m.min() < 0.33 and 0.5 < gsd_m.max() <= 0.59
    assert 4.0 <= off_nadir_deg.min() < 6 and 34 < off_nadir_deg.max() <= 36.01
    assert angle_rad.min() < 0.1 and angle_rad.max() > 6.1


@pytest.mark.parametrize("off_nadir_deg", [0.0, 17.0, 30.0])
def test_gsd_grows_off_nadir_as_distance_and_slanted_pixels_say(off_nadir_deg):
    """Over flat ground: across the line of sight pixels grow with the distance, along it by 1 / cos more."""
    orbit_km, angle_rad = 600.0, np.radians(off_nadir_deg)
    distance_km = np.hypot(orbit_km, orbit_km * np.tan(angle_rad))
    across_m = 0.31 * distance_km / orbit_km
    along_m = across_m / np.cos(angle_rad)
    assert gsd_off_nadir(0.31, np.tan(angle_rad)) == pytest.approx(np.sqrt(across_m * along_m))


def test_scale_is_nearly_a_function_of_gsd_and_city():
    """As in the challenge's own data: a curve through a city's tiles leaves little of most scales unexplained."""
    places = plan_places(Options(train=800, test=0))
    for city in ("ARG", "ATL"):
        poses = [view.pose for place in places if place.city == city for view in plan_views(place, Options())]
        gsd_m, scale = (np.array([getattr(pose, key) for pose in poses]) for key in ("gsd_m", "scale_px_per_m"))
        left = scale - np.polyval(np.polyfit(gsd_m, scale, 4), gsd_m)
        as_recorded = np.abs(left) < np.quantile(np.abs(left), 1.0 - 1.2 * RESAMPLED_SHARE)
        assert left[as_recorded].var() < 0.05 * scale.var() < 0.6 * left.var()
