"""The primitives a city is drawn with: boxes (roofs, cars, road strips, paint), trees and buildings' wall recipes.

A Sketch collects them site by site, in metres of a straight street grid. Sites are placed into the scene last, so
that bending and turning the street grid moves each lot with all that stands on it rigidly.
"""

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from geopose.synthetic.appearance import Material, Texture


class Roof(IntEnum):
    """Shape of a box's top. PAINT changes colour only; SHED slopes one way; the ridge of GABLE and HIP runs along u."""

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
    """Where an object exists: image and lidar were taken on different days."""

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
BUILDING = np.dtype(
    [
        ("x", "f4"),
        ("y", "f4"),
        ("ux", "f4"),
        ("uy", "f4"),
        ("red", "f4"),
        ("green", "f4"),
        ("blue", "f4"),
        ("floor_m", "f4"),
        ("bay_m", "f4"),
        ("window_u", "f4"),
        ("window_h", "f4"),
        ("glass", "f4"),
        ("site", "i4"),
    ]
)


@dataclass
class Sketch:
    """Objects collected so far. Boxes of `ground` lie under water, `solids` and trees over it.

    turn [2, 2] turns the street grid into the scene, which spans half_size_m on every side of its middle.
    """

    turn: np.ndarray
    half_size_m: float
    sites: list[tuple[float, float, float, float]] = field(default_factory=list)
    ground: list[tuple] = field(default_factory=list)
    solids: list[tuple] = field(default_factory=list)
    trees: list[tuple] = field(default_factory=list)
    buildings: list[tuple] = field(default_factory=list)

    def shows(self, x_m: float, y_m: float, radius_m: float) -> bool:
        """Whether anything within radius_m of the grid point (x, y) can lie in the scene."""
        along, across = self.turn @ (x_m, y_m)
        return max(abs(along), abs(across)) < self.half_size_m + radius_m

    def site(self, x_m: float, y_m: float, ux: float = 1.0, uy: float = 0.0) -> None:
        """Start a site at (x, y) of the street grid with its u axis along (ux, uy); what follows stands on it."""
        self.sites.append((x_m, y_m, ux, uy))

    def building(self, wall, floor_m=3.0, bay_m=3.0, window_u=0.4, window_h=0.45, glass=45.0) -> int:
        """A new building's wall recipe; returns its id (from 1; 0 = no building)."""
        self.buildings.append(
            (0.0, 0.0, 1.0, 0.0, *wall, floor_m, bay_m, window_u, window_h, glass, len(self.sites) - 1)
        )
        return len(self.buildings)

    def paint(self, u, v, half_u, half_v, colour, texture=Texture.PLAIN, material=Material.HARD, round_=False) -> None:
        """Colour the ground of the site around (u, v) metres."""
        roof = Roof.PAINT_DISC if round_ else Roof.PAINT
        self.ground.append(self._box(u, v, half_u, half_v, 0.0, 0.0, colour, roof, texture, material, 0, Seen.BOTH))

    def mark(self, u, v, half_u, half_v, colour, texture=Texture.PLAIN, material=Material.HARD) -> None:
        """Colour whatever surface is on top by now, roofs included."""
        self.solids.append(
            self._box(u, v, half_u, half_v, 0.0, 0.0, colour, Roof.PAINT, texture, material, 0, Seen.BOTH)
        )

    def solid(
        self,
        u,
        v,
        half_u,
        half_v,
        top_m,
        colour,
        roof=Roof.FLAT,
        rise_m=0.0,
        texture=Texture.PLAIN,
        building=0,
        seen=Seen.BOTH,
        material=Material.ROOF,
        axis=(1.0, 0.0),
        taper=0.0,
        cut_m=0.0,
    ) -> None:
        """A box from the ground to top_m (eaves), its roof rising by rise_m above; axis turns it on its site.

        taper: share of its width lost towards the far end of u; cut_m: length of each leg of the corners cut off.
        """
        self.solids.append(
            self._box(
                u, v, half_u, half_v, top_m, rise_m, colour, roof, texture, material, building, seen, axis, taper, cut_m
            )
        )

    def tree(self, u, v, radius_m, height_m, colour, lumps=0.3, pointed=0.0, deciduous=False, seen=Seen.BOTH) -> None:
        """A tree crown on the site."""
        material = Material.DECIDUOUS if deciduous else Material.EVERGREEN
        self.trees.append((u, v, radius_m, height_m, *colour, lumps, pointed, material, seen, len(self.sites) - 1))

    def _box(
        self, u, v, half_u, half_v, top_m, rise_m, colour, roof, texture, material, building, seen,
        axis=(1, 0), taper=0.0, cut_m=0.0,
    ):  # fmt: skip
        site = len(self.sites) - 1
        shape = (half_u, half_v, top_m, rise_m, taper, cut_m)
        return (u, v, *axis, *shape, *colour, roof, texture, material, building, seen, site)
