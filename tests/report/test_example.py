"""The first picture of the README, on a small place."""

import cv2
import numpy as np
from helpers import RELEASED

from geopose.bench.lean import places_of_test_half
from geopose.inference.rectify import Rectified
from geopose.report import example
from geopose.report.panel import plt
from geopose.synthetic.dataset import Options

SMALL = Options(train=0, test=4, size=128, seed=12)


def test_the_example_shows_image_heights_truth_and_relief(monkeypatch, tmp_path):
    monkeypatch.setattr(example, "TILES", SMALL)
    monkeypatch.setattr(example, "TILE", places_of_test_half(SMALL)[0].tile_ids[0])
    example.draw_example(tmp_path / "example.png", RELEASED)
    picture = cv2.imread(str(tmp_path / "example.png"))
    rows, columns = (np.array_split(np.arange(side), parts) for side, parts in zip(picture.shape, (2, 3), strict=False))
    for row in rows:
        for column in columns:
            assert picture[np.ix_(row, column)].std() > 10, "a panel is empty"


def test_the_relief_puts_ground_without_a_height_at_zero():
    rgb, agl_m = np.full((30, 30, 3), 90, np.uint8), np.zeros((30, 30), np.float32)
    agl_m[10:20, 10:20] = np.nan
    ax = plt.figure().add_subplot(projection="3d")
    agl_m[0, 0] = 12.0
    example.draw_relief(ax, Rectified(rgb, agl_m, np.isnan(agl_m)), 0.5)
    low, high = ax.get_zlim()
    assert low <= 0 <= 12 <= high < 20
    plt.close("all")
