"""Telling rendered from real patches: judged on unseen images, with a picture of the patches."""

import cv2
import numpy as np
import pytest
from helpers import assert_user_error, run

from geopose.report.telltale import judge


def write_images(folder, count, softness_px, seed):
    """Grey noise images of 200 px; a larger softness makes them smoother."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    for index in range(count):
        noise = cv2.GaussianBlur(rng.standard_normal((200, 200, 3)).astype(np.float32), (0, 0), softness_px)
        cv2.imwrite(str(folder / f"{index}.png"), np.clip(128 + 40 * noise / noise.std(), 0, 255).astype(np.uint8))
    return sorted(folder.iterdir())


@pytest.mark.parametrize(("softness_px", "low", "high"), [(1.5, 0.0, 0.7), (4.0, 0.95, 1.0)])
def test_accuracy_is_chance_for_equal_images_and_high_for_others(tmp_path, softness_px, low, high):
    real = write_images(tmp_path / "real", 6, 1.5, seed=1)
    rendered = write_images(tmp_path / "rendered", 6, softness_px, seed=2)
    sheet = tmp_path / "sheet.png"
    result = run("-m", "geopose", "telltale", "--real", *real, "--rendered", *rendered, "--patches", 90, "--out", sheet)
    assert result.returncode == 0, result.stderr
    accuracy = float(result.stdout.split("accuracy ")[1].split(",")[0])
    assert low <= accuracy <= high
    assert cv2.imread(str(sheet)) is not None


def test_every_image_is_judged_by_a_regression_that_has_not_seen_it():
    """Features that name the image, but not its kind, must not help."""
    groups = np.repeat(np.arange(12), 20)
    verdict = judge(np.eye(12)[groups], groups < 6, groups)
    assert verdict.accuracy <= 0.55 and len(verdict.chances) == 240


def test_too_few_images_are_refused():
    result = run("-m", "geopose", "telltale", "--real", "a.tif", "b.tif", "--rendered", *"cdefg")
    assert_user_error(result, "2 real and 5 rendered images; give 5 or more")


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--patches", "0"), "give 1 patch or more"),
        (("--seed", "-1"), "a seed of 0 or more"),
        (("--out", "sheet"), "name a picture, such as sheet.png"),
        (("--out", "town_0.5m"), "name a picture"),
    ],
)
def test_impossible_arguments_are_one_line(flags, told):
    files = ("--real", *"abcde", "--rendered", *"fghij")
    assert_user_error(run("-m", "geopose", "telltale", *files, *flags), told)
