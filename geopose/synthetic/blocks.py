"""City blocks: a block's place between streets, and the ground that covers it.

A filler draws what a block of one kind holds. The fillers are in blocks_homes.py, blocks_business.py,
blocks_downtown.py and blocks_open.py. Each is a function filler(sketch, rng, city, block). To add a kind of block,
write its filler, name it in FILLERS of layout.py, and give the kind a weight in DISTRICTS of cities.py.
"""

from dataclasses import dataclass

import numpy as np

from geopose.synthetic.objects import Footprint, Sketch, Surface

PIECE_M = 22.0


@dataclass(frozen=True)
class Block:
    """A block between streets: middle (x, y) and side lengths along x and y, metres of the street grid.

    change: share of its objects that exist in the image only or in the lidar data only.
    """

    x: float
    y: float
    width: float
    depth: float
    change: float


def cover(sketch: Sketch, block: Block, surface: Surface) -> None:
    """Paint the whole block, in pieces: the ground can then bend with the streets and is not one flat sheet."""
    for x0 in np.arange(block.x - block.width / 2, block.x + block.width / 2, PIECE_M):
        for y0 in np.arange(block.y - block.depth / 2, block.y + block.depth / 2, PIECE_M):
            wide = min(PIECE_M, block.x + block.width / 2 - x0)
            deep = min(PIECE_M, block.y + block.depth / 2 - y0)
            sketch.site(x0 + wide / 2, y0 + deep / 2)
            sketch.paint(Footprint(0, 0, wide / 2 + 0.8, deep / 2 + 0.8), surface)
