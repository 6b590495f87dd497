"""The HTML page about one image: a slider that removes its lean, its heights, and a 3D view."""

import html
import json

import numpy as np

from geopose.geometry import Pose
from geopose.inference.rectify import fill_hidden, rectify
from geopose.pictures import HEIGHT_COLORMAP, colour_plane
from geopose.report.page import fill_template
from geopose.report.tiles import GREY, compare_lean, drape, encode_jpeg

PICTURE_PX = 1024  # longest side of a picture in the page


def build_demo_page(title: str, facts: str, rgb: np.ndarray, agl_m: np.ndarray, pose: Pose) -> str:
    """The whole page as text, with its style, script and pictures in it.

    rgb uint8 [H,W,3]; agl_m float [H,W] metres, NaN unknown; title and facts: plain text.
    """
    ground = fill_hidden(rectify(rgb, agl_m, pose.scale_px_per_m, pose.angle_rad))
    parts = {
        "title": html.escape(title),
        "facts": html.escape(facts),
        "slider": compare_lean(rgb, ground, "image | lean removed by the predicted pose", PICTURE_PX),
        "heights": show_heights(agl_m),
        "surface": json.dumps(drape(rgb, agl_m, pose, PICTURE_PX)),
    }
    return fill_template("demo.html", parts)


def show_heights(agl_m: np.ndarray) -> str:
    """Heights as an HTML picture with a colour bar."""
    tall_m = max(3.0, float(np.nanpercentile(agl_m, 99.5)))
    picture = encode_jpeg(colour_plane(agl_m, 0, tall_m, HEIGHT_COLORMAP, GREY), PICTURE_PX)
    bar = encode_jpeg(colour_plane(np.linspace(0, 1, 256)[None].repeat(8, axis=0), 0, 1, HEIGHT_COLORMAP, GREY))
    caption = f"height above ground from 0 (left) to {tall_m:.0f} m (right); grey: unknown"
    pictures = f'<img src="{picture}" alt="heights"><img class="bar" src="{bar}" alt="">'
    return f"<figure>{pictures}<figcaption>{caption}</figcaption></figure>"
