"""What each pixel sees: the height of the first surface that its ray meets.

All rays share one direction. A ray is followed downwards from the highest height that it can meet. Block maxima make
this fast: the ray skips every block of cells whose highest surface is below it. Where the ray comes close to a
surface, it moves in short steps, and the last step is then narrowed down. `visible_agl` follows all rays of an image.
`label_agl` follows only those rays that the lidar label sees differently.
"""

import cv2
import numpy as np

from geopose.synthetic.ground import Scene
from geopose.synthetic.kernels import inlined, kernel
from geopose.synthetic.view import View, rays_of

BLOCK_CELLS = 8
SUPER_BLOCKS = 4  # blocks along the side of a super-block; a whole tile of pixels skips super-blocks together
TILE_PX = 8
BLOCKS_PER_CELL = 1.0 / BLOCK_CELLS
STEP_CELLS = 0.7


def visible_agl(height_m: np.ndarray, gsd_m: float, view: View) -> np.ndarray:
    """Height of the first surface that the ray of each pixel's middle meets, float32 [H, W] metres.

    height_m float32 [rows, cols] metres over ground cells of gsd_m metres.
    """
    blocks_m = block_maxima(height_m, BLOCK_CELLS)
    supers_m = cv2.dilate(block_maxima(blocks_m, SUPER_BLOCKS), np.ones((3, 3), np.uint8))
    agl_m = np.empty((view.height_px, view.width_px), dtype=np.float32)
    _walk_rays(height_m, blocks_m, supers_m, rays_of(view, gsd_m), agl_m)
    return agl_m


def label_agl(scene: Scene, agl_m: np.ndarray, view: View) -> np.ndarray:
    """Equals visible_agl of the scene's label heights, but is made faster from the AGL [H, W] of its image heights.

    Where the label's surface is lower than the image's, the rays continue downwards from where they met the image's
    surface. All other rays keep their height. Objects that exist only in the label are rendered separately, and the
    higher of the two heights counts.
    """
    lowered_m, raised_m, label_m = scene.lowered_m, scene.raised_m, agl_m.copy()
    _sink_rays(lowered_m, block_maxima(lowered_m, BLOCK_CELLS), scene.sunk, rays_of(view, scene.gsd_m), label_m)
    if raised_m is not None:
        label_m = np.maximum(label_m, visible_agl(raised_m, scene.gsd_m, view))
    return label_m


@inlined
def bilinear(raster, x, y):
    """Value of a raster [rows, cols] at fractional cells (x, y); 0 outside."""
    rows, cols = raster.shape
    if x < 0.0 or y < 0.0 or x > cols - 1.001 or y > rows - 1.001:
        return np.float32(0.0)
    return bilinear_within(raster, x, y)


@inlined
def bilinear_within(raster, x, y):
    """As bilinear, where (x, y) is known to be within the raster.

    Unsigned cells tell the compiler that no index is negative, so it does not look for negative ones.
    """
    x0, y0 = np.uint32(x), np.uint32(y)
    fx, fy = np.float32(x - x0), np.float32(y - y0)
    upper = raster[y0, x0] + fx * (raster[y0, x0 + 1] - raster[y0, x0])
    lower = raster[y0 + 1, x0] + fx * (raster[y0 + 1, x0 + 1] - raster[y0 + 1, x0])
    return upper + fy * (lower - upper)


def block_maxima(height_m: np.ndarray, side: int) -> np.ndarray:
    """Highest height of each block of side x side cells, with the ring of cells around it that interpolation reads."""
    rows, cols = height_m.shape
    blocks_m = np.empty((-(-rows // side), -(-cols // side)), dtype=np.float32)
    _fill_maxima(height_m, side, np.empty(cols, dtype=np.float32), blocks_m)
    return blocks_m


@kernel
def _fill_maxima(height_m, side, column_m, blocks_m):
    """Fill blocks_m. column_m [cols] holds the maxima of the columns of one row of blocks: they are found quickly."""
    rows, cols = height_m.shape
    for block_y in range(blocks_m.shape[0]):
        column_m[:] = 0.0
        for y in range(max(block_y * side - 1, 0), min(block_y * side + side + 1, rows)):
            for x in range(cols):
                column_m[x] = max(column_m[x], height_m[y, x])
        for block_x in range(blocks_m.shape[1]):
            highest = np.float32(0.0)
            for x in range(max(block_x * side - 1, 0), min(block_x * side + side + 1, cols)):
                highest = max(highest, column_m[x])
            blocks_m[block_y, block_x] = highest


@inlined
def _leave_block(x, y, block_x, block_y, side, rays):
    """Distance down the ray from (x, y) to the border of its block of side cells."""
    leave_x = (x - (block_x + (rays.inverse_dx < 0.0)) * side) * rays.inverse_dx
    leave_y = (y - (block_y + (rays.inverse_dy < 0.0)) * side) * rays.inverse_dy
    return min(leave_x, leave_y)


@kernel
def _tile_start(supers_m, start, x, y, rays):
    """Distance along the ray from (x, y) above which no ray of the tile around it meets anything."""
    side = BLOCK_CELLS * SUPER_BLOCKS
    t = start
    while t > 0.0:
        at_x, at_y = x + t * rays.dx, y + t * rays.dy
        block_x, block_y = int(np.floor(at_x / side)), int(np.floor(at_y / side))
        limit = 0.0
        if 0 <= block_x < supers_m.shape[1] and 0 <= block_y < supers_m.shape[0]:
            limit = supers_m[block_y, block_x] * rays.cells_per_m
        elif -1 <= block_x <= supers_m.shape[1] and -1 <= block_y <= supers_m.shape[0]:
            limit = t  # just outside the scene: some ray of the tile may be over the scene
        if limit >= t:
            return t
        t = max(limit, t - _leave_block(at_x, at_y, block_x, block_y, side, rays) - 1e-3)
        if t == limit:
            return t
    return 0.0


@kernel
def _walk_rays(height_m, blocks_m, supers_m, rays, agl_m):
    """Fill agl_m [H, W] with the height at which each pixel's ray first meets the surface height_m."""
    highest = 0.0
    for row in range(supers_m.shape[0]):
        for col in range(supers_m.shape[1]):
            highest = max(highest, supers_m[row, col])
    cells_per_px, cells_per_m = rays.cells_per_px, rays.cells_per_m
    m_per_cell = 1.0 / cells_per_m if cells_per_m > 0.0 else 0.0
    rows, cols = agl_m.shape
    # A tile's rays stay within one super-block of the ray in its middle. So the limits of the super-blocks include
    # their neighbours (see the dilation in visible_agl).
    tile_px = max(1, min(TILE_PX, int(2 * BLOCK_CELLS * SUPER_BLOCKS / cells_per_px) - 1))
    for tile_y in range(0, rows, tile_px):
        for tile_x in range(0, cols, tile_px):
            middle_x = rays.x0 + (tile_x + 0.5 * tile_px) * cells_per_px
            middle_y = rays.y0 + (tile_y + 0.5 * tile_px) * cells_per_px
            start = _tile_start(supers_m, highest * cells_per_m + 1e-3, middle_x, middle_y, rays)
            for py in range(tile_y, min(tile_y + tile_px, rows)):
                for px in range(tile_x, min(tile_x + tile_px, cols)):
                    foot_x, foot_y = rays.x0 + px * cells_per_px, rays.y0 + py * cells_per_px
                    t = meet(height_m, blocks_m, start, foot_x, foot_y, rays)
                    agl_m[py, px] = t * m_per_cell if cells_per_m > 0.0 else bilinear(height_m, foot_x, foot_y)


@kernel
def _sink_rays(height_m, blocks_m, sunk, rays, agl_m):
    """Move the points agl_m [H, W] above sunk cells further down their rays, to the surface height_m."""
    cells_per_m = rays.cells_per_m
    rows, cols = height_m.shape
    for py in range(agl_m.shape[0]):
        for px in range(agl_m.shape[1]):
            foot_x, foot_y = rays.x0 + px * rays.cells_per_px, rays.y0 + py * rays.cells_per_px
            t = agl_m[py, px] * cells_per_m
            x, y = int(foot_x + t * rays.dx + 0.5), int(foot_y + t * rays.dy + 0.5)
            if not (0 <= x < cols and 0 <= y < rows) or sunk[y, x] == 0:
                continue
            if cells_per_m > 0.0:
                agl_m[py, px] = meet(height_m, blocks_m, t + 1e-3, foot_x, foot_y, rays) / cells_per_m
            else:
                agl_m[py, px] = bilinear(height_m, foot_x, foot_y)


@inlined
def meet(height_m, blocks_m, start, foot_x, foot_y, rays):
    """Horizontal distance in cells from a ray's foot to where it first meets the surface, coming down from start."""
    dx, dy, cells_per_m = rays.dx, rays.dy, rays.cells_per_m
    t, stepped, gap_above = start, False, 0.0
    while t > 0.0:
        x, y = foot_x + t * dx, foot_y + t * dy
        block_x, block_y = int(x * BLOCKS_PER_CELL + 1024.0) - 1024, int(y * BLOCKS_PER_CELL + 1024.0) - 1024
        limit = 0.0
        if 0 <= block_x < blocks_m.shape[1] and 0 <= block_y < blocks_m.shape[0]:
            limit = blocks_m[block_y, block_x] * cells_per_m
        if limit < t:  # skip down to the block's highest surface or out of the block, whichever comes first
            t = max(limit, t - _leave_block(x, y, block_x, block_y, BLOCK_CELLS, rays) - 1e-3)
            if t == limit:
                t -= 1e-4
            stepped = False
            continue
        gap = bilinear(height_m, x, y) * cells_per_m - t
        if gap >= 0.0:
            break
        gap_above, stepped = gap, True
        t -= STEP_CELLS
    if not stepped:  # the skipped stretch was empty: the ray meets the surface where the stretch ended
        return max(t, 0.0)
    # The ray crossed the surface within the last step. Narrow the crossing down.
    above = t + STEP_CELLS
    if t <= 0.0:
        t = 0.0
        gap = bilinear(height_m, foot_x, foot_y) * cells_per_m
    for attempt in range(6):
        if gap <= 0.01:
            break
        # Secant steps and bisection alternate: secants are exact on roofs, bisection is safe on ragged walls.
        middle = t + (above - t) * gap / (gap - gap_above) if attempt % 2 == 0 else 0.5 * (t + above)
        gap_middle = bilinear(height_m, foot_x + middle * dx, foot_y + middle * dy) * cells_per_m - middle
        if gap_middle >= 0.0:
            t, gap = middle, gap_middle
        else:
            above, gap_above = middle, gap_middle
    return t
