"""A scene seen under an oblique orthographic projection, with cast shadows.

An image is a pure function of scene, view, light and season. visibility.py finds the visible point of each pixel, and
shading.py gives it a colour.
"""

import numpy as np

from geopose.synthetic.appearance import Season
from geopose.synthetic.ground import Scene
from geopose.synthetic.light import Light
from geopose.synthetic.shading import shade
from geopose.synthetic.view import View
from geopose.synthetic.visibility import visible_agl


def render(scene: Scene, view: View, light: Light, season: Season) -> tuple[np.ndarray, np.ndarray]:
    """Noise-free image float32 [H, W, 3] (0-255, may exceed 255) and AGL float32 [H, W] in metres."""
    agl_m = visible_agl(scene.height_m, scene.gsd_m, view)
    return shade(scene, agl_m, view, light, season), agl_m
