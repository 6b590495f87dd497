"""What `make bench` compares gives the same answers on both sides; its mistakes are one line."""

import cProfile

import numpy as np
import pytest
from helpers import assert_user_error, run, write_competition

from geopose.bench.command import Row, format_table, in_turn, rectify_by_sorting, score_in_two_passes, shares
from geopose.inference.rectify import rectify
from geopose.scoring.evaluate import evaluate


def test_both_ways_of_scoring_agree(tmp_path):
    write_competition(tmp_path)
    expected = evaluate(tmp_path / "truth", tmp_path / "train").scores["final_r2"]
    assert score_in_two_passes(tmp_path / "truth", tmp_path / "train") == pytest.approx(expected, abs=1e-9)


def test_both_ways_of_rectifying_agree():
    rng = np.random.default_rng(4)
    rgb = rng.integers(1, 255, (40, 50, 3), dtype=np.uint8)
    agl_m = rng.permutation(2000).reshape(40, 50).astype(np.float32) / 100  # no two heights alike: no ties
    np.testing.assert_array_equal(rectify_by_sorting(rgb, agl_m, 1.3, 0.7), rectify(rgb, agl_m, 1.3, 0.7).rgb)


def test_functions_take_turns():
    calls = []
    times = in_turn(lambda: calls.append("a"), lambda: calls.append("b"), repeats=3)
    assert calls == list("ababab") and len(times) == 2


def test_the_table_names_the_machine():
    table = format_table([Row("crop", "1 ms", "8 ms", 8.0, "8 or more")])
    assert table.startswith("Machine: ") and "| crop | 1 ms | 8 ms | 8 | 8 or more |" in table


def test_shares_of_a_profile_add_up():
    def slow():
        return sum(range(400_000))

    def quick():
        return sum(range(4_000))

    def whole():
        slow(), quick()

    with cProfile.Profile() as profile:
        whole()
    told = shares(profile, "whole", ("slow", "quick"))
    slow_share, quick_share = (int(word.rstrip("%,")) for word in told.split()[1::2])
    assert slow_share > 80 and quick_share < 15


def test_an_unknown_item_is_refused():
    assert_user_error(run("-m", "geopose", "bench", "--only", "stor"), "stor", "store")
