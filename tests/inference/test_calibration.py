"""Calibration: factors are least squares, kept where unseen folds gain, and applied to both height and scale."""

import numpy as np
import pandas as pd
import pytest

from geopose.cli import UserError
from geopose.geometry import vertical_flow
from geopose.inference.calibration import Calibration, Factors, encode_calibration, fit_calibration, read_calibration
from geopose.inference.oof import calibration_sums
from geopose.io.poses import VflowLabel
from geopose.scoring.metrics import height_sums


def tiles_of(rng, city, folds, agl_bias, scale_bias=1.0):
    """Sums of noisy tiles whose heights are predicted times agl_bias and scales times scale_bias."""
    rows = []
    for fold in folds:
        true_m = rng.uniform(0, 30, (16, 16))
        true_m[0, :4] = np.nan
        pred_m = true_m * agl_bias + rng.normal(0, 0.5, true_m.shape)
        pred_m[0, :4] = 7
        sums = calibration_sums(height_sums(pred_m, true_m), VflowLabel(1.2 * scale_bias, 1.0), VflowLabel(1.2, 1.02))
        rows.append({"city": city, "fold": fold, **sums})
    return rows


def test_sums_are_those_of_the_pixels():
    rng = np.random.default_rng(0)
    true_m, pred_m = rng.uniform(0, 30, (2, 8, 9))
    true_m[0, :3] = np.nan
    sums = calibration_sums(height_sums(pred_m, true_m), VflowLabel(1.5, 0.3), VflowLabel(1.1, 0.7))
    known = ~np.isnan(true_m)
    p, t = pred_m[known], true_m[known]
    flow_p = vertical_flow(pred_m, 1.5, 0.3)[:, known]
    flow_t = vertical_flow(true_m, 1.1, 0.7)[:, known]
    expected = [p @ p, p @ t, t @ t, (flow_p**2).sum(), (flow_p * flow_t).sum(), (flow_t**2).sum()]
    np.testing.assert_allclose(list(sums.values()), expected, rtol=1e-9)


def test_a_biased_city_is_corrected_and_an_exact_one_is_not_changed():
    rng = np.random.default_rng(1)
    tiles = pd.DataFrame(tiles_of(rng, "LOW", range(5), 0.8) + tiles_of(rng, "TRUE", range(5), 1.0))
    calibration, report = fit_calibration(tiles)
    factors = calibration.factors("LOW")
    assert factors.agl == pytest.approx(1 / 0.8, rel=0.01)
    assert factors.scale == pytest.approx(1.0, rel=0.01)  # flow was as low as the heights: the scale was right
    low, true = report.set_index("city").loc[["LOW", "TRUE"]].itertuples()
    assert low.agl_kept
    assert low.agl_error_change < -0.9
    assert calibration.factors("TRUE").agl == pytest.approx(1.0, abs=0.01)
    assert abs(true.agl_error_change) < 0.05
    assert calibration.factors("UNSEEN") == Factors()


def test_a_wrong_scale_is_corrected_independently_of_the_heights():
    tiles = pd.DataFrame(tiles_of(np.random.default_rng(2), "LEAN", range(4), 1.0, scale_bias=0.7))
    calibration, _ = fit_calibration(tiles)
    assert calibration.factors("LEAN").agl == pytest.approx(1.0, abs=0.01)
    assert calibration.factors("LEAN").scale == pytest.approx(1 / 0.7, rel=0.02)


def test_a_factor_that_does_not_carry_to_other_folds_is_left_out():
    """Half of the folds are predicted too low and half too high: a factor fitted on the others makes a fold worse."""
    rng = np.random.default_rng(3)
    tiles = tiles_of(rng, "MIXED", [0], 0.8) + tiles_of(rng, "MIXED", [1], 1.25)
    calibration, report = fit_calibration(pd.DataFrame(tiles))
    assert calibration.factors("MIXED") == Factors()
    assert not report.agl_kept[0] and not report.flow_kept[0]
    assert report.agl_error_change[0] > 0


def test_files_round_trip_and_faults_are_named(tmp_path):
    path = tmp_path / "calibration.json"
    calibration = Calibration({"ARG": Factors(1.1, 0.95)})
    path.write_bytes(encode_calibration(calibration))
    assert read_calibration(path) == calibration
    assert read_calibration(None) == Calibration()
    for text in ("{", '{"ARG": 1}', '{"ARG": {"agl": "x", "scale": 1}}'):
        path.write_text(text)
        with pytest.raises(UserError, match=r"calibration.json: not a calibration"):
            read_calibration(path)
    with pytest.raises(UserError, match="make oof"):
        read_calibration(tmp_path / "none.json")
