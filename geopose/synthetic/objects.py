"""The objects a city consists of: boxes (roofs, cars, pieces of road, painted ground), trees and recipes of walls.

A Sketch collects the objects, site by site. A site is a point of a straight street grid with a direction, in metres.
All objects are given relative to their site: u runs along its direction, v across it. placement.py later moves the
sites into the scene. It bends and turns the street grid, but each site moves as a rigid whole, so that a house and its
garden stay together.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from geopose.synthetic.appearance import Material, Texture


class Roof(IntEnum):
    """Shape of a box's top.

    PAINT and PAINT_DISC change colours only. SHED slopes one way. The ridge of GABLE and HIP runs along u.
    """

    PAINT = 0
    FLAT = 1
    GABLE = 2
    HIP = 3
    PARAPET = 4
    DISC = 5
    SHED = 6
    PAINT_DISC = 7
    DOME = 8


class Seen(IntEnum):
    """Where an object exists. Image and lidar data are from different days, so an object may be in one of them only."""

    BOTH = 0
    IMAGE_ONLY = 1
    LABEL_ONLY = 2


BOX = np.dtype(
    [
        ("x", "f4"),
        ("y", "f4"),
        ("ux", "f4"),
        ("uy", "f4"),
        ("half_u", "f4"),
        ("half_v", "f4"),
        ("top_m", "f4"),
        ("rise_m", "f4"),
        ("taper", "f4"),
        ("cut_m", "f4"),
        ("red", "f4"),
        ("green", "f4"),
        ("blue", "f4"),
        ("roof", "i4"),
        ("texture", "i4"),
        ("material", "i4"),
        ("building", "i4"),
        ("seen", "i4"),
        ("site", "i4"),
    ]
)
TREE = np.dtype(
    [
        ("x", "f4"),
        ("y", "f4"),
        ("radius_m", "f4"),
        ("height_m", "f4"),
        ("red", "f4"),
        ("green", "f4"),
        ("blue", "f4"),
        ("lumps", "f4"),
        ("pointed", "f4"),
        ("material", "i4"),
        ("seen", "i4"),
        ("site", "i4"),
    ]
)
WALLS = np.dtype(
    [
        ("red", "f4"),
        ("green", "f4"),
        ("blue", "f4"),
        ("floor_m", "f4"),
        ("bay_m", "f4"),
        ("window_u", "f4"),
        ("window_h", "f4"),
        ("glass", "f4"),
        ("contrast", "f4"),
        ("mixed", "f4"),
        ("slab", "f4"),
        ("blank", "i4"),
    ]
)


class Footprint(NamedTuple):
    """A rectangle on the current site: its middle (u, v) and half its side lengths, metres.

    axis turns the rectangle on its site. Walls may differ from a rectangle: taper is the share of the width (along v)
    lost towards the far end of u, and cut_m is the length of each leg of the cut-off corners.
    """

    u: float
    v: float
    half_u: float
    half_v: float
    axis: tuple[float, float] = (1.0, 0.0)
    taper: float = 0.0
    cut_m: float = 0.0

    def inset(self, distance_m: float) -> "Footprint":
        """The same rectangle with every side moved inwards."""
        return self._replace(half_u=self.half_u - distance_m, half_v=self.half_v - distance_m)


class Surface(NamedTuple):
    """What a surface looks like: its colour (0-255), texture and material."""

    colour: tuple[float, float, float]
    texture: Texture = Texture.PLAIN
    material: Material = Material.HARD


def roofing(colour: tuple[float, float, float], texture: Texture = Texture.PLAIN) -> Surface:
    """The surface of a roof or of anything on a roof."""
    return Surface(colour, texture, Material.ROOF)


class Walls(NamedTuple):
    """What all walls of a building look like; facades.py draws such recipes.

    colour: a sunlit wall's grey values, which may exceed 255
    floor_m, bay_m: height and width of the part of a wall around one window, metres
    window_u, window_h: share of that width and height which the window takes
    glass: grey value of a window; mixed: how much windows differ from each other
    contrast: 0 = windows cannot be seen, 1 = windows are as dark as glass
    slab: share of a storey's height that a bright slab or balcony takes
    blank: bits 0 to 3 stand for the sides +u, +v, -u, -v of each box; a side whose bit is set has no windows
    """

    colour: tuple[float, float, float]
    floor_m: float = 3.0
    bay_m: float = 3.0
    window_u: float = 0.4
    window_h: float = 0.45
    glass: float = 45.0
    contrast: float = 0.0
    mixed: float = 0.3
    slab: float = 0.0
    blank: int = 0


class Crown(NamedTuple):
    """A tree's crown. lumps: relative height of its lumps; pointed: 0 = dome, 1 = cone."""

    radius_m: float
    height_m: float
    colour: tuple[float, float, float]
    lumps: float = 0.3
    pointed: float = 0.0
    deciduous: bool = False


@dataclass
class Sketch:
    """The objects collected so far. The boxes of `ground` are painted before the water, `solids` and trees after it.

    The boxes of `decks` are the bridges that the streets would have if there was water everywhere.

    turn [2, 2] turns the street grid into the scene. The scene reaches half_size_m from its middle to every side.
    """

    turn: np.ndarray
    half_size_m: float
    sites: list[tuple[float, float, float, float]] = field(default_factory=list)
    ground: list[tuple] = field(default_factory=list)
    solids: list[tuple] = field(default_factory=list)
    decks: list[tuple] = field(default_factory=list)
    trees: list[tuple] = field(default_factory=list)
    buildings: list[tuple] = field(default_factory=list)

    def shows(self, x_m: float, y_m: float, radius_m: float) -> bool:
        """Whether an object within radius_m of the grid point (x, y) can be in the scene."""
        along, across = self.turn @ (x_m, y_m)
        return max(abs(along), abs(across)) < self.half_size_m + radius_m

    def site(self, x_m: float, y_m: float, ux: float = 1.0, uy: float = 0.0) -> None:
        """Start a site at (x, y) of the street grid, with its u axis along (ux, uy). Later objects belong to it."""
        self.sites.append((x_m, y_m, ux, uy))

    def building(self, walls: Walls) -> int:
        """Add a building with these walls. Returns the building's number, from 1; 0 means no building."""
        self.buildings.append((*walls.colour, *walls[1:]))
        return len(self.buildings)

    def paint(self, area: Footprint, surface: Surface, round_: bool = False) -> None:
        """Colour the ground. round_ paints the ellipse inside the area."""
        self.ground.append(self._box(area, 0.0, surface, Roof.PAINT_DISC if round_ else Roof.PAINT))

    def mark(self, area: Footprint, surface: Surface, seen: Seen = Seen.BOTH, round_: bool = False) -> None:
        """Colour the highest surface drawn so far, roofs included. The image shows no mark that only the label has."""
        if seen != Seen.LABEL_ONLY:
            self.solids.append(self._box(area, 0.0, surface, Roof.PAINT_DISC if round_ else Roof.PAINT))

    def solid(
        self,
        footprint: Footprint,
        top_m: float,
        surface: Surface,
        roof: Roof = Roof.FLAT,
        rise_m: float = 0.0,
        building: int = 0,
        seen: Seen = Seen.BOTH,
    ) -> None:
        """Add a box from the ground to the eaves at top_m; its roof rises by rise_m above them."""
        self.solids.append(self._box(footprint, top_m, surface, roof, rise_m, building, seen))

    def deck(self, footprint: Footprint, top_m: float, surface: Surface) -> None:
        """Add a piece of a street's bridge, which exists only over water between two banks."""
        self.decks.append(self._box(footprint, top_m, surface, Roof.FLAT))

    def tree(self, u: float, v: float, crown: Crown, seen: Seen = Seen.BOTH) -> None:
        """Add a tree at (u, v) of the site."""
        material = Material.DECIDUOUS if crown.deciduous else Material.EVERGREEN
        shape = (crown.radius_m, crown.height_m, *crown.colour, crown.lumps, crown.pointed)
        self.trees.append((u, v, *shape, material, seen, len(self.sites) - 1))

    def _box(
        self, place: Footprint, top_m, surface: Surface, roof: Roof, rise_m=0.0, building=0, seen=Seen.BOTH
    ) -> tuple:
        """A row of the BOX array."""
        shape = (place.half_u, place.half_v, top_m, rise_m, place.taper, place.cut_m)
        look = (*surface.colour, roof, surface.texture, surface.material)
        return (place.u, place.v, *place.axis, *shape, *look, building, seen, len(self.sites) - 1)


def object_seen(rng: np.random.Generator, change: float) -> Seen:
    """Draw where an object exists. With probability `change` it is in the image only or in the lidar data only."""
    if rng.random() >= change:
        return Seen.BOTH
    return Seen.IMAGE_ONLY if rng.random() < 0.5 else Seen.LABEL_ONLY
