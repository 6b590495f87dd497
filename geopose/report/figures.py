"""The README's and the docs' figures: `python -m geopose.report.figures --data DIR --runs RUN ... --out docs`.

geometry.png is drawn by the synthetic renderer; example.png shows one test tile of DATA as the runs predict it.
"""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from geopose import io
from geopose.calibration import Calibration
from geopose.cli import Parser, UserError, run_command
from geopose.config import BlendConfig
from geopose.geometry import Pose, flow_direction, scale_for_off_nadir
from geopose.rectify import rectify
from geopose.report.panel import HEIGHT_CMAP, draw_flow, draw_panel, save
from geopose.runs import finished_runs
from geopose.synthetic.appearance import Season
from geopose.synthetic.cities import CITIES
from geopose.synthetic.layout import plan_place
from geopose.synthetic.render import Light, render, whole_scene_view
from geopose.synthetic.scene import build_scene


def main() -> int:
    parser = Parser(__doc__.split("\n")[0], "python -m geopose.report.figures --data data/synthetic --out docs")
    parser.add_argument("--data", required=True, metavar="DIR", help="competition folder")
    parser.add_argument("--runs", nargs="*", default=[], metavar="RUN", help="run folders; none: all finished on DATA")
    parser.add_argument("--tile", metavar="ID", help="test tile to show; default: the one with the tallest prediction")
    parser.add_argument("--out", type=Path, default=Path("docs"), metavar="DIR", help="where the pictures go")
    args = parser.parse_args()

    args.out.mkdir(parents=True, exist_ok=True)
    draw_geometry(args.out / "geometry.png")
    runs = args.runs or finished_runs("runs", args.data)
    if not runs:
        raise UserError(f"no finished run trained on {args.data} under runs/; run 'make train' or name --runs")
    draw_example(args.data, runs, args.tile, args.out / "example.png")
    print(f"{args.out}: geometry.png, example.png")
    return 0


def draw_geometry(path: Path) -> None:
    """A rendered block from the side: footprints, and the flow that joins roofs to them; then the lean removed."""
    scene = build_scene(plan_place(CITIES["ATL"], "midtown", 480, 0.4, 0.0, np.random.default_rng(3)))
    angle_rad, gsd_m = 2.2, 0.4
    pose = Pose(angle_rad, float(scale_for_off_nadir(np.radians(28), gsd_m)), gsd_m)
    view = whole_scene_view(scene, pose, 340, 340)
    radiance, agl_m = render(scene, view, Light((-0.6, 0.8), 1.2), Season(leaf=0.8, dryness=0.2))
    rgb = np.clip(radiance, 0, 255).astype(np.uint8)
    ground = rectify(rgb, agl_m, pose.scale_px_per_m, pose.angle_rad)

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13.5, 5), layout="constrained")
    left.imshow(rgb)
    draw_flow(left, agl_m, pose.scale_px_per_m, angle_rad)
    dx, dy = flow_direction(angle_rad)
    left.set_title(
        "image: tall things lean; flow (yellow) points from roof to ground\n"
        f"angle {angle_rad} rad: d = (sin a, cos a) = ({dx:.2f}, {dy:.2f}), x right, y down",
        fontsize=8.5,
    )
    shown = middle.imshow(agl_m, cmap=HEIGHT_CMAP)
    middle.set_title(
        "height above ground (AGL) of each visible point\n"
        f"flow in px = AGL x scale; scale x gsd = tan(off-nadir) = {pose.scale_px_per_m * gsd_m:.2f}",
        fontsize=8.5,
    )
    figure.colorbar(shown, ax=middle, label="m", shrink=0.8)
    right.imshow(ground.rgb)
    right.set_title(
        "rectified: pixel p moved to p + h s d\n(black: ground hidden behind what leans over it)", fontsize=8.5
    )
    save(figure, (left, middle, right), path)


def draw_example(data: str, runs: list, tile_id: str | None, path: Path) -> None:
    """A test tile: image, predicted height, and the lean removed by the predicted height, scale and angle."""
    from geopose.devices import pick_device  # torch and timm take seconds to import
    from geopose.inference import Ensemble

    table = io.read_test_table(data)
    if tile_id is not None:
        table = table[table.id == tile_id]
        if table.empty:
            raise UserError(f"{data}: no test tile {tile_id}; geopose_test.csv lists them")
    ensemble = Ensemble(runs, BlendConfig(tta="none"), pick_device("auto"), Calibration())
    tile = max(ensemble.predict_tiles(table), key=lambda t: np.percentile(t.agl_m, 95))
    rgb = io.read_rgb(table.set_index("id").rgb[tile.tile_id])
    agl_m = np.maximum(tile.agl_m, 0)
    pose = f"scale {tile.scale_px_per_m:.2f} px/m, angle {tile.angle_rad:.2f} rad"
    truth = Path(data) / "truth"
    if truth.is_dir():
        label = io.read_vflow(truth / io.vflow_name(tile.tile_id), truth / io.agl_name(tile.tile_id))
        pose += f" (truth {label.scale_px_per_m:.2f}, {label.angle_rad:.2f})"
    titles = (f"{tile.tile_id}, never seen in training", f"predicted height; {pose}")
    draw_panel(path, rgb, agl_m, tile.scale_px_per_m, tile.angle_rad, titles)


if __name__ == "__main__":
    run_command(main)
