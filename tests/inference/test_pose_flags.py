"""The predict command with a known pose: what it writes and prints, and flags that it refuses."""

import json
import shutil
import sys

import numpy as np
import pytest
import rasterio
from helpers import REPO, write_competition
from test_known_pose import AZIMUTH, GRIDS, INCIDENCE, affine_camera, line_of_sight_flow, write_image, write_stac

from geopose.cli import run_command
from geopose.geometry import vertical_flow
from geopose.inference import command

RUN = REPO / "runs" / "synthetic_lite0" / "fold0"


@pytest.fixture
def predict(monkeypatch, capsys, tmp_path):
    """predict.py with the released run and one view. Returns its status, output, and lines on standard error."""

    def run(*words, out=tmp_path / "out"):
        settings = ("--runs", RUN, "--tta", "none", "--zooms", 1, "--device", "cpu", "--out", out)
        monkeypatch.setattr(sys, "argv", ["command", *map(str, words + settings)])
        with pytest.raises(SystemExit) as end:
            run_command(command.main)
        shown = capsys.readouterr()
        return end.value.code, shown.out, shown.err.splitlines()

    return run


def read_pose(path):
    """Content of a _VFLOW.json, and its flow [2] of one metre in pixels."""
    content = json.loads(path.read_text())
    return content, vertical_flow(np.ones((1, 1)), content["scale_px_per_m"], content["angle_rad"])[:, 0, 0]


def test_rpcs_give_the_pose_and_go_into_the_outputs(predict, tmp_path):
    flow = line_of_sight_flow(GRIDS["turned"])
    image = write_image(tmp_path / "town.tif", rpcs=affine_camera(GRIDS["turned"], flow, 64), size=64)
    status, shown, errors = predict(image, "--rectify")
    assert status == 0 and "pose from rpc; the network guessed scale" in shown and "gsd 0.400 m" in shown
    content, written = read_pose(tmp_path / "out" / "town_VFLOW.json")
    np.testing.assert_allclose(written, flow, atol=1e-3)
    assert content["pose_from"] == "rpc" and content["gsd_m"] == pytest.approx(0.4, rel=1e-3)
    for name in ("AGL", "RECT", "RECT_AGL", "RECT_HIDDEN"):
        with rasterio.open(image) as one, rasterio.open(tmp_path / "out" / f"town_{name}.tif") as other:
            assert one.rpcs.to_dict() == other.rpcs.to_dict()

    status, shown, alone = predict(image, "--pose-from", "network", "--overwrite")
    guess, _ = read_pose(tmp_path / "out" / "town_VFLOW.json")
    assert status == 0 and "pose from network" in shown and alone == [] and guess["pose_from"] == "network"
    for name in ("angle_rad", "scale_px_per_m"):
        assert guess[name] == guess[f"network_{name}"] == content[f"network_{name}"] != content[name]
    away_deg = np.degrees(abs((content["angle_rad"] - guess["angle_rad"] + np.pi) % (2 * np.pi) - np.pi))
    assert len(errors) == (away_deg > 30)


def test_flags_give_the_pose(predict, tmp_path):
    image = write_image(tmp_path / "plain.tif", size=64)
    status, shown, _ = predict(image, "--gsd", 0.5, "--angle-deg", 200, "--scale", 0.8)
    content, _ = read_pose(tmp_path / "out" / "plain_VFLOW.json")
    assert status == 0 and "pose from flags" in shown and "scale 0.800 px/m, angle 3.491 rad" in shown
    assert content["pose_from"] == "flags"
    assert (content["scale_px_per_m"], content["angle_rad"]) == pytest.approx((0.8, np.radians(200)))
    for angle, tangent in (("--off-nadir-deg", np.tan(np.radians(33.26))), ("--incidence-deg", np.tan(np.pi / 6))):
        assert predict(image, "--gsd", 0.5, "--angle-deg", 200, angle, 30, "--overwrite")[0] == 0
        scale = read_pose(tmp_path / "out" / "plain_VFLOW.json")[0]["scale_px_per_m"]
        assert scale == pytest.approx(tangent / 0.5, rel=1e-3)

    image = write_image(tmp_path / "map.tif", GRIDS["turned"], size=64)
    view = ("--satellite-azimuth-deg", AZIMUTH, "--incidence-deg", INCIDENCE)
    for extra, factor in (((), 1), (("--gsd", 0.8, "--overwrite"), 0.5)):
        assert predict(image, *view, *extra)[0] == 0
        _, written = read_pose(tmp_path / "out" / "map_VFLOW.json")
        np.testing.assert_allclose(written, factor * line_of_sight_flow(GRIDS["turned"]), atol=1e-3)


def test_the_label_beside_a_tile_is_never_read(predict, tmp_path):
    write_competition(tmp_path / "data", per_city=1, size=(64, 64), cities=("ARG",))
    image = tmp_path / "data" / "train" / "ARG_aaaaaa_RGB.tif"
    labels = [image.with_name(f"ARG_aaaaaa_{kind}") for kind in ("VFLOW.json", "AGL.tif")]
    tarball = ("--data", tmp_path / "data")
    contents = []
    for label_there in (True, False):
        if not label_there:
            for path in labels:
                path.unlink()
            shutil.rmtree(tmp_path / "data" / "truth")
        status, shown, _ = predict(image, "--overwrite")
        assert status == 0 and "pose from network" in shown
        out = tmp_path / f"{label_there}.tar.gz"
        assert predict(*tarball, out=out)[0] == 0
        contents += [[(tmp_path / "out" / "ARG_aaaaaa_RGB_VFLOW.json").read_bytes(), out.read_bytes()]]
    assert contents[0] == contents[1]


def test_a_faulty_item_stops_its_own_image_only(predict, tmp_path):
    images = [write_image(tmp_path / f"{name}.tif", GRIDS["north-up"], size=64) for name in "ab"]
    write_stac(images[0], azimuth=100)
    status, shown, errors = predict(*images)
    assert status == 2 and "b_AGL.tif" in shown and len(errors) == 2 and "a.json" in errors[0]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"b_AGL.tif", "b_VFLOW.json"}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--angle-deg", 10), ("--angle-deg is half a pose", "--scale", "--off-nadir-deg", "--incidence-deg")),
        (("--satellite-azimuth-deg", 10), ("--satellite-azimuth-deg is half a pose",)),
        (("--scale", 1), ("--scale is half a pose", "--angle-deg", "--satellite-azimuth-deg")),
        (("--angle-deg", 10, "--scale", 1, "--incidence-deg", 20), ("--scale and --incidence-deg",)),
        (("--angle-deg", 10, "--satellite-azimuth-deg", 1, "--scale", 1), ("--angle-deg and --satellite",)),
        (("--angle-deg", 10, "--off-nadir-deg", 90), ("--off-nadir-deg 90", "[0, 90)")),
        (("--angle-deg", 10, "--off-nadir-deg", 80), ("80 degrees", "does not see the ground")),
        (("--angle-deg", 10, "--incidence-deg", 90), ("--incidence-deg 90", "[0, 90)")),
        (("--angle-deg", 10, "--incidence-deg=-5"), ("--incidence-deg -5", "[0, 90)")),
        (("--angle-deg", 10, "--scale=-1"), ("--scale -1",)),
        (("--angle-deg", "nan", "--scale", 1), ("--angle-deg nan",)),
        (("--angle-deg", 10, "--scale", "inf"), ("--scale inf",)),
        (("--angle-deg", 10, "--scale", 1, "--pose-from", "rpc"), ("--pose-from rpc", "--angle-deg")),
        (("--pose-from", "label"), ("--pose-from label", "auto, rpc, stac, imd, network")),
        (("--pose-from", "imd"), ("town.tif", "--pose-from imd")),
        (("--satellite-azimuth-deg", 10, "--scale", 1), ("town.tif", "no georeference", "--angle-deg")),
    ],
    ids=lambda value: " ".join(map(str, value)) if str(value[0]).startswith("--") else "",
)
def test_flags_that_make_no_pose_are_refused(predict, tmp_path, flags, words):
    image = write_image(tmp_path / "town.tif", size=64)
    status, shown, errors = predict(image, "--gsd", 0.5, *flags)
    assert (status, shown, len(errors)) == (2, "", 1), errors
    assert all(word in errors[0] for word in words), errors
    assert list((tmp_path / "out").glob("*")) == []


def test_a_pose_belongs_to_one_image(predict, tmp_path):
    images = [write_image(tmp_path / f"{name}.tif", GRIDS["north-up"], size=64) for name in "ab"]
    status, shown, errors = predict(*images, "--angle-deg", 10, "--scale", 1)
    assert (status, shown, len(errors)) == (2, "", 1) and "2 images" in errors[0]
    assert predict(*images, "--pose-from", "network")[0] == 0


@pytest.mark.parametrize(
    "flag", ["--angle-deg", "--satellite-azimuth-deg", "--scale", "--incidence-deg", "--pose-from"]
)
def test_the_pose_of_a_folder_is_always_predicted(predict, flag):
    status, _, errors = predict("--data", "data", flag, "rpc" if flag == "--pose-from" else 1)
    assert status == 2 and len(errors) == 1 and flag in errors[0] and "IMAGE" in errors[0]
