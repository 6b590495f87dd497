"""Height stretch, an augmentation: all heights become k times as large, and the image is warped to match.

A pixel at p with height h moves to p - (k - 1) * h * scale * d. Moving pixels forward would leave cracks. Instead, each
output pixel searches back along the flow, from far to near. It takes the first point u px away that moves by exactly u,
because this is the tallest surface that lands on the output pixel. On a surface that rises in steps (a facade), one
sample may move by less than its distance and the next one by more. Then the surface lands between the two samples.
Where nothing lands, a building that is lower now hid the ground before. Such holes take the colour of the ground next
to them, and their height is unknown.
"""

import cv2
import numpy as np
from numba import njit

from geopose.geometry import Pose, flow_direction

BLOCK_PX = 4
STEP_PX = 1 / 3  # a step of 1/2 would fall between two pixels, and rounding would always choose the same side
JUMP_PX = 2.5  # if moves differ by more from one step to the next, they belong to two surfaces, not to one that rises


def stretch_heights(rgb: np.ndarray, agl_m: np.ndarray, pose: Pose, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 [H,W,3] and heights float32 [H,W] (metres, NaN unknown) of a scene that is `factor` times as tall.

    Angle, scale and gsd do not change. Heights and flow magnitudes are multiplied by factor. An unknown pixel moves
    like the lower of the known pixels next to it, and stays unknown. Raises ValueError for a factor that is not
    positive.
    """
    if not factor > 0:
        raise ValueError(f"a height stretch of {factor}; it must be positive")
    if factor == 1:
        return rgb, agl_m
    move_px = np.maximum(_filled(agl_m), 0) * np.float32(abs(factor - 1) * pose.scale_px_per_m)
    step = flow_direction(pose.angle_rad) * (1.0 if factor > 1 else -1.0)
    # A pixel searches no farther than the largest move that lands near it. The warp can tear a surface open, and its
    # parts then land next to its pixels, so the neighbouring blocks count too.
    reach_px = cv2.dilate(_largest_landing(move_px, step[0], step[1]), np.ones((3, 3), np.uint8))
    return _look_back(rgb, agl_m, move_px, reach_px, step[0], step[1], np.float32(factor))


@njit(cache=True)
def _filled(agl_m):
    """Heights in which each unknown run of a row has the lower of the heights at its two ends."""
    filled_m = agl_m.copy()
    height, width = agl_m.shape
    for y in range(height):
        x = 0
        while x < width:
            if not np.isnan(agl_m[y, x]):
                x += 1
                continue
            end = x
            while end < width and np.isnan(agl_m[y, end]):
                end += 1
            left = agl_m[y, x - 1] if x > 0 else np.float32(np.inf)
            right = agl_m[y, end] if end < width else np.float32(np.inf)
            lower = min(left, right)
            filled_m[y, x:end] = lower if np.isfinite(lower) else 0.0
            x = end
    return filled_m


@njit(cache=True)
def _largest_landing(move_px, step_x, step_y):
    """Largest move in px of the pixels that land in each block of the output."""
    height, width = move_px.shape
    largest_px = np.zeros(((height - 1) // BLOCK_PX + 1, (width - 1) // BLOCK_PX + 1), np.float32)
    for y in range(height):
        for x in range(width):
            move = move_px[y, x]
            to_x, to_y = int(x - move * step_x + 0.5), int(y - move * step_y + 0.5)
            if 0 <= to_x < width and 0 <= to_y < height:
                row, column = to_y // BLOCK_PX, to_x // BLOCK_PX
                largest_px[row, column] = max(largest_px[row, column], move)
    return largest_px


@njit(cache=True)
def _look_back(rgb, agl_m, move_px, reach_px, step_x, step_y, factor):
    height, width = agl_m.shape
    new_rgb = np.empty_like(rgb)
    new_agl_m = np.empty_like(agl_m)
    for y in range(height):
        for x in range(width):
            row, column, landed = y, x, False
            excess_px = -np.inf
            for step in range(int(reach_px[y // BLOCK_PX, x // BLOCK_PX] / STEP_PX) + 1, -1, -1):
                u = step * STEP_PX
                last_column, last_row, last_px = column, row, excess_px
                column, row = int(np.floor(x + u * step_x + 0.5)), int(np.floor(y + u * step_y + 0.5))
                if 0 <= column < width and 0 <= row < height:
                    excess_px = move_px[row, column] - u
                    passed = last_px < 0.0 < excess_px and excess_px - last_px <= JUMP_PX
                    landed = passed or abs(excess_px) <= STEP_PX / 2
                    if passed and -last_px < excess_px:
                        column, row = last_column, last_row
                if landed:
                    break
            u = 0.0
            while not landed and move_px[row, column] > u:  # a hole: continue to the ground behind the former surface
                u += STEP_PX
                next_column, next_row = int(np.floor(x + u * step_x + 0.5)), int(np.floor(y + u * step_y + 0.5))
                if not (0 <= next_column < width and 0 <= next_row < height):
                    break
                row, column = next_row, next_column
            new_agl_m[y, x] = agl_m[row, column] * factor if landed else np.nan
            for band in range(3):
                new_rgb[y, x, band] = rgb[row, column, band]
    return new_rgb, new_agl_m
