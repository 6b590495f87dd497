"""`geopose translate` on tiny rendered tiles: labels stay, colours come, nothing moves, interruptions do no harm."""

import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import other_cities
import pandas as pd
import pytest
import torch
from helpers import config_of, half_written, ok, run_together, write_tif
from safetensors.torch import load_file

from geopose.adaptation import networks, runner
from geopose.adaptation.command import hold_out, main
from geopose.adaptation.config import load_translate_config
from geopose.adaptation.images import PairDataset, find_targets, prefer_copies, read_tables, read_window
from geopose.adaptation.registration import moved_px
from geopose.cli import UserError
from geopose.data.store import prepare
from geopose.devices import tf32
from geopose.geometry import Pose
from geopose.io.names import city_of, rgb_name
from geopose.io.rasters import read_rgb
from geopose.io.tables import read_train_table
from geopose.runs.folder import is_finished, read_manifest
from geopose.synthetic.dataset import write_tables, write_tile
from geopose.training.resume import STATE_FILE
from geopose.training.runner import train

TINT = np.array([0.5, 0.8, 1.0])  # of the target's images
SIZE_PX = 96
SMALL = [
    "configs/translate/small.yaml",
    "data.crop_px=64",
    "data.batch_size=2",
    "network.width=4",
    "network.discriminator_width=4",
    "train.epochs=2",
    "train.steps_per_epoch=2",
    "train.device=cpu",
]
QUIET = 48  # a seed with which the check finds little motion by histogram in the one small tile that is held out


def draw(seed: int, size_px: int = SIZE_PX) -> tuple[np.ndarray, np.ndarray]:
    """Image and heights of a rendered place."""
    rng = np.random.default_rng(seed)
    block = other_cities.draw_block("OMA", size_px + 40, 0.5, rng)
    block.height_m = block.height_m.clip(0, 15)
    return other_cities.photograph(block, size_px, 1.0, 1.0, rng)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A rendered competition folder: four training tiles in two cities, one test tile, folds, and two foreign files."""
    root = tmp_path_factory.mktemp("translate") / "source"
    ids = {"ARG_aaaaaa": "train", "ARG_bbbbbb": "train", "OMA_cccccc": "train", "OMA_dddddd": "train"}
    ids |= {"ARG_eeeeee": "test"}
    for seed, (tile_id, half) in enumerate(ids.items()):
        write_tile(root, half, tile_id, *draw(seed), Pose(1.0, 1.0, 0.5), "tif")
    tiles = pd.DataFrame({"id": list(ids), "half": list(ids.values()), "gsd": 0.5})
    write_tables(root, tiles.assign(city=tiles.id.map(city_of)), "tif")
    rows = [f"{i},{city_of(i)},{number % 2}" for number, i in enumerate(list(ids)[:4])]
    (root / "folds.csv").write_text("\n".join(["id,city,fold", *rows]) + "\n")
    (root / "synthetic.json").write_text("{}")
    return root


@pytest.fixture(scope="module")
def target(source) -> Path:
    """Three tinted images of other places."""
    folder = source.parent / "target"
    folder.mkdir()
    for seed in range(3):
        tinted = (draw(100 + seed)[0] * TINT).astype(np.uint8)
        cv2.imwrite(str(folder / f"scene{seed}.png"), cv2.cvtColor(tinted, cv2.COLOR_RGB2BGR))
    return folder


def translate(monkeypatch, source, target, out, *words) -> None:
    """The command in this process."""
    arguments = ["translate", "--from", source, "--to", target, "--out", out, *words]
    monkeypatch.setattr(sys, "argv", list(map(str, arguments)))
    assert main() == 0


def interrupt(monkeypatch, source, target, out) -> None:
    """The training of a network, stopped after its first epoch."""
    real = runner.TranslationRunner.on_epoch_start

    def stop(self, catalyst_runner):
        if self.epoch_step == 1:
            raise KeyboardInterrupt
        real(self, catalyst_runner)

    with monkeypatch.context() as patch:
        patch.setattr(runner.TranslationRunner, "on_epoch_start", stop)
        with pytest.raises(KeyboardInterrupt):
            translate(monkeypatch, source, target, out, "--method", "gan", *SMALL)


def files_of(root: Path) -> dict[str, bytes]:
    """Every file of a competition folder that is no image, by name."""
    kept = (path for path in root.rglob("*") if path.is_file() and not path.name.endswith("_RGB.tif"))
    return {str(path.relative_to(root)): path.read_bytes() for path in kept}


def assert_is_the_source_in_other_colours(out: Path, source: Path) -> None:
    """Labels and tables are the source's byte for byte. All images exist, keep their size, and are others."""
    before, after = files_of(source), files_of(out)
    before.pop("synthetic.json")  # it would say that other images are in the folder
    own = {name for name in after if name.split("/")[0] in ("recipe.json", "manifest.json", "network")}
    assert {name: content for name, content in after.items() if name not in own} == before
    for path in read_tables(source).rgb:
        there = out / Path(path).relative_to(source)
        assert read_rgb(there).shape == read_rgb(path).shape
        assert not np.array_equal(read_rgb(there), read_rgb(path))


def mean_colour(paths) -> np.ndarray:
    return np.mean([cv2.imread(str(path)).reshape(-1, 3).mean(axis=0) for path in paths], axis=0)


@pytest.mark.parametrize(("method", "seed"), [("fda", 42), ("histogram", QUIET)])
def test_colours_move_towards_the_target_and_depend_on_the_tile_only(
    source, target, tmp_path, monkeypatch, method, seed
):
    settings = [*SMALL, f"seed={seed}"]
    out, again = tmp_path / "out", tmp_path / "again"
    translate(monkeypatch, source, target, out, "--method", method, *settings)
    assert_is_the_source_in_other_colours(out, source)
    wanted, before, after = map(mean_colour, (target.glob("*"), source.rglob("*_RGB.tif"), out.rglob("*_RGB.tif")))
    assert np.abs(after - wanted).sum() < 0.6 * np.abs(before - wanted).sum()
    (held_out,) = hold_out(read_train_table(source), load_translate_config(settings[0], settings[1:]))[1]
    written = out / Path(held_out).relative_to(source)
    median_px = float(np.median(moved_px(read_rgb(held_out), read_rgb(written))))
    assert read_manifest(out)["moved_px"] == round(median_px, 4) < 0.1, "the check saw the tile that was written"
    shutil.copytree(out, again)
    (again / "manifest.json").unlink()
    redone = next((again / "train").glob("*_RGB.tif"))
    content = redone.read_bytes()
    redone.unlink()
    translate(monkeypatch, source, target, again, "--method", method, *settings)
    assert redone.read_bytes() == content


def test_a_network_is_trained_resumed_and_its_folder_trains(source, target, tmp_path, monkeypatch):
    """An interrupted training continues to the same weights. What it writes is a competition folder."""
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    translate(monkeypatch, source, target, whole, "--method", "gan", *SMALL)
    interrupt(monkeypatch, source, target, halves)
    assert (halves / "network" / "state.pt").exists() and not (halves / "metadata.csv").exists()
    translate(monkeypatch, source, target, halves, "--method", "gan", *SMALL)
    first, second = (folder / "network" / "generator.safetensors" for folder in (whole, halves))
    assert first.read_bytes() == second.read_bytes()
    assert load_file(first)["output.weight"].abs().max() > 0, "nothing was learned"
    assert len(pd.read_csv(halves / "network" / "metrics.csv")) == 2
    assert list((whole / "network" / "tensorboard").rglob("*tfevents*"))
    assert_is_the_source_in_other_colours(whole, source)
    train(config_of(whole, tmp_path / "run", "train.epochs=1", "train.steps_per_epoch=1"))
    assert is_finished(tmp_path / "run")
    with pytest.raises(UserError, match="holds a translation with other method"):
        translate(monkeypatch, source, target, whole, "--method", "fda", *SMALL)


def test_a_state_that_cannot_be_continued_is_one_line_and_kills_leave_nothing(source, target, tmp_path, monkeypatch):
    out = tmp_path / "out"
    interrupt(monkeypatch, source, target, out)
    path = out / "network" / STATE_FILE
    state = torch.load(path, weights_only=True)
    without = {name: part for name, part in state.items() if name != "model discriminator"}
    for other, message in (
        (state | {"processes": 3}, r"network was trained by 3 processes so far, and 1 would resume it; start 3"),
        (without, r"state\.pt: lacks 'model discriminator', so another version wrote it; remove it to train from"),
    ):
        torch.save(other, path)
        with pytest.raises(UserError, match=message):
            translate(monkeypatch, source, target, out, "--method", "gan", *SMALL)
    torch.save(state, path)
    (out / "train").mkdir()
    for folder in (out / "network", out / "train"):
        half_written(folder)
    translate(monkeypatch, source, target, out, "--method", "gan", *SMALL)
    assert not path.exists() and not list(out.rglob(".*"))
    torch.save(state, path)  # as if the kill had come between the weights and the end
    (out / "manifest.json").unlink()
    translate(monkeypatch, source, target, out, "--method", "gan", *SMALL)
    assert is_finished(out) and not path.exists()


def test_a_state_that_only_one_rank_sees_is_one_line(source, target, tmp_path, monkeypatch):
    """Each rank writes into a folder of its own, and only that of rank 0 holds an unfinished training."""
    interrupt(monkeypatch, source, target, tmp_path / "out0")
    script = tmp_path / "apart.py"
    script.write_text(
        "import os, sys\n"
        "from geopose.adaptation.command import main\n"
        "from geopose.cli import run_command\n"
        "sys.argv[sys.argv.index('--out') + 1] += os.environ['RANK']\n"
        "run_command(main)\n"
    )
    words = ("--from", source, "--to", target, "--out", tmp_path / "out", "--method", "gan", *SMALL)
    first, second = run_together(script, *words)
    assert "was trained by 1 processes so far, and 2 would resume it" in first.stderr
    assert "out1/network/state.pt: only some processes see this file" in second.stderr
    assert "Traceback" not in first.stderr + second.stderr


def test_ranks_train_one_generator(source, target, tmp_path):
    """Two gloo processes end with equal weights, which a process alone does not reach on the same tiles."""
    script = tmp_path / "ranks.py"
    script.write_text(
        "import os\n"
        "from geopose.adaptation import runner\n"
        "from geopose.adaptation.command import main\n"
        "from geopose.cli import run_command\n"
        "from geopose.models.checkpoints import save_weights\n"
        "real = runner.TranslationRunner.on_experiment_end\n"
        "def end(self, catalyst_runner):\n"
        f"    save_weights(self.generator, runner.Path({str(tmp_path)!r}) / os.environ['RANK'])\n"
        "    real(self, catalyst_runner)\n"
        "runner.TranslationRunner.on_experiment_end = end\n"
        "run_command(main)\n"
    )
    words = ("--from", source, "--to", target, "--out", tmp_path / "out", "--method", "gan", *SMALL, "train.epochs=1")
    for done in run_together(script, *words):
        ok(done)
    assert (tmp_path / "0").read_bytes() == (tmp_path / "1").read_bytes()
    assert is_finished(tmp_path / "out")
    config = load_translate_config(SMALL[0], [*SMALL[1:], "train.epochs=1"])
    training, held_out = hold_out(read_train_table(source), config)
    pairs = PairDataset(training, find_targets(target, read_tables(source), 64, None, ()), (), 64, config.seed)
    alone = runner.train_generator(config, tmp_path / "alone", pairs, held_out)
    weights = load_file(tmp_path / "0")
    assert (alone.output.weight - weights["output.weight"]).abs().max() > 0.1 * config.optim.lr, "no rounding error"


@pytest.mark.parametrize("count", [2, 4, 50])
def test_tiles_are_held_out_of_the_training(count):
    table = pd.DataFrame({"rgb": [f"{number:02d}_RGB.tif" for number in range(count)]})
    config = load_translate_config(SMALL[0])
    training, held_out = hold_out(table, config)
    assert sorted(training + held_out) == table.rgb.tolist(), "each tile is in one of both"
    assert len(held_out) == {2: 1, 4: 1, 50: config.check.tiles}[count]


@pytest.mark.parametrize("shift_px", [0, 0.3, 0.5, 1, 3])
def test_motion_is_measured_under_other_colours(shift_px):
    rgb = draw(5, 256)[0]
    moved = cv2.warpAffine(
        rgb, np.float32([[1, 0, shift_px], [0, 1, 0]]), rgb.shape[1::-1], borderMode=cv2.BORDER_REFLECT
    )
    assert np.median(moved_px(rgb, 255 - (moved * TINT).astype(np.uint8))) == pytest.approx(shift_px, abs=0.1)


def test_patches_without_data_show_no_motion(source):
    """Black makes up three quarters of the image, so the median patch is blank."""
    rgb = read_rgb(next((source / "train").glob("*_RGB.tif")))
    black = np.zeros((4 * rgb.shape[0], rgb.shape[1], 3), np.uint8)
    black[: rgb.shape[0]] = rgb
    assert moved_px(black, black).max() < 0.01
    assert moved_px(0 * black, 0 * black).tolist() == [0.0]


def test_a_generator_that_moves_images_is_refused(source, target, tmp_path, monkeypatch):
    """By 1 px, before any tile is written. The same generator without the shift is accepted."""

    class Shifting(networks.Generator):
        def forward(self, image):
            return torch.roll(image, 1, dims=-1), []

    for network, accepted in ((Shifting(4, 2), False), (networks.Generator(4, 2), True)):
        out = tmp_path / type(network).__name__
        monkeypatch.setattr(runner, "train_generator", lambda *_, network=network: network)
        if accepted:
            translate(monkeypatch, source, target, out, "--method", "gan", *SMALL)
            continue
        with pytest.raises(UserError, match=r"moves images by (0\.9|1\.0)\d px in the median of 1 tiles"):
            translate(monkeypatch, source, target, out, "--method", "gan", *SMALL)
        assert sorted(path.name for path in out.iterdir()) == ["recipe.json"]


def test_a_generator_begins_with_the_identity_and_is_symmetric():
    """No layer shifts: the translation of a mirrored image is the mirrored translation. None zooms either."""
    torch.manual_seed(0)
    generator, image = networks.Generator(4, 2), torch.rand(1, 3, 33, 46) * 2 - 1
    assert torch.equal(generator(image)[0], image)
    for layer in generator.modules():
        if isinstance(layer, torch.nn.Conv2d):  # symmetric filters: then only the layers' alignment can break symmetry
            torch.nn.init.normal_(layer.weight)
            layer.weight.data += layer.weight.data.flip(-1)
    image = image[..., :32, :44]
    mirrored = generator(image.flip(-1))[0].flip(-1)
    torch.testing.assert_close(generator(image)[0], mirrored, rtol=1e-3, atol=1e-3)
    ramp, halve = torch.arange(16.0).expand(1, 1, 16, 16), torch.nn.AvgPool2d(2)
    for enlarge in (layer for layer in generator.modules() if isinstance(layer, torch.nn.Upsample)):
        torch.testing.assert_close(halve(enlarge(ramp))[..., 1:-1], ramp[..., 1:-1])


def test_tiles_are_translated_in_float32():
    """Whatever the process allows, which is another thing before and after an interruption."""
    generator, allowed = networks.Generator(4, 2), []
    generator.register_forward_hook(lambda *_: allowed.append(torch.backends.cudnn.allow_tf32))
    with tf32(True):
        networks.translate_rgb(generator, np.zeros((16, 16, 3), np.uint8))
    assert allowed == [False]


def test_prepared_copies_of_the_target_make_it_no_other_target(source, tmp_path, monkeypatch):
    target, out = shutil.copytree(source, tmp_path / "target"), tmp_path / "out"
    translate(monkeypatch, source, target, out, "--method", "fda", *SMALL)
    assert prepare(target, 1) == (9, [])
    translate(monkeypatch, source, target, out, "--method", "fda", *SMALL)
    tiles = read_tables(source)
    targets = find_targets(target, tiles, 64, None, ())
    assert all("/prepared/" in str(copy.path) for copy in prefer_copies(targets, target))
    labelled = target / "train" / rgb_name("OMA_cccccc", "tif")
    labelled.unlink()
    labelled.symlink_to(source / "train" / labelled.name)
    assert prepare(target, 1) == (0, []), "the copy is that of the labelled tile"
    with pytest.raises(UserError, match=r"OMA_cccccc_RGB\.tif: is also a labelled tile"):
        find_targets(target, tiles, 64, None, ())


def test_another_metadata_file_beside_the_target_is_ignored(source, target, tmp_path):
    folder = shutil.copytree(target, tmp_path / "target")
    (folder / "metadata.csv").write_text("file,date\nscene0.png,2020\n")
    assert len(find_targets(folder, read_tables(source), 64, None, ())) == 3


def test_images_of_other_depths_and_gsd_are_read_as_the_tiles_are(source, tmp_path):
    """Four bands of 16 bits, at twice the tiles' gsd, with a corner without data."""
    rng = np.random.default_rng(0)
    for name in ("a.tif", "b.tif"):
        values = rng.integers(200, 3000, (4, 80, 90)).astype(np.uint16)
        values[:, :8, :8] = 0
        write_tif(tmp_path / name, values, nodata=0)
    targets = find_targets(tmp_path, read_tables(source), 64, 1.0, (3, 2, 1))
    assert [target.zoom for target in targets] == [2.0, 2.0]
    window = read_window(targets, (3, 2, 1), (64, 64), rng)
    assert window.shape == (64, 64, 3) and window.dtype == np.uint8
    assert window.min() < 20 and window.max() > 235, "not stretched"


def test_bad_input_ends_in_one_line(source, target, tmp_path, monkeypatch):
    empty, one, small, bands, taken = (tmp_path / name for name in ("empty", "one", "small", "bands", "taken"))
    for folder in (empty, one, small, bands, taken):
        folder.mkdir()
    shutil.copy(target / "scene0.png", one)
    for name in ("a.tif", "b.tif"):
        write_tif(small / name, np.zeros((3, 30, 200), np.uint8))
        write_tif(bands / name, np.zeros((2, 99, 99), np.complex64))
    (taken / "notes.txt").write_text("mine")
    out = tmp_path / "out"
    for given, words, message in (
        (tmp_path / "nowhere", (), "nowhere: no such folder"),
        (empty, (), "empty: holds no image"),
        (one, (), "one: holds one image only, scene0.png"),
        (small, (), r"a\.tif: 30x200, smaller than data.crop_px=128"),
        (bands, (), r"a\.tif: holds complex numbers"),
        (target, ("--bands", 4, 3, 2), r"--bands 4 3 2; it has bands 1 to 3"),
        (source, (), "is the folder of --from"),
        (source / "train", (), "is also a labelled tile"),
        (target, ("--out", target), "is one of the inputs"),
        (target, ("--out", taken, *SMALL), "taken holds other files"),
        (target, ("--workers", 0), "--workers 0: must be 1 or more"),
        (target, ("data.crop=64",), "unknown key data.crop; did you mean data.crop_px"),
        (target, ("data.crop_px=66",), "must be a multiple of 4"),
        (target, ("colour.fda_beta=[0.3,0.1]",), "must be an interval"),
        (target, ("train.precision=fp16",), "train.precision=fp16 is unknown"),
    ):
        with pytest.raises(UserError, match=message):
            translate(monkeypatch, source, given, out, "--method", "fda", *words)
    assert not out.exists()


def test_tiles_that_no_network_can_use_are_refused_before_it_is_trained(source, target, tmp_path, monkeypatch):
    """A suffix that is not written, and a training tile smaller than a crop."""
    folder = shutil.copytree(source, tmp_path / "source")
    with pytest.raises(UserError, match=r"_RGB\.tif: 96x96 is smaller than data\.crop_px=100; lower it"):
        translate(monkeypatch, folder, target, tmp_path / "out", "--method", "gan", *SMALL, "data.crop_px=100")
    (folder / "test" / "ARG_eeeeee_RGB.tif").rename(folder / "test" / "ARG_eeeeee_RGB.png")
    table = folder / "geopose_test.csv"
    table.write_text(table.read_text().replace("ARG_eeeeee_RGB.tif", "ARG_eeeeee_RGB.png"))
    with pytest.raises(UserError, match=r"test/ARG_eeeeee_RGB\.png is not \.tif or \.j2k; convert the images first"):
        translate(monkeypatch, folder, target, tmp_path / "out", "--method", "gan", *SMALL)
    assert not (tmp_path / "out").exists()


def test_a_label_that_is_missing_is_named(source, target, tmp_path, monkeypatch):
    folder = shutil.copytree(source, tmp_path / "source")
    (folder / "train" / "OMA_cccccc_VFLOW.json").unlink()
    with pytest.raises(UserError, match=r"OMA_cccccc_VFLOW\.json missing"):
        translate(monkeypatch, folder, target, tmp_path / "out", "--method", "fda", *SMALL)
    assert not (tmp_path / "out").exists()


def test_the_command_works_in_any_folder(source, target, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    translate(monkeypatch, source, target, Path("out"), "--method", "histogram", *SMALL[1:], f"seed={QUIET}")
    assert is_finished("out")


def test_only_labels_of_the_truth_are_taken(source, target, tmp_path, monkeypatch):
    folder = shutil.copytree(source, tmp_path / "source")
    for name in ("old", ".cache", "odd_AGL.tif"):
        (folder / "truth" / name).mkdir()
    (folder / "truth" / ".DS_Store").write_text("not a label")
    translate(monkeypatch, folder, target, tmp_path / "out", "--method", "histogram", *SMALL, f"seed={QUIET}")
    assert is_finished(tmp_path / "out")
    taken = {path.name for path in (tmp_path / "out" / "truth").iterdir()}
    assert taken == {"ARG_eeeeee_AGL.tif", "ARG_eeeeee_VFLOW.json"}


def test_a_tile_with_another_number_of_bands_is_refused(source, target, tmp_path, monkeypatch):
    folder = shutil.copytree(source, tmp_path / "source")
    write_tif(folder / "test" / rgb_name("ARG_eeeeee", "tif"), np.zeros((4, SIZE_PX, SIZE_PX), np.uint8))
    with pytest.raises(UserError, match="4 bands of uint8; a tile's image has 3 bands"):
        translate(monkeypatch, folder, target, tmp_path / "out", "--method", "fda", "data.crop_px=64")
    assert not (tmp_path / "out" / "metadata.csv").exists()
    assert json.loads((tmp_path / "out" / "recipe.json").read_text())["method"] == "fda"
