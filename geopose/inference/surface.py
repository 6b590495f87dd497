"""Heights moved to the ground as a surface: occlusions stay whole, and sloping surfaces do not tear.

Along the flow, two neighbouring pixels land further apart where heights rise. The stretch is the distance of their
landing places divided by their distance in the image. Up to STRETCHED they belong to one surface. Beyond it, one of
them belongs to something that stands in front of the other, and the ground between their landing places is hidden.

Predicted edges are soft: a step of height is spread over several pixels, which would land as stripes with gaps between
them. `settle` gives each pixel of such a ramp the height of its lower or upper end, whichever is nearer, so that one
hidden region is left between the two. `land` moves the pixels. `close_cracks` closes gaps of one pixel.
"""

import cv2
import numpy as np
from numba import njit

from geopose.geometry import flow_direction

# Steps along the flow that are stretched more than this are discontinuities. At 27 degrees off nadir, a roof that falls
# by 40 degrees away from the satellite is stretched by 1 / (1 - tan 40 tan 27) = 1.75.
STRETCHED = 1.75
RISING = 1.25  # a ramp around a discontinuity ends where its steps are stretched less than this
RAMP_PX = 32  # longest ramp to either side of a pixel
SMOOTHED_PX = 5  # side of the median that straightens the edges of settled ramps
REACH_PX = RAMP_PX + SMOOTHED_PX  # what lands on a pixel is decided by image pixels this close to those that land on it
HIDDEN_M = np.float32(-np.inf)
UNKNOWN_M = np.float32(-1e30)  # finite, so that pixels of unknown height cover what is hidden


def settle(agl_m: np.ndarray, scale_px_per_m: float, angle_rad: float) -> np.ndarray:
    """Heights float32 [H,W] metres (NaN unknown) with each ramp along the flow replaced by one step."""
    step_px, flat_m = _along_flow(scale_px_per_m, angle_rad)
    places = np.arange(RAMP_PX + 1)[:, None] * step_px
    before = np.floor(places).astype(np.int64)
    shares = (places - before).sum(axis=1).astype(np.float32)  # one of the two coordinates is whole
    limits_m = np.float32((RISING - 1) * flat_m), np.float32((STRETCHED - 1) * flat_m)
    settled_m, changed = _settle(agl_m, before, np.ceil(places).astype(np.int64), shares, *limits_m)
    known = ~np.isnan(agl_m)
    around = cv2.dilate(changed, np.ones((3, 3), np.uint8)) * known
    return cv2.copyTo(cv2.medianBlur(np.where(known, settled_m, 0), SMOOTHED_PX), around, settled_m)


def _along_flow(scale_px_per_m: float, angle_rad: float) -> tuple[np.ndarray, float]:
    """The step (x, y) to the next column or row along the flow, and the rise that doubles its length."""
    direction = flow_direction(angle_rad)
    step_px = direction / np.abs(direction).max()
    return step_px, float(np.hypot(*step_px)) / max(scale_px_per_m, 1e-9)


@njit(cache=True)
def _settle(agl_m, before, after, shares, rising_m, stretched_m):
    """before, after int64 [RAMP_PX + 1,2] (x, y): offsets of the two pixels around each step along the flow; shares
    [RAMP_PX + 1]: how much of the second of them belongs to the step. Returns heights, and 1 where they changed."""
    height, width = agl_m.shape
    settled_m, changed = agl_m.copy(), np.zeros((height, width), np.uint8)
    (right, down), (far_right, far_down), share = before[1], after[1], shares[1]
    on_ramp = np.empty(max(width - 2, 0), np.bool_)
    for y in range(1, height - 1):
        row_m = agl_m[y, 1 : width - 1]
        up_m, far_up_m = _row(agl_m, y + down, right), _row(agl_m, y + far_down, far_right)
        down_m, far_down_m = _row(agl_m, y - down, -right), _row(agl_m, y - far_down, -far_right)
        for i in range(len(on_ramp)):  # without branches, so that the compiler can take many pixels at a time
            rises = _mix(up_m[i], far_up_m[i], share) - row_m[i] > rising_m
            on_ramp[i] = rises & (row_m[i] - _mix(down_m[i], far_down_m[i], share) > rising_m)
        for x in range(1, width - 1):
            if not on_ramp[x - 1]:
                continue
            h = agl_m[y, x]
            upper_m, largest_up_m = _end(agl_m, x, y, before, after, shares, rising_m, 1)
            lower_m, largest_down_m = _end(agl_m, x, y, before, after, shares, rising_m, -1)
            if max(largest_up_m, largest_down_m) > stretched_m:
                settled_m[y, x] = upper_m if upper_m - h < h - lower_m else lower_m
                changed[y, x] = settled_m[y, x] != h
    return settled_m, changed


@njit(cache=True)
def _row(agl_m, y, right):
    """What is right of the inner pixels of a row by -1, 0 or 1 pixels."""
    return agl_m[y, 1 + right : agl_m.shape[1] - 1 + right]


@njit(cache=True)
def _mix(first, second, share):
    return first + share * (second - first)


@njit(cache=True)
def _end(agl_m, x, y, before, after, shares, rising_m, way):
    """Height at the end of a ramp, up it (way 1) or down it (-1) from (x, y), and its largest rise on the way."""
    last_m, largest_m = agl_m[y, x], np.float32(0.0)
    height, width = agl_m.shape
    for step in range(1, len(shares)):
        column, row = x + way * before[step, 0], y + way * before[step, 1]
        far_column, far_row = x + way * after[step, 0], y + way * after[step, 1]
        if min(column, far_column, row, far_row) < 0 or max(column, far_column) >= width or max(row, far_row) >= height:
            break
        next_m = _mix(agl_m[row, column], agl_m[far_row, far_column], shares[step])
        rise_m = (next_m - last_m) * way
        if not rise_m > rising_m:  # also where the height is unknown
            break
        last_m, largest_m = next_m, max(largest_m, rise_m)
    return last_m, largest_m


def land(agl_m: np.ndarray, scale_px_per_m: float, angle_rad: float) -> np.ndarray:
    """Height of each ground pixel float32 [H,W]: the tallest that lands on it, UNKNOWN_M, or HIDDEN_M if none does.

    agl_m float32 [H,W] metres; a pixel of height NaN does not move, and any known height covers it. Where a surface
    slopes, the middle between two pixels lands too, so that what is below it does not show between them.
    """
    step_px, flat_m = _along_flow(scale_px_per_m, angle_rad)
    dx, dy = flow_direction(angle_rad) * scale_px_per_m
    return _land(agl_m, dx, dy, np.rint(step_px).astype(np.int64), np.float32((STRETCHED - 1) * flat_m))


@njit(cache=True)
def _land(agl_m, dx_px_per_m, dy_px_per_m, offset, stretched_m):
    height, width = agl_m.shape
    right, down = offset
    ground_m = np.full((height, width), HIDDEN_M, np.float32)
    for y in range(height):
        for x in range(width):
            h = agl_m[y, x]
            if np.isnan(h):
                ground_m[y, x] = max(ground_m[y, x], UNKNOWN_M)
                continue
            _put(ground_m, x + h * dx_px_per_m, y + h * dy_px_per_m, h)
            if not (0 <= x + right < width and 0 <= y + down < height):
                continue
            rise_m = agl_m[y + down, x + right] - h
            if 0 < rise_m <= stretched_m:
                h += rise_m / 2
                _put(ground_m, x + right / 2 + h * dx_px_per_m, y + down / 2 + h * dy_px_per_m, h)
    return ground_m


@njit(cache=True)
def _put(ground_m, x, y, h):
    """Keep the height h at the pixel nearest to (x, y) if it is the tallest there."""
    column, row = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
    if 0 <= column < ground_m.shape[1] and 0 <= row < ground_m.shape[0]:
        ground_m[row, column] = max(ground_m[row, column], h)


def sample(image: np.ndarray, ground_m: np.ndarray, dx_px_per_m: float, dy_px_per_m: float) -> np.ndarray:
    """The image uint8 [H,W,C] where the height of each ground pixel appears in it, interpolated; 0 where hidden."""
    return _sample(image, ground_m, dx_px_per_m, dy_px_per_m, tuple(range(image.shape[2])))


@njit(cache=True)
def _sample(image, ground_m, dx_px_per_m, dy_px_per_m, bands):
    """bands: their numbers, as a tuple. Its length is known to the compiler, so it unrolls the innermost loop."""
    height, width = ground_m.shape
    ground = np.zeros(image.shape, np.uint8)
    for y in range(height):
        for x in range(width):
            h = ground_m[y, x]
            if h == HIDDEN_M:
                continue
            shift_m = np.float32(0.0) if h == UNKNOWN_M else h
            offset_x, offset_y = -shift_m * dx_px_per_m, -shift_m * dy_px_per_m
            floor_x, floor_y = int(np.floor(offset_x)), int(np.floor(offset_y))
            # The share of the next pixel. It depends on the offset alone, so that a window gives what the whole gives.
            right, below = np.float32(offset_x - floor_x), np.float32(offset_y - floor_y)
            left_px, right_px = _inside(x + floor_x, width), _inside(x + floor_x + 1, width)
            upper_px, lower_px = _inside(y + floor_y, height), _inside(y + floor_y + 1, height)
            for band in bands:
                upper = image[upper_px, left_px, band] * (1 - right) + image[upper_px, right_px, band] * right
                lower = image[lower_px, left_px, band] * (1 - right) + image[lower_px, right_px, band] * right
                ground[y, x, band] = np.uint8(upper + (lower - upper) * below + np.float32(0.5))
    return ground


@njit(cache=True)
def _inside(index, length):
    return min(max(index, 0), length - 1)


@njit(cache=True)
def close_cracks(image, ground_m):
    """Image and heights with each hidden pixel filled that has visible ones on two opposite sides.

    It gets the mean of their colours and the lower of their heights.
    """
    height, width, bands = image.shape
    closed, closed_m = image.copy(), ground_m.copy()
    for y in range(height):
        for x in range(width):
            if ground_m[y, x] != HIDDEN_M:
                continue
            for right, down in ((1, 0), (0, 1)):
                if x < right or y < down or x + right >= width or y + down >= height:
                    continue
                before_m, after_m = ground_m[y - down, x - right], ground_m[y + down, x + right]
                if before_m != HIDDEN_M and after_m != HIDDEN_M:
                    closed_m[y, x] = min(before_m, after_m)
                    for band in range(bands):
                        mean = np.float32(image[y - down, x - right, band]) + image[y + down, x + right, band]
                        closed[y, x, band] = np.uint8(mean / 2)
                    break
    return closed, closed_m
