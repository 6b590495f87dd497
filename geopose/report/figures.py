"""`python -m geopose figures`: draw the figures of the documentation with the synthetic renderer."""

from pathlib import Path

import cv2
import numpy as np
from matplotlib import pyplot as plt

from geopose.cli import Parser
from geopose.config import load_config
from geopose.geometry import (
    FLIP_X,
    IDENTITY,
    Pose,
    apply_d4,
    flow_direction,
    rot90_matrix,
    scale_for_off_nadir,
    transform_pose,
    zoom_matrix,
)
from geopose.inference.rectify import fill_hidden, rectify
from geopose.pictures import HEIGHT_COLORMAP
from geopose.report.before_after import draw_before_after
from geopose.report.diagram import draw_network
from geopose.report.example import draw_example
from geopose.report.gallery import draw_cities
from geopose.report.hatching import hatch
from geopose.report.panel import draw_flow, save
from geopose.synthetic.appearance import Season
from geopose.synthetic.cities import CITIES
from geopose.synthetic.ground import build_scene
from geopose.synthetic.layout import plan_place
from geopose.synthetic.light import Light
from geopose.synthetic.render import render
from geopose.synthetic.view import whole_scene_view

DEFAULT = "configs/lite0_synthetic.yaml"  # the config whose network is drawn
RELEASED = Path("runs/synthetic_lite0/fold0")  # the run whose heights the pictures show


def main() -> int:
    parser = Parser("Draw the figures that the documentation shows.", "python -m geopose figures --out docs")
    parser.add_argument("--out", type=Path, default=Path("docs"), metavar="DIR", help="folder for the pictures")
    args = parser.parse_args()
    pictures = {
        "geometry.png": draw_geometry,
        "laws.png": draw_laws,
        "network.png": lambda path: draw_network(path, load_config(DEFAULT).model),
        "cities.png": draw_cities,
        "rectify_before_after.png": lambda path: draw_before_after(path, RELEASED),
        "example.png": lambda path: draw_example(path, RELEASED),
    }
    for name, draw in pictures.items():
        draw(args.out / name)
        print(args.out / name, flush=True)
    return 0


def draw_geometry(path: Path) -> None:
    """Draw an oblique view of a rendered block with the flow from its roofs, its heights, and its rectified image."""
    scene = build_scene(plan_place(CITIES["ATL"], "midtown", 480, 0.4, 0.0, np.random.default_rng(8)))
    angle_rad, gsd_m = 2.2, 0.4
    pose = Pose(angle_rad, float(scale_for_off_nadir(np.radians(28), gsd_m)), gsd_m)
    view = whole_scene_view(scene, pose, 340, 340)
    radiance, agl_m = render(scene, view, Light((-0.6, 0.8), 1.2), Season(leaf=0.8, dryness=0.2))
    rgb = np.clip(radiance, 0, 255).astype(np.uint8)
    ground = fill_hidden(rectify(rgb, agl_m, pose.scale_px_per_m, pose.angle_rad))

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13.5, 5), layout="constrained")
    left.imshow(rgb)
    draw_flow(left, agl_m, pose.scale_px_per_m, angle_rad)
    dx, dy = flow_direction(angle_rad)
    left.set_title(
        "image: tall things lean; flow (yellow) points from roof to ground\n"
        f"angle {angle_rad} rad: d = (sin a, cos a) = ({dx:.2f}, {dy:.2f}), x right, y down",
        fontsize=8.5,
    )
    shown = middle.imshow(agl_m, cmap=HEIGHT_COLORMAP)
    middle.set_title(
        "height above ground (AGL) of each visible point\n"
        f"flow in px = AGL x scale; scale x gsd = tan(incidence) = {pose.scale_px_per_m * gsd_m:.2f}",
        fontsize=8.5,
    )
    figure.colorbar(shown, ax=middle, label="m", shrink=0.8)
    right.imshow(hatch(ground.rgb, ground.hidden))
    right.set_title(
        "rectified: pixel p moved to p + h s d\n(hatched: ground hidden by what leans over it, filled in)", fontsize=8.5
    )
    save(figure, (left, middle, right), path)


def draw_laws(path: Path) -> None:
    """Draw what operations on an image do to its pose: one block four times, each with its angle, scale and gsd."""
    scene = build_scene(plan_place(CITIES["JAX"], "suburb", 480, 0.4, 0.0, np.random.default_rng(5)))
    pose = Pose(0.9, float(scale_for_off_nadir(np.radians(30), 0.4)), 0.4)
    view = whole_scene_view(scene, pose, 300, 300)
    radiance, agl_m = render(scene, view, Light((-0.6, 0.8), 1.2), Season(leaf=0.8, dryness=0.2))
    rgb = np.clip(radiance, 0, 255).astype(np.uint8)
    operations = (
        ("as it is", IDENTITY, 1.0, "e"),
        ("flipped left-right: a -> -a", FLIP_X, 1.0, "h"),
        ("rot90: a -> a + pi/2", rot90_matrix(1), 1.0, "r90"),
        ("half size: scale / 2, gsd x 2", zoom_matrix(0.5), 0.5, "e"),
    )
    figure, axes = plt.subplots(1, 4, figsize=(13.5, 4.1), layout="constrained")
    for ax, (name, matrix, zoom, element) in zip(axes, operations, strict=True):
        image = apply_d4(rgb.transpose(2, 0, 1), element).transpose(1, 2, 0)
        heights = cv2.resize(apply_d4(agl_m, element), None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
        moved = transform_pose(pose, matrix)
        ax.imshow(cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA))
        draw_flow(ax, heights, moved.scale_px_per_m, moved.angle_rad, apart_px=round(60 * zoom))
        numbers = f"a {moved.angle_rad:.2f} rad, scale {moved.scale_px_per_m:.2f} px/m, gsd {moved.gsd_m:.1f} m"
        ax.set_title(f"{name}\n{numbers}", fontsize=8.5)
        ax.set_xlim(-0.5, 299.5)
        ax.set_ylim(299.5, -0.5)
    save(figure, axes, path)
