"""The report and the demo are complete files with the right numbers. Slider and 3D view work in a browser."""

import json
import re
import shutil
import subprocess
from dataclasses import replace

import cv2
import numpy as np
import pytest
from helpers import RELEASED, assert_user_error, ok, run, write_tif

from geopose.cli import UserError
from geopose.geometry import Pose
from geopose.io.names import agl_name, vflow_name
from geopose.io.poses import read_vflow
from geopose.io.rasters import read_agl
from geopose.pictures import colour_plane
from geopose.report.charts import draw_errors
from geopose.report.hatching import hatch
from geopose.report.page import build_page
from geopose.report.panel import roof_points
from geopose.report.tiles import describe_tile, drape, read_tiles
from geopose.scoring.evaluate import evaluate

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

# Runs in the page after the page's own script: it moves a slider, drags the 3D view and records what changed.
PROBE = """<script>
const faults = [];
window.addEventListener("error", (event) => faults.push(event.message));
window.addEventListener("unhandledrejection", (event) => faults.push(String(event.reason)));
const report = console.error;
console.error = (...words) => { faults.push(words.join(" ")); report(...words); };
window.addEventListener("load", async () => {
  for (let tries = 0; tries < 1000 && document.body.dataset.ready !== "yes"; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const slider = document.querySelector(".compare input"), after = document.querySelector(".compare .after");
  const cut = getComputedStyle(after).clipPath;
  slider.value = 20;
  slider.dispatchEvent(new Event("input"));
  const canvas = document.getElementById("view");
  const pixels = () => canvas.toDataURL();
  const before = pixels();
  const press = (type, x, y, target) =>
    target.dispatchEvent(new PointerEvent(type, { pointerId: 1, clientX: x, clientY: y, bubbles: true }));
  press("pointerdown", 100, 100, canvas);
  press("pointermove", 220, 130, canvas);
  press("pointerup", 220, 130, window);
  const turned = pixels();
  canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: -300, cancelable: true }));
  const small = document.createElement("canvas");
  small.width = small.height = 40;
  const pen = small.getContext("2d");
  pen.drawImage(canvas, 0, 0, 40, 40);
  const drawn = pen.getImageData(0, 0, 40, 40).data.filter((value, place) => place % 4 === 3 && value > 0).length;
  const style = getComputedStyle(document.body);
  const result = {
    paper: style.backgroundColor, ink: style.color,
    faults, drawn, ready: document.body.dataset.ready, slides: getComputedStyle(after).clipPath !== cut,
    turns: before !== turned, zooms: turned !== pixels(), wide: document.documentElement.scrollWidth > innerWidth,
  };
  document.body.innerHTML = "<pre id=result>" + JSON.stringify(result) + "</pre>";
});
</script>"""


@pytest.fixture(scope="module")
def page(job):
    command = ("-m", "geopose", "report", "--data", job / "data", "--pred", job / "submission.tar.gz")
    ok(run(*command, "--runs", job / "runs" / "fold0", "--out", job / "report.html"))
    return job / "report.html"


def test_the_page_is_self_contained_and_shows_the_score(page, job):
    text = page.read_text()
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", text)
    assert "{{" not in text
    scores = evaluate(job / "data" / "truth", job / "submission.tar.gz").scores
    assert f"R2 {scores['final_r2']:.4f}" in text
    for city, row in scores["cities"].items():
        assert f"<td>{city}</td><td>{row['images']}</td><td>{row['agl_r2']:.3f}</td>" in text
    assert text.count("<svg") == 5 and text.count('class="tile"') == 6
    assert text.count('class="after hatched"') == text.count('class="hatching" checked') == 6
    surface = json.loads(re.search(r'id="surface" type="application/json">(.*?)</script>', text).group(1))
    assert len(surface["heights"]) == surface["rows"] * surface["columns"] <= 65536


def test_tiles_are_compared_in_metres(job):
    tiles = read_tiles(job / "data", job / "submission.tar.gz")
    assert len(tiles) == 4
    for tile in tiles:
        agl_path, vflow_path = (job / "data" / "truth" / name(tile.tile_id) for name in (agl_name, vflow_name))
        true_m, true = read_agl(agl_path), read_vflow(vflow_path, agl_path)
        assert tile.rmse_m == pytest.approx(float(np.sqrt(np.nanmean((tile.agl_m - true_m) ** 2))), rel=1e-5)
        away_rad = tile.pose.angle_rad - true.angle_rad
        assert np.cos(np.radians(tile.angle_error_deg)) == pytest.approx(np.cos(away_rad), abs=1e-6)
        assert 0 <= tile.angle_error_deg <= 180


@pytest.mark.parametrize("unknown", ["true_m", "agl_m"])
def test_a_tile_with_unknown_heights_is_drawn(job, unknown):
    """The tallest pixels are unknown. The flow of the others is drawn, and all bars are finite."""
    tile = read_tiles(job / "data", job / "submission.tar.gz")[0]
    heights = {"true_m": tile.true_m.copy(), "agl_m": tile.agl_m.copy()}
    heights[unknown][heights["true_m"] >= np.nanquantile(heights["true_m"], 0.99)] = np.nan
    tile = replace(tile, **heights)
    assert describe_tile(tile).count("<img") == 7
    assert not re.search(r"[\s\"(]nan\b", "".join(draw_errors([tile])), re.IGNORECASE)


def test_tiles_that_cannot_be_compared_are_left_out(competition, tmp_path):
    """One tile has no known height, another one no predicted pose."""
    pred = shutil.copytree(competition / "truth", tmp_path / "pred")
    write_tif(competition / "truth" / "ARG_aaaaaa_AGL.tif", np.full((24, 32), 65535, np.uint16))
    (pred / "ATL_aaaaaa_VFLOW.json").unlink()
    write_tif(pred / "JAX_aaaaaa_AGL.tif", np.zeros((24, 32), np.uint16))
    text = build_page(competition, pred, [])
    assert "6 test tiles" in text and text.partition(">Worst tiles<")[2].split("<h3>")[1].startswith("JAX_aaaaaa: ")
    for pose in pred.glob("*_VFLOW.json"):
        pose.unlink()
    with pytest.raises(UserError, match=r"no test tile of .* has a complete prediction"):
        build_page(competition, pred, [])


def test_roofs_are_the_tallest_known_pixels():
    agl_m = np.full((200, 200), np.nan)
    agl_m[100:, 100:], agl_m[150, 160], agl_m[190, 110] = -1.0, 9.0, 5.0
    assert roof_points(agl_m)[:2] == [(160, 150), (110, 190)]
    assert all(x >= 100 and y >= 100 for x, y in roof_points(agl_m))
    assert roof_points(agl_m[:50, :50]) == []


def test_a_run_without_training_curves_is_refused(job, tmp_path):
    words = ("-m", "geopose", "report", "--data", job / "data", "--pred", job / "submission.tar.gz")
    assert_user_error(
        run(*words, "--runs", tmp_path / "typo", "--out", tmp_path / "x.html"), "typo/metrics.csv missing"
    )


def test_unknown_pixels_are_grey():
    colours = colour_plane(np.array([[0.0, np.nan, 9.0]]), 0, 9, "viridis", 128)
    assert (colours[0, 1] == 128).all() and (colours[0, 0] != colours[0, 2]).any()


def test_values_outside_the_range_get_the_colours_of_its_ends():
    colours = colour_plane(np.array([[-5.0, 0.0, 9.0, 20.0]], dtype=np.float32), 0, 9, "viridis", 0)
    np.testing.assert_array_equal(colours[0], [[68, 1, 84], [68, 1, 84], [253, 231, 36], [253, 231, 36]])


@pytest.fixture(scope="module")
def demo_page(tmp_path_factory):
    """The demo of an image with an unusual name by the released run."""
    root = tmp_path_factory.mktemp("demo")
    image = root / "<b>town.png"
    cv2.imwrite(str(image), np.random.default_rng(0).integers(0, 255, (80, 110, 3), dtype=np.uint8))
    words = ("-m", "geopose", "demo", image, "--runs", RELEASED, "--tta", "none", "--gsd", 0.5)
    assert "<b>town.png by" in ok(run(*words, "--out", root / "demo.png"))
    return root / "demo.html"


def test_the_demo_draws_a_picture_of_any_image(demo_page, tmp_path):
    image = demo_page.with_name("<b>town.png")
    words = ("-m", "geopose", "demo", image, "--runs", RELEASED, "--tta", "none")
    assert_user_error(run(*words, "--out", tmp_path / "x.png"), "--gsd")
    assert_user_error(run(*words, "--gsd", 0.5, "--out", tmp_path / "x.html"), "x.html", "name the picture")
    assert_user_error(
        run(*words, "--gsd", 0.5, "--out", tmp_path / "town_0.5m"), "name a picture, such as town_0.5m.png"
    )
    assert not list(tmp_path.iterdir())
    picture = cv2.imread(str(demo_page.with_suffix(".png")))
    assert picture.shape[1] > 900 and picture.std() > 10


def test_the_demos_page_is_self_contained(demo_page):
    text = demo_page.read_text()
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", text) and "{{" not in text
    assert "<title>&lt;b&gt;town.png</title>" in text and "110 x 80 px, 0.50 m per pixel" in text
    surface = json.loads(re.search(r'id="surface" type="application/json">(.*?)</script>', text).group(1))
    assert (surface["rows"], surface["columns"], surface["depth"]) == (80, 110, pytest.approx(80 / 110))


def test_the_3d_view_shows_heights_and_sides_in_one_unit():
    agl_m = np.full((40, 80), 8.0)
    agl_m[:, :20] = np.nan
    surface = drape(np.zeros((40, 80, 3), np.uint8), agl_m, Pose(1.0, 0.0, 0.5), 64)
    heights = np.array(surface["heights"]).reshape(40, 80)
    assert surface["depth"] == 0.5 and (heights[:, 20:] == 8 / 40).all() and (heights[:, :20] == 0).all()


def test_mistakes_are_one_line(tmp_path, competition):
    words = ("-m", "geopose", "report", "--data", tmp_path / "none", "--pred", tmp_path / "x.tar.gz")
    assert_user_error(run(*words), "no truth/ folder")
    words = ("-m", "geopose", "report", "--data", competition, "--pred", tmp_path / "x.tar.gz", "--runs", RELEASED)
    assert_user_error(run(*words), "x.tar.gz")


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("shown", ["page", "demo_page"])
@pytest.mark.parametrize(("size", "scheme"), [("1200,900", "light"), ("390,800", "dark")], ids=["desk", "phone"])
def test_the_page_works_in_a_browser(shown, request, tmp_path, size, scheme):
    page = request.getfixturevalue(shown)
    probed = tmp_path / "probed.html"
    probed.write_text(page.read_text().replace("<script id=", PROBE + "<script id=", 1))
    common = [CHROMIUM, "--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    common += [f"--blink-settings=preferredColorScheme={('dark', 'light').index(scheme)}"]
    common += [f"--window-size={size}", "--virtual-time-budget=60000", f"--user-data-dir={tmp_path / 'profile'}"]
    dumped = subprocess.run(
        [*common, "--dump-dom", probed.as_uri()], capture_output=True, text=True, check=True, timeout=120
    )
    result = json.loads(re.search(r'<pre id="result">(.*?)</pre>', dumped.stdout).group(1))
    assert result["faults"] == []
    assert result["ready"] == "yes" and result["slides"] and result["turns"] and result["zooms"]
    assert result["drawn"] > 200 and not result["wide"]
    paper, ink = (np.mean([int(n) for n in re.findall(r"\d+", result[key])[:3]]) for key in ("paper", "ink"))
    assert (paper < 60 and ink > 180) if scheme == "dark" else (paper > 220 and ink < 80)

    picture = tmp_path / "page.png"
    subprocess.run([*common, f"--screenshot={picture}", page.as_uri()], capture_output=True, check=True, timeout=120)
    assert cv2.imread(str(picture)).std() > 10


def test_hatching_marks_a_part_of_hidden_ground_only():
    rgb, hidden = np.full((60, 90, 3), 40, np.uint8), np.zeros((60, 90), bool)
    hidden[10:40, 20:70] = True
    marked = (hatch(rgb, hidden) != rgb).any(axis=2)
    assert not marked[~hidden].any() and 0.1 < marked[hidden].mean() < 0.5
