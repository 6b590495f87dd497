"""`python -m geopose demo IMAGE`: predict one image, and show the result as a picture and as an HTML page.

Both show the image (only the centre of a large scene), the predicted height, and the image without lean.
"""

import tempfile
from pathlib import Path

import rasterio
from rasterio.windows import Window

from geopose.cli import Parser, UserError
from geopose.config import BlendConfig
from geopose.devices import pick_device
from geopose.inference.calibration import Calibration
from geopose.inference.ensemble import Ensemble
from geopose.inference.outputs import refuse_overwriting
from geopose.inference.scene import SceneOptions, predict_scene
from geopose.inference.scene_reader import SceneReader
from geopose.io.files import make_room, write_bytes
from geopose.io.rasters import read_agl
from geopose.io.tables import check_gsd, find_truth
from geopose.ranges import TTA_HELP
from geopose.report.demo_page import build_demo_page
from geopose.report.panel import check_picture, draw_panel
from geopose.runs.folder import newest_run, usual_views

SHOWN_PX = 1024  # longest side of the part that is shown
DESCRIPTION = (
    "Predict the height and lean of one image with the newest run. Draw the result as a picture, and write an HTML "
    "page with a slider and a 3D view beside it."
)


def main() -> int:
    parser = Parser(DESCRIPTION, "python -m geopose demo town.tif --gsd 0.5 --out town.png")
    parser.add_argument("image", type=Path, metavar="IMAGE", help="GeoTIFF, .j2k, PNG or JPEG")
    parser.add_argument("--runs", nargs="*", default=[], metavar="RUN", help="run folders (default: the newest run)")
    parser.add_argument(
        "--gsd",
        type=float,
        metavar="M_PER_PX",
        help="metres per pixel (default: from metadata.csv or the georeference)",
    )
    parser.add_argument("--tta", help=f"{TTA_HELP} (default: the runs' own)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("demo.png"),
        metavar="FILE",
        help="picture to write; the page is FILE with .html",
    )
    args = parser.parse_args()
    if args.gsd is not None:
        check_gsd(args.gsd, "--gsd")
    page = args.out.with_suffix(".html")
    if page == args.out:
        raise UserError(
            f"--out {args.out}: is the name of the page; name the picture, such as {page.with_suffix('.png')}"
        )
    for path in (args.out, page):
        make_room(path)
    check_picture(args.out, "--out")
    refuse_overwriting([(args.image, args.out), (args.image, page)], [args.image], overwrite=True)

    runs = [Path(run) for run in args.runs] or [newest_run("runs")]
    views = usual_views(runs)
    blend = BlendConfig(**(views | {"tta": args.tta} if args.tta else views))
    ensemble = Ensemble(runs, blend, pick_device("auto"), Calibration(), spread=True)
    with tempfile.TemporaryDirectory() as folder:
        pose = predict_scene(args.image, Path(folder), ensemble, SceneOptions(args.gsd))
        with rasterio.open(args.image) as image:
            height, width = (min(n, SHOWN_PX) for n in image.shape)
            window = Window((image.width - width) // 2, (image.height - height) // 2, width, height)
            rgb, _ = SceneReader(image, args.image, ()).read(window)
        agl_m = read_agl(Path(folder) / f"{args.image.stem}_AGL.tif", window)
    lean = f"scale {pose.scale_px_per_m:.2f} px/m, angle {pose.angle_rad:.2f} rad"
    label = find_truth(args.image)
    true_lean = f" (truth {label.scale_px_per_m:.2f}, {label.angle_rad:.2f})" if label else ""
    titles = (f"{args.image.name}, {pose.gsd_m:.2f} m per pixel", f"predicted height; {lean}{true_lean}")
    rgb = rgb.transpose(1, 2, 0).copy()
    draw_panel(args.out, rgb, agl_m, pose.scale_px_per_m, pose.angle_rad, titles)
    made_by = f"by {', '.join(map(str, runs))}; {lean}"
    facts = f"{width} x {height} px, {pose.gsd_m:.2f} m per pixel, {made_by}{true_lean}"
    write_bytes(page, build_demo_page(args.image.name, facts, rgb, agl_m, pose).encode())
    print(f"{args.out} and {page.name}: {args.image.name} {made_by}")
    return 0
