"""Height stretch: the same scene with everything k times as tall, its image warped to match (an augmentation).

A pixel of height h seen at p moves to p - (k - 1) * h * scale * d. Instead of throwing pixels forward, which leaves
cracks, every output pixel looks back along the flow for the tallest surface that lands on it: the first point u px
away, from far to near, whose height asks for a move of u or more. A surface that rises step by step (a facade) is met
between two samples; where the height jumps past what was asked for, nothing of the input lands: ground that the
shrunken building hid before. Such holes take the colour of the ground beside them, and their height is unknown.
"""

import numpy as np
from numba import njit

from geopose.geometry import Pose, flow_direction

BLOCK_PX = 16
STEP_PX = 0.5
JUMP_PX = 1.5  # a surface that overshoots the asked move by more than this is a jump, not a slope


def stretch_heights(rgb: np.ndarray, agl_m: np.ndarray, pose: Pose, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 [H,W,3] and heights float32 [H,W] (metres, NaN unknown) of the scene `factor` times as tall.

    Angle, scale and gsd stay; heights and flow magnitudes are multiplied by factor. Unknown pixels stay in place and
    unknown, and hide nothing. What would come from outside the image is unknown.
    """
    if factor <= 0:
        raise ValueError(f"a height stretch of {factor}; it must be positive")
    if factor == 1:
        return rgb, agl_m
    known_m = np.nan_to_num(agl_m, nan=0.0)
    move_px_per_m = abs(factor - 1) * pose.scale_px_per_m
    step = flow_direction(pose.angle_rad) * (1.0 if factor > 1 else -1.0)
    reach_px = _local_reach(known_m * np.float32(move_px_per_m), step[0], step[1])
    return _look_back(rgb, agl_m, known_m, reach_px, move_px_per_m, step[0], step[1], factor)


@njit(cache=True)
def _local_reach(move_px, step_x, step_y):
    """How far the pixels of each block have to look, px: the largest move among all that could land in the block."""
    height, width = move_px.shape
    rows, columns = (height - 1) // BLOCK_PX + 1, (width - 1) // BLOCK_PX + 1
    largest = np.zeros((rows, columns), np.float32)
    for y in range(height):
        for x in range(width):
            row, column = y // BLOCK_PX, x // BLOCK_PX
            largest[row, column] = max(largest[row, column], move_px[y, x])
    reach = np.zeros((rows, columns), np.float32)
    for row in range(rows):
        for column in range(columns):
            for step in range(int(largest[row, column] / BLOCK_PX) + 2):  # every block its surfaces may pass or reach
                middle_row = row - int(np.rint(step * step_y))
                middle_column = column - int(np.rint(step * step_x))
                for r in range(max(middle_row - 1, 0), min(middle_row + 2, rows)):
                    for c in range(max(middle_column - 1, 0), min(middle_column + 2, columns)):
                        reach[r, c] = max(reach[r, c], largest[row, column])
    return reach


@njit(cache=True)
def _look_back(rgb, agl_m, known_m, reach_px, move_px_per_m, step_x, step_y, factor):
    height, width = agl_m.shape
    new_rgb = np.empty_like(rgb)
    new_agl_m = np.empty_like(agl_m)
    for y in range(height):
        for x in range(width):
            u = np.ceil(reach_px[y // BLOCK_PX, x // BLOCK_PX] / STEP_PX) * STEP_PX
            source_x, source_y, excess_px, met = x, y, 0.0, False
            low_x, low_y, low_m = x, y, np.inf  # the lowest ground passed on the way, to paint holes with
            while u >= 0.0:
                column, row = int(np.floor(x + u * step_x + 0.5)), int(np.floor(y + u * step_y + 0.5))
                if 0 <= column < width and 0 <= row < height:
                    excess_px = known_m[row, column] * move_px_per_m - u
                    if excess_px >= 0.0:
                        source_x, source_y, met = column, row, True
                        break
                    if known_m[row, column] <= low_m:
                        low_x, low_y, low_m = column, row, known_m[row, column]
                u -= STEP_PX
            if not met or excess_px > JUMP_PX:
                if low_m == np.inf:
                    low_x, low_y = source_x, source_y
                new_agl_m[y, x] = np.nan
                for band in range(3):
                    new_rgb[y, x, band] = rgb[low_y, low_x, band]
            else:
                new_agl_m[y, x] = agl_m[source_y, source_x] * factor
                for band in range(3):
                    new_rgb[y, x, band] = rgb[source_y, source_x, band]
    return new_rgb, new_agl_m
