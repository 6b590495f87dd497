"""Images whose pixels are not square on the ground: read on square pixels, predicted, and brought back.

A model knows square pixels. An image in degrees at 60 degrees north has pixels that are twice as high as wide. It is
reduced along its finer axis until both axes agree, so that nothing has to be invented. Heights return to the image's
own grid.
"""

import math

import numpy as np
from rasterio.windows import Window

from geopose.geometry import Pose, stretch_pose
from geopose.inference.ground_size import GroundPixel
from geopose.inference.scene_reader import SceneReader

MASK_PX = 1024  # columns of the image whose bands are read at once for their mask


class SquareReader:
    """Windows of an image on square pixels of gsd_m, the longer side of the image's own pixels.

    shape: height and width in square pixels.
    """

    def __init__(self, reader: SceneReader, pixel: GroundPixel):
        self.reader = reader
        self.gsd_m = max(pixel)
        (height, width), (x_m, y_m) = reader.shape, pixel
        self.shape = (max(1, round(height * y_m / self.gsd_m)), max(1, round(width * x_m / self.gsd_m)))
        # own pixels per square pixel, along rows and columns
        self.factors = (height / self.shape[0], width / self.shape[1])

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """uint8 [3,h,w], means over the own pixels with data, and bool [h,w], True where one of them has data."""
        starts, sizes = (window.row_off, window.col_off), (window.height, window.width)
        edges = [(start + np.arange(n + 1)) * k for start, n, k in zip(starts, sizes, self.factors, strict=True)]
        (top, left), (bottom, right) = ([math.floor(e[0]) for e in edges], [math.ceil(e[-1] - 1e-6) for e in edges])
        image, data = self.reader.read(Window(left, top, right - left, bottom - top))
        rows, columns = edges[0] - top, edges[1] - left
        shares = sum_between(sum_between(data, rows, 0), columns, 1)
        # one band at a time, because the sums are float64
        bands = [sum_between(sum_between(band * data, rows, 0), columns, 1) for band in image]
        has_data = shares > 1e-6
        means = np.stack(bands) / np.where(has_data, shares, 1)
        return np.rint(means).clip(0, 255).astype(np.uint8), has_data

    def restore(self, first_row: int, planes: np.ndarray) -> tuple[int, np.ndarray]:
        """Rows of planes [C,h,w] on square pixels as rows [C,H,W] of the image's own grid, and the first one's number.

        Each own pixel takes the value of the square pixel that holds its centre, or NaN where the image has no data.
        Consecutive rows of square pixels give consecutive rows of the grid.
        """
        height, width = self.reader.shape
        count = planes.shape[1]
        first, end = (math.ceil(row * self.factors[0] - 0.5) for row in (first_row, first_row + count))
        end = min(end, height)
        rows = ((np.arange(first, end) + 0.5) / self.factors[0]).astype(int) - first_row
        columns = ((np.arange(width) + 0.5) / self.factors[1]).astype(int)
        own = planes[:, rows.clip(0, count - 1)[:, None], columns.clip(0, planes.shape[2] - 1)]
        for left in range(0, width, MASK_PX):
            part = own[..., left : left + MASK_PX]
            data = self.reader.has_data(Window(left, first, part.shape[2], end - first))
            np.copyto(part, np.nan, where=~data)
        return first, own

    def restore_pose(self, pose: Pose) -> Pose:
        """A pose on square pixels as a pose in the image's own pixels, with the gsd along the flow."""
        return stretch_pose(pose, x_factor=self.factors[1], y_factor=self.factors[0])


def sum_between(values: np.ndarray, edges: np.ndarray, axis: int) -> np.ndarray:
    """Sums of values [H,W] along an axis between consecutive edges, in pixels, which may cut pixels into parts."""
    size = list(values.shape)
    size[axis] = 1
    totals = np.concatenate([np.zeros(size), np.cumsum(values, axis, dtype=np.float64)], axis)
    whole = np.floor(edges).astype(int).clip(0, values.shape[axis])
    part = (edges - whole).reshape((-1, 1) if axis == 0 else (1, -1))
    after = totals.take((whole + 1).clip(0, values.shape[axis]), axis)
    before = totals.take(whole, axis)
    return np.diff(before + part * (after - before), axis=axis)
